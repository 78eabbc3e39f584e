"""The book's figures. Each function returns the figure and its alternative text, drawn from the same numbers.

Figures are narrow and their type is large, so that they can be read on a telephone; they stand on white, so that
they can be read on a dark page.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image
from torch import Tensor

from reidkit import models
from reidkit.data import Dataset, Split
from reidkit.evaluation import top_matches
from reidkit.models.backbone import STAGES
from reidkit.records import Record
from reidkit.report.tables import LABELS
from reidkit.runs import check_data, features, find_record, open_dataset, weights_path
from reidkit.systems.joint_loss import LOSSES, RunConfig

WIDTH = 5.2  # inches; `numbered_figure` shows an inch as 100 pixels
RIGHT, WRONG = (
    "#d62728",
    "#1f5fd0",
)  # red frames for right matches and blue ones for wrong, as in the paper's Fig. 6
ATTENTION = {name: placement.title for name, placement in models.ATTENTION.items()}
Drawing = tuple[Figure, str]


def training_curves(
    histories: Mapping[str, pd.DataFrame], column: str, *, label: str = "", log: bool = False
) -> Drawing:
    """One line per run over its epochs. `histories`: by run, with the columns `epoch` and `column`; nan is skipped.

    label: what to call the column. log: a logarithmic axis, for values of different size.
    Raises ValueError where no run recorded `column`.
    """
    label = label or column
    curves = {
        run: history[["epoch", column]].dropna()
        for run, history in histories.items()
        if column in history and history[column].notna().any()
    }
    if not curves:
        raise ValueError(f"none of the {len(histories)} histories has a column {column!r} with a value in it")
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
        palette = sns.color_palette("colorblind", len(curves))
        dashes = ["-", "--", ":", "-."]
        for i, (run, curve) in enumerate(curves.items()):
            marker = "o" if len(curve) == 1 else None  # a line of one point would not be seen
            axes.plot(curve["epoch"], curve[column], dashes[i % 4], color=palette[i], marker=marker, lw=2, label=run)
        axes.set(xlabel="epoch", ylabel=label)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # 20, not 2 × 10¹
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    ends = "; ".join(
        f"{run} from {curve[column].iloc[0]:.3g} to {curve[column].iloc[-1]:.3g}" for run, curve in curves.items()
    )
    return figure, f"Line chart of the {label} over {max(len(c) for c in curves.values())} epochs. {ends}."


Histories = Mapping[str, Sequence[pd.DataFrame]]  # by the name of a line: one history per seed


def training_bands(
    panels: Mapping[str, Histories], column: str, *, label: str = "", scale: float = 1.0, normalise: bool = False
) -> Drawing:
    """A panel per data set, in it a line per network over its epochs: the mean over seeds, in a band from the lowest
    to the highest seed.

    panels: by data set, then by network, a history per seed with the columns `epoch` and `column`; nan is skipped.
    label: what to call the column. scale: a factor on it. normalise: each panel is divided by its highest line's
    highest point, so that what one network has over another stays to be seen. A panel without values says so.
    """
    label = label or column
    curves = {data: _bands(histories, column, scale, normalise) for data, histories in panels.items()}
    lines = list(dict.fromkeys(line for histories in panels.values() for line in histories))
    described = []
    with style():
        size = (WIDTH, 0.6 + 2.6 * len(panels))
        figure, grid = plt.subplots(len(panels), figsize=size, layout="constrained", squeeze=False)
        palette = dict(zip(lines, sns.color_palette("colorblind", len(lines)), strict=True))
        for axes, (data, found) in zip(grid[:, 0], curves.items(), strict=True):
            for line, curve in found.items():
                dashes = ["-", "--", ":", "-."][lines.index(line) % 4]
                marker = "o" if len(curve) <= 10 else None  # few points are measurements at some epochs
                axes.fill_between(curve.index, curve["low"], curve["high"], color=palette[line], alpha=0.25, lw=0)
                if len(curve) == 1:  # a band of one point would not be seen
                    axes.vlines(curve.index, curve["low"], curve["high"], color=palette[line], alpha=0.25, lw=6)
                look = {"color": palette[line], "marker": marker, "ms": 5, "lw": 2}
                axes.plot(curve.index, curve["mean"], dashes, label=line, **look)
                last = curve.iloc[-1]
                seeds = int(last["seeds"])
                band = f" ({last['low']:.3g} to {last['high']:.3g} over {seeds} seeds)" if seeds > 1 else ""
                epochs = f"epochs {curve.index[0]:g} to {curve.index[-1]:g}"
                described.append(f"{data}, {line}: {curve['mean'].iloc[0]:.3g} to {last['mean']:.3g}{band}, {epochs}")
            if not found:
                axes.text(0.5, 0.5, "not run", ha="center", va="center", color="0.45", transform=axes.transAxes)
                described.append(f"{data}: not run")
            axes.set(title=data, ylabel=label)
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[-1, 0].set_xlabel("epoch")
        legend = {
            name: line for axes in grid[:, 0] for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            legend.values(), legend.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize="small"
        )
    return figure, f"Line chart of the {label}, a panel per data set. {'; '.join(described)}."


def _bands(histories: Histories, column: str, scale: float, normalise: bool) -> dict[str, pd.DataFrame]:
    """By line, the mean, low, high and seeds of each epoch."""
    found = {}
    for line, seeds in histories.items():
        curves = [history.set_index("epoch")[column].dropna() for history in seeds if column in history]
        if any(len(curve) for curve in curves):
            epochs = pd.concat(curves).groupby(level=0)
            found[line] = scale * epochs.agg(mean="mean", low="min", high="max")
            found[line]["seeds"] = epochs.size()
    if normalise and found:
        highest = max(curve["mean"].max() for curve in found.values())
        for curve in found.values():
            curve[["mean", "low", "high"]] /= highest
    return found


def grid_heat_map(scores: pd.DataFrame, metric: str = "mAP") -> Drawing:
    """The ablation grid, attention down and loss across, in per cent; what was not run (nan) is left blank."""
    low, high = (scores.min(axis=None), scores.max(axis=None)) if scores.notna().any(axis=None) else (0, 100)
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
        sns.heatmap(
            scores.rename(index=ATTENTION, columns=LOSSES),
            annot=True,
            fmt=".1f",
            cmap="crest",
            vmin=low,
            vmax=high,
            linewidths=2,
            linecolor="white",
            annot_kws={"size": 13},
            cbar_kws={"label": f"{metric} (%)"},
            ax=axes,
        )
        for (row, column), value in np.ndenumerate(scores.to_numpy(dtype=float)):
            if np.isnan(value):
                axes.text(column + 0.5, row + 0.5, "not run", ha="center", va="center", color="0.45")
        axes.grid(visible=False)
        axes.set(xlabel="", ylabel="")
        axes.tick_params(length=0, rotation=0)
    lines = [
        f"{ATTENTION.get(str(attention), attention)}: "
        + ", ".join(
            f"{LOSSES.get(str(loss), loss)} {'not run' if np.isnan(v) else f'{v:.1f}'}" for loss, v in row.items()
        )
        for attention, row in scores.iterrows()
    ]
    return figure, f"Heat map of {metric} in per cent, attention module by loss. " + "; ".join(lines) + "."


def reading_chart(readings: pd.DataFrame, metric: str = "mAP") -> Drawing:
    """What each reading of SAN-GAL does: above to the metric, below to the attention. `tables.readings` makes it.

    Above: the difference from the literal row with its interval. Below: the middle 90 % of the attention values, a
    line per stage; what lies close together hardly selects. A reading with just the attention of one above is left out.
    """
    others = readings[readings["reading"] != "literal"]
    columns = [f"{stage} {bound}" for stage in STAGES for bound in ("5 %", "95 %")]
    spread = readings.dropna(subset=columns).drop_duplicates(columns)
    heights = [max(len(frame), 1) for frame in (others, spread)]
    palette = sns.color_palette("colorblind", len(STAGES))
    with style():
        size = (WIDTH, 1.9 + 0.45 * sum(heights))
        figure, (above, below) = plt.subplots(2, figsize=size, layout="constrained", height_ratios=heights)
        places = np.arange(len(others))
        above.axvline(0, color="0.3", linewidth=1)
        above.hlines(places, others["low"], others["high"], color="#0072b2", linewidth=4, alpha=0.45)
        above.plot(others["difference"], places, "o", color="#0072b2", markersize=8)
        above.set(xlabel=f"{LABELS[metric]} gained (points)")
        for i, stage in enumerate(STAGES):
            rows = np.arange(len(spread)) + 0.22 * (i - 1)
            ends = spread[f"{stage} 5 %"], spread[f"{stage} 95 %"]
            below.hlines(rows, *ends, color=palette[i], linewidth=3, label=stage)
            for end in ends:  # where a line is too short to be seen, its ends are
                below.plot(end, rows, "|", color=palette[i], markersize=7, markeredgewidth=2)
        below.set(xlabel="attention values, middle 90 %")
        below.xaxis.set_major_locator(MaxNLocator(5))
        for axes, frame, height in zip((above, below), (others, spread), heights, strict=True):
            axes.set_yticks(np.arange(len(frame)), frame["reading"].str.replace("maps-one", "maps-\none"))
            axes.set_ylim(height - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    gained = [
        f"{line['reading']} {_gained(line['difference'], line['low'], line['high'])}" for _, line in others.iterrows()
    ]
    ranges = [
        f"{line['reading']} "
        + ", ".join(f"{stage} {line[f'{stage} 5 %']:.3f} to {line[f'{stage} 95 %']:.3f}" for stage in STAGES)
        for _, line in spread.iterrows()
    ]
    return figure, (
        f"Two charts. {LABELS[metric]} gained over the literal reading in points: {'; '.join(gained) or 'not run'}. "
        f"Middle 90 % of the attention values: {'; '.join(ranges) or 'not run'}."
    )


def _gained(ours: float, low: float, high: float) -> str:
    return "not run" if np.isnan(ours) else f"{ours:+.2f} ({low:+.2f} to {high:+.2f})"


def gain_chart(gains: pd.DataFrame, base: str = "Baseline", metric: str = "mAP") -> Drawing:
    """Gains over the baseline, paper's against ours with its interval. `gains` as `tables.gains` makes it."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.5 * len(gains)), layout="constrained")
        places = np.arange(len(gains))
        axes.axvline(0, color="0.3", linewidth=1)
        axes.hlines(places, gains["low"], gains["high"], color="#0072b2", linewidth=4, alpha=0.45)
        label = "here, with 95 % interval" if gains["ours"].notna().any() else None
        axes.plot(gains["ours"], places, "o", color="#0072b2", markersize=8, label=label)
        axes.plot(gains["paper"], places, "D", color="#d55e00", markersize=7, fillstyle="none", label="paper")
        axes.set_yticks(places, gains["method"])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"{LABELS[metric]} gained over {base} (points)")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    lines = [
        f"{line['method']}: paper {line['paper']:+.2f}, here " + _gained(line["ours"], line["low"], line["high"])
        for _, line in gains.iterrows()
    ]
    return figure, f"Chart of {LABELS[metric]} gained over {base} in points. " + "; ".join(lines) + "."


def ranked_lists(dataset: Dataset, top: Tensor, queries: Sequence[int], k: int = 8) -> Drawing:
    """The paper's Fig. 6: each query at the left, its first k results, and beneath them its ground truth.

    top: gallery indexes (Q, ≥k) best first, -1 for none, as `evaluation.top_matches` returns them. queries: which rows
    of the query split to show. Results stand in a red frame where the identity is right, in a blue one where it is
    wrong. The ground truth row shows the first k right images taken by other cameras, in the gallery's order.
    Raises ValueError where there is no query to show.
    """
    if not queries:
        raise ValueError("ranked_lists needs at least one query to show")
    k = min(k, top.shape[1])
    query, gallery = dataset.query, dataset.gallery
    described = []
    with style():
        cell = WIDTH / (k + 1.6)
        figure = plt.figure(figsize=(WIDTH, 4.5 * cell * len(queries) + 0.3), layout="none")
        rows = figure.subfigures(len(queries), 1, squeeze=False)[:, 0]
        for panel, index in zip(rows, queries, strict=True):
            axes = panel.subplots(2, k + 1, width_ratios=[1.25] + [1] * k, gridspec_kw={"wspace": 0.12, "hspace": 0.12})
            panel.subplots_adjust(0.01, 0.03, 0.99, 0.90)
            results = [i for i in top[index, :k].tolist() if i >= 0]
            right = [bool(gallery.ids[i] == query.ids[index]) for i in results]
            truth = (gallery.ids == query.ids[index]) & (gallery.cameras != query.cameras[index])
            _show(axes[0, 0], query, index, None)
            axes[0, 0].set_title("query", pad=2)
            axes[1, 0].text(0.5, 0.5, "ground\ntruth", ha="center", va="center", transform=axes[1, 0].transAxes)
            for ax, i, good in zip(axes[0, 1:], results, right, strict=False):
                _show(ax, gallery, i, RIGHT if good else WRONG)
            for rank, ax in enumerate(axes[0, 1:], start=1):
                ax.set_title(str(rank), pad=2)
            for ax, i in zip(axes[1, 1:], truth.nonzero()[:, 0].tolist(), strict=False):
                _show(ax, gallery, i, None)
            for ax in axes.flat:
                ax.axis("off")
            ranks = [str(rank) for rank, good in enumerate(right, start=1) if good]
            described.append(
                f"Query {query.paths[index].name}: {len(ranks)} of the first {len(results)} results are right"
                + (f" (ranks {', '.join(ranks)})" if ranks else "")
                + f"; the gallery holds {int(truth.sum())} right images."
            )
    return figure, "Ranked lists, right results framed red and wrong ones blue. " + " ".join(described)


def ranked_lists_of(config: RunConfig, quantiles: Sequence[float] = (0.9, 0.5, 0.1), k: int = 8) -> Drawing:
    """`ranked_lists` of a finished run, for the queries at these quantiles of its average precision.

    Where the run has no record, or its weights are not on this machine, the figure says what is missing instead.
    Raises RecordError where the data set is not the one that the record was made from.
    """
    record = find_record(config)
    if record is None:
        return notice(f"Not run yet:\n{config.row_name}, seed {config.seed} of this profile.")
    if not weights_path(config).is_file():
        return notice(f"The record is here, but not the weights of\n{config.name}\nthat this figure needs.")
    dataset = open_dataset(config)
    check_data(record, dataset)
    query, gallery = dataset.query, dataset.gallery
    query_features, gallery_features = features(config, dataset)
    top = top_matches(query_features, gallery_features, query.ids, gallery.ids, query.cameras, gallery.cameras, k=k)
    return ranked_lists(dataset, top, example_queries(record, quantiles), k)


def notice(text: str) -> Drawing:
    """A figure in the place of one that cannot be drawn, so that its number and the references to it stay."""
    with style():
        figure = plt.figure(figsize=(WIDTH, 1.2))
        figure.text(0.5, 0.5, text, ha="center", va="center", fontsize="small", color="0.3")
    return figure, " ".join(text.split())


def _show(axes: Axes, split: Split, index: int, frame: str | None) -> None:
    picture = _thumbnail(split.paths[index])
    axes.imshow(picture)
    if frame:
        height, width = picture.shape[:2]
        axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=frame, linewidth=3, clip_on=False))


def _thumbnail(path: Path, size: tuple[int, int] = (64, 128)) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(size))


def style() -> AbstractContextManager[None]:
    """Seaborn's white grid with type that survives being halved in width."""
    sizes = {
        "font.size": 12,
        "axes.labelsize": 12,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "axes.titlesize": 11,
    }
    return mpl.rc_context(sns.axes_style("whitegrid") | sizes)


def example_queries(record: Record, quantiles: Sequence[float] = (0.9, 0.5, 0.1)) -> list[int]:
    """The queries whose average precision lies at these quantiles of a record: examples by a rule, not by choice.

    Positions in the query split. Raises ValueError where no query has a match.
    """
    precision = record.queries["average_precision"].dropna().sort_values(kind="stable")
    if precision.empty:
        raise ValueError(f"{record.name}: no query has a match, so there is no example to show")
    return [int(precision.index[round(quantile * (len(precision) - 1))]) for quantile in quantiles]

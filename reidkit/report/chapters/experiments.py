"""What book/experiments.md shows of the joint-loss paper's Table 1: gains over the baseline, and the ablation grid."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from reidkit.models import ATTENTION
from reidkit.records import Record
from reidkit.report.rows import Rows
from reidkit.report.style import BLUE, ORANGE, WIDTH, Drawing, style
from reidkit.report.words import LABELS, gained
from reidkit.systems.joint_loss import GRID, LOSSES


def gain_chart(gains: pd.DataFrame, base: str = "Baseline", metric: str = "mAP") -> Drawing:
    """Gains over the baseline, paper's against ours with its interval. `gains` as `verdicts.gains` makes it."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.5 * len(gains)), layout="constrained")
        places = np.arange(len(gains))
        axes.axvline(0, color="0.3", linewidth=1)
        axes.hlines(places, gains["low"], gains["high"], color=BLUE, linewidth=4, alpha=0.45)
        label = "here, with 95 % interval" if gains["ours"].notna().any() else None
        axes.plot(gains["ours"], places, "o", color=BLUE, markersize=8, label=label)
        axes.plot(gains["paper"], places, "D", color=ORANGE, markersize=7, fillstyle="none", label="paper")
        axes.set_yticks(places, gains["method"])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"{LABELS[metric]} gained over {base} (points)")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    lines = [
        f"{line['method']}: paper {line['paper']:+.2f}, here " + gained(line["ours"], line["low"], line["high"])
        for _, line in gains.iterrows()
    ]
    return figure, f"Chart of {LABELS[metric]} gained over {base} in points. " + "; ".join(lines) + "."


def grid(records: Iterable[Record], metric: str = "mAP") -> pd.DataFrame:
    """A metric of every cell of the ablation grid in per cent: attention down, loss across, nan where not run."""
    modules = dict.fromkeys(cell.attention for cell in GRID.values())
    frame = pd.DataFrame(np.nan, index=list(modules), columns=list(LOSSES))
    for row, seeds in Rows(records).items():
        if row in GRID:
            frame.loc[GRID[row].attention, GRID[row].loss] = 100 * np.mean([record.metrics[metric] for record in seeds])
    return frame


def grid_heat_map(scores: pd.DataFrame, metric: str = "mAP") -> Drawing:
    """The ablation grid, attention down and loss across, in per cent; what was not run (nan) is left blank."""
    low, high = (scores.min(axis=None), scores.max(axis=None)) if scores.notna().any(axis=None) else (0, 100)
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
        sns.heatmap(
            scores.rename(index={name: placement.title for name, placement in ATTENTION.items()}, columns=LOSSES),
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
    lines = []
    for attention, row in scores.iterrows():
        cells = ((LOSSES[str(loss)], "not run" if np.isnan(score) else f"{score:.1f}") for loss, score in row.items())
        lines.append(f"{ATTENTION[str(attention)].title}: {', '.join(map(' '.join, cells))}")
    return figure, f"Heat map of {metric} in per cent, attention module by loss. {'; '.join(lines)}."

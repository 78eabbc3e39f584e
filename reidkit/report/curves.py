"""What changes over the epochs of a training."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from reidkit.report.style import PALETTE, WIDTH, Drawing, styled

Histories = Mapping[str, Sequence[pd.DataFrame]]  # by the name of a line: one history per seed


@styled
def training_curves(
    panels: Mapping[str, Histories],
    column: str,
    *,
    label: str = "",
    scale: float = 1.0,
    normalise: bool = False,
    over: str = "epoch",
    across: str = "",
) -> Drawing:
    """A panel per data set, in it a line per row over its epochs: the mean over seeds, in a band from the lowest to the
    highest seed.

    panels: by data set, then by row, a history per seed with the columns `over` and `column`; nan is skipped.
    label: what to call the column. scale: a factor on it. normalise: each panel is divided by its highest line's
    highest point, so that what one row has over another stays to be seen. across: what to call `over`, if not so. A
    panel without values says so.
    """
    label = label or column
    curves = {data: _bands(histories, over, column, scale, normalise) for data, histories in panels.items()}
    lines = list(dict.fromkeys(line for histories in panels.values() for line in histories))
    described = []
    size = (WIDTH, 0.4 + 0.1 * len(lines) + 2.6 * len(panels))
    figure, grid = plt.subplots(len(panels), figsize=size, layout="constrained", squeeze=False)
    palette = dict(zip(lines, cycle(PALETTE), strict=False))  # and four dashes: of 28 lines no two look alike
    for axes, (data, found) in zip(grid[:, 0], curves.items(), strict=True):
        for line, curve in found.items():
            dashes = ["-", "--", ":", "-."][lines.index(line) % 4]
            few = len(curve) <= 10  # which are measurements at some epochs
            axes.fill_between(curve.index, curve["low"], curve["high"], color=palette[line], alpha=0.25, lw=0)
            if len(curve) == 1:  # a band of one point would not be seen
                axes.vlines(curve.index, curve["low"], curve["high"], color=palette[line], alpha=0.25, lw=6)
            look = {"color": palette[line], "marker": "o" if few else None, "ms": 5, "lw": 2}
            axes.plot(curve.index, curve["mean"], dashes, label=line, **look)
            last = curve.iloc[-1]
            seeds = int(last["seeds"])
            band = f" ({last['low']:.3g} to {last['high']:.3g} over {seeds} seeds)" if seeds > 1 else ""
            points = [f"{value:.3g} at {epoch:g}" for epoch, value in curve["mean"].items()]
            told = ", ".join(points) if few else f"{points[0]} to {points[-1]}"
            described.append(f"{data}, {line}: {told}{band}")
        if not found:
            axes.text(0.5, 0.5, "not run", ha="center", va="center", color="0.45", transform=axes.transAxes)
            described.append(f"{data}: not run")
        axes.set(title=data, ylabel=label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    grid[-1, 0].set_xlabel(across or over)
    drawn = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in grid[:, 0])
    named = {name: line for of_panel in drawn for line, name in of_panel}
    look = {"ncols": 2, "frameon": False, "fontsize": "small"}
    figure.legend(named.values(), named.keys(), loc="outside lower center", **look)
    return figure, f"Line chart of the {label}, a panel per data set. {'; '.join(described)}."


def _bands(histories: Histories, over: str, column: str, scale: float, normalise: bool) -> dict[str, pd.DataFrame]:
    """By line, the mean, low, high and seeds of each epoch."""
    found = {}
    for line, seeds in histories.items():
        curves = [history.set_index(over)[column].dropna() for history in seeds if column in history]
        if any(len(curve) for curve in curves):
            epochs = pd.concat(curves).groupby(level=0)
            found[line] = scale * epochs.agg(mean="mean", low="min", high="max")
            found[line]["seeds"] = epochs.size()
    if normalise and found:
        highest = max(curve["mean"].max() for curve in found.values())
        for curve in found.values():
            curve[["mean", "low", "high"]] /= highest
    return found

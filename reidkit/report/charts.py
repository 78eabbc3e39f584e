"""Small charts inside a page's own HTML, as SVG whose colours follow the page: `style.css` must stand on it once.

They take a few kilobytes each, need no script, say their values under the pointer, and have an alternative text.
"""

from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from reidkit.records import Record
from reidkit.report.markup import markup

SIZE = {"width": 330, "height": 200}  # of a chart, in the page's pixels
AXES = {"left": 46, "right": 322, "top": 8, "bottom": 160}  # where in it they end
# What a history tells of training: by column, what its axis says, a factor on it, and the caption.
CURVES = {
    "total": ("training loss", 1, "Training loss"),
    "accuracy": ("accuracy (%)", 100, "Accuracy on training pictures"),
    "mAP": ("mAP (%)", 100, "mAP of the queries"),
}


def training_charts(record: Record) -> list[tuple[Markup, str]]:
    """Loss, accuracy and, where it was evaluated on the way, mAP: charts and their captions."""
    drawn = []
    for column, (label, scale, caption) in CURVES.items():
        x, y = record.history.reindex(columns=["epoch", column]).dropna().to_numpy(float).T
        if x.size:
            y *= scale
            alt = f"The {label} over the epochs: {y[0]:.3g} after epoch {x[0]:g}, {y[-1]:.3g} after epoch {x[-1]:g}."
            drawn.append((line_chart(x, y, "epoch", label, alt, log=column == "total"), caption))
    return drawn


def line_chart(xs: ArrayLike, ys: ArrayLike, x_label: str, y_label: str, alt: str, *, log: bool = False) -> Markup:
    """A line over a whole-numbered axis; nan is left out, and what is not above 0 on a logarithmic axis.

    Raises ValueError where nothing is left to draw.
    """
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    kept = np.isfinite(y) & ((y > 0) | (not log))
    x, y = x[kept], y[kept]
    if not len(x):
        raise ValueError(f"no value to draw over {x_label!r}")
    scale, marks = np.log10 if log else np.asarray, _ticks(y.min(), y.max(), log)
    ticks = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(x.min(), x.max())
    ticks = ticks[(ticks >= x.min()) & (ticks <= x.max())]
    across = partial(_pixels, ends=(x.min(), max(x.max(), x.min() + 1)), span=("left", "right"))
    up = partial(_pixels, ends=scale(marks[[0, -1]]), span=("bottom", "top"))
    said = [f"{x_label} {_short(at)}: {_short(float(f'{value:.3g}'))}" for at, value in zip(x, y, strict=True)]
    drawn = {
        "grid": zip(up(scale(marks)), map(_short, marks), strict=True),
        "ticks": zip(across(ticks), map(_short, ticks), strict=True),
        "points": list(zip(across(x), up(scale(y)), said, strict=True)),
    }
    return markup("chart.svg", **drawn, **SIZE, **AXES, x_label=x_label, y_label=y_label, alt=alt)


def _pixels(values: NDArray[np.float64], ends: Any, span: tuple[str, str]) -> list[float]:
    """Where values lie on an axis with these ends, to a tenth of a pixel."""
    return np.interp(values, ends, [AXES[end] for end in span]).round(1).tolist()  # type: ignore[no-any-return]


def _ticks(low: float, high: float, log: bool = False) -> NDArray[np.float64]:
    """Round numbers, the first at or below low (or 0), the last at or above high."""
    if not log:
        low, high = min(low, 0.0), max(high, 0.0)
        return np.asarray(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high if high > low else 1.0))
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 2)
    steps = (1, 2, 5) if high < 30 * low else (1,)
    round_ = np.outer(decades, steps).ravel()
    return round_[np.searchsorted(round_, low, "right") - 1 : np.searchsorted(round_, high, "right") + 1]


def _short(value: float) -> str:
    return f"{0 if abs(value) < 1e-9 else value:g}".replace("-", "−")

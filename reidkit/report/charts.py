"""Small charts inside a page's own HTML, as SVG whose colours follow the page: `style.css` must stand on it once.

They take a few kilobytes each, need no script, say their values under the pointer, and have an alternative text.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from reidkit.records import Record
from reidkit.report.markup import markup

WIDTH, HEIGHT = 330, 200  # of a chart, in the page's pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 40  # what the margins take of them
Values = Sequence[float] | NDArray[Any]
# What a history tells of training: by column, what its axis says, a factor on it, and the caption.
CURVES = {
    "total": ("training loss", 1, "Training loss"),
    "accuracy": ("accuracy (%)", 100, "Accuracy on training pictures"),
    "mAP": ("mAP (%)", 100, "mAP of the queries"),
}


def training_charts(records: Sequence[Record]) -> list[tuple[Markup, str]]:
    """Loss, accuracy and, where it was evaluated on the way, mAP: charts with a line per seed, and their captions."""
    drawn = []
    for column, (label, scale, caption) in CURVES.items():
        histories = [record.history for record in records if column in record.history]
        curves = [history[["epoch", column]].dropna().to_numpy(float).T * [[1], [scale]] for history in histories]
        if any(curve.size for curve in curves):
            ends = "; ".join(f"{y[0]:.3g} after epoch {x[0]:g}, {y[-1]:.3g} after epoch {x[-1]:g}" for x, y in curves)
            alt = f"The {label} over the epochs: {ends}."
            chart = line_chart([(x, y) for x, y in curves], "epoch", label, alt, log=column == "total")
            drawn.append((chart, caption + (f", {len(curves)} seeds" if len(curves) > 1 else "")))
    return drawn


def line_chart(
    lines: Sequence[tuple[Values, Values]], x_label: str, y_label: str, alt: str, *, log: bool = False
) -> Markup:
    """Lines over a whole-numbered axis; nan is left out, and what is not above 0 on a logarithmic axis.

    Raises ValueError where nothing is left to draw.
    """
    curves = []
    for across, up in lines:
        x, y = np.asarray(across, float), np.asarray(up, float)
        kept = np.isfinite(y) & ((y > 0) | (not log))
        curves.append((x[kept], y[kept]))
    xs, ys = (np.concatenate([curve[i] for curve in curves]) for i in (0, 1))
    if not len(xs):
        raise ValueError(f"no value to draw over {x_label!r}")
    frame = _Frame((xs.min(), max(xs.max(), xs.min() + 1)), _ticks(ys.min(), ys.max(), log), log)
    drawn = frame.grid()
    ticks = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(xs.min(), xs.max())
    drawn += [
        f'<text x="{frame.x(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_short(tick)}</text>'
        for tick in ticks
        if xs.min() <= tick <= xs.max()
    ]
    for x, y in curves:
        points = list(zip(frame.x(x), frame.y(y), strict=True))
        if len(points) == 1:  # a line of one point would not be seen
            drawn += [f'<path class="rx-b" d="M{a:.1f} {b - 5:.1f}l5 5-5 5-5-5z"/>' for a, b in points]
        else:
            drawn.append(f'<path class="rx-b" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in points)}"/>')
        for (a, b), at, value in zip(points, x, y, strict=True):
            said = f"{x_label} {_short(at)}: {_short(float(f'{value:.3g}'))}"
            drawn.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="6"><title>{said}</title></circle>')
    return _svg(drawn, x_label, y_label, alt)


class _Frame:
    """The axes of a chart: from values to pixels."""

    def __init__(self, across: tuple[float, float], ticks: NDArray[np.float64], log: bool = False) -> None:
        self.begin, self.end = across
        self.ticks, self.scale = ticks, np.log10 if log else np.asarray
        self.low, self.high = self.scale(ticks[0]), self.scale(ticks[-1])

    def x(self, values: ArrayLike) -> Any:
        return LEFT + (np.asarray(values) - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    def y(self, values: ArrayLike) -> Any:
        return HEIGHT - BOTTOM - (self.scale(values) - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        return [
            f'<path class="rx-grid" d="M{LEFT} {self.y(tick):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 5}" y="{self.y(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
            for tick in self.ticks
        ]


def _ticks(low: float, high: float, log: bool = False) -> NDArray[np.float64]:
    """Round numbers, the first at or below low (or 0), the last at or above high."""
    if not log:
        low, high = min(low, 0.0), max(high, 0.0)
        return np.asarray(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high if high > low else 1.0))
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 2)
    steps = (1, 2, 5) if high < 30 * low else (1,)
    round_ = np.outer(decades, steps).ravel()
    return round_[np.searchsorted(round_, low, "right") - 1 : np.searchsorted(round_, high, "right") + 1]


def _svg(drawn: Iterable[str], x_label: str, y_label: str, alt: str) -> Markup:
    size = {"width": WIDTH, "height": HEIGHT, "across": (WIDTH + LEFT) / 2, "down": (HEIGHT - BOTTOM + TOP) / 2}
    return markup("chart.svg", drawn=Markup("".join(drawn)), x_label=x_label, y_label=y_label, alt=alt, **size)


def _short(value: float) -> str:
    return f"{0 if abs(value) < 1e-9 else value:g}".replace("-", "−")

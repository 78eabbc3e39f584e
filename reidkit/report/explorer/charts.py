"""Small charts inside a page's own HTML, as SVG whose colours follow the page: `style.css` must stand on it once.

They take a few kilobytes each, so that hundreds of them fit a page, need no script, and have an alternative text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from reidkit.report.markup import markup

WIDTH, HEIGHT = 330, 200  # of a chart, in the page's pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 40  # what the margins take of them
Values = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Line:
    """A line of a chart; what the paper prints is points."""

    kind: Literal["here", "base", "paper"]
    x: Values
    y: Values


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, alt: str, *, log: bool = False) -> Markup:
    """Lines over a whole-numbered axis; nan is left out, and what is not above 0 on a logarithmic axis.

    Raises ValueError where nothing is left to draw.
    """
    curves = []
    for line in lines:
        x, y = np.asarray(line.x, float), np.asarray(line.y, float)
        kept = np.isfinite(y) & ((y > 0) | (not log))
        curves.append((line.kind, x[kept], y[kept]))
    xs, ys = (np.concatenate([curve[i] for curve in curves]) for i in (1, 2))
    if not len(xs):
        raise ValueError(f"no value to draw over {x_label!r}")
    frame = _Frame((xs.min(), max(xs.max(), xs.min() + 1)), _ticks(ys.min(), ys.max(), log), log)
    drawn = frame.grid()
    across = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(xs.min(), xs.max())
    drawn += [
        f'<text x="{frame.x(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_short(tick)}</text>'
        for tick in across
        if xs.min() <= tick <= xs.max()
    ]
    for kind, x, y in curves:
        points = list(zip(frame.x(x), frame.y(y), strict=True))
        if kind == "paper" or len(points) == 1:  # a line of one point would not be seen
            drawn += [f'<path class="rx-{kind}" d="M{a:.1f} {b - 5:.1f}l5 5-5 5-5-5z"/>' for a, b in points]
        else:
            drawn.append(f'<path class="rx-{kind}" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in points)}"/>')
    return _svg(drawn, x_label, y_label, alt)


def difference_chart(differences: Values, x_label: str, y_label: str, alt: str) -> Markup:
    """A bar for each difference, sorted, the greatest at the left; no more bars than there are pixels.

    Raises ValueError where there is none.
    """
    values = np.sort(np.asarray(differences, float))[::-1]
    if not len(values):
        raise ValueError(f"no difference to draw over {x_label!r}")
    bars = min(len(values), WIDTH - LEFT - RIGHT)
    values = values[((np.arange(bars) + 0.5) * len(values) / bars).astype(int)]
    frame = _Frame((0, bars), _ticks(values[-1], values[0]))
    zero, edges, heights = float(frame.y(0)), frame.x(np.arange(bars + 1)), frame.y(values)
    drawn = frame.grid()
    for kind, chosen in (("gained", values > 0), ("lost", values < 0)):
        paths = [
            f"M{left:.1f} {zero:.1f}V{top:.1f}H{right:.1f}V{zero:.1f}z"
            for left, right, top in zip(edges[:-1][chosen], edges[1:][chosen], heights[chosen], strict=True)
        ]
        drawn += [f'<path class="rx-{kind}" d="{"".join(paths)}"/>'] if paths else []
    drawn.append(f'<path class="rx-zero" d="M{LEFT} {zero:.1f}H{WIDTH - RIGHT}"/>')
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

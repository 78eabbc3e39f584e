"""Small pictures inside a page's own HTML: charts as SVG whose colours follow the page, and thumbnails cut from sheets.

They take a few kilobytes each, so that hundreds of them fit a page, and need no script. Every one has its alternative
text. `STYLE` must stand on the page once.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from reidkit.report.sheets import Picture

STYLE = """<style>
.rx {
  --rx-here: #0072b2; --rx-base: #6b6b6b; --rx-paper: #c65200;
  color: var(--pst-color-text-base, var(--jp-content-font-color1, inherit)); font-size: 0.95rem; line-height: 1.5;
}
html[data-theme="dark"] .rx, [data-jp-theme-light="false"] .rx {
  --rx-here: #56b4e9; --rx-base: #aaa; --rx-paper: #f0a35e;
}
.widget-html-content:has(> .rx) { min-width: 0; }
.rx p { margin: 0.6rem 0; }
.rx code { overflow-wrap: anywhere; }
.rx table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; margin: 0.4rem 0; }
.rx th, .rx td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #8888; text-align: right; white-space: nowrap; }
.rx th:first-child, .rx td:first-child, .rx .rx-text { text-align: left; }
.rx-scroll { overflow-x: auto; }
.rx-figures { display: flex; flex-wrap: wrap; gap: 0.8rem 1.5rem; }
.rx-figures > * { margin: 0; flex: 1 1 280px; max-width: 350px; }
.rx figcaption { font-size: 0.85rem; text-align: left; padding: 0; margin: 0; }
.rx svg { display: block; width: 100%; height: auto; font-size: 12px; font-family: inherit; }
.rx svg text { fill: currentColor; }
.rx-grid { stroke: currentColor; stroke-opacity: 0.15; }
.rx-zero { stroke: currentColor; }
.rx-here, .rx-base { fill: none; stroke-width: 2.5; stroke: var(--rx-here); }
.rx-base { stroke: var(--rx-base); stroke-dasharray: 5 4; }
.rx-paper { fill: none; stroke: var(--rx-paper); stroke-width: 2; }
.rx-gained { fill: var(--rx-here); }
.rx-lost { fill: var(--rx-paper); }
.rx-row { display: flex; flex-wrap: wrap; gap: 0.5rem 0.4rem; font-size: 0.8rem; line-height: 1.3; text-align: center; }
.rx-row > span { display: inline-flex; flex-direction: column; align-items: center; width: 3.1rem; }
.rx-wide > span { width: 5.6rem; }
.rx-thumb {
  display: block; box-sizing: content-box; width: 40px; height: 80px; border: 3px solid transparent;
  background-origin: content-box; background-clip: content-box; background-repeat: no-repeat;
  background-size: calc(var(--n) * 40px) 80px; background-position: calc(var(--i) * -40px) 0;
}
.rx-right { border-color: #d62728; }
.rx-wrong { border-color: #1f6fe0; }
</style>"""

WIDTH, HEIGHT = 330, 200  # of a chart, in the page's pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 40  # what the margins take of them
TILE = (48, 96)  # width and height of a thumbnail as it is stored; the page shows it at 40×80
Values = Sequence[float] | NDArray[Any]


# ------------------------------------------------------------------------------------------------------------- charts


@dataclass(frozen=True)
class Line:
    """A line of a chart; what the paper prints is points."""

    kind: Literal["here", "base", "paper"]
    x: Values
    y: Values


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, alt: str, *, log: bool = False) -> str:
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


def difference_chart(differences: Values, x_label: str, y_label: str, alt: str) -> str:
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


def _svg(drawn: Iterable[str], x_label: str, y_label: str, alt: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(alt)}">{"".join(drawn)}'
        f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>'
        f'<text transform="translate(11 {(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text></svg>"
    )


def _short(value: float) -> str:
    return f"{0 if abs(value) < 1e-9 else value:g}".replace("-", "−")


# --------------------------------------------------------------------------------------------------------- thumbnails


class Sheet:
    """Thumbnails in one picture, each shown as a piece of it: what many lists share stands in the page once.

    name: of the CSS class, so different for every sheet of a page. tiles: pictures by their keys.
    """

    def __init__(self, name: str, tiles: Mapping[int, Picture], size: tuple[int, int] = TILE) -> None:
        self.name, self.places = name, {key: place for place, key in enumerate(tiles)}
        canvas = Image.new("RGB", (size[0] * len(tiles), size[1]))
        for place, tile in enumerate(tiles.values()):
            canvas.paste(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS), (place * size[0], 0))
        self.style = f'<style>.{name}{{--n:{len(tiles)};background-image:url("{data_uri(canvas)}")}}</style>'

    def thumb(self, key: int, alt: str, frame: str = "") -> str:
        kind = f"rx-thumb {self.name} {frame}".strip()
        return f'<span class="{kind}" role="img" aria-label="{html.escape(alt)}" style="--i:{self.places[key]}"></span>'


def data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"

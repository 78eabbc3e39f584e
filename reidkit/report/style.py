"""How every figure looks: narrow and with large type, to be read on a telephone; on white, or dark for dark pages."""

import colorsys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgb, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from numpy.typing import NDArray

WIDTH = 5.2  # inches; `numbered_figure` says how many pixels that is on a page
BLUE, ORANGE = "#0072b2", "#d55e00"
PALETTE = [c for i, c in enumerate(sns.color_palette("colorblind")) if i not in (6, 8, 9)]  # faint by day or by night
# Where something lies on a person, the same in every figure.
REGION_COLOURS = {
    "head": "#f0c75e", "upper": BLUE, "lower": ORANGE, "shoes": "#009e73", "luggage": "#5b3a75", "occluder": "0.35",
    "background": "0.85", "elsewhere": "0.85",
}  # fmt: skip
NIGHT, PALE = "#121212", "#e6e6e6"  # what white and black become on a dark page; the first is the page's own
Drawing = tuple[Figure, str]  # a figure and its alternative text, drawn from the same numbers
Draw = TypeVar("Draw", bound=Callable[..., Any])


# Seaborn's white grid with type that survives being halved in width
_SIZES = dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), 12)
_LOOK = sns.axes_style("whitegrid") | _SIZES | {"axes.titlesize": 11}


def styled(draw: Draw) -> Draw:
    """A function that draws, in the book's style."""
    return mpl.rc_context(_LOOK)(draw)


def name_rows(axes: Axes, names: Sequence[str], **look: Any) -> None:
    """The rows of a chart from the top, one at each whole number, by their names."""
    axes.set_yticks(range(len(names)), names, **look)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


@styled
def notice(text: str) -> Drawing:
    """A figure in the place of one that cannot be drawn, so that its number and the references to it stay."""
    figure = plt.figure(figsize=(WIDTH, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize="small", color="0.3")
    return figure, " ".join(text.split())


def holds_photographs(figure: Figure) -> bool:
    pictures = (image.get_array() for image in figure.findobj(AxesImage))
    return any(picture is not None and picture.ndim == 3 for picture in pictures)


def darken(figure: Figure) -> None:
    """Sets a figure's lines, areas and letters in the colours of a dark page; its pictures stay as they are."""
    for text in figure.findobj(Text):
        text.set_color(at_night(text.get_color()))
    for line in figure.findobj(Line2D):
        line.set(**{f"{part}color": at_night(getattr(line, f"get_{part}color")()) for part in LINE})
    for patch in figure.findobj(Patch):
        patch.set(facecolor=at_night(patch.get_facecolor()), edgecolor=at_night(patch.get_edgecolor()))
    for collection in figure.findobj(Collection):
        if collection.get_array() is None:  # or its colours are those of a scale
            for part in ("face", "edge"):
                colours = to_rgba_array(getattr(collection, f"get_{part}color")())
                getattr(collection, f"set_{part}color")([at_night(colour) for colour in colours])


LINE = ("", "markerface", "markeredge")  # the parts of a line that have a colour


def at_night(colour: Any) -> Any:
    """A colour (r, g, b, alpha) that looks on a dark page as the given one does on white: greys turn round."""
    if isinstance(colour, str) and colour in {"none", "auto"}:
        return colour
    *rgb, alpha = to_rgba(colour)
    hue, light, saturation = colorsys.rgb_to_hls(*rgb)
    if saturation > 0.3 and 0.2 < light < 0.8:
        return (*colorsys.hls_to_rgb(hue, max(light, 0.6), saturation), alpha)
    mixed: NDArray[np.float64] = light * np.array(to_rgb(NIGHT)) + (1 - light) * np.array(to_rgb(PALE))
    return (*mixed.tolist(), alpha)

"""How every figure looks: narrow and with large type, to be read on a telephone; on white, for dark pages."""

from contextlib import AbstractContextManager

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

WIDTH = 5.2  # inches; `numbered_figure` shows an inch as 100 pixels
BLUE, ORANGE = "#0072b2", "#d55e00"
PALETTE = sns.color_palette("colorblind")
Drawing = tuple[Figure, str]  # a figure and its alternative text, drawn from the same numbers


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


def notice(text: str) -> Drawing:
    """A figure in the place of one that cannot be drawn, so that its number and the references to it stay."""
    with style():
        figure = plt.figure(figsize=(WIDTH, 1.2))
        figure.text(0.5, 0.5, text, ha="center", va="center", fontsize="small", color="0.3")
    return figure, " ".join(text.split())

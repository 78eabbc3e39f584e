"""Pictures in rows and columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reidkit.data.resident import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Draw
from reidkit.report.style import ORANGE, WIDTH, styled

Picture = NDArray[np.uint8]  # (H, W, 3)
GAP = 4  # pixels between the pictures of a sheet
WIDEST = 0.62  # inches of one picture


def picture(path: Path) -> Picture:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def augmented(augmentation: Augmentation, image: Tensor, draw: Draw) -> list[Picture]:
    """An image (1, 3, H, W) uint8 as a network sees it after each of some draws."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    seen = augmentation(image.expand(len(draw.flip), -1, -1, -1), draw) * std + mean  # (draws, 3, H, W)
    return [one.permute(1, 2, 0).numpy() for one in (seen * 255).round().clamp(0, 255).byte()]


HEAT = plt.get_cmap("inferno")
OPACITY = 0.6  # of the heat on a grey picture
Mask = NDArray[np.bool_]  # (H, W)


def overlay(picture: Picture, heat: Tensor, peak: float | None = None) -> Picture:
    """A picture (H, W, 3) in grey under its heat map (h, w), upsampled to it and scaled to `peak`, else to its own."""
    peak = float(heat.max()) if peak is None else peak
    scaled = heat / peak if peak > 0 else heat
    size = picture.shape[0], picture.shape[1]
    fine = F.interpolate(scaled[None, None].float(), size, mode="bilinear")[0, 0].numpy()
    grey = (picture @ np.array([0.3, 0.59, 0.11]))[..., None]
    mixed = (1 - OPACITY) * grey + OPACITY * 255 * HEAT(fine)[..., :3]
    return np.asarray(mixed.round().clip(0, 255), np.uint8)


@dataclass(frozen=True)
class Cell:
    """A place of a mosaic."""

    picture: Picture | None = None
    outline: Mask | None = None  # a region to be outlined
    caption: str = ""  # beneath the picture
    wrong: bool = False  # whether the caption says something that is not so
    frame: str | None = None  # the colour of a frame round the picture


@styled
def mosaic(
    blocks: Sequence[Sequence[Sequence[Cell]]],
    rows: Sequence[Sequence[str]],
    columns: Sequence[Sequence[str]],
    *,
    captions: bool = False,
    bar: str = "relative to each map's peak",
    below: float = 0.75,
    groups: int = 1,
    wide: float = WIDTH,
) -> Figure:
    """Blocks of cells beneath one another, each with the names of its rows and columns, and a colour bar for the heat.

    captions: leave room beneath the pictures for them. bar: what the colour bar is called; none is drawn for "".
    below: inches left free beneath the pictures. groups: the columns come in so many groups, set apart.
    wide: the figure's width in inches.
    """
    height, width = next(c.picture for b in blocks for r in b for c in r if c.picture is not None).shape[:2]
    across = max(len(names) for names in columns)
    apart = 3 * GAP  # between groups of columns
    longest = max(len(line) for names in rows for name in names for line in name.split("\n"))
    left, edge = 0.1 + 0.08 * longest, 0.04
    total = across * (width + GAP) - GAP + (groups - 1) * apart  # pixels
    inch = (wide - left - edge) / total  # of a pixel
    gap = GAP + (0.22 / inch if captions else 0)
    lines = [max(name.count("\n") + 1 for name in names) for names in columns]
    tops = [0.1 + 0.165 * n for n in lines]  # inches of the columns' names
    heights = [len(names) * (height + gap) * inch for names in rows]
    tall = sum(tops) + sum(heights) + below
    figure = plt.figure(figsize=(wide, tall))
    y = tall
    for block, names, titles, top, down in zip(blocks, rows, columns, tops, heights, strict=True):
        y -= top + down
        axes = figure.add_axes((left / wide, y / tall, total * inch / wide, down / tall))
        axes.set(xlim=(-0.5, total - 0.5), ylim=(len(names) * (height + gap) - 0.5, -0.5))
        lefts = [j * (width + GAP) + j * groups // across * apart for j in range(len(titles))]
        for i, row in enumerate(block):
            for x, cell in zip(lefts, row, strict=False):  # a row may end before the others
                _draw(axes, cell, x, i * (height + gap), (height, width))
        axes.set_xticks([x + width / 2 - 0.5 for x in lefts], titles)
        axes.set_yticks([i * (height + gap) + height / 2 for i in range(len(names))], names)
        axes.tick_params(length=0, pad=3, labelsize=10, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_facecolor("none")
    if bar:
        place = figure.add_axes((0.25, 0.47 / tall, 0.5, 0.14 / tall))
        colours = (1 - OPACITY) * 0.6 + OPACITY * HEAT(np.linspace(0, 1, 256))[:, :3]  # as on a grey of the middle
        shown = ScalarMappable(cmap=ListedColormap(colours))
        figure.colorbar(shown, cax=place, orientation="horizontal", label=bar, ticks=[0, 0.5, 1])
        place.tick_params(labelsize=10)
        place.xaxis.label.set_fontsize(10.5)
    return figure


def sheet(
    pictures: Sequence[Sequence[Picture | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    below: float = 0.0,
    narrowest: float = 0.0,
) -> Figure:
    """A `mosaic` of pictures alone, of one size; None leaves a place empty.

    below: inches left free beneath the pictures. narrowest: inches that the figure is wide at least.
    Raises ValueError where there is no picture, or pictures are of different sizes.
    """
    sizes = {picture.shape[:2] for row in pictures for picture in row if picture is not None}
    if len(sizes) != 1:
        raise ValueError(f"a sheet needs pictures of one size, and at least one; got {len(sizes)} sizes")
    wide = min(WIDTH, 0.5 + WIDEST * len(columns))
    cells = [list(map(Cell, row)) for row in pictures]
    return mosaic([cells], [rows], [columns], bar="", below=below, wide=max(narrowest, wide))


def _draw(axes: Axes, cell: Cell, x: int, y: float, size: tuple[int, int]) -> None:
    height, width = size
    if cell.picture is not None:
        extent = (x - 0.5, x + width - 0.5, y + height - 0.5, y - 0.5)
        axes.imshow(cell.picture, extent=extent, aspect="auto", interpolation="bilinear")
    if cell.outline is not None and cell.outline.any():
        frame = np.pad(cell.outline.astype(float), 1)  # a region at the edge is closed there
        xs, ys = x + np.arange(-1, width + 1), y + np.arange(-1, height + 1)
        for colour, thick in (("black", 1.6), ("#7fe5ff", 0.8)):
            axes.contour(xs, ys, frame, levels=[0.5], colors=colour, linewidths=thick)
    if cell.frame:
        axes.add_patch(Rectangle((x + 2, y + 2), width - 5, height - 5, fill=False, edgecolor=cell.frame, lw=3))
    if cell.caption:
        text = f"{cell.caption} ✗" if cell.wrong else cell.caption
        axes.text(
            x + width / 2, y + height + 2, text, ha="center", va="top", fontsize=10, color=ORANGE if cell.wrong else "0"
        )

"""Figures of book/losses.md: the losses over what they depend on, what a pair feels, and where points are moved."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from reidkit.report.style import PALETTE, WIDTH, Drawing, styled


@styled
def lines(
    x: Sequence[float] | Tensor,
    curves: Mapping[str, Any],
    x_label: str,
    *,
    height: float = 3.5,
    widths: Sequence[float] = (2.5,),
    zero: bool = False,
    **axis: Any,
) -> Figure:
    """Losses over one quantity, a line each by its name. zero: with a line there.

    axis: what is said of the axes, such as another `ylabel`.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    if zero:
        axes.axhline(0, color="0.3", linewidth=1)
    looks = zip(curves.items(), PALETTE, ("-", "--", ":", "-."), cycle(widths), strict=False)
    for (label, curve), colour, dash, width in looks:
        axes.plot(x, curve, dash, color=colour, linewidth=width, label=label)
    axes.set(xlabel=x_label, **{"ylabel": "loss"} | axis)
    axes.legend(facecolor="white", edgecolor="white", framealpha=1)
    return figure


Pull = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


@styled
def boundaries(pulls: Mapping[str, Pull]) -> Drawing:
    """What a pair of similarities feels under four losses.

    pulls: by a loss's title, of s_n and s_p the quantity that should be negative, and how the loss moves both.
    """
    fine, coarse = torch.linspace(-0.5, 0.995, 200), torch.linspace(-0.4, 0.9, 8)
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.2), sharex=True, sharey=True, layout="constrained")
    for axes, (title, pull) in zip(grid.flat, pulls.items(), strict=True):
        s_p, s_n = torch.meshgrid(fine, fine, indexing="ij")
        z, d_n, d_p = pull(s_n, s_p)
        strength = torch.hypot(d_n, d_p)
        shade = axes.pcolormesh(fine, fine, strength, vmin=0, vmax=2, cmap="Blues", rasterized=True)
        axes.contour(fine, fine, z, levels=[0], colors=[PALETTE[3]], linewidths=2.5)
        s_p, s_n = torch.meshgrid(coarse, coarse, indexing="ij")
        _, d_n, d_p = pull(s_n, s_p)
        length = torch.hypot(d_n, d_p)
        seen = length > 0.1
        arrows = (d_n / length)[seen], (d_p / length)[seen]
        axes.quiver(s_n[seen], s_p[seen], *arrows, scale=13, width=0.012, pivot="mid")
        axes.set_title(title, fontsize=12)
        axes.set(aspect="equal", xticks=[0, 0.5, 1], yticks=[-0.5, 0, 0.5, 1])
        axes.grid(visible=False)
    for i in (0, 1):
        grid[1, i].set_xlabel("$s_n$, to the negative")
        grid[i, 0].set_ylabel("$s_p$, to the positive")
    bar: dict[str, Any] = {"location": "bottom", "extend": "max", "aspect": 30, "ticks": [0, 0.5, 1, 1.5, 2]}
    figure.colorbar(shade, ax=grid, label="pull", **bar)
    said = []
    for title, pull in pulls.items():
        felt = []
        for place in ((0.2, 0.2), (0.8, 0.8), (0.2, 0.9)):
            _, down, up = (value.item() for value in pull(*(torch.tensor([s]) for s in place)))
            felt.append(f"at {place} {abs(down):.2f} down and {up + 0:.2f} up".replace("-0.00", "0.00"))
        said.append(f"{title}: {', '.join(felt)}.")
    maps = "Four maps of the pull on the similarities s_n and s_p, with the decision boundary."
    return figure, f"{maps} {' '.join(said)} "


@styled
def moved_points(moved: Mapping[str, tuple[Tensor, Tensor | None]], people: Tensor) -> Figure:
    """Points (N, 2) of people (N,) by what moved them, with the class weights' directions (K, 2), if any, as rays."""
    figure, grid = plt.subplots(2, 3, figsize=(WIDTH, 4.4), layout="constrained")
    for axes, (title, (x, classes)) in zip(grid.flat, moved.items(), strict=True):
        reach = 1.1 * float(x.abs().max())
        if classes is not None:
            for weight in F.normalize(classes):
                ray = 2 * reach * weight
                axes.plot([0, ray[0]], [0, ray[1]], color="0.75", linewidth=1, zorder=1)
        for i, marker in enumerate("os^DvX"):
            look = {"s": 26, "marker": marker, "color": PALETTE[i], "edgecolor": "white", "linewidth": 0.4}
            axes.scatter(*x[people == i].T, **look)
        axes.plot(0, 0, ".", color="black", markersize=5)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
        axes.set_title(textwrap.fill(title, 18), fontsize="medium")
    return figure

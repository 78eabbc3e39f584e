"""The paper's Figs. 1 to 5, drawn from the live modules.

`observe` runs a network once and notes every shape that passes. Each drawing takes its shapes, kernels, strides and
modules from there, so that it cannot say what the code does not do.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Circle, FancyBboxPatch
from torch import Tensor, nn

from reidkit.models.attention import ATTENTION
from reidkit.report.style import WIDTH, Drawing, styled

Module = TypeVar("Module", bound=nn.Module)
Shape = tuple[int, ...]
Point = tuple[float, float]
Text = tuple[str, str, str]  # a box's title, its second line, and its kind, a key of FILLS
STAGES = {"layer1": "Conv2_x", "layer2": "Conv3_x", "layer3": "Conv4_x", "layer4": "Conv5_x"}  # the paper's names
FILLS = {
    "data": "#ffffff",
    "layer": "#dbe9f6",
    "attention": "#fde3c8",
    "loss": "#dff0dc",
    "operation": "#ffffff",
}
PLUS: Text = ("+", "", "operation")
TIMES: Text = ("×", "", "operation")
ROW, HEIGHT, LINE, INK = 0.7, 0.5, 0.22, "0.25"  # inches: from box to box, of a box, from line to line


@dataclass(frozen=True)
class Call:
    """The shapes of one call of a module, without the axis of the batch."""

    inputs: Shape
    output: Shape


class Trace(dict[str, list[Call]]):
    """The calls of a network's modules, by name."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def into(self, name: str) -> str:
        return shape(self[name][0].inputs)

    def out_of(self, name: str) -> str:
        return shape(self[name][0].output)

    def module(self, name: str, expected: type[Module]) -> Module:
        """The module of that name. Raises TypeError where it is not of the class that a drawing needs."""
        module = self.network.get_submodule(name)
        if not isinstance(module, expected):
            raise TypeError(f"{name} is {type(module).__name__}: this drawing needs {expected.__name__}")
        return module


def observe(network: nn.Module, *inputs: Any) -> Trace:
    """The calls of one forward pass in training mode, on a copy of the network."""
    calls = Trace(network)

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            calls.setdefault(name, []).append(Call(tuple(inputs[0].shape[1:]), tuple(output.shape[1:])))

    observed = copy.deepcopy(network).train()
    for name, module in observed.named_modules():
        module.register_forward_hook(partial(note, name))
    with torch.no_grad():
        observed(*inputs)
    return calls


def words(module: nn.Module) -> str:
    """What a drawing calls a module: "3×3 conv /2" for a stride of 2, or the name of an attention module."""
    if isinstance(module, nn.Conv2d):
        stride = f" /{module.stride[0]}" if module.stride[0] > 1 else ""
        return f"{module.kernel_size[0]}×{module.kernel_size[1]} conv{stride}"
    names = {placement.module: placement.title for placement in ATTENTION.values()}
    return names.get(type(module), type(module).__name__)


def shape(sizes: Sequence[int]) -> str:
    return " × ".join(map(str, sizes))


def is_identity(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity)


@dataclass(frozen=True)
class Box:
    """A box of a chart: its centre and size in inches, y downwards, and the row it stands in."""

    x: float
    row: float
    width: float
    height: float

    @property
    def y(self) -> float:
        return (self.row + 0.5) * ROW

    @property
    def top(self) -> Point:
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y


class Chart:
    """Boxes in rows, and arrows between them; the alternative text repeats row by row what is written in them.

    At a `scale` below 1 all is smaller, and there is more room: `width` inches of what is drawn.
    """

    @styled
    def __init__(self, rows: float, scale: float = 1.0) -> None:
        self.scale, self.width = scale, WIDTH / scale
        self.figure = plt.figure(figsize=(WIDTH, rows * ROW * scale), layout="none")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(rows * ROW, 0))
        self.axes.axis("off")
        self.said: list[tuple[float, float, str]] = []  # row, x, text

    def stack(self, x: float, row: float, *texts: Text, width: float = 2.4) -> list[Box]:
        """Boxes below each other from `row` on, each with an arrow to the next."""
        boxes = [self.box(x, row + i, *text, width=width) for i, text in enumerate(texts)]
        for above, below in pairwise(boxes):
            self.arrow(above.bottom, below.top)
        return boxes

    def box(self, x: float, row: float, title: str, detail: str, kind: str, width: float) -> Box:
        lines = [title, *detail.split("\n")] if detail else [title]
        look: dict[str, Any] = {"facecolor": FILLS[kind], "edgecolor": INK}
        if kind == "operation":
            box = Box(x, row, 0.32, 0.32)
            self.axes.add_patch(Circle((x, box.y), box.width / 2, **look))
        else:
            box = Box(x, row, width, max(HEIGHT, LINE * len(lines) + 0.06))
            corner = (box.left[0], box.top[1])
            self.axes.add_patch(FancyBboxPatch(corner, width, box.height, "round,pad=0,rounding_size=0.08", **look))
        for i, line in enumerate(lines):
            y = box.y + LINE * (i - (len(lines) - 1) / 2)
            weight = "normal" if i else "bold"
            letters: dict[str, Any] = {"fontsize": 11 * self.scale, "fontweight": weight}
            self.axes.text(x, y, line, ha="center", va="center_baseline", **letters)
        name = {"+": "sum", "×": "product"}.get(title, title)
        self.said.append((row, x, f"{name} ({', '.join(lines[1:])})" if detail else name))
        return box

    def arrow(self, *points: Point, dashed: bool = False) -> None:
        """An arrow through `points`."""
        line: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": "--" if dashed else "-"}
        self.axes.plot(*zip(*points[:-1], strict=True), **line)
        arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **line}
        self.axes.annotate("", points[-1], points[-2], arrowprops=arrow)

    def bracket(self, first: Box, last: Box, text: str) -> None:
        """A bracket at the left of the boxes from `first` to `last`, and what they are together."""
        x, top, bottom = first.left[0] - 0.12, first.top[1], last.bottom[1]
        self.axes.plot([x + 0.06, x, x, x + 0.06], [top, top, bottom, bottom], color=INK, linewidth=1.2)
        self.axes.text(x - 0.17, (top + bottom) / 2, text, ha="center", va="center", rotation=90, fontsize=12)
        self.said.append((first.row, 0, f"{text}:"))

    def heading(self, row: float, text: str) -> None:
        self.axes.text(0.1, (row + 0.35) * ROW, text, va="center", fontsize=13, fontweight="bold")
        self.said.append((row, 0, f"{text}:"))

    def label(self, x: float, y: float, text: str) -> None:
        self.axes.text(x, y, text, ha="center", va="center", fontsize=11)

    def finish(self, lead: str) -> Drawing:
        """The figure, and its alternative text: `lead` and what the boxes say."""
        said = "; ".join(text for _, _, text in sorted(self.said)).replace(":;", ":").replace("$", "")
        return self.figure, f"{lead} {said}."

"""The drawing of a network whose plan is not known: which of its modules feeds which, traced from the live module.

Two passes of a batch are followed, the losses' and that of the embedding. Every tensor carries the names of the modules
that it comes from, through whatever is computed between them, so that a drawing has an arrow where numbers flow.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reidkit.report.drawings import HEIGHT, ROW, Chart, Point, Shape
from reidkit.report.style import WIDTH, Drawing
from reidkit.systems.system import Batch, Model

REPORTED = ("total", "accuracy")  # of the losses: their sum, and what is no loss
SPREAD = 1.15  # rows are so much further apart than in other drawings
LANE, GAP, LETTER = 0.25, 0.12, 0.105  # inches: the room of an arrow that passes a row, between boxes, of a letter
Place = tuple[str, int]  # a box or an arrow that passes, and its row


@dataclass
class Node:
    """A module of the network, or several of them that are drawn as one."""

    kind: str  # as of a `drawings.Text`
    output: Shape = ()  # without the axis of the batch
    before: set[str] = field(default_factory=set)  # the names of those that feed it
    count: int = 1  # alike, side by side


class Tracer(TorchDispatchMode):
    """Within it, what is computed by the modules of a network, and from which others: `nodes`, in order.

    A module that another one calls is a part of that one.
    """

    def __init__(self, network: nn.Module, sources: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes = {name: Node("data", tuple(tensor.shape[1:])) for name, tensor in sources.items()}
        self.origins: dict[int, set[str]] = {id(tensor): {name} for name, tensor in sources.items()}
        self.kept: list[Any] = list(sources.values())  # so that no other tensor gets its id
        self.inside = 0
        for name, module in network.named_modules():
            if name:
                module.register_forward_pre_hook(partial(self.enter, name), with_kwargs=True)
                module.register_forward_hook(partial(self.leave, name))

    def of(self, values: Any) -> set[str]:
        """The names of those that values come from."""
        return set().union(*(self.origins.get(id(leaf), set()) for leaf in tree_leaves(values)))

    def note(self, values: Any, origins: set[str]) -> None:
        for leaf in tree_leaves(values):
            if isinstance(leaf, Tensor):
                self.origins[id(leaf)] = origins
                self.kept.append(leaf)

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self.inside:
            self.nodes.setdefault(name, Node("layer")).before |= self.of((args, kwargs))
        self.inside += 1

    def leave(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self.inside -= 1
        if self.inside:
            return
        first = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        if first.ndim:
            self.nodes[name].output = tuple(first.shape[1:])
            self.note(output, {name})
        else:  # a loss, which its network names
            self.note(output, self.nodes.pop(name).before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.note(output, self.of((args, kwargs)))
        return output


@torch.no_grad()
def trace(network: Model, batch: Batch) -> dict[str, Node]:
    """The modules of a network, its losses and its embedding, by name, each behind those that feed it.

    The network gets hooks and is left in evaluation mode: it is to be thrown away.
    """
    sources = {"images": batch.images, **batch.maps}
    with Tracer(network, sources) as tracer:
        losses = network.train().losses(batch)
        embedding = network.eval()(batch.images, *([batch.maps] if batch.maps else []))
    nodes = tracer.nodes
    terms = {f"{name} loss": value for name, value in losses.items() if name not in REPORTED and tracer.of(value)}
    for name, value in (terms or {"loss": losses["total"]}).items():
        nodes[name] = Node("loss", (), tracer.of(value))
    nodes["embedding"] = Node("attention", tuple(embedding.shape[1:]), tracer.of(embedding))
    return simplified(nodes)


def list_of(name: str) -> str:
    """What a module is called that stands in a list: as the list. Others keep their name."""
    parent, _, last = name.rpartition(".")
    return parent if last.isdigit() else name


def simplified(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The same with those of one list as one, and of a chain of modules within another only the last."""
    merged: dict[str, Node] = {}
    for full_name, node in nodes.items():
        name, before = list_of(full_name), {list_of(one) for one in node.before}
        if (known := merged.get(name)) is None:
            merged[name] = Node(node.kind, node.output, before)
        elif name in before:  # one after another
            known.output = node.output
            known.before |= before - {name}
        else:  # side by side
            known.output = node.output if known.output == node.output else ()
            known.before |= before
            known.count += 1
    for name, node in list(merged.items()):
        owner, dot, _ = name.partition(".")
        if dot and len(node.before) == 1:
            (one,) = node.before
            fed = [other for other, below in merged.items() if one in below.before]
            if one.startswith(f"{owner}.") and fed == [name]:
                node.before = merged.pop(one).before
    return merged


def rows_of(nodes: Mapping[str, Node]) -> dict[str, int]:
    """The row of each, below all that feed it; what nothing comes after stands in the last one."""
    rows: dict[str, int] = {}
    while len(rows) < len(nodes):
        ready = [name for name in nodes if name not in rows and nodes[name].before <= rows.keys()]
        if not ready:
            raise ValueError(f"modules feed each other in a circle: {', '.join(nodes.keys() - rows.keys())}")
        rows |= {name: max((rows[one] + 1 for one in nodes[name].before), default=0) for name in ready}
    fed = set().union(*(node.before for node in nodes.values()))
    last = max(rows.values())
    return {name: row if name in fed else last for name, row in rows.items()}


def routes(nodes: Mapping[str, Node], rows: Mapping[str, int]) -> list[list[Place]]:
    """Every arrow as the places that it passes, one in each row; those between its ends have no box."""
    return [
        [(one, rows[one]), *((f"{one} to {name}", row) for row in range(rows[one] + 1, rows[name])), (name, rows[name])]
        for name, node in nodes.items()
        for one in sorted(node.before)
    ]


def arranged(arrows: Sequence[Sequence[Place]], widths: Mapping[Place, float], room: float) -> dict[Place, float]:
    """Where the middle of each place stands between 0 and `room`, as near to those that it is joined to as can be.

    First the order in a row is chosen so that few arrows cross, by the mean place of the neighbours; then places move
    towards their neighbours as far as their widths allow.
    """
    near: dict[Place, list[Place]] = {place: [] for place in widths}
    for above, below in (pair for arrow in arrows for pair in pairwise(arrow)):
        near[above].append(below)
        near[below].append(above)
    lines = [[place for place in widths if place[1] == row] for row in range(max(row for _, row in widths) + 1)]
    at = {place: (i + 0.5) / len(line) for line in lines for i, place in enumerate(line)}

    def wanted(place: Place, rows: Collection[int]) -> float:
        beside = [at[other] for other in near[place] if other[1] in rows]
        return sum(beside) / len(beside) if beside else at[place]

    for sweep in range(8):
        for row in range(len(lines)) if sweep % 2 == 0 else reversed(range(len(lines))):
            other = {row - 1 if sweep % 2 == 0 else row + 1}
            lines[row].sort(key=partial(wanted, rows=other))
            at |= {place: (i + 0.5) / len(lines[row]) for i, place in enumerate(lines[row])}
    at = {place: room * x for place, x in at.items()}
    for sweep in range(40):
        for line in lines if sweep % 2 == 0 else reversed(lines):
            size = np.array([widths[place] for place in line])
            middle = np.cumsum(size) - size / 2  # of each, were they pushed to the left
            free = np.array([wanted(place, (place[1] - 1, place[1] + 1)) for place in line]) - middle
            shift = np.clip(isotonic_regression(free).x, 0, max(0, room - size.sum()))
            at |= dict(zip(line, (shift + middle).tolist(), strict=True))
    left = min(x - widths[place] / 2 for place, x in at.items())
    right = max(x + widths[place] / 2 for place, x in at.items())
    return {place: x + (room - left - right) / 2 for place, x in at.items()}


def title(name: str, node: Node) -> str:
    return name.replace("_", " ").replace(".", " ") + (f" × {node.count}" if node.count > 1 else "")


def draw(network: Model, batch: Batch, lead: str) -> Drawing:
    """A network from its images to its losses and its embedding, row below row. lead: begins the alternative text."""
    nodes = trace(network, batch)
    rows = rows_of(nodes)
    arrows = routes(nodes, rows)
    places = [*((name, rows[name]) for name in nodes), *(place for arrow in arrows for place in arrow)]
    widths = {
        (name, row): max(1.1, LETTER * len(title(name, nodes[name])) + 0.2) + GAP if name in nodes else LANE
        for name, row in places
    }
    needed = max(sum(width for (_, r), width in widths.items() if r == row) for row in rows.values())
    chart = Chart((max(rows.values()) + 1) * SPREAD, scale=min(0.75, WIDTH / needed))
    at = arranged(arrows, widths, chart.width)
    boxes = {}
    for name, node in nodes.items():
        place = name, rows[name]
        size, row = "×".join(map(str, node.output)), (rows[name] + 0.5) * SPREAD - 0.5
        boxes[name] = chart.box(at[place], row, title(name, node), size, node.kind, widths[place] - GAP)
    for first, *between, last in arrows:
        passed: list[Point] = []
        for place in between:
            middle = (place[1] + 0.5) * SPREAD * ROW
            passed += [(at[place], middle - HEIGHT / 2), (at[place], middle + HEIGHT / 2)]
        chart.arrow(boxes[first[0]].bottom, *passed, boxes[last[0]].top)
    return chart.finish(lead)

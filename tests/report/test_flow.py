"""Which modules feed which, as traced from networks whose plan is known, and where a drawing puts them."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidkit.data.resident import Draw
from reidkit.losses import BatchHardTripletLoss
from reidkit.models.pooling import average
from reidkit.report.flow import LANE, Node, Place, arranged, draw, routes, rows_of, trace
from reidkit.systems.system import Batch, Model
from reidkit.training import Batch as Step


class Forked(Model):
    """A trunk of two layers; two heads that see its mean, one of them the picture's mean too."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict({"first": nn.Conv2d(3, 8, 3), "second": nn.Conv2d(8, 8, 3)})
        self.heads = nn.ModuleList([nn.Linear(8, 4), nn.Linear(8, 4)])
        self.mixed = nn.Linear(11, 5)
        self.unused = nn.Linear(1, 1)
        self.triplet = BatchHardTripletLoss()

    def forward(self, images: Tensor) -> tuple[Tensor, ...] | Tensor:
        features = average(self.trunk["second"](F.relu(self.trunk["first"](images))), 2, 3).flatten(1)
        features += 0.0  # in place: it still comes from the trunk
        mixed = self.mixed(torch.cat([features, images.mean((2, 3))], 1))
        return (features, mixed, *(head(features) for head in self.heads)) if self.training else mixed

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        features, mixed, *logits = self(batch.images)
        named = {
            "heads": sum(F.cross_entropy(x, batch.labels) for x in logits),
            "triplet": self.triplet(features, batch.labels),
            "mixed": mixed.square().sum(),
        }
        return {**named, "total": torch.stack(list(named.values())).sum(), "accuracy": torch.tensor(0.0)}


@pytest.fixture
def batch() -> Batch:
    images, labels = torch.randn(4, 3, 8, 6), torch.tensor([0, 0, 1, 1])
    draw = Draw(torch.zeros(4).bool(), torch.zeros(4, 2).long(), torch.zeros(4, 4).long())
    return Batch(images, labels, None, {}, Step(images, labels[:, None], torch.arange(4), draw, 0.0))


def test_what_feeds_what(batch: Batch) -> None:
    nodes = trace(Forked(), batch)
    assert {name: (node.kind, node.output, node.before, node.count) for name, node in nodes.items()} == {
        "images": ("data", (3, 8, 6), set(), 1),
        "trunk.second": ("layer", (8, 4, 2), {"images"}, 1),  # for both: they are in one module, one behind the other
        "mixed": ("layer", (5,), {"images", "trunk.second"}, 1),
        "heads": ("layer", (4,), {"trunk.second"}, 2),
        "heads loss": ("loss", (), {"heads"}, 1),
        "triplet loss": ("loss", (), {"trunk.second"}, 1),
        "mixed loss": ("loss", (), {"mixed"}, 1),
        "embedding": ("attention", (5,), {"mixed"}, 1),
    }


def test_the_drawing_says_what_it_shows(batch: Batch) -> None:
    figure, alt = draw(Forked(), batch, "A fork, from above:")
    plt.close(figure)
    assert alt.startswith("A fork, from above: images (3×8×6); trunk second (8×4×2);")
    assert {"heads × 2 (4)", "mixed (5)", "triplet loss", "embedding (5)"} <= {*alt.rstrip(".").split("; ")}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Node]:
    count = draw(st.integers(2, 9))
    before = [draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=3)) if i else set() for i in range(count)]
    return {str(i): Node("layer", (1,), {str(one) for one in of}) for i, of in enumerate(before)}


@given(graphs())
def test_boxes_stand_below_what_feeds_them_and_beside_each_other(nodes: dict[str, Node]) -> None:
    rows = rows_of(nodes)
    assert all(rows[name] > rows[one] for name, node in nodes.items() for one in node.before)
    arrows = routes(nodes, rows)
    assert all(below[1] == above[1] + 1 for arrow in arrows for above, below in pairwise(arrow))
    places: set[Place] = {*((name, row) for name, row in rows.items()), *(place for arrow in arrows for place in arrow)}
    widths = {place: 1.0 if place[0] in nodes else LANE for place in sorted(places)}
    room = max(sum(w for (_, r), w in widths.items() if r == row) for row in rows.values())
    at = arranged(arrows, widths, room)
    for row in rows.values():
        line = sorted((at[place], widths[place]) for place in widths if place[1] == row)
        assert all(b - a >= (v + w) / 2 - 1e-9 for (a, v), (b, w) in pairwise(line))
    assert all(w / 2 - 1e-9 <= at[place] <= room - w / 2 + 1e-9 for place, w in widths.items())

"""DuATM: Si et al. 2018, "Dual Attention Matching Network for Context-Aware Feature Sequence Based …", CVPR.

A picture is not one vector but the sequence of its map's places. Intra-sequence attention refines each place by those
of its own picture that are like it; inter-sequence attention makes, of the other picture's places, the one that it
should be compared with. The distance of two pictures is the mean distance of the two, from both sides.

The row that SAN-GAL quotes is of DenseNet-121 with ImageNet weights. No code is public, and we know the equations from
a summary, so much is a reading: ResNet-50; a place is reduced to 128 numbers by a linear layer with batch norm, and
what it asks with is made of these by another, with ReLU; dot products are not scaled; the classifier sees the mean of
the refined places behind a BNNeck; what is decorrelated are the 128 numbers, over all places of a batch; triplets are
the hardest of the batch, with the recipe's margin; the three losses have equal weights. Without the BNNeck, and with
ReLU on the reduced places too, from random weights all places went to one point, where no loss falls.

The distance is the article's, and not one between vectors: each query meets the whole gallery.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.evaluation.ranking import Metric
from reidkit.losses import batch_hard, pair_masks
from reidkit.models.backbone import scaled
from reidkit.models.heads import BNNeck, LinearClassifier
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised

_AT_ONCE = 2**22  # numbers of aligned places that a ranking holds: 16 MB


def length(width_multiplier: float) -> int:
    """How many numbers D a place is reduced to."""
    return scaled(128, width_multiplier)


class DuATMConfig(Configuration):
    """One run of DuATM."""

    system = "duatm"
    compares_images = True

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")

    @property
    def metric(self) -> Metric:
        return functools.partial(embedding_distances, length=length(self.width_multiplier))


class Sequences(NamedTuple):
    """The places of N pictures: what they hold, what each asks with, and what they hold once refined."""

    values: Tensor  # x, (N, P, D)
    queries: Tensor  # q, (N, P, D)
    refined: Tensor  # x̄, (N, P, D)


def refine(values: Tensor, queries: Tensor) -> Sequences:
    """With intra-sequence attention: x̄_i = Σ_m softmax_m(q_i · x_m) x_m over the places of the picture itself."""
    with torch.autocast(values.device.type, enabled=False):
        return Sequences(values, queries, (queries @ values.mT).softmax(2) @ values)


def one_sided(first: Sequences, second: Sequences) -> Tensor:
    """The mean over the places i of each picture A of ‖x̄_i - x̂_i‖, for each picture B: (A, B).

    x̂_i is by inter-sequence attention, Σ_n softmax_n(q_i · x_n) x_n over the places of B.
    """
    pictures, places = first.values.shape[:2]
    with torch.autocast(first.values.device.type, enabled=False):
        scores = first.queries.flatten(0, 1) @ second.values.mT  # (B, A · P, P)
        aligned = scores.softmax(2) @ second.values  # (B, A · P, D)
        distances = torch.linalg.vector_norm(first.refined.flatten(0, 1) - aligned, dim=2)
    means: Tensor = distances.view(-1, pictures, places).mean(2).T
    return means


def sequence_distances(first: Sequences, second: Sequences) -> Tensor:
    """The mean of both sides, of all pairs of pictures: (A, B)."""
    return (one_sided(first, second) + one_sided(second, first).T) / 2


def embedding_distances(query: Tensor, gallery: Tensor, length: int) -> Tensor:
    """`sequence_distances` of embeddings (Q, P · 2 D) and (G, P · 2 D), D the length, a few queries at a time."""
    asking, asked = (refine(*x.unflatten(1, (-1, 2 * length)).split(length, 2)) for x in (query, gallery))
    pictures, places = asked.values.shape[:2]
    few = max(1, _AT_ONCE // max(1, pictures * places * max(places, length)))
    parts = zip(*(x.split(few) for x in asking), strict=True)
    return torch.cat([sequence_distances(Sequences(*part), asked) for part in parts])


def decorrelation_loss(values: Tensor) -> Tensor:
    """The mean square of the correlations between the D numbers of (N, P, D), over all places of all pictures."""
    with torch.autocast(values.device.type, enabled=False):
        centred = values.flatten(0, 1) - values.mean((0, 1))
        alike = F.normalize(centred, dim=0, eps=1e-6)
        squares = (alike.T @ alike).square()  # (D, D)
    return (squares.sum() - squares.diagonal().sum()) / (squares.numel() - len(squares))


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    sequences: Sequences  # of (N, P, D): triplet loss, decorrelation
    logits: Tensor  # (N, identities)


class DuATM(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, P · 2 D), float32.

    It is x and q of each of the h · w places of the map, one place after another.
    """

    def __init__(self, identities: int, config: DuATMConfig) -> None:
        super().__init__()
        self.label_smoothing, self.margin = config.label_smoothing, config.triplet_margin
        self.backbone = backbone(config)
        few = length(config.width_multiplier)
        self.reduce = nn.Sequential(nn.Conv1d(self.backbone.out_channels, few, 1, bias=False), nn.BatchNorm1d(few))
        self.transform = nn.Sequential(nn.Conv1d(few, few, 1, bias=False), nn.BatchNorm1d(few), nn.ReLU())
        self.bnneck = BNNeck(few)
        self.classifier = LinearClassifier(few, identities)

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone(images)  # (N, C, h, w)
        values = self.reduce(maps.flatten(2))  # (N, D, P)
        queries = self.transform(values)
        values, queries = values.mT.float(), queries.mT.float()  # (N, P, D)
        if not self.training:
            return torch.cat([values, queries], 2).flatten(1)
        sequences = refine(values, queries)
        return Output(sequences, self.classifier(self.bnneck(sequences.refined.mean(1))))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output, labels = self(batch.images), batch.labels
        distances = sequence_distances(output.sequences, output.sequences)  # (N, N)
        terms = {
            "cross-entropy": F.cross_entropy(output.logits, labels, label_smoothing=self.label_smoothing),
            "triplet": batch_hard(distances, *pair_masks(labels), self.margin),
            "decorrelation": decorrelation_loss(output.sequences.values),
        }
        total = torch.stack(list(terms.values())).sum()
        return {**terms, "total": total, "accuracy": accuracy(output.logits, labels)}


SYSTEM = System(
    name="duatm",
    title="DuATM",
    article="si2018duatm",
    configuration=DuATMConfig,
    rows={"duatm": {}},
    build=initialised(DuATM),
)

"""AlignedReID: Zhang et al. 2017, "AlignedReID: Surpassing Human-Level Performance in Person Re-Identification".

Beside the global feature there are those of the map's rows, and two pictures' rows are matched from top to bottom by
the shortest path through their distances, whatever a box has cut off or left too much of. The local branch helps in
training only: the global feature is the embedding.

The row that the joint-loss paper quotes is of ResNet50-X on four data sets merged, with mutual learning: no comparison.
Readings: ResNet-50, one data set and one network. The local branch is that of its authors' later code (AlignedReID++):
batch norm, ReLU, the maximum over the width, 128 channels, each row of length 1; the article says less. A batch norm
stands before the classifier, which neither article nor code has: from random weights and at the recipe's learning rate
the classifier's steps otherwise drive the rectified features towards zero: after 200, three in five are dead.

Other people's code: Huang's re-production takes the mean over the width and puts batch norm and ReLU behind the
reduction. AlignedReID++ ranks by local distances too, of rows before the reduction, which the loss never saw.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.losses import hardest_pairs, mean_over
from reidkit.models.backbone import scaled
from reidkit.models.heads import BNNeck, LinearClassifier
from reidkit.models.pooling import maximum, pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised


class AlignedReIDConfig(Configuration):
    """One run of AlignedReID."""

    system = "aligned-reid"
    compares_images = True

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")


def shortest_path(distances: Tensor) -> Tensor:
    """The least sum (N,) along a path from the first to the last place of (N, H, H), by steps to the right or down."""
    rows: list[list[Tensor]] = []
    for i, row in enumerate(distances.unbind(1)):
        rows.append([])
        for j, distance in enumerate(row.unbind(1)):
            before = [rows[i - 1][j]] if i else []
            before += [rows[i][j - 1]] if j else []
            nearest = torch.stack(before).amin(0) if before else 0
            rows[i].append(distance + nearest)
    return rows[-1][-1]


def aligned_distances(first: Tensor, second: Tensor) -> Tensor:
    """Of the rows of pairs of images, (N, H, D) each, the distance (N,) along the shortest path.

    Two rows at a Euclidean distance δ are (e^δ - 1) / (e^δ + 1) = tanh(δ/2) apart. No metric: with several rows, an
    image is at a distance above 0 from itself.
    """
    difference = first.unsqueeze(2) - second.unsqueeze(1)  # (N, H, H, D)
    return shortest_path((torch.linalg.vector_norm(difference, dim=3) / 2).tanh())


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    features: Tensor  # (N, C): the global triplet loss, retrieval
    rows: Tensor  # (N, h, D): the local triplet loss
    logits: Tensor  # (N, identities)


class AlignedReID(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, C), float32."""

    def __init__(self, identities: int, config: AlignedReIDConfig) -> None:
        super().__init__()
        self.label_smoothing, self.margin = config.label_smoothing, config.triplet_margin
        self.backbone = backbone(config)
        channels = self.backbone.out_channels
        self.norm = nn.BatchNorm2d(channels)
        self.reduce = nn.Linear(channels, scaled(128, config.width_multiplier))
        self.neck = BNNeck(channels)
        self.classifier = LinearClassifier(channels, identities, bias=True)

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone(images)  # (N, C, h, w)
        features = pool(maps)  # (N, C)
        if not self.training:
            return features
        highest = maximum(F.relu(self.norm(maps)), 3).squeeze(3)  # (N, C, h)
        rows = F.normalize(self.reduce(highest.mT).float(), dim=2)  # (N, h, D)
        return Output(features, rows, self.classifier(self.neck(features)))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output, labels = self(batch.images), batch.labels
        positive, negative, valid = hardest_pairs(output.features, labels)  # mined by global distances, for both

        def triplet(to_positive: Tensor, to_negative: Tensor) -> Tensor:
            return mean_over(valid, F.relu(to_positive - to_negative + self.margin))

        features, rows = output.features, output.rows
        terms = {
            "cross-entropy": F.cross_entropy(output.logits, labels, label_smoothing=self.label_smoothing),
            "triplet": triplet(
                *(torch.linalg.vector_norm(features - features[i], dim=1) for i in (positive, negative))
            ),
            "local triplet": triplet(*(aligned_distances(rows, rows[i]) for i in (positive, negative))),
        }
        total = torch.stack(list(terms.values())).sum()
        return {**terms, "total": total, "accuracy": accuracy(output.logits, labels)}


SYSTEM = System(
    name="aligned-reid",
    title="AlignedReID",
    article="zhang2017alignedreid",
    configuration=AlignedReIDConfig,
    rows={"aligned-reid": {}},
    build=initialised(AlignedReID),
)

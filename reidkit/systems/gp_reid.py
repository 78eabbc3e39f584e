"""GP-reid: Almazán et al. 2018, "Re-ID done right: towards good practices for person re-identification", arXiv.

No part and no attention, but a curriculum. The maximum of the map over its places goes through a linear layer and is
scaled to length 1; the network first learns to classify the training people, and then only to tell them apart, by
triplets of squared distances that are picked for being hard.

The rows that the joint-loss paper quotes are of ResNet-101 with ImageNet weights, on large pictures of their own shape,
with a cut-out that grows. Readings: ResNet-50, and the recipe's size and augmentation. The classifier stands behind the
linear layer, before the scaling, so that the triplets find that layer trained. Batch norm stands there too: without it,
from random weights, all images went to one point, where neither loss falls. Classification has 40 % of the epochs and
the triplets 60 %, both in batches of P×K.

No code of the authors is public. Their triplets come from a pool of images that is embedded again and again: at the
5,000 images every 16 updates of somebody else's code that would cost more than the training itself here. Ours are the
hardest of a batch: each image with its farthest positive and its nearest negative.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.losses import batch_hard, cosine_similarities, pair_masks
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import maximum
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, backbone, initialised
from reidkit.training import Stage


class GPReIDConfig(Configuration):
    """One run of GP-reid."""

    system = "gp-reid"
    compares_images = True

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    triplet_margin: float = Field(0.1, ge=0, description="between squared distances of unit vectors")


def squared_triplet_loss(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over anchors of ½ max(0, m + ‖q - d⁺‖² - ‖q - d⁻‖²), the hardest pairs, of features (N, C) at length 1."""
    squares = 2 - 2 * cosine_similarities(features)  # (N, N)
    return batch_hard(squares, *pair_masks(labels), margin) / 2


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    features: Tensor  # (N, C), before they are scaled to length 1
    logits: Tensor  # (N, identities)


class GPReID(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, C), of length 1, float32."""

    def __init__(self, identities: int, config: GPReIDConfig) -> None:
        super().__init__()
        self.label_smoothing, self.margin = config.label_smoothing, config.triplet_margin
        self.backbone = backbone(config)
        channels = self.backbone.out_channels
        self.embed = nn.Sequential(nn.Linear(channels, channels, bias=False), nn.BatchNorm1d(channels))
        self.classifier = LinearClassifier(channels, identities, bias=True)
        self.classifying = False

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone(images)  # (N, C, h, w)
        features = self.embed(maximum(maps.flatten(2), 2).squeeze(2)).float()  # (N, C)
        return Output(features, self.classifier(features)) if self.training else F.normalize(features)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output, labels = self(batch.images), batch.labels
        terms = {
            "cross-entropy": F.cross_entropy(output.logits, labels, label_smoothing=self.label_smoothing),
            "triplet": squared_triplet_loss(output.features, labels, self.margin),
        }
        return {**terms, "total": terms["cross-entropy" if self.classifying else "triplet"]}

    def stages(self) -> Sequence[Stage]:
        return (
            Stage(0.4, enter=lambda: self.set_classifying(True)),
            Stage(0.6, {self.backbone: 1.0, self.embed: 1.0}, enter=lambda: self.set_classifying(False)),
        )

    def set_classifying(self, classifying: bool) -> None:
        self.classifying = classifying


SYSTEM = System(
    name="gp-reid",
    title="GP-reid",
    article="almazan2018gpreid",
    configuration=GPReIDConfig,
    rows={"gp-reid": {}},
    build=initialised(GPReID),
)

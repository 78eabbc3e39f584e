"""DPFL: Chen et al. 2017, "Person Re-Identification by Deep Learning Multi-Scale Representations", ICCV Workshops.

Deep Pyramid Feature Learning: two networks see a picture at two resolutions and have a classifier each, a third one
sees the features of both. What that one says, the consensus, the two others learn beside the identity. Both features
side by side are the embedding.

The rows that the joint-loss paper quotes are of two Inception-V3 with ImageNet weights. No code is public, and we know
the losses from a summary, so much is a reading: two ResNet-50, at the full resolution and at half of it; a dropout of a
half before the third classifier; both losses of a branch have weight 1, and the consensus a temperature of 1 and no
gradient, so that the two follow it and it does not follow them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.models.backbone import scaled_dropout
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised


class DPFLConfig(Configuration):
    """One run of DPFL."""

    system = "dpfl"
    ranked_by = "euclidean"

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    consensus_weight: float = Field(1.0, ge=0, description="of the loss that lets each resolution follow both")


def consensus_loss(consensus: Tensor, logits: Tensor) -> Tensor:
    """H(P, Q) = -Σ P log Q of logits (N, K) each, mean over the images; the consensus P has no gradient."""
    return F.cross_entropy(logits, consensus.detach().float().softmax(1))


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    logits: Tensor  # (N, 2, identities): of the full and of the half resolution
    consensus: Tensor  # (N, identities)


class DPFL(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, 2 · 2048), float32."""

    def __init__(self, identities: int, config: DPFLConfig) -> None:
        super().__init__()
        self.label_smoothing, self.consensus_weight = config.label_smoothing, config.consensus_weight
        self.dropout = scaled_dropout(0.5, config.width_multiplier)
        self.backbone, self.backbone_half = backbone(config), backbone(config)
        channels = self.backbone.out_channels
        self.classifiers = nn.ModuleList(LinearClassifier(channels, identities, bias=True) for _ in range(2))
        self.classify_both = LinearClassifier(2 * channels, identities, bias=True)

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone(images), self.backbone_half(F.avg_pool2d(images, 2))  # (N, 2048, h, w) and half of h, w
        features = [pool(x) for x in maps]  # two of (N, 2048)
        both = torch.cat(features, 1)
        if not self.training:
            return both
        logits = [classify(feature) for classify, feature in zip(self.classifiers, features, strict=True)]
        return Output(torch.stack(logits, 1), self.classify_both(F.dropout(both, self.dropout)))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output, labels = self(batch.images), batch.labels
        branches = output.logits.unbind(1)
        entropies = [
            F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            for logits in (*branches, output.consensus)
        ]
        terms = {
            "cross-entropy": torch.stack(entropies).sum(),
            "consensus": torch.stack([consensus_loss(output.consensus, logits) for logits in branches]).sum(),
        }
        total = terms["cross-entropy"] + self.consensus_weight * terms["consensus"]
        return {**terms, "total": total, "accuracy": accuracy(output.consensus, labels)}


SYSTEM = System(
    name="dpfl",
    title="DPFL",
    article="chen2017dpfl",
    configuration=DPFLConfig,
    rows={"dpfl": {}},
    build=initialised(DPFL),
)

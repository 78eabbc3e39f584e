"""The re-ID network of the joint-loss paper's Fig. 2."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reidkit.models.backbone import ResNet50
from reidkit.models.heads import BNNeck, CircleSoftmax, LinearClassifier
from reidkit.models.pooling import average


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    features: Tensor  # (N, C) pooled, before BNNeck: the triplet loss
    embedding: Tensor  # (N, C) after BNNeck: retrieval
    logits: Tensor  # (N, num_classes): cross-entropy
    scores: Tensor  # (N, num_classes): what a class is predicted by, the logits before any margin


class ReIDNetwork(nn.Module):
    """ResNet-50 with attention, global average pooling, BNNeck, and a linear or circle classifier.

    In training mode a call returns an `Output`; in evaluation mode the embedding (N, C), float32, to be compared by
    cosine. Both classifiers take the embedding; only the circle classifier needs the labels.
    """

    def __init__(
        self,
        num_classes: int,
        attention: str = "none",
        classifier: str = "linear",
        width_multiplier: float = 1.0,
        last_stride: int = 1,
        circle_scale: float = 64.0,
        circle_margin: float = 0.35,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = ResNet50(attention, last_stride, width_multiplier, residual_scale)
        channels = self.backbone.out_channels
        self.neck = BNNeck(channels)
        self.classifier: LinearClassifier | CircleSoftmax
        if classifier == "linear":
            self.classifier = LinearClassifier(channels, num_classes)
        elif classifier == "circle":
            self.classifier = CircleSoftmax(channels, num_classes, circle_scale, circle_margin)
        else:
            raise ValueError(f"classifier is {classifier!r}: expected 'linear' or 'circle'")

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output | Tensor:
        """Images (N, 3, H, W), labels (N,) int64 in [0, num_classes), needed by the circle classifier in training."""
        maps = self.backbone(images)  # (N, C, h, w)
        # Pooled to float32 also under autocast, because distances between features need the digits.
        features = average(maps, 2, 3, dtype=torch.float32).flatten(1)  # (N, C)
        embedding: Tensor = self.neck(features)
        if not self.training:
            return embedding
        scores = self.classifier.scores(embedding)
        logits = self.classifier(embedding) if labels is None else self.classifier.logits(scores, labels)
        return Output(features, embedding, logits, scores)

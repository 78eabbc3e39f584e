"""The networks of SAN-GAL (Hou et al. 2021): the attribute network, and the re-ID network that its heat maps guide."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reidkit.models.backbone import ResNet50
from reidkit.models.pooling import average

STAGES = ("layer2", "layer3", "layer4")
"""The stages of ResNet-50 after which a map's scale has changed (Sect. 3.1): where heat maps are taken and used."""


class Attribute(NamedTuple):
    """One attribute of the attribute file: a heat map each."""

    group: int  # the softmax that decides it
    class_: int | None  # the class of that softmax that it stands for; None: the one at hand, labelled or predicted


class AttributeHeads(nn.ModuleList):
    """One BN–FC per attribute group on pooled features (Sect. 3.1); the softmax is left to the loss."""

    def __init__(self, channels: int, class_counts: Sequence[int]) -> None:
        super().__init__(nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, n)) for n in class_counts)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (N, C) -> logits (N, classes) of each group."""
        return [head(features) for head in self]


class AttributeNetwork(nn.Module):
    """ResNet-50 with a classifier per attribute group: images (N, 3, H, W) -> logits (N, classes), one per group.

    `class_counts` holds the classes of each group. `field_counts` says how many attributes of the attribute file each
    group answers: 1 (it is one attribute, such as *hat*), or one less than its classes (one for each class but the
    first, such as the colours beside *none*). Unless given, every group is one attribute.
    """

    def __init__(
        self,
        class_counts: Sequence[int],
        field_counts: Sequence[int] | None = None,
        width_multiplier: float = 1.0,
        last_stride: int = 1,
    ) -> None:
        super().__init__()
        field_counts = [1] * len(class_counts) if field_counts is None else field_counts
        attributes: list[Attribute] = []
        for group, (classes, fields) in enumerate(zip(class_counts, field_counts, strict=True)):
            if fields not in (1, classes - 1):
                raise ValueError(f"group {group} has {classes} classes and {fields} fields: expected 1 or {classes - 1}")
            # With two classes the two counts coincide, and so do their meanings: the group is one attribute.
            attributes += [Attribute(group, None if fields == 1 else class_) for class_ in range(1, fields + 1)]
        self.attributes = tuple(attributes)
        self.backbone = ResNet50("none", last_stride, width_multiplier)
        self.heads = AttributeHeads(self.backbone.out_channels, class_counts)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(images)  # (N, C, h, w)
        return list(self.heads(average(maps, 2, 3, dtype=torch.float32).flatten(1)))

"""The networks of SAN-GAL (Hou et al. 2021): the attribute network, and the re-ID network that its heat maps guide."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.models.backbone import ResNet50
from reidkit.models.heads import BNNeck, LinearClassifier
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
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        field_counts = [1] * len(class_counts) if field_counts is None else field_counts
        attributes: list[Attribute] = []
        for group, (classes, fields) in enumerate(zip(class_counts, field_counts, strict=True)):
            if fields not in (1, classes - 1):
                raise ValueError(
                    f"group {group} has {classes} classes and {fields} fields: expected 1 or {classes - 1}"
                )
            # With two classes the two counts coincide, and so do their meanings: the group is one attribute.
            attributes += [Attribute(group, None if fields == 1 else class_) for class_ in range(1, fields + 1)]
        self.attributes = tuple(attributes)
        self.backbone = ResNet50("none", last_stride, width_multiplier, residual_scale)
        self.heads = AttributeHeads(self.backbone.out_channels, class_counts)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(images)  # (N, C, h, w)
        return list(self.heads(average(maps, 2, 3, dtype=torch.float32).flatten(1)))


class AttributeSpatialAttention(nn.Module):
    """ASAM, the Attribute Spatial Attention Module (Sect. 3.3, Eq. 3 and 4): half of the channels, times attention.

    The maps of K attributes serve the D = C/2 attended channels in blocks. With K < D, the map L_c of channel c is
    number floor(c K / D): the channels of one map make a block, and the blocks are nearly equal. With K > D, it is the
    mean of the block of maps from floor(c K / D) to before ceil((c + 1) K / D), which is adaptive average pooling.
    (That pooling with K < D would mix two maps in the channel between their blocks, unless K divides D.) Then

        beta_c = sigmoid(mean of L_c over the image)     Eq. 3
        alpha_c = sigmoid(beta_c * L_c)                  Eq. 4
        attention = sigmoid(alpha_c)                     "passes through the Sigmoid function again"

    Eq. 3 prints a sum over the block; the text says "channel block average pooling", and so it is read. Nothing is
    learned. Grad-CAM's maps are not negative, hence alpha >= 1/2, and the attention lies between 0.62 and 0.73.

    What the text leaves open, the literal reading first:
    sigmoids: 2; or 1, for alpha itself as the attention, between 0.5 and 1.
    scaling: "raw", the maps as they are; or "minmax", every map of every image scaled to 0..1, a constant one to 0.
    attended: the "last" half of the channels; or the "first", which the text both keeps and learns attention on.
    """

    def __init__(
        self,
        sigmoids: Literal[1, 2] = 2,
        scaling: Literal["raw", "minmax"] = "raw",
        attended: Literal["last", "first"] = "last",
    ) -> None:
        super().__init__()
        if sigmoids not in (1, 2):
            raise ValueError(f"sigmoids is {sigmoids!r}: expected 1 or 2")
        if scaling not in ("raw", "minmax"):
            raise ValueError(f"scaling is {scaling!r}: expected 'raw' or 'minmax'")
        if attended not in ("last", "first"):
            raise ValueError(f"attended is {attended!r}: expected 'last' or 'first'")
        self.sigmoids, self.scaling, self.attended = sigmoids, scaling, attended

    def forward(self, features: Tensor, heat_maps: Tensor) -> Tensor:
        """Features (N, C, H, W), heat maps (N, K, h, w) -> (N, C, H, W), of the features' dtype.

        The product is computed in float32: in bf16, weights near 0.62 would be 1/256 apart, and the smaller differences
        of attention lost. Heat maps of another size are averaged over areas to H x W. Raises ValueError where the
        shapes do not fit.
        """
        attention = self.block_attention(features, heat_maps)  # (N, B, H, W)
        # The kept half is a block too, of weight 1: a single product then writes the output.
        weights = torch.cat([torch.ones_like(attention[:, :1]), attention], 1)
        half = features.shape[1] // 2
        attended = 1 + block_of_channel(attention.shape[1], half, features.device)
        halves = [torch.zeros_like(attended), attended]
        index = torch.cat(halves if self.attended == "last" else halves[::-1])  # (C,)
        # Factors of two memory formats multiply slowly, above all in the backward pass.
        channels_last = features.is_contiguous(memory_format=torch.channels_last)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        return (features * weights.index_select(1, index).contiguous(memory_format=memory_format)).to(features.dtype)

    def attention(self, features: Tensor, heat_maps: Tensor) -> Tensor:
        """The weights (N, C/2, H, W) of the attended channels, float32; arguments as of `forward`."""
        attention = self.block_attention(features, heat_maps)
        return attention.index_select(1, block_of_channel(attention.shape[1], features.shape[1] // 2, attention.device))

    def block_attention(self, features: Tensor, heat_maps: Tensor) -> Tensor:
        """The weights of each block of channels, (N, B, H, W) with B = min(K, C/2): equal within a block."""
        if features.ndim != 4 or features.shape[1] % 2:
            raise ValueError(f"features have shape {tuple(features.shape)}: expected (N, C, H, W) with an even C")
        if heat_maps.ndim != 4 or len(heat_maps) != len(features) or heat_maps.shape[1] == 0:
            shape = tuple(heat_maps.shape)
            raise ValueError(f"heat maps have shape {shape}: expected ({len(features)}, K, h, w) with K of at least 1")
        maps = heat_maps.to(torch.promote_types(heat_maps.dtype, torch.float32))
        if self.scaling == "minmax":  # before resizing, whose rounding must not make a pattern of a constant map
            low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
            maps = (maps - low) / (high - low).masked_fill(high == low, 1)
        size = (min(maps.shape[1], features.shape[1] // 2), *features.shape[2:])
        if maps.shape[1:] != size:
            maps = F.adaptive_avg_pool3d(maps.unsqueeze(1), size).squeeze(1)
        beta = maps.mean((2, 3), keepdim=True).sigmoid()  # Eq. 3, (N, B, 1, 1)
        alpha = (beta * maps).sigmoid()  # Eq. 4, (N, B, H, W)
        return alpha.sigmoid() if self.sigmoids == 2 else alpha

    def extra_repr(self) -> str:
        return f"sigmoids={self.sigmoids}, scaling={self.scaling!r}, attended={self.attended!r}"


def block_of_channel(blocks: int, channels: int, device: torch.device) -> Tensor:
    """Which of the nearly equal blocks each channel is in: (channels,) int64, ascending."""
    return torch.arange(channels, device=device) * blocks // channels


class SanGalOutput(NamedTuple):
    """What the losses need from a batch of N images."""

    features: Tensor  # (N, C) pooled, before BNNeck: the triplet loss
    embedding: Tensor  # (N, C) after BNNeck: retrieval
    logits: Tensor  # (N, num_classes): cross-entropy over identities
    attributes: list[Tensor]  # (N, classes) of each attribute group: attribute loss; empty without heads


class SanGalNetwork(nn.Module):
    """The re-ID half of the dual-trace network (Fig. 1), in all rows of Table 1.

    IDonly: `attention=False`; the baseline of `ReIDNetwork`, whose parameters have the same names.
    ID+attr: `class_counts` adds attribute heads. Two networks that share nothing cannot help each other, so the row is
        read as APR (Lin et al., Pattern Recognition 2019): the heads stand beside the identity classifier on the pooled
        features, and both train the backbone. The heads play no part in evaluation.
    ID+attrAttention: `attention=True`, with `class_counts` or without. An ASAM follows each of the `STAGES`.

    In training mode a call returns a `SanGalOutput`; in evaluation mode the embedding (N, C), float32, to be compared
    by cosine. `sigmoids`, `scaling` and `attended` are those of `AttributeSpatialAttention`.
    """

    def __init__(
        self,
        num_classes: int,
        attention: bool = True,
        class_counts: Sequence[int] = (),
        width_multiplier: float = 1.0,
        last_stride: int = 1,
        residual_scale: float = 1.0,
        sigmoids: Literal[1, 2] = 2,
        scaling: Literal["raw", "minmax"] = "raw",
        attended: Literal["last", "first"] = "last",
    ) -> None:
        super().__init__()
        self.backbone = ResNet50("none", last_stride, width_multiplier, residual_scale)
        self.attention = nn.ModuleDict(
            {stage: AttributeSpatialAttention(sigmoids, scaling, attended) for stage in STAGES if attention}
        )
        channels = self.backbone.out_channels
        self.neck = BNNeck(channels)
        self.classifier = LinearClassifier(channels, num_classes)
        self.heads = AttributeHeads(channels, class_counts)

    def forward(
        self, images: Tensor, heat_maps: Mapping[str, Tensor] | None = None, labels: Tensor | None = None
    ) -> SanGalOutput | Tensor:
        """Images (N, 3, H, W); heat maps (N, K, h, w) by stage, not looked at without attention; labels (N,).

        Raises ValueError naming the stages whose heat maps are missing.
        """
        heat_maps = heat_maps or {}
        if missing := [stage for stage in self.attention if stage not in heat_maps]:
            raise ValueError(
                f"no heat maps for {', '.join(missing)}: a network with attention needs them at each stage"
            )
        maps = self.backbone.layer1(self.backbone.stem(images))
        for stage in STAGES:
            maps = self.backbone.get_submodule(stage)(maps)  # (N, C, h, w)
            if stage in self.attention:
                maps = self.attention[stage](maps, heat_maps[stage])
        # Pooled to float32 also under autocast, because distances between features need the digits.
        features = average(maps, 2, 3, dtype=torch.float32).flatten(1)  # (N, C)
        embedding: Tensor = self.neck(features)
        if not self.training:
            return embedding
        return SanGalOutput(features, embedding, self.classifier(embedding, labels), self.heads(features))

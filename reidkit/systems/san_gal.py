"""SAN-GAL: Hou et al. 2021, "Spatial Attention Network Guided by Attribute Label for Person Re-identification".

An attribute network (`attributes.py`) is trained first; its Grad-CAM heat maps are stored once per image (offline, as
the paper trains); the re-identification network reads them and attends to half of its channels by them. Rows are those
of its Table 1, the readings of what its text leaves open, a field each, and controls that feed the same module with
maps that know nothing of the image.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from reidkit.gradcam import attribute_heat_maps
from reidkit.losses import JointLoss, attribute_loss
from reidkit.models.backbone import STAGES, ResNet50, load_initial_weights
from reidkit.models.heads import AttributeHeads, BNNeck, LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import MapClasses
from reidkit.systems import attributes as attribute_system
from reidkit.systems.attributes import AttributeConfig, AttributeNetwork, SanGalTraining
from reidkit.systems.system import Batch, Classes, Maps, Material, Measured, Model, System, accuracy, rank, seeded

Row = Literal["IDonly", "ID+attr", "ID+attrAttention"]
ROWS: tuple[Row, ...] = get_args(Row)

_SELECTS = {"scaling": "minmax", "sigmoids": 1}  # the reading whose attention is not nearly constant
READINGS: dict[str, dict[str, Any]] = {
    "one-sigmoid": {"sigmoids": 1},
    "scaled-maps": {"scaling": "minmax"},
    "scaled-maps-one-sigmoid": _SELECTS,
    "first-half": {"attended": "first"},
    "labelled-classes": {"classes": "labels"},
    "attribute-heads": {"attribute_heads": True},
    "last-stride-2": {"last_stride": 2},
    "online": {"online": True},
}
"""Readings of ID+attrAttention other than the literal one, by what they change."""

CONTROLS: dict[str, dict[str, Any]] = {
    "shuffled": _SELECTS | {"guided_by": "shuffled"},
    "centre": _SELECTS | {"guided_by": "centre"},
    "constant": _SELECTS | {"guided_by": "constant"},
}
"""The module of scaled-maps-one-sigmoid, fed with maps that know nothing of the image."""

READING_KEYS = tuple(dict.fromkeys(key for reading in (*READINGS.values(), *CONTROLS.values()) for key in reading))


class SanGalConfig(SanGalTraining):
    """One run of a row of SAN-GAL's Table 1, in one of the readings of its text. Literal readings are the default."""

    system = "san-gal"
    told_by_hash = False

    epochs: int = Field(20, ge=1, description="passes over the training images")

    row: Row = Field("IDonly", description="of the paper's Table 1")
    triplet: bool = Field(True, title="{} the triplet loss", description="the triplet loss beside the cross-entropy")
    attribute_weight: float = Field(
        1.0, ge=0, title="attribute loss × {}", description="of the attribute loss, where there is one"
    )
    attribute_epochs: float = Field(
        10, ge=0, title="attribute loss to epoch {}", description="epochs for which the attribute loss counts"
    )
    sigmoids: Literal[1, 2] = Field(2, description="how often the attention passes through a sigmoid")
    scaling: Literal["raw", "minmax"] = Field("raw", description="of the heat maps in the attention module")
    attended: Literal["last", "first"] = Field("last", description="which half of the channels is attended")
    classes: MapClasses = Field("predicted", description="whose heat maps guide the training")
    guided_by: Literal["heat maps", "shuffled", "centre", "constant"] = Field(
        "heat maps", description="controls: another image's maps, a blob in the middle, the same everywhere"
    )
    attribute_heads: bool = Field(False, description="ID+attrAttention: with the attribute heads of ID+attr")
    online: bool = Field(False, description="ID+attrAttention: both networks at once, no stored heat maps")
    attributes: AttributeConfig | None = Field(None, description="ID+attrAttention: the attribute network's run")

    @model_validator(mode="after")
    def _check_row(self) -> Self:
        if (self.row == "ID+attrAttention") != (self.attributes is not None):
            raise ValueError("attributes: the row ID+attrAttention needs a run of the attribute network, others none")
        if self.online and (self.attribute_heads or self.classes != "predicted" or self.guided_by != "heat maps"):
            raise ValueError("online: goes with neither attribute_heads nor the heat maps of labels, nor with controls")
        return self

    @property
    def title(self) -> tuple[str, ...]:
        return self.dataset, self.row.lower().replace("+", "-"), f"seed{self.seed}"

    @property
    def row_name(self) -> str:
        changed = {key: value for key in READING_KEYS if (value := getattr(self, key)) != _default(key)}
        if not changed or self.row != "ID+attrAttention":
            return self.row
        known = [name for name, reading in (READINGS | CONTROLS).items() if reading == changed]
        return f"{self.row}/{known[0] if known else '-'.join(f'{k}={v}' for k, v in changed.items())}"

    def _determinants(self, exclude_defaults: bool) -> dict[str, Any]:
        values = super()._determinants(exclude_defaults)
        if self.attributes is not None:
            values["attributes"] = self.attributes._determinants(exclude_defaults)
        return values

    @property
    def needs(self) -> frozenset[str]:
        wanted = {"attributes"} if self.row != "IDonly" else set()
        return frozenset(wanted | ({"heat maps"} if self.guide else set()))

    @property
    def guide(self) -> AttributeConfig | None:
        """The attribute network's run whose stored heat maps guide this one; none for a row without, or online."""
        if self.attributes is None or self.online:
            return None
        return self.attributes.model_copy(update={"data_root": self.data_root, "device": self.device})

    @property
    def compares(self) -> bool:
        return self.triplet

    @property
    def map_classes(self) -> MapClasses:
        return self.classes

    @property
    def phases(self) -> tuple[float, ...]:
        return (self.attribute_epochs,)

    def from_scratch(self) -> Self:
        attributes = self.attributes and self.attributes.from_scratch()
        return self.model_copy(update={"weights": None, "attributes": attributes})


def _default(key: str) -> Any:
    return SanGalConfig.model_fields[key].default


# ---------------------------------------------------------------------------------------------------------- the network


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


class SanGalLoss(nn.Module):
    """Sect. 4.1.2: cross-entropy and triplet loss over identities, and in the first epochs that of the attributes."""

    def __init__(
        self, identity: JointLoss | None = None, attribute_weight: float = 1.0, attribute_epochs: float = 10
    ) -> None:
        super().__init__()
        self.identity = identity or JointLoss()
        self.attribute_weight, self.attribute_epochs = attribute_weight, attribute_epochs

    def forward(self, output: SanGalOutput, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.identity(output, batch.labels)
        if output.attributes and batch.progress < self.attribute_epochs:
            assert batch.attributes is not None, "runs give them to who needs them"
            terms["attributes"] = attribute_loss(output.attributes, batch.attributes)
            terms["total"] = terms["total"] + self.attribute_weight * terms["attributes"]
        return {**terms, "accuracy": accuracy(output.logits, batch.labels)}


class SanGalNetwork(Model):
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
        objective: "SanGalLoss | None" = None,
    ) -> None:
        super().__init__()
        self.objective = objective or SanGalLoss()
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
        features = pool(maps)  # (N, C)
        embedding: Tensor = self.neck(features)
        if not self.training:
            return embedding
        return SanGalOutput(features, embedding, self.classifier(embedding, labels), self.heads(features))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.objective(self(batch.images, batch.maps), batch)  # type: ignore[no-any-return]


class DualTrace(Model):
    """Both networks at once, as Sect. 3.1 (3) trains them: the attribute network is back-propagated twice.

    The first time for Grad-CAM, whose gradients are discarded; the second time for its own loss.
    """

    def __init__(self, reid: SanGalNetwork, attributes: AttributeNetwork) -> None:
        super().__init__()
        self.reid, self.attributes = reid, attributes

    def forward(self, images: Tensor, heat_maps: Mapping[str, Tensor] | None = None) -> SanGalOutput | Tensor:
        """Images (N, 3, H, W) -> as of `SanGalNetwork`, the attribute network's logits among the output."""
        output: SanGalOutput | Tensor = self.reid(images, attribute_heat_maps(self.attributes, images))
        return output._replace(attributes=self.attributes(images)) if isinstance(output, SanGalOutput) else output

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.reid.objective(self(batch.images), batch)  # type: ignore[no-any-return]


def build(config: SanGalConfig, classes: Classes) -> SanGalNetwork | DualTrace:
    """The network of a run, freshly initialised from its seed; with the attribute network where trained online."""
    with seeded(config.seed):
        heads = config.row == "ID+attr" or config.attribute_heads
        network = SanGalNetwork(
            classes.identities,
            attention=config.row == "ID+attrAttention",
            class_counts=[len(group.classes) for group in classes.groups] if heads else (),
            width_multiplier=config.width_multiplier,
            last_stride=config.last_stride,
            residual_scale=config.residual_scale,
            sigmoids=config.sigmoids,
            scaling=config.scaling,
            attended=config.attended,
            objective=SanGalLoss(
                JointLoss(config.label_smoothing, config.triplet_margin, use_triplet=config.triplet),
                config.attribute_weight,
                config.attribute_epochs,
            ),
        )
    load_initial_weights(network.backbone, config.weights)
    if config.online and config.attributes is not None:
        return DualTrace(network, attribute_system.build(config.attributes, classes))
    return network


# ------------------------------------------------------------------------------------------------ what guides attention


class ControlMaps:
    """Maps of the same size and strength as some stored ones, which know nothing of the image that they lie over.

    "shuffled": each image has another's, drawn once by `seed`. "centre": each map is a Gaussian blob in the middle, a
    quarter of height and width wide, with the map's own peak. "constant": each map is its own mean everywhere.
    """

    def __init__(self, maps: Maps, kind: Literal["shuffled", "centre", "constant"], seed: int) -> None:
        self.maps, self.kind = maps, kind
        order = torch.randperm(len(maps), generator=torch.Generator().manual_seed(seed))
        self.other = torch.empty_like(order)
        self.other[order] = order.roll(1)  # one round through all images: nobody has its own

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, indexes: Tensor) -> dict[str, Tensor]:
        if self.kind == "shuffled":
            return dict(self.maps[self.other.to(indexes.device)[indexes]])
        found = {}
        for stage, maps in self.maps[indexes].items():  # (B, K, h, w)
            if self.kind == "constant":
                found[stage] = maps.mean((2, 3), keepdim=True).expand_as(maps)
            else:
                down, right = (
                    torch.linspace(-2, 2, n, device=maps.device).square().neg().exp() for n in maps.shape[2:]
                )
                blob = down[:, None] * right
                found[stage] = maps.amax((2, 3), keepdim=True) * (blob / blob.max())
        return found


def guiding_maps(config: SanGalConfig, stored: Maps) -> Maps:
    """What a run is guided by: the stored heat maps, or in a control what stands in their place."""
    return stored if config.guided_by == "heat maps" else ControlMaps(stored, config.guided_by, config.seed)


def measure(network: SanGalNetwork | DualTrace, material: Material, config: SanGalConfig) -> Measured:
    """The ranking, and how much the attention of each stage selects."""
    measured = rank(network, material, config)
    if "query" in material.maps:
        measured.tables["attention"] = attention_spread(network, material.maps["query"])
    return measured


def attention_spread(network: nn.Module, maps: Maps) -> pd.DataFrame:
    """How much the attention of each stage varies over images, attributes and places: it selects by that alone."""
    rows = []
    for stage, module in network.get_submodule("attention").named_children():
        assert isinstance(module, AttributeSpatialAttention)
        channels = network.get_submodule(f"backbone.{stage}.0.conv3").get_parameter("weight").shape[0]
        weights = []
        for indexes in torch.arange(len(maps)).split(64):
            heat = maps[indexes][stage].cpu()
            features = torch.zeros(()).expand(len(heat), channels, *heat.shape[2:])
            weights.append(module.block_attention(features, heat).flatten())
        values = torch.cat(weights).double()
        quantiles = np.quantile(values.numpy(), (0.05, 0.5, 0.95))
        shares = dict(zip(("5 %", "50 %", "95 %"), quantiles.tolist(), strict=True))
        extremes = {"lowest": values.min().item(), "highest": values.max().item()}
        rows.append({"stage": stage, "mean": values.mean().item(), "std": values.std().item(), **shares, **extremes})
    return pd.DataFrame(rows)


_ROWS = {row: {"row": row} for row in ROWS} | {
    f"ID+attrAttention/{name}": {"row": "ID+attrAttention", **changed}
    for name, changed in (READINGS | CONTROLS).items()
}
SYSTEM = System(
    name="san-gal",
    title="SAN-GAL",
    article="hou2021sangal",
    configuration=SanGalConfig,
    rows=_ROWS,
    called={
        f"{ROWS[-1]}/{name}": label
        for name, label in {
            "one-sigmoid": "one sigmoid",
            "scaled-maps": "scaled maps",
            "scaled-maps-one-sigmoid": "scaled maps, one sigmoid",
            "first-half": "attention on the first half",
            "labelled-classes": "maps of the labels",
            "attribute-heads": "SAN-GAL, with the heads of ID+attr",
            "last-stride-2": "last stride 2",
            "online": "both networks at once",
            "shuffled": "another image's maps (control)",
            "centre": "a blob in the centre (control)",
            "constant": "the same everywhere (control)",
        }.items()
    },
    build=build,
    row_groups={
        "table 1": ROWS,
        "readings": tuple(f"ID+attrAttention/{name}" for name in READINGS),
        "controls": tuple(f"ID+attrAttention/{name}" for name in CONTROLS),
    },
    measure=measure,
    guided=guiding_maps,
    within={row: {"attributes": "attributes"} for row in _ROWS if row.startswith("ID+attrAttention")},
)

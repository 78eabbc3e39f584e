"""AANet: Tay et al. 2019, "AANet: Attribute Attention Network for Person Re-Identifications", CVPR.

Attributes tell where to look: the class activation maps of a person's attributes are laid over one another to an
Attribute Attention Map (AAM), and under it the feature is pooled once more. Beside it stand the whole map's feature and
those of stripes, and every task has a loss, weighted by an uncertainty that is learned.

The row that SAN-GAL quotes is of ResNet-152 at 384×128 pixels with ImageNet weights. No code of its authors is public,
so much is a reading: parts are PCB's stripes, not found from the rows where the map is strongest; the AAM is, at every
place, the largest of the maps of the predicted classes, each scaled to 0…1, and 0 below one half; no gradient runs
through it; an attribute's classifier is linear, so that its activation map is too; the embedding is the three features
side by side, each of length 1.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.losses import attribute_loss
from reidkit.models.backbone import load_initial_weights, scaled
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import average, pool, stripes
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Classes, Model, System, accuracy, backbone, seeded


class AANetConfig(Configuration):
    """One run of AANet."""

    system = "aanet"
    takes = frozenset({"attributes"})

    stripes: int = Field(6, ge=1, description="the parts that a map is cut into")
    threshold: float = Field(0.5, ge=0, lt=1, description="below which the attention map is 0")


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    whole: Tensor  # (N, identities), logits of the whole map
    parts: Tensor  # (N, stripes, identities)
    attributes: list[Tensor]  # (N, classes) of each attribute group
    attended: Tensor  # (N, identities)


class AANet(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, 2 C + stripes · C/8)."""

    def __init__(self, classes: Classes, config: AANetConfig) -> None:
        super().__init__()
        self.stripes, self.threshold, self.label_smoothing = config.stripes, config.threshold, config.label_smoothing
        self.backbone = backbone(config)
        channels, reduced = self.backbone.out_channels, scaled(256, config.width_multiplier)
        self.classify_whole = LinearClassifier(channels, classes.identities, bias=True)
        self.reduce = nn.Sequential(nn.Conv1d(channels, reduced, 1, bias=False), nn.BatchNorm1d(reduced), nn.ReLU())
        self.classify_parts = nn.ModuleList(
            LinearClassifier(reduced, classes.identities, bias=True) for _ in range(config.stripes)
        )
        self.classify_attributes = nn.ModuleList(nn.Linear(channels, len(group.classes)) for group in classes.groups)
        self.classify_attended = LinearClassifier(channels, classes.identities, bias=True)
        self.uncertainty = nn.Parameter(torch.zeros(4))  # s, the log of each task's variance

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone(images)  # (N, C, h, w)
        whole = pool(maps)  # (N, C)
        parts = self.reduce(stripes(maps, self.stripes)).float()  # (N, C/8, stripes)
        attributes = [classify(whole) for classify in self.classify_attributes]
        attention = self.attention(maps, attributes).to(maps.dtype)
        # A scale of the map does not matter to a mean under it.
        weight = average(attention, 2, 3, dtype=torch.float32).clamp_min(1e-6)
        attended = (average(maps * attention, 2, 3, dtype=torch.float32) / weight).flatten(1)  # (N, C)
        if not self.training:
            return torch.cat([F.normalize(piece) for piece in (whole, parts.flatten(1), attended)], 1)
        of_parts = [classify(part) for classify, part in zip(self.classify_parts, parts.unbind(2), strict=True)]
        return Output(
            self.classify_whole(whole), torch.stack(of_parts, 1), attributes, self.classify_attended(attended)
        )

    def focus(self, images: Tensor) -> Tensor:
        """The AAM, (N, 1, h, w)."""
        maps = self.backbone(images)
        whole = pool(maps)
        return self.attention(maps, [classify(whole) for classify in self.classify_attributes])

    @torch.no_grad()
    def attention(self, maps: Tensor, attributes: Sequence[Tensor]) -> Tensor:
        """The AAM (N, 1, h, w), float32 in 0…1: maps (N, C, h, w) and the logits of each attribute group."""
        weights = torch.stack(  # (N, groups, C), of the predicted classes
            [
                linear.get_parameter("weight")[logits.argmax(1)]
                for linear, logits in zip(self.classify_attributes, attributes, strict=True)
            ],
            1,
        )
        with torch.autocast(maps.device.type, enabled=False):
            activation = (weights @ maps.flatten(2).float()).unflatten(2, maps.shape[2:])  # (N, groups, h, w)
        low, high = activation.amin((2, 3), keepdim=True), activation.amax((2, 3), keepdim=True)
        attention: Tensor = ((activation - low) / (high - low).clamp_min(1e-12)).amax(1, keepdim=True)
        return attention * (attention >= self.threshold)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        assert batch.attributes is not None, "runs give them to who needs them"
        output, labels = self(batch.images), batch.labels

        def cross_entropy(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

        terms = {
            "whole": cross_entropy(output.whole),
            "parts": torch.stack([cross_entropy(logits) for logits in output.parts.unbind(1)]).mean(),
            "attributes": attribute_loss(output.attributes, batch.attributes),
            "attended": cross_entropy(output.attended),
        }
        # Kendall et al., CVPR 2018: a task counts by its precision e^-s, and s itself keeps it from counting nothing.
        weighted = torch.stack(list(terms.values())) * self.uncertainty.neg().exp() + self.uncertainty
        return {**terms, "total": weighted.sum(), "accuracy": accuracy(output.whole + output.attended, labels)}


def build(config: AANetConfig, classes: Classes) -> AANet:
    """The network of a run, freshly initialised from its seed."""
    with seeded(config.seed):
        network = AANet(classes, config)
    load_initial_weights(network.backbone, config.weights)
    return network


SYSTEM = System(
    name="aanet",
    title="AANet",
    article="tay2019aanet",
    configuration=AANetConfig,
    rows={"aanet": {}},
    build=build,
)

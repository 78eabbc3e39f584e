"""IANet: Hou et al. 2019, "Interaction-and-Aggregation Network for Person Re-identification", CVPR.

After the second and the third stage of ResNet-50 every place gathers what places that look alike and lie near hold
(Spatial IA), and then every channel what channels that fire alike hold (Channel IA). Neither has a convolution, and
both start as the identity.

Published rows are of 256×128 pixels, last stride 1 and ImageNet weights. The losses are those of its authors' code:
cross-entropy with label smoothing and the triplet loss by cosine distance, both on the feature after batch norm.

Readings, for the code's spatial attention hardly selects. "softmax" is the code: Spatial IA's weights are a softmax of
A∘D, a product of two distributions that is nowhere above about 2/hw, so that they are uniform to about a per cent and
the module adds the mean over the map; Channel IA's are a softmax of unscaled products, which picks one channel for
each: itself, unless another has larger values, and in trained networks another from picture to picture. "normalised"
is what we take to be meant: A∘D divided by its sum, and products divided by √hw. "none" is the control: the same
network and losses without either module.

Other people's code: the authors' own lacks the article's affinity of patches at several scales, and so does this file.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.losses import hardest_distances, mean_over
from reidkit.models.attention import Attention
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised

Interaction = Literal["softmax", "normalised", "none"]


class IANetConfig(Configuration):
    """One run of IANet."""

    system = "ianet"
    compares_images = True

    interaction: Interaction = Field(
        "softmax", description="how affinities become weights; softmax: the authors' code; none: neither module"
    )

    @property
    def row_name(self) -> str:
        return "ianet" if self.interaction == "softmax" else f"ianet/{self.interaction}"


class Aggregation(Attention):
    """What is gathered goes through a batch norm that is silent at first, and is added."""

    def __init__(self, channels: int, interaction: Interaction) -> None:
        super().__init__()
        self.interaction = interaction
        self.norm = silent_norm(channels)


class SpatialIA(Aggregation):
    """Every place gathers from all places: x (N, C, h, w) -> x + BN(F x)."""

    weighs = "places"

    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        places = x.flatten(2)  # (N, C, hw)
        gathered: Tensor = self.norm((places @ weights.to(places.dtype).mT).view(x.shape))
        return x + gathered

    def weights(self, x: Tensor) -> Tensor:
        """F (N, hw, hw), float32: how much each place takes of each."""
        places = x.flatten(2)
        affinity = (places.mT @ places).float() / x.shape[1] ** 0.5
        product = affinity.softmax(2) * nearness(x.shape[2], x.shape[3], x.device)
        return product.softmax(2) if self.interaction == "softmax" else F.normalize(product, p=1, dim=2)


class ChannelIA(Aggregation):
    """Every channel gathers from all channels: x (N, C, h, w) -> x + BN(G x)."""

    weighs = "channels"

    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        channels = x.flatten(2)  # (N, C, hw)
        gathered: Tensor = self.norm((weights.to(channels.dtype) @ channels).view(x.shape))
        return x + gathered

    def weights(self, x: Tensor) -> Tensor:
        """G (N, C, C), float32: how much each channel takes of each."""
        channels = x.flatten(2)
        affinity = (channels @ channels.mT).float()
        if self.interaction == "normalised":
            affinity = affinity / channels.shape[2] ** 0.5
        return affinity.softmax(2)


def silent_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm that starts with γ = 0."""
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    return norm


def nearness(height: int, width: int, device: torch.device) -> Tensor:
    """D (hw, hw): a softmax over all places of a Gaussian around each, 5/8 of height and width wide.

    That is (10, 20) at the 32×16 places of the second stage of 256×128 pixels, as in the authors' code.
    """
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    down = ((rows[:, None] - rows) / (0.625 * height)).square() / 2  # (h, h)
    right = ((columns[:, None] - columns) / (0.625 * width)).square() / 2  # (w, w)
    distance = down[:, None, :, None] + right[None, :, None, :]  # (h, w, h, w)
    return distance.view(height * width, -1).neg().softmax(1)


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    embedding: Tensor  # (N, C) after batch norm: triplet loss and retrieval
    logits: Tensor  # (N, identities): cross-entropy


class IANet(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, C), float32."""

    def __init__(self, identities: int, config: IANetConfig) -> None:
        super().__init__()
        self.label_smoothing, self.margin = config.label_smoothing, config.triplet_margin
        self.backbone = backbone(config)
        channels = self.backbone.out_channels
        self.interact2, self.interact3 = (
            nn.Identity()
            if config.interaction == "none"
            else nn.Sequential(SpatialIA(width, config.interaction), ChannelIA(width, config.interaction))
            for width in (channels // 4, channels // 2)
        )
        self.norm = nn.BatchNorm1d(channels)
        self.classifier = LinearClassifier(channels, identities, bias=True)

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone.layer1(self.backbone.stem(images))  # (N, 256, H/4, W/4)
        maps = self.interact2(self.backbone.layer2(maps))  # (N, 512, H/8, W/8)
        maps = self.interact3(self.backbone.layer3(maps))  # (N, 1024, H/16, W/16)
        maps = self.backbone.layer4(maps)  # (N, 2048, H/16, W/16)
        embedding: Tensor = self.norm(pool(maps))  # (N, C)
        return Output(embedding, self.classifier(embedding)) if self.training else embedding

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output, labels = self(batch.images), batch.labels
        to_positive, to_negative, valid = hardest_distances(F.normalize(output.embedding), labels)
        # Of vectors of length 1 half the squared distance is the cosine distance, 1 - cos, and orders as it does.
        difference = (to_positive.square() - to_negative.square()) / 2
        terms = {
            "cross-entropy": F.cross_entropy(output.logits, labels, label_smoothing=self.label_smoothing),
            "triplet": mean_over(valid, F.relu(difference + self.margin)),
        }
        total = terms["cross-entropy"] + terms["triplet"]
        return {**terms, "total": total, "accuracy": accuracy(output.logits, labels)}


SYSTEM = System(
    name="ianet",
    title="IANet",
    article="hou2019ianet",
    configuration=IANetConfig,
    rows={"ianet": {}, "ianet/normalised": {"interaction": "normalised"}, "ianet/none": {"interaction": "none"}},
    called={"ianet/normalised": "normalised IANet", "ianet/none": "IANet without its modules"},
    build=initialised(IANet),
)

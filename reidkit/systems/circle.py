"""Circle loss: Sun et al. 2020, "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR.

The circle classifier alone, at its authors' scale 128 and margin 0.25; the joint-loss paper has it beside the triplet
loss, and is read there with fast-reid's 64 and 0.35. `circle` is their row of ResNet-50; `circle/mgn` is that of MGN
(Wang et al., ACM MM 2018), which the joint-loss paper's Table 4 quotes without saying so.

Readings: the article prints neither input size nor learning rate, and no batch norm between the pooled feature and the
classifier. BNNeck stays there on ResNet-50, as in all of this book's circle classifiers. Its MGN concatenates all
features for the one loss; ours has fast-reid's structure, with means where the original takes maxima.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.losses import JointLoss
from reidkit.models.backbone import ResNet50, load_initial_weights, scaled
from reidkit.models.heads import CircleSoftmax
from reidkit.models.pooling import pool, stripes
from reidkit.settings import Configuration
from reidkit.systems.joint_loss import ReIDNetwork
from reidkit.systems.system import Batch, Classes, Model, System, accuracy, seeded


class CircleConfig(Configuration):
    """One run with the circle loss alone."""

    system = "circle"

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    circle_scale: float = Field(128.0, gt=0, description="γ of the circle classifier")
    circle_margin: float = Field(0.25, gt=0, lt=1, description="m of the circle classifier")
    network: Literal["resnet50", "mgn"] = Field("resnet50", description="what the classifier stands on")

    @property
    def row_name(self) -> str:
        return "circle" if self.network == "resnet50" else f"circle/{self.network}"


class Output(NamedTuple):
    """What the loss needs from a batch of N images."""

    embedding: Tensor  # (N, 8 · 256)
    logits: Tensor  # (N, identities), with the circle loss's margins


class MGN(Model):
    """Multiple Granularity Network: three copies of ResNet-50's end see the whole, halves and thirds, and the whole.

    In training mode a call returns an `Output`, in evaluation mode the embedding (N, 8 · 256), float32.
    """

    def __init__(self, identities: int, config: CircleConfig) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing
        # The first branch, which cuts nothing, keeps the last stride of 2.
        first, *others = (
            ResNet50("none", last_stride, config.width_multiplier, config.residual_scale) for last_stride in (2, 1, 1)
        )
        self.backbone = first
        self.branches = nn.ModuleList(nn.Sequential(*net.layer3[1:], net.layer4) for net in others)
        channels, reduced = first.out_channels, scaled(256, config.width_multiplier)
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, reduced, bias=False), nn.BatchNorm1d(reduced), nn.ReLU())
            for _ in range(8)
        )
        self.classifier = CircleSoftmax(8 * reduced, identities, config.circle_scale, config.circle_margin)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output | Tensor:
        net = self.backbone
        shared = net.layer3[0](net.layer2(net.layer1(net.stem(images))))  # (N, 1024, H/16, W/16)
        maps = [net.layer4(net.layer3[1:](shared)), *(branch(shared) for branch in self.branches)]  # (N, 2048, h, w)
        pooled = [pool(x) for x in maps]  # three of (N, 2048)
        for cut, count in zip(maps[1:], (2, 3), strict=True):
            pooled += stripes(cut, count).unbind(2)  # and five of stripes
        reduced = [reduce(feature) for reduce, feature in zip(self.reduce, pooled, strict=True)]
        embedding = torch.cat(reduced, 1).float()
        return Output(embedding, self.classifier(embedding, labels)) if self.training else embedding

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output = self(batch.images, batch.labels)
        loss = F.cross_entropy(output.logits, batch.labels, label_smoothing=self.label_smoothing)
        with torch.no_grad():
            scores = self.classifier.scores(output.embedding)
        return {"total": loss, "accuracy": accuracy(scores, batch.labels)}


def build(config: CircleConfig, classes: Classes) -> ReIDNetwork | MGN:
    """The network of a run, freshly initialised from its seed."""
    network: ReIDNetwork | MGN
    with seeded(config.seed):
        if config.network == "mgn":
            network = MGN(classes.identities, config)
        else:
            network = ReIDNetwork(
                classes.identities,
                classifier="circle",
                width_multiplier=config.width_multiplier,
                last_stride=config.last_stride,
                circle_scale=config.circle_scale,
                circle_margin=config.circle_margin,
                residual_scale=config.residual_scale,
                objective=JointLoss(config.label_smoothing, use_triplet=False),
            )
    load_initial_weights(network.backbone, config.weights)
    if isinstance(network, MGN) and config.weights is not None:
        for branch in network.branches:
            branch.load_state_dict(nn.Sequential(*network.backbone.layer3[1:], network.backbone.layer4).state_dict())
    return network


SYSTEM = System(
    name="circle",
    title="Circle loss",
    article="sun2020circle",
    configuration=CircleConfig,
    rows={"circle": {}, "circle/mgn": {"network": "mgn"}},
    called={"circle": "ResNet-50 with circle loss", "circle/mgn": "Circle loss with MGN"},
    build=build,
)

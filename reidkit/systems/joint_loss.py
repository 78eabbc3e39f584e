"""Joint loss: Li & Wang 2021, "Person Re-Identification Based on Joint Loss and Multiple Attention Mechanism".

ResNet-50 with an attention module in its residual blocks, trained by cross-entropy, the triplet loss and a classifier
of the circle loss. Rows are the cells of its ablation, attention × loss, of which its Table 1 prints eight, and
controls that tell attention from what comes with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from reidkit.losses import JointLoss
from reidkit.models.attention import ATTENTION
from reidkit.models.backbone import ResNet50, load_initial_weights
from reidkit.models.heads import BNNeck, CircleSoftmax, LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import Configuration, nearest
from reidkit.systems.system import Batch, Classes, Model, System, accuracy, seeded


@dataclass(frozen=True)
class Objective:
    """What is minimised: cross-entropy, and what stands beside it. Figures call it by its title."""

    title: str
    triplet: bool = False
    classifier: Literal["linear", "circle"] = "linear"
    metric: Callable[[], nn.Module] | None = None  # another loss of (features, labels)


OBJECTIVES: dict[str, Objective] = {
    "ce": Objective("CE"),
    "ce+tri": Objective("CE + Tri", triplet=True),
    "ce+tri+cir": Objective("CE + Tri + Cir", triplet=True, classifier="circle"),
}
"""The losses by the names that settings and rows call them."""
LOSSES: dict[str, str] = {name: objective.title for name, objective in OBJECTIVES.items()}


class RunConfig(Configuration):
    """One run of the joint-loss paper: a cell of its ablation, a seed, and the settings."""

    system = "joint-loss"
    told_by_hash = False

    attention: str = Field("none", description="the module in the residual blocks, of `reidkit.models.ATTENTION`")
    loss: str = Field("ce", description="ce: cross-entropy; +tri: triplet loss beside it; +cir: circle classifier")
    decay_attention: bool = Field(
        True,
        title="{} weight decay on attention",
        description="whether the weights of attention modules are decayed as all others",
    )

    @field_validator("attention", "loss")
    @classmethod
    def _check_name(cls, name: str, info: ValidationInfo) -> str:
        known = ATTENTION if info.field_name == "attention" else OBJECTIVES
        if name not in known:
            raise ValueError(f"there is no such {info.field_name}{nearest(name, known)}; there are {', '.join(known)}")
        return name

    @field_validator("decay_attention")
    @classmethod
    def _check_decay(cls, decayed: bool, info: ValidationInfo) -> bool:
        return decayed or not attends(info.data)  # what plays no part is not told apart, and has one name

    @property
    def row_name(self) -> str:
        return f"{self.attention}/{self.loss}"

    @property
    def compares(self) -> bool:
        objective = OBJECTIVES[self.loss]
        return objective.triplet or objective.metric is not None


def attends(config: Mapping[str, Any]) -> bool:
    """Whether a run has attention modules, controls aside."""
    placement = ATTENTION.get(config.get("attention", "none"))
    return placement is not None and any(placement.blocks) and not placement.control


@dataclass(frozen=True)
class Cell:
    """One cell of the ablation grid, and the row of the paper's Table 1 that it is, if it is one."""

    attention: str
    loss: str
    row: str | None = None

    @property
    def name(self) -> str:
        return f"{self.attention}/{self.loss}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"attention": self.attention, "loss": self.loss}


_PRINTED: dict[str, str] = {
    "none/ce": "Baseline",
    "none/ce+tri": "Baseline(+Tri)",
    "se/ce": "Baseline(+SE)",
    "danet/ce": "Baseline(+DANet)",
    "nonlocal/ce": "Baseline(+Non-local)",
    "eca/ce": "Baseline(+ECA)",
    "none/ce+tri+cir": "Baseline(+Tri Cir)",
    "cbam/ce+tri+cir": "Ours",
}
GRID: dict[str, Cell] = {
    f"{attention}/{loss}": Cell(attention, loss, _PRINTED.get(f"{attention}/{loss}"))
    for attention, placement in ATTENTION.items()
    if not placement.control
    for loss in LOSSES
}
"""Every attention module with every loss."""
TABLE_1: tuple[str, ...] = tuple(_PRINTED)

CONTROLS: dict[str, dict[str, Any]] = {
    "half/ce": {"attention": "half", "loss": "ce"},
    "quarter/ce+tri+cir": {"attention": "quarter", "loss": "ce+tri+cir"},
    "none/ce/identities": {"attention": "none", "loss": "ce", "sampling": "identities"},
    "none/ce/pairs": {"attention": "none", "loss": "ce", "sampling": "identities", "images_per_identity": 2},
    "none/ce/full-start": {"attention": "none", "loss": "ce", "residual_scale": 1.0},
    "se/ce/full-start": {"attention": "se", "loss": "ce", "residual_scale": 1.0, "decay_attention": True},
    **{
        f"{cell.name}/decayed": {**cell.settings, "decay_attention": True}
        for cell in GRID.values()
        if cell.attention != "none" and (cell.loss == "ce" or cell.row)
    },
}
"""What tells attention from a branch that is merely scaled, a loss from its batches, the start from both, and attention
from what weight decay has left of it."""


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    features: Tensor  # (N, C) pooled, before BNNeck: the triplet loss
    embedding: Tensor  # (N, C) after BNNeck: retrieval
    logits: Tensor  # (N, num_classes): cross-entropy


class ReIDNetwork(Model):
    """The paper's Fig. 2: ResNet-50 with attention, global average pooling, BNNeck, and a linear or circle classifier.

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
        objective: JointLoss | None = None,
        decay_attention: bool = True,
    ) -> None:
        super().__init__()
        self.objective, self.decay_attention = objective or JointLoss(), decay_attention
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
        features = pool(maps)  # (N, C)
        embedding: Tensor = self.neck(features)
        if not self.training:
            return embedding
        return Output(features, embedding, self.classifier(embedding, labels))

    def undecayed(self) -> Sequence[nn.Module]:
        return () if self.decay_attention else self.backbone.attention_modules()

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        output = self(batch.images, batch.labels)
        with torch.no_grad():  # the classes' scores before any margin, which the logits of training hold
            scores = self.classifier.scores(output.embedding)
        return {**self.objective(output, batch.labels), "accuracy": accuracy(scores, batch.labels)}


def build(config: RunConfig, classes: Classes) -> ReIDNetwork:
    """The network of a run, freshly initialised from its seed."""
    objective = OBJECTIVES[config.loss]
    with seeded(config.seed):
        network = ReIDNetwork(
            classes.identities,
            attention=config.attention,
            classifier=objective.classifier,
            width_multiplier=config.width_multiplier,
            last_stride=config.last_stride,
            circle_scale=config.circle_scale,
            circle_margin=config.circle_margin,
            residual_scale=config.residual_scale,
            decay_attention=config.decay_attention,
            objective=JointLoss(
                config.label_smoothing,
                config.triplet_margin,
                objective.triplet,
                objective.metric() if objective.metric else None,
            ),
        )
    load_initial_weights(network.backbone, config.weights)
    return network


SYSTEM = System(
    name="joint-loss",
    title="Joint loss",
    article="li2021joint",
    configuration=RunConfig,
    rows={name: cell.settings for name, cell in GRID.items()} | CONTROLS,
    called={
        "half/ce": "the constant ½ (control)",
        "quarter/ce+tri+cir": "the constant ¼ with the joint loss (control)",
        "none/ce/identities": "batches of P×K (control)",
        "none/ce/pairs": "batches of P×2 (control)",
        "full-start": "from γ = 1",
    },
    build=build,
    choices={"Attention": {name: p.title for name, p in ATTENTION.items() if not p.control}, "Loss": LOSSES},
    row_groups={"table 1": TABLE_1, "grid": tuple(GRID), "controls": tuple(CONTROLS)},
    idle=lambda config: frozenset() if attends(config) else frozenset({"decay_attention"}),
    # Fast-reid's recipe of 60 epochs is the one that the circle classifier's scale and margin come from. From random
    # weights, as the ablation is trained, neither loss trains unless residual branches start weak, and behind weak
    # branches a decay that Adam scales up takes all weights of attention to zero before they learn.
    reading={
        "epochs": 60,
        "schedule": "cosine",
        "cosine_from": 30,
        "residual_scale": 0.0,
        "decay_attention": False,
    },
)

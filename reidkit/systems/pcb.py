"""PCB: Sun et al. 2018, "Beyond Part Models: Person Retrieval with Refined Part Pooling", ECCV.

The Part-based Convolutional Baseline: ResNet-50 whose map is cut into horizontal stripes, each of them pooled, reduced
and classified by itself; the stripes side by side are the embedding.

Published rows are of 384×128 pixels, six stripes, last stride 1 and ImageNet weights, where base layers learn at a
tenth of the rate of new ones. Readings: with random weights there are no base layers, so all learn at one rate. The
article prints the mean of the stripes' cross-entropies, its authors' code adds them up: so do we. The embedding is the
stripes before the reduction, as in that code; the reduced ones are the article's cheaper choice.

`pcb/one-stripe` is the control: the same network without parts, the article's own baseline (its "IDE").

PCB+RPP, Refined Part Pooling, then lets a part classifier say for every place which part it belongs to: PCB is trained
first, then the part classifier alone, then everything at a tenth of the rate. That is the article's "induced training";
its authors' code trains everything at once after PCB. We give the three stages 55, 15 and 30 % of the epochs.

Other people's code: the authors' own cuts a map whose height is no multiple of the stripes into equal windows that
overlap, torchreid pools it adaptively, as we do. Both agree where the height is a multiple.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.models.backbone import scaled, scaled_dropout
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import average, stripe_shares, stripes
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised
from reidkit.training import Stage


class PCBConfig(Configuration):
    """One run of PCB."""

    system = "pcb"

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    stripes: int = Field(6, ge=1, description="the parts that a map is cut into")
    refined: bool = Field(False, description="with Refined Part Pooling: PCB+RPP")

    @property
    def row_name(self) -> str:
        whole = "/one-stripe" if self.stripes == 1 else ""
        return f"pcb+rpp{whole}" if self.refined else f"pcb{whole}"


class PartClassifier(nn.Module):
    """The share of each part in every place: maps (N, C, h, w) -> (N, parts, h, w), float32, which add up to 1."""

    def __init__(self, channels: int, parts: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(channels // 8, parts, 1)
        for parameter in self.classify.parameters():
            nn.init.normal_(parameter, std=0.001)  # all parts nearly alike at first

    def forward(self, maps: Tensor) -> Tensor:
        grouped = average(self.dropout(maps).unflatten(1, (-1, 8)), 2).squeeze(2)  # (N, C/8, h, w)
        scores: Tensor = self.classify(grouped - average(grouped, 2, 3))
        return scores.float().softmax(1)


def pool_parts(maps: Tensor, shares: Tensor) -> Tensor:
    """Maps (N, C, h, w), shares (N, parts, h, w) -> (N, C, parts): `parts` times the mean of maps times shares.

    Equal shares give every part the mean of the map.
    """
    with torch.autocast(maps.device.type, enabled=False):
        weights = shares.flatten(2).float() * (shares.shape[1] / shares[0, 0].numel())
        return maps.flatten(2).float() @ weights.mT


class PCB(Model):
    """In training mode a call returns logits (N, stripes, identities), else the embedding (N, stripes · C), float32."""

    def __init__(self, identities: int, config: PCBConfig) -> None:
        super().__init__()
        self.stripes, self.label_smoothing = config.stripes, config.label_smoothing
        self.backbone = backbone(config)
        channels, reduced = self.backbone.out_channels, scaled(256, config.width_multiplier)
        self.dropout = nn.Dropout(scaled_dropout(0.5, config.width_multiplier))
        shared = nn.Conv1d(channels, reduced, 1, bias=False)
        nn.init.kaiming_normal_(shared.weight, mode="fan_out")
        self.reduce = nn.Sequential(shared, nn.BatchNorm1d(reduced), nn.ReLU())
        self.refine = PartClassifier(channels, config.stripes, self.dropout.p) if config.refined else None
        self.refining = config.refined
        self.classifiers = nn.ModuleList(
            LinearClassifier(reduced, identities, bias=True) for _ in range(config.stripes)
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.backbone(images)  # (N, C, h, w)
        if self.refine is not None and self.refining:
            parts = pool_parts(maps, self.refine(maps))  # (N, C, stripes)
        else:
            parts = stripes(maps, self.stripes)
        if not self.training:
            return F.normalize(parts).flatten(1)  # each stripe of length 1, so that their cosines count alike
        reduced = self.reduce(self.dropout(parts))  # (N, C/8, stripes)
        logits = [classify(part) for classify, part in zip(self.classifiers, reduced.unbind(2), strict=True)]
        return torch.stack(logits, 1)

    def focus(self, images: Tensor) -> Tensor:
        """Of each stripe, (N, stripes, h, w), or of each refined part."""
        maps = self.backbone(images)
        if self.refine is not None:
            return self.refine(maps)  # type: ignore[no-any-return]
        rows = stripe_shares(maps.shape[2], self.stripes, maps.device)  # (stripes, h)
        return rows[None, :, :, None].expand(len(maps), -1, -1, maps.shape[3])

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        logits = self(batch.images)
        of_stripes = [F.cross_entropy(z, batch.labels, label_smoothing=self.label_smoothing) for z in logits.unbind(1)]
        return {"total": torch.stack(of_stripes).sum(), "accuracy": accuracy(logits.sum(1), batch.labels)}

    def stages(self) -> Sequence[Stage]:
        if self.refine is None:
            return (Stage(),)
        return (
            Stage(0.55, enter=lambda: self.set_refining(False)),
            Stage(0.15, {self.refine: 1.0}, enter=lambda: self.set_refining(True)),
            Stage(0.30, {self: 0.1}),
        )

    def set_refining(self, refining: bool) -> None:
        self.refining = refining


SYSTEM = System(
    name="pcb",
    title="PCB",
    article="sun2018pcb",
    configuration=PCBConfig,
    rows={"pcb": {}, "pcb+rpp": {"refined": True}, "pcb/one-stripe": {"stripes": 1}},
    called={"pcb+rpp": "PCB+RPP", "pcb/one-stripe": "PCB with one stripe"},
    build=initialised(PCB),
)

"""BFE: Dai et al. 2019, "Batch DropBlock Network for Person Re-identification and Beyond", ICCV (BDB).

"Batch Feature Erasing" was the first version's name, under which SAN-GAL's Table 2 quotes it. Beside a plain global
branch stands one that loses, in training, one and the same stripe of the map in every image of a batch, so that it must
learn from the rest of the body.

Published rows are of 384×128 pixels, last stride 1, ImageNet weights, and cut-out of images, for which there is the
recipe's random erasing where a profile has it. Readings: the article drops 0.3 of the height, its authors' code 0.33,
as we do, over the whole width.

Other people's code: under DataParallel each GPU draws a stripe of its own, and users measured less on two GPUs than the
authors on four. Ours is one for all processes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.losses import BatchHardTripletLoss
from reidkit.models.backbone import Bottleneck, scaled
from reidkit.models.pooling import maximum, pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised


class BFEConfig(Configuration):
    """One run of BFE."""

    system = "bfe"
    ranked_by = "euclidean"
    compares_images = True

    dropped: float = Field(0.33, ge=0, lt=1, description="share of the map's height that a batch loses")


def drop_stripe(maps: Tensor, share: float) -> Tensor:
    """Maps (N, C, H, W) without a stripe of that share of H, as high as it is rounded, at one random place for all."""
    height = maps.shape[2]
    dropped = round(share * height)
    top = torch.randint(height - dropped + 1, (), device=maps.device)
    row = torch.arange(height, device=maps.device)
    kept = (row < top) | (row >= top + dropped)  # (H,)
    return maps * kept[:, None]


class Branch(NamedTuple):
    """What the losses need from one branch and a batch of N images."""

    features: Tensor  # (N, D): triplet loss, retrieval
    logits: Tensor  # (N, identities): cross-entropy


class BFE(Model):
    """In training mode a call returns the global and the drop `Branch`; in evaluation mode the embedding (N, 1536)."""

    def __init__(self, identities: int, config: BFEConfig) -> None:
        super().__init__()
        self.dropped, self.label_smoothing = config.dropped, config.label_smoothing
        self.triplet = BatchHardTripletLoss(margin=None)  # the soft margin
        self.backbone = backbone(config)
        channels = self.backbone.out_channels
        few, many = (scaled(width, config.width_multiplier) for width in (512, 1024))

        self.reduce_global = nn.Sequential(nn.Linear(channels, few), nn.BatchNorm1d(few), nn.ReLU())
        self.classify_global = nn.Linear(few, identities)

        self.block = Bottleneck(channels, channels // Bottleneck.expansion, 1, nn.Identity(), nn.Identity())
        nn.init.constant_(self.block.bn3.weight, config.residual_scale)
        self.reduce_dropped = nn.Sequential(nn.Linear(channels, many), nn.BatchNorm1d(many), nn.ReLU())
        self.classify_dropped = nn.Linear(many, identities)

    def forward(self, images: Tensor) -> tuple[Branch, Branch] | Tensor:
        maps = self.backbone(images)  # (N, 2048, h, w)
        pooled = pool(maps)  # (N, 2048)
        whole = self.reduce_global(pooled).float()  # (N, 512)

        rest = self.block(maps)  # (N, 2048, h, w)
        if self.training:
            rest = drop_stripe(rest, self.dropped)
        rest = self.reduce_dropped(maximum(rest.flatten(2), 2).squeeze(2)).float()  # (N, 1024)

        if not self.training:
            return torch.cat([whole, rest], 1)
        return Branch(whole, self.classify_global(whole)), Branch(rest, self.classify_dropped(rest))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        branches, labels = self(batch.images), batch.labels
        smoothing = self.label_smoothing
        entropies = [F.cross_entropy(branch.logits, labels, label_smoothing=smoothing) for branch in branches]
        terms = {
            "cross-entropy": torch.stack(entropies).sum(),
            "triplet": torch.stack([self.triplet(branch.features, labels) for branch in branches]).sum(),
        }
        logits = branches[0].logits + branches[1].logits
        return {**terms, "total": terms["cross-entropy"] + terms["triplet"], "accuracy": accuracy(logits, labels)}


SYSTEM = System(
    name="bfe",
    title="BFE (BDB)",
    article="dai2019bdb",
    configuration=BFEConfig,
    rows={"bfe": {}},
    called={"bfe": "BFE"},
    build=initialised(BFE),
)

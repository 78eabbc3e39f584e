"""DaRe: Wang et al. 2018, "Resource Aware Person Re-identification across Multiple Resolutions", CVPR.

Each of the four stages of ResNet-50 gives an embedding of its own, so that a simple case could stop early; a weighted
sum of the four is the fifth. Triplet losses train all five, and nothing else does.

The rows that the joint-loss paper quotes are DaRe(De)+RE: DenseNet-201, last stride 2, 256×128 pixels, ImageNet weights
and random erasing; that of ResNet-50 is in its authors' code, as here. The test without early exits is built. Readings:
the sum starts with equal weights; the exponential fall of the rate and the other β1 of its second half are left to the
common recipe.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reidkit.losses import BatchHardTripletLoss
from reidkit.models.backbone import scaled
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, backbone, initialised


class DaReConfig(Configuration):
    """One run of DaRe."""

    system = "dare"
    ranked_by = "euclidean"
    compares_images = True


class DaRe(Model):
    """In training mode a call returns the embeddings (N, 5, 128) of the four stages and their weighted sum.

    In evaluation mode it is that sum alone, the embedding (N, 128), float32.
    """

    def __init__(self, config: DaReConfig) -> None:
        super().__init__()
        self.triplet = BatchHardTripletLoss(margin=None)  # the soft margin
        self.backbone = backbone(config)
        channels = self.backbone.out_channels
        wide, length = scaled(1024, config.width_multiplier), scaled(128, config.width_multiplier)
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Linear(channels // part, wide), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, length))
            for part in (8, 4, 2, 1)
        )
        self.fusion = nn.Parameter(torch.full((4,), 0.25))

    def forward(self, images: Tensor) -> Tensor:
        maps, embeddings = self.backbone.stem(images), []
        for number, embed in enumerate(self.embed, start=1):
            maps = self.backbone.get_submodule(f"layer{number}")(maps)  # (N, 256 · 2^(number - 1), h, w)
            embeddings.append(embed(pool(maps)).float())  # (N, 128)
        stages = torch.stack(embeddings, 1)  # (N, 4, 128)
        fused = (stages * self.fusion[:, None]).sum(1, keepdim=True)
        return torch.cat([stages, fused], 1) if self.training else fused.squeeze(1)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        embeddings = self(batch.images)
        triplets = [self.triplet(embedding, batch.labels) for embedding in embeddings.unbind(1)]
        return {"total": torch.stack(triplets).sum(), "fused triplet": triplets[-1]}


SYSTEM = System(
    name="dare",
    title="DaRe",
    article="wang2018dare",
    configuration=DaReConfig,
    rows={"dare": {}},
    build=initialised(lambda _, config: DaRe(config)),
)

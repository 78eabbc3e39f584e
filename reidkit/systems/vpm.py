"""VPM: Sun et al. 2019, "Perceive Where to Focus: Learning Visibility-aware Part-level Features …", CVPR.

The Visibility-aware Part Model learns which regions of a person a picture shows, from pictures that it cuts itself, and
compares two pictures by the regions that both show.

Published rows are of last stride 1 and ImageNet weights. No code of its authors is public, so much is a reading:
regions are equal stripes of the whole person; a training picture keeps between half of its height and all of it, at a
random place; the three losses have equal weights, and in training only regions inside the cut count. Region features
are reduced as PCB's are, but for the ReLU: behind it, from random weights, all of them went to zero with some seeds.
The distance is the article's, and not one between vectors.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.evaluation.ranking import Metric
from reidkit.losses import batch_hard, pair_masks
from reidkit.models.backbone import scaled
from reidkit.models.heads import LinearClassifier
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised


class VPMConfig(Configuration):
    """One run of VPM."""

    system = "vpm"
    compares_images = True

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    regions: int = Field(6, ge=1, description="the stripes of a whole person")
    least_height: float = Field(0.5, gt=0, le=1, description="the least share of a training picture's height kept")

    @property
    def metric(self) -> Metric:
        return functools.partial(embedding_distances, regions=self.regions)


def visibility_and_features(maps: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """C_i and f_i: how much of each region there is, (N, regions), and the mean of its places, (N, regions, C).

    Maps (N, C, h, w); shares (N, regions, h, w), the probabilities P(R_i | g) that a place g is of region i.
    """
    with torch.autocast(maps.device.type, enabled=False):
        shares = shares.flatten(2).float()  # (N, regions, hw)
        visibility = shares.sum(2)
        return visibility, shares @ maps.flatten(2).float().mT / visibility.unsqueeze(2).clamp_min(1e-6)


def region_distances(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """D = Σ_i C_i C'_i ‖f_i - f'_i‖ / Σ_i C_i C'_i of all pairs: visibilities and features of A and B -> (A, B)."""
    (visible, features), (others_visible, others_features) = first, second
    distances = torch.cdist(features.transpose(0, 1), others_features.transpose(0, 1))  # (regions, A, B)
    weights = visible.T.unsqueeze(2) * others_visible.T.unsqueeze(1)  # (regions, A, B)
    return (weights * distances).sum(0) / weights.sum(0).clamp_min(1e-6)


def embedding_distances(query: Tensor, gallery: Tensor, regions: int) -> Tensor:
    """`region_distances` of embeddings (Q, regions · (D + 1)) and (G, …): of each region its feature and visibility."""
    parts = [embedding.unflatten(1, (regions, -1)) for embedding in (query, gallery)]
    first, second = ((part[..., -1], part[..., :-1]) for part in parts)
    return region_distances(first, second)


def cut(images: Tensor, least_height: float) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, 3, H, W) cut in height and stretched to H again; where each was cut, shares (N,): top and height."""
    height = least_height + (1 - least_height) * torch.rand(len(images), device=images.device)
    top = (1 - height) * torch.rand_like(height)
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = 1, height
    theta[:, 1, 2] = 2 * top + height - 1  # the middle, from -1 to 1
    with torch.autocast(images.device.type, enabled=False):
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False), top, height


def region_of_rows(top: Tensor, height: Tensor, regions: int, rows: int) -> Tensor:
    """Which region of the whole person the middle of each row of a cut image's map is in, int64 (N, rows)."""
    middle = (torch.arange(rows, device=top.device) + 0.5) / rows
    return (regions * (top[:, None] + height[:, None] * middle)).long().clamp(max=regions - 1)


class Output(NamedTuple):
    """What the losses need from a batch of N images."""

    scores: Tensor  # (N, regions, h, w): of the locator
    visibility: Tensor  # (N, regions)
    features: Tensor  # (N, regions, D): triplet loss, retrieval
    logits: Tensor  # (N, regions, identities)


class VPM(Model):
    """In training mode a call returns an `Output`, in evaluation mode the embedding (N, regions · (D + 1))."""

    def __init__(self, identities: int, config: VPMConfig) -> None:
        super().__init__()
        self.regions, self.least_height = config.regions, config.least_height
        self.label_smoothing, self.margin = config.label_smoothing, config.triplet_margin
        self.backbone = backbone(config)
        channels, reduced = self.backbone.out_channels, scaled(256, config.width_multiplier)
        self.locate = nn.Conv2d(channels, config.regions, 1)
        self.reduce = nn.Sequential(nn.Conv1d(channels, reduced, 1, bias=False), nn.BatchNorm1d(reduced))
        self.classifiers = nn.ModuleList(
            LinearClassifier(reduced, identities, bias=True) for _ in range(config.regions)
        )

    def forward(self, images: Tensor) -> Output | Tensor:
        maps = self.backbone(images)  # (N, C, h, w)
        scores = self.locate(maps).float()  # (N, regions, h, w)
        visibility, means = visibility_and_features(maps, scores.softmax(1))
        features = self.reduce(means.mT).mT.float()  # (N, regions, D)
        if not self.training:
            return torch.cat([features, visibility.unsqueeze(2)], 2).flatten(1)
        logits = [classify(part) for classify, part in zip(self.classifiers, features.unbind(1), strict=True)]
        return Output(scores, visibility, features, torch.stack(logits, 1))

    def focus(self, images: Tensor) -> Tensor:
        """Of each region, (N, regions, h, w): P(R_i | g). Its sum over the places is the region's visibility."""
        return self.locate(self.backbone(images)).float().softmax(1)  # type: ignore[no-any-return]

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        images, top, height = cut(batch.images, self.least_height)
        output, labels = self(images), batch.labels
        rows, columns = output.scores.shape[2:]
        region = region_of_rows(top, height, self.regions, rows)  # (N, h)
        located = F.cross_entropy(output.scores, region.unsqueeze(2).expand(-1, -1, columns))

        shown = (region.unsqueeze(1) == torch.arange(self.regions, device=region.device)[:, None]).any(2).float()
        entropies = F.cross_entropy(  # (N, regions)
            output.logits.mT.float(),
            labels[:, None].expand_as(shown),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        identified = (entropies * shown).sum(1).mean()

        regions = output.visibility * shown, output.features
        distances = region_distances(regions, regions)  # (N, N)
        together = shown @ shown.T > 0  # pairs that show a region in common
        positive, negative = (mask & together for mask in pair_masks(labels))
        triplet = batch_hard(distances, positive, negative, self.margin)

        terms = {"regions": located, "cross-entropy": identified, "triplet": triplet}
        logits = (output.logits * shown.unsqueeze(2)).sum(1)
        return {**terms, "total": located + identified + triplet, "accuracy": accuracy(logits, labels)}


SYSTEM = System(
    name="vpm",
    title="VPM",
    article="sun2019vpm",
    configuration=VPMConfig,
    rows={"vpm": {}},
    build=initialised(VPM),
)

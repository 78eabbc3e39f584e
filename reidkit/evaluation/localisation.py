"""Does a heat map lie where the attribute is? Three measures against a region, beside two maps that know nothing.

- Pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018): is the map's maximum
  inside the region, or at most `tolerance` pixels from it? Where several pixels share the maximum, the share of them
  that is: what is expected of one of them drawn by lot.
- Energy (Wang et al., "Score-CAM", CVPR Workshops 2020): the share of the map's sum that is inside the region.
- IoU: the pixels of at least `threshold` times the maximum, against the region; intersection over union.

The same measures of two other maps say what a value is worth. *Random* is a constant map: its expected hit, its energy
and its IoU are all the region's share of the image's area. *Centre* is a Gaussian in the middle of the image, with a
standard deviation of a quarter of the height and of the width: what is known of a person before looking.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reidkit.evaluation.bootstrap import RESAMPLES, Clusters, bootstrap
from reidkit.tensors import Values, as_tensor

_IMAGES_AT_ONCE = 64  # their upsampled maps then stay in the cache
_TIE = 1e-5  # values this close, relative to the maximum, are equal: upsampling rounds equal ones apart
_MAP, _RANDOM, _CENTRE = range(3)


class Interval(NamedTuple):
    """A mean over images and its 95 % interval, by bootstrap over them or whom they show; nan where no image counts."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Measure:
    """One measure, a fraction in 0…1, of the maps and of the two baselines on the same images.

    scores: (N, 3) float64 of the map, random and centre for each image; nan where the region is empty.
    over_random, over_centre: differences to the baselines, paired by image.
    """

    scores: Tensor
    map: Interval
    random: Interval
    centre: Interval
    over_random: Interval
    over_centre: Interval


@dataclass(frozen=True)
class Localisation:
    """How well the heat maps of one attribute lie where it is."""

    pointing: Measure
    energy: Measure
    iou: Measure
    images: int  # that count: the attribute is in sight
    clusters: int  # in which they were drawn anew: people, or as many as images
    blank: int  # of these, how many have an all-zero map, which points nowhere and scores 0 in each measure

    def rows(self) -> list[dict[str, Any]]:
        """A row of a table per measure: the means, and the intervals of the map and of what it has over the others."""
        rows = []
        for name in ("pointing", "energy", "iou"):
            measure: Measure = getattr(self, name)
            row: dict[str, Any] = {"measure": name, "images": self.images, "clusters": self.clusters}
            row |= {"blank": self.blank}
            row |= {"random": measure.random.mean, "centre": measure.centre.mean}
            for column in ("map", "over_random", "over_centre"):
                interval, title = getattr(measure, column), column.replace("_", " ")
                row |= {title: interval.mean, f"{title} low": interval.low, f"{title} high": interval.high}
            rows.append(row)
        return rows


@torch.no_grad()
def evaluate_localisation(
    maps: Values,
    regions: Values,
    *,
    tolerance: float = 0.0,
    threshold: float = 0.5,
    clusters: Clusters = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Localisation:
    """Measure the heat maps (N, h, w) of one attribute against its regions (N, H, W), which cover the same view.

    maps: floating, at least 0, of any scale; upsampled bilinearly to (H, W). regions: bool; an image whose region is
    empty is left out. tolerance: in pixels of the regions, Euclidean; 0 asks for the region itself. threshold: above 0,
    at most 1, relative to each map's maximum.

    The intervals cover the choice of images, drawn anew `resamples` times (the same for all measures of one call), not
    that of a network. Images of one person are alike: `clusters` (N,) says whom each shows, and people are drawn with
    all of theirs, see `bootstrap`. Tensors, NumPy arrays or lists are taken; results are on the CPU. Raises ValueError
    (a shape, a value) and TypeError (a dtype).
    """
    maps, regions = as_tensor("maps", maps), as_tensor("regions", regions)
    _check(maps, regions, tolerance, threshold, resamples)
    if clusters is not None and len(clusters) != len(maps):
        raise ValueError(f"clusters: expected one for each of {len(maps)} images, got {len(clusters)}")
    size = regions.shape[1], regions.shape[2]
    constant, centre = torch.ones(1, size[0] * size[1], device=maps.device), _centre_map(size).to(maps.device)
    parts = []  # (images, measures, kinds of map)
    for some, inside in zip(maps.split(_IMAGES_AT_ONCE), regions.split(_IMAGES_AT_ONCE), strict=True):
        region, near = inside.flatten(1).float(), _dilate(inside, tolerance).flatten(1).float()  # (B, H·W)
        upsampled = F.interpolate(_scaled(some)[:, None], size, mode="bilinear").flatten(1)
        kinds = [_scores(shown, region, near, threshold) for shown in (upsampled, constant, centre)]
        parts.append(torch.stack(kinds, dim=2).double().cpu())
    scores = torch.cat(parts).masked_fill(~regions.flatten(1).any(1).cpu()[:, None, None], torch.nan)  # (N, 3, 3)
    counted = ~scores[:, 0, 0].isnan()
    blank = counted & (maps.flatten(1).amax(1) == 0).cpu()
    differences = scores[..., [_MAP]] - scores[..., [_RANDOM, _CENTRE]]
    shown = None if clusters is None else np.asarray(clusters)[counted.numpy()]
    intervals = _intervals(torch.cat([scores, differences], dim=2)[counted].flatten(1), shown, resamples, seed)
    drawn = int(counted.sum()) if shown is None else len(np.unique(shown))
    pointing, energy, iou = (Measure(scores[:, m], *intervals[5 * m : 5 * m + 5]) for m in range(3))
    return Localisation(pointing, energy, iou, int(counted.sum()), drawn, int(blank.sum()))


def _scaled(maps: Tensor) -> Tensor:
    """Maps (N, h, w) of maximum 1, float32; all-zero ones stay."""
    peaks = maps.amax((1, 2), keepdim=True)
    return (maps / torch.where(peaks > 0, peaks, 1)).float()


def _centre_map(size: tuple[int, int]) -> Tensor:
    """A Gaussian (1, H·W) in the middle of the image."""
    rows, columns = (((torch.arange(n) + 0.5) / n - 0.5) / 0.25 for n in size)  # in standard deviations
    return torch.exp(-(rows[:, None].square() + columns.square()) / 2).view(1, -1)


def _dilate(regions: Tensor, distance: float) -> Tensor:
    """What is at most `distance` pixels from a region (N, H, W), bool."""
    if distance < 1:
        return regions
    reach = int(distance)
    offset = torch.arange(-reach, reach + 1, device=regions.device)
    disc = offset[:, None].square() + offset.square() <= distance**2
    return F.conv2d(regions[:, None].float(), disc[None, None].float(), padding=reach)[:, 0] > 0.5


def _scores(maps: Tensor, inside: Tensor, near: Tensor, threshold: float) -> Tensor:
    """Pointing, energy and IoU (N, 3) of maps (N or 1, P) in regions and what is near them (N, P), all floating."""
    peaks = maps.amax(1, keepdim=True) * (1 - _TIE)
    highest, high = (maps >= peaks).float(), (maps >= threshold * peaks).float()
    shared = _dot(high, inside)
    pointing = _dot(highest, near) / highest.sum(1)
    energy = _dot(maps, inside) / maps.sum(1)
    iou = shared / (high.sum(1) + inside.sum(1) - shared)
    return torch.where(peaks > 0, torch.stack([pointing, energy, iou], dim=1), 0.0)  # a blank map points nowhere


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row by row: (N or 1, P) and (N, P) to (N,)."""
    return b @ a[0] if len(a) == 1 else torch.einsum("np,np->n", a, b)


def _intervals(scores: Tensor, clusters: Clusters, resamples: int, seed: int) -> list[Interval]:
    """The mean of each column of scores (M, C) with its percentile interval; the same clusters are drawn for all."""
    if not len(scores):
        return [Interval(np.nan, np.nan, np.nan)] * scores.shape[1]
    bounds = bootstrap(scores.numpy(), clusters=clusters, resamples=resamples, seed=seed)
    return [Interval(*map(float, interval)) for interval in zip(scores.mean(0).tolist(), *bounds, strict=True)]


def _check(maps: Tensor, regions: Tensor, tolerance: float, threshold: float, resamples: int) -> None:
    if maps.ndim != 3 or regions.ndim != 3 or len(maps) != len(regions):
        shapes = f"{tuple(maps.shape)} and {tuple(regions.shape)}"
        raise ValueError(f"maps and regions have shapes {shapes}; expected (N, h, w) and (N, H, W)")
    if not maps.shape[1:].numel() or not regions.shape[1:].numel():
        raise ValueError(f"maps are {tuple(maps.shape[1:])}, regions {tuple(regions.shape[1:])}; expected some pixels")
    if not maps.is_floating_point():
        raise TypeError(f"maps are {maps.dtype}; expected floating-point numbers")
    if regions.dtype != torch.bool:
        raise TypeError(f"regions are {regions.dtype}; expected bool")
    if maps.device != regions.device:
        raise ValueError(f"maps are on {maps.device}, regions on {regions.device}; expected one device")
    bad = (~((maps >= 0) & maps.isfinite()).flatten(1).all(1)).nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(f"{len(bad)} maps are negative or not finite, the first that of image {bad[0]}")
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance is {tolerance}; expected pixels, at least 0")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; expected a fraction above 0 and at most 1")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected at least 1")

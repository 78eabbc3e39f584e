"""What the attention of a trained network looks at, and what it is worth that it looks.

Attention weighs by what it sees. A trained network can be asked how far its weights differ from image to image, and
whether it ranks worse when they no longer do: when each is held at its mean over the training images, whoever is shown.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from reidkit.cells import to_cells
from reidkit.data.resident import Images
from reidkit.models.attention import Attention
from reidkit.settings import Configuration
from reidkit.systems.system import Material, by_query, embed, rank_features
from reidkit.training import extract_features

EXAMPLES = 12  # queries whose maps a record keeps
BATCH = 64  # weights of all modules are read for so many images at once


def attention_of(network: nn.Module) -> dict[str, Attention]:
    """The attention modules of a network, by name, in its order."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Attention)}


def tables(network: nn.Module, material: Material, config: Configuration) -> dict[str, pd.DataFrame]:
    """What a record keeps of a trained network's attention; nothing of a network without.

    - `attention`: a row per module: what it weighs, "channels" or "places", the `mean` of its weights over the training
      images, and in shares of that mean their standard deviations `within` an image (between places or channels, of the
      mean image) and `between` images (at one place or channel).
    - `frozen`: as `queries` of the ranking, with all weights held at their means.
    - `looks`: of EXAMPLES queries, evenly spread, a row per module that weighs places, with the map of
      its weights as of `to_cells`.
    """
    if not attention_of(network):
        return {}
    found = summarise(network, material.images["train"], config)
    lines = [
        {"module": name, "weighs": module.weighs, "mean": weights.average}
        | {"within": weights.within, "between": weights.between}
        for (name, module), weights in zip(attention_of(network).items(), found.values(), strict=True)
    ]
    with frozen(network, {name: weights.mean for name, weights in found.items()}):
        query, gallery = (embed(network, material, config, split) for split in ("query", "gallery"))
    ranking = rank_features(query, gallery, material.dataset, metric=config.metric)
    return {
        "attention": pd.DataFrame(lines).round(6),
        "frozen": by_query(ranking, material.dataset),
        "looks": looks(network, material, config),
    }


@dataclass(frozen=True)
class Weights:
    """Of one module over many images: the mean (1, …) of its weights, and their variance between images (1, …)."""

    mean: Tensor
    variance: Tensor

    @property
    def average(self) -> float:
        return float(self.mean.mean())

    @property
    def within(self) -> float:
        return float(self.mean.std(correction=0)) / (self.average or 1.0)

    @property
    def between(self) -> float:
        return float(self.variance.mean().sqrt()) / (self.average or 1.0)


def summarise(network: nn.Module, images: Images, config: Configuration) -> dict[str, Weights]:
    """Mean and variance over all images of the weights of each attention module, by name."""
    sums: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}

    def add(name: str, weights: Tensor) -> None:
        weights = weights.double()
        sums[name] = weights.sum(0, keepdim=True) + sums.get(name, 0)
        squares[name] = weights.square().sum(0, keepdim=True) + squares.get(name, 0)

    with watched(network, add):
        extract_features(network, images, config, batch_size=BATCH)
    means = {name: total / len(images) for name, total in sums.items()}
    variances = {name: (squares[name] / len(images) - mean.square()).clamp(min=0) for name, mean in means.items()}
    return {name: Weights(mean.float(), variances[name].float()) for name, mean in means.items()}


def looks(network: nn.Module, material: Material, config: Configuration) -> pd.DataFrame:
    """Maps of what the attention of a network looks at in EXAMPLES queries; see `tables`."""
    split = material.dataset.query
    chosen = torch.linspace(0, len(split) - 1, min(EXAMPLES, len(split))).round().long()
    rows: list[dict[str, Any]] = []

    def keep(name: str, weights: Tensor) -> None:
        module = network.get_submodule(name)
        assert isinstance(module, Attention)
        if module.weighs == "places":
            for image, map_ in zip(chosen.tolist(), place_maps(weights, shapes[name]), strict=True):
                rows.append({"query": split.paths[image].name, "module": name} | to_cells(map_))

    with watched(network, keep) as shapes:
        extract_features(network, material.images["query"], config, chosen=chosen)
    return pd.DataFrame(rows, columns=["query", "module", "peak", "height", "cells"])


def place_maps(weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weights of places as maps (N, h, w): factors as they are, of mixing how much each place is looked at.

    A place that is looked at as much as any other has 1 there.
    """
    if weights.dim() == 4:
        return weights[:, 0]
    maps: Tensor = weights.sum(1).unflatten(1, shape)  # over who looks; the average of a column's sum is 1
    return maps


@contextlib.contextmanager
def watched(network: nn.Module, tell: Callable[[str, Tensor], None]) -> Iterator[dict[str, tuple[int, int]]]:
    """Within the block `tell` gets each attention module's name and weights as it is called.

    Yields the height and width of its maps by name, filled by then.
    """
    shapes: dict[str, tuple[int, int]] = {}

    def watch(name: str, module: Attention) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
            (x,) = inputs
            shapes[name] = x.shape[2], x.shape[3]
            tell(name, module.weights(x).float())

        return module.register_forward_pre_hook(hook)

    handles = [watch(name, module) for name, module in attention_of(network).items()]
    try:
        yield shapes
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def frozen(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block each attention module weighs every image by the given weights (1, …), whatever it sees."""

    def freeze(module: Attention, held: Tensor) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> Tensor:
            (x,) = inputs
            weighed: Tensor = module.weigh(x, held.to(x.dtype).expand(len(x), *held.shape[1:]))
            return weighed

        return module.register_forward_hook(hook)

    handles = [freeze(module, weights[name]) for name, module in attention_of(network).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

"""What a system is: the contract between one file of this folder and all that runs, tabulates or draws it."""

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor, nn

from reidkit.data import AttributeGroup, Attributes, Dataset
from reidkit.data.resident import Images
from reidkit.errors import UserError
from reidkit.evaluation import Ranking, TiesWarning, evaluate_ranking, top_matches
from reidkit.evaluation.ranking import Metric
from reidkit.models.attention import Attention
from reidkit.models.backbone import ResNet50, load_initial_weights
from reidkit.settings import Configuration
from reidkit.training import Batch as Step
from reidkit.training import Stage, extract_features

RESULTS = 8  # of each query that a record keeps


class Maps(Protocol):
    """Something over every image of a split, such as heat maps: by name float32 (B, K, h, w) of chosen images."""

    def __len__(self) -> int: ...
    def __getitem__(self, indexes: Tensor) -> Mapping[str, Tensor]: ...


class HeldMaps:
    """Maps in memory, by name (M, K, h, w): of M images or, where only time counts, by turns of `count` of them."""

    def __init__(self, maps: Mapping[str, Tensor], count: int | None = None) -> None:
        self.maps, self.held = maps, len(next(iter(maps.values())))
        self.count = self.held if count is None else count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indexes: Tensor) -> dict[str, Tensor]:
        return {name: maps.index_select(0, indexes.to(maps.device) % self.held) for name, maps in self.maps.items()}


@dataclass(frozen=True)
class Batch:
    """What a network learns from in a step."""

    images: Tensor  # (B, 3, H, W) augmented, normalised
    labels: Tensor  # (B,) int64 classes of the identities
    attributes: Tensor | None  # (B, G) int64 classes of each attribute group, -1 where unknown; for who needs them
    maps: Mapping[str, Tensor]  # by name (B, K, h, w), moved and erased as the images were; for who needs them
    step: Step  # of the training loop

    @property
    def progress(self) -> float:
        """Epochs done; who looks at it says so in `Configuration.phases`."""
        return self.step.progress


class Model(nn.Module, ABC):
    """A system's network: it names its losses in training, and in evaluation gives each image an embedding."""

    @abstractmethod
    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Scalars by name: "total" is minimised, the others are reported."""

    def undecayed(self) -> Sequence[nn.Module]:
        """The modules whose parameters have no weight decay: attention.

        Where it starts behind a zero, as in a branch that does, the penalty is all that Adam sees of it at first, and
        takes it to zero by a whole learning rate at every step.
        """
        return [module for module in self.modules() if isinstance(module, Attention)]

    def stages(self) -> Sequence[Stage]:
        """What it is trained in, one after another. As built, a network is as after the last one."""
        return (Stage(),)


@runtime_checkable
class Focused(Protocol):
    """A model that draws its features from places of its own choice, and can say from which."""

    def focus(self, images: Tensor) -> Tensor:
        """How much each place of images (N, 3, H, W) counts in each of K features: (N, K, h, w), at least 0."""


@dataclass(frozen=True)
class Classes:
    """What there is to tell apart in the training images."""

    identities: int
    groups: tuple[AttributeGroup, ...]  # empty where the system needs no attributes


@dataclass(frozen=True)
class Material:
    """What a run works with, by split where there are several."""

    dataset: Dataset
    images: Mapping[str, Images]
    attributes: Attributes | None = None
    maps: Mapping[str, Maps] = field(default_factory=dict)

    @property
    def classes(self) -> Classes:
        groups = self.attributes.groups if self.attributes else ()
        return Classes(len(self.dataset.train.identities), groups)


@dataclass(frozen=True)
class Measured:
    """What is measured of a trained network: metrics as fractions, and tables that a record keeps."""

    metrics: dict[str, float]
    tables: dict[str, pd.DataFrame]


Measure = Callable[[Any, Material, Any], Measured]  # of a network, in evaluation mode, under a configuration


def embed(network: nn.Module, material: Material, config: Configuration, split: str) -> Tensor:
    """The embedding of every image of a split, float32 (N, D)."""
    maps = material.maps.get(split)
    given = None if maps is None else lambda indexes, _: maps[indexes]
    return extract_features(network, material.images[split], config, given=given)


class CollapsedError(UserError):
    """A network sends nearly all images to one point: the scores of such a ranking would be high, and mean nothing."""


def rank_features(query: Tensor, gallery: Tensor, dataset: Dataset, **options: Any) -> Ranking:
    """`evaluate_ranking` of features against a data set's own identities and cameras, by cosine unless told.

    Raises CollapsedError where it would warn of ties.
    """
    q, g = dataset.query, dataset.gallery
    with warnings.catch_warnings():
        warnings.simplefilter("error", TiesWarning)
        try:
            return evaluate_ranking(query, gallery, q.ids, g.ids, q.cameras, g.cameras, **options)
        except TiesWarning as ties:
            raise CollapsedError(
                f"{dataset.root}: the features of its images have collapsed, so that no score is given. {ties} If "
                "training led there, see where its losses stopped falling, and lower learning_rate or raise "
                "warmup_epochs"
            ) from ties


def ranking_metrics(
    query: Tensor, gallery: Tensor, dataset: Dataset, metric: Metric = "cosine"
) -> tuple[Ranking, dict[str, float]]:
    """The ranking and the metrics of a record, mAP in both published conventions."""
    ranking = rank_features(query, gallery, dataset, metric=metric)
    metrics = {"mAP": ranking.mAP, "mAP (trapezoid)": ranking.mAP_by["trapezoid"], "mINP": ranking.mINP}
    metrics |= {f"rank-{k}": float(ranking.cmc[k - 1]) for k in (1, 5, 10)}
    return ranking, {name: round(value, 6) for name, value in metrics.items()}


def rank(network: nn.Module, material: Material, config: Configuration) -> Measured:
    """What a re-identification network is measured by: the gallery, ranked for every query.

    The table `queries` has a row per query: its file name, average precision (nan without a match), the rank of the
    first match (0 without), and `results`, the first RESULTS gallery images as positions in the gallery's sorted files.
    """
    dataset = material.dataset
    query, gallery = (embed(network, material, config, split) for split in ("query", "gallery"))
    ranking, metrics = ranking_metrics(query, gallery, dataset, config.metric)
    q, g = dataset.query, dataset.gallery
    first = top_matches(query, gallery, q.ids, g.ids, q.cameras, g.cameras, config.metric, RESULTS)
    results = [" ".join(str(i) for i in row if i >= 0) for row in first.tolist()]
    return Measured(metrics, {"queries": by_query(ranking, dataset).assign(results=results)})


def by_query(ranking: Ranking, dataset: Dataset) -> pd.DataFrame:
    """A row per query: its file name, average precision (nan without a match), rank of the first match (0 without)."""
    return pd.DataFrame(
        {
            "query": [path.name for path in dataset.query.paths],
            "average_precision": ranking.average_precision.numpy().round(6),
            "first_match_rank": ranking.first_match_rank.numpy(),
        }
    )


@dataclass(frozen=True)
class System:
    """A method that is trained and measured."""

    name: str  # as profiles and records call it
    title: str  # as pages call it
    article: str  # its key in the bibliography
    configuration: type[Configuration]
    rows: Mapping[str, Mapping[str, Any]]  # by the name that tables and commands give it, the settings of each row
    build: Callable[[Any, Classes], Model]  # a network from a configuration, initialised from its seed
    called: Mapping[str, str] = field(default_factory=dict)  # by row or reading, what pages call it (`label`)
    row_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)  # names for several rows at once
    reading: Mapping[str, Any] = field(default_factory=dict)  # settings of the paper where they are not the defaults
    measure: Measure = rank
    guided: Callable[[Any, Maps], Maps] = lambda _, maps: maps  # what a run reads, from its guide's heat maps
    within: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by row, the settings that are another row's
    # Of a record's configuration, the settings that play no part in that run, such as those of what it does not have.
    idle: Callable[[Mapping[str, Any]], frozenset[str]] = lambda _: frozenset()
    ranks: bool = True  # whether it ranks a gallery
    # Where rows are the combinations of several choices: by choice, its values and what pages call them. A row is then
    # named by one value of each, joined by "/".
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def complete(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A record's configuration, with the defaults of settings that are younger than the record."""
        return self.configuration.model_validate({}).model_dump(mode="json") | dict(config)

    @property
    def paper(self) -> dict[str, Any]:
        """The settings of its paper, as plain values: what it prints and, where it prints nothing, our reading."""
        return self.complete(self.reading)

    def row_of(self, config: Mapping[str, Any]) -> str:
        """The row that a record's configuration is of, as far as it tells: a control may look like its row."""
        return self.configuration.model_construct(**config).row_name

    def varied(self, row: str) -> tuple[str, str] | None:
        """Of a reading or a control of another row, such as *row/reading*, that row and the reading; else None."""
        of, _, reading = row.rpartition("/")
        return (of, reading) if of in self.rows else None

    def label(self, row: str) -> str:
        """What pages call a row: as `called` has it, or in the words of its choices; a reading after its row."""
        if row in self.called:
            return self.called[row]
        if row == self.name:
            return self.title
        if varied := self.varied(row):
            of, reading = varied
            return f"{self.label(of)}, {self.called.get(reading, reading.replace('-', ' '))}"
        words = [titles.get(value) for titles, value in zip(self.choices.values(), row.split("/"), strict=False)]
        return ", ".join(filter(None, words)) if words and all(words) else row

    @property
    def told_by_rows(self) -> frozenset[str]:
        """The settings in which runs differ by their rows, so that the rows' names tell them."""
        named = (keys for row, keys in self.rows.items() if self.row_of(keys) == row)
        return frozenset(key for keys in named for key in keys)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of logits (N, K) whose largest is that of the label (N,), without gradient."""
    return (logits.detach().argmax(1) == labels).float().mean()


def backbone(config: Configuration) -> ResNet50:
    """A ResNet-50 without attention, of the size that the settings say, and with random weights."""
    return ResNet50("none", config.last_stride, config.width_multiplier, config.residual_scale)


def initialised(network: Callable[[int, Any], Model]) -> Callable[[Any, Classes], Model]:
    """The `build` of a network (identities, configuration): from its seed, its ResNet-50s from `weights`.

    SPReID's parser, which has two stages of one, stays random.
    """

    def build(config: Configuration, classes: Classes) -> Model:
        with seeded(config.seed):
            built = network(classes.identities, config)
        for part in built.children():
            if isinstance(part, ResNet50):
                load_initial_weights(part, config.weights)
        return built

    return build


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block random numbers come from `seed`; after it they go on as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield

"""The ablation grid, its configurations, and `run`: load a finished record or train it.

A profile (one file of `parameters/`) says on which data, at which size and for how long a set of grid cells is run;
a `RunConfig` is one of those runs. A run's name ends in a hash of everything that determines its numbers.
"""

import difflib
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import filelock
import pandas as pd
import safetensors
import safetensors.torch
import torch
import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor

from reidkit.data import Dataset, Split, load_dataset
from reidkit.data.layouts import file_list_checksum
from reidkit.data.resident import load_images
from reidkit.data.samplers import IdentitySampler, ShuffledSampler
from reidkit.data.synthped import render
from reidkit.evaluation import Ranking, evaluate_ranking
from reidkit.losses import JointLoss
from reidkit.models.backbone import load_imagenet_weights
from reidkit.models.reid import ReIDNetwork
from reidkit.records import Record, RecordError, provenance, read_record, write_record
from reidkit.training import (
    Batch,
    CheckpointError,
    Sampler,
    TrainingSettings,
    choose_device,
    extract_features,
    train,
)

# Raised when a change to the code or to a default changes the numbers of a run with an unchanged configuration.
REVISION = 1

Attention = Literal["none", "se", "eca", "cbam", "danet", "nonlocal"]
Loss = Literal["ce", "ce+tri", "ce+tri+cir"]
DatasetName = Literal["synthped", "market1501", "dukemtmcreid", "msmt17"]


@dataclass(frozen=True)
class Cell:
    """One cell of the ablation grid, and the row of the paper's Table 1 that it is, if it is one."""

    attention: Attention
    loss: Loss
    row: str | None = None

    @property
    def name(self) -> str:
        return f"{self.attention}/{self.loss}"


_ROWS: dict[tuple[Attention, Loss], str] = {
    ("none", "ce"): "Baseline",
    ("none", "ce+tri"): "Baseline(+Tri)",
    ("se", "ce"): "Baseline(+SE)",
    ("danet", "ce"): "Baseline(+DANet)",
    ("nonlocal", "ce"): "Baseline(+Non-local)",
    ("eca", "ce"): "Baseline(+ECA)",
    ("none", "ce+tri+cir"): "Baseline(+Tri Cir)",
    ("cbam", "ce+tri+cir"): "Ours",
}
GRID: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell(attention, loss, _ROWS.get((attention, loss)))
        for attention in get_args(Attention)
        for loss in get_args(Loss)
    )
}
TABLE_1: tuple[str, ...] = tuple(f"{attention}/{loss}" for attention, loss in _ROWS)


Model = TypeVar("Model", bound=BaseModel)


class ParameterError(Exception):
    """A parameter that is misspelt, of the wrong type or out of range."""


class Settings(TrainingSettings):
    """What a profile and a run have in common: the data, the network and its losses, and the training."""

    dataset: DatasetName = Field("synthped", description="which data set, by its layout on disk")
    data_root: Path | None = Field(None, description="the data set's folder; synthped is rendered where it is missing")
    synthped_preset: Literal["market-like", "duke-like", "msmt-like"] = Field(
        "market-like", description="SynthPed only"
    )
    synthped_seed: int = Field(0, ge=0, description="SynthPed only: which world is rendered")
    synthped_train_identities: int | None = Field(None, ge=2, description="SynthPed only; null: the preset's")
    synthped_test_identities: int | None = Field(None, ge=2, description="SynthPed only; null: the preset's")
    width_multiplier: float = Field(1.0, gt=0, le=2, description="of every channel count of ResNet-50")
    last_stride: Literal[1, 2] = Field(1, description="stride of ResNet-50's last stage")
    weights: str | None = Field(None, description="null, imagenet (torchvision's), or a local file of weights")
    sampling: Literal["auto", "shuffled", "identities"] = Field(
        "auto", description="of batches: identities is P×K; auto: P×K where the loss compares images, else shuffled"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="of the cross-entropy")
    triplet_margin: float = Field(0.3, ge=0, description="m of Eq. 2 and 3")
    circle_scale: float = Field(64.0, gt=0, description="γ of the circle classifier")
    circle_margin: float = Field(0.35, gt=0, lt=1, description="m of the circle classifier")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.images_per_identity:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of images_per_identity {self.images_per_identity}"
            )
        if self.weights is not None and self.width_multiplier != 1:
            raise ValueError(f"weights {self.weights!r} fit width_multiplier 1 only, not {self.width_multiplier}")
        if self.dataset != "synthped" and self.data_root is None:
            raise ValueError(f"data_root is needed for {self.dataset}: the folder that holds it")
        return self

    @property
    def root(self) -> Path:
        """The data set's folder; a relative one lies in the project."""
        if self.data_root is not None:
            return project_root() / self.data_root.expanduser()
        sizes = [n for n in (self.synthped_train_identities, self.synthped_test_identities) if n is not None]
        return build_root() / "data" / "-".join(map(str, (self.synthped_preset, self.synthped_seed, *sizes)))


class RunConfig(Settings):
    """One run: a cell of the grid, a seed, and the settings."""

    attention: Attention = "none"
    loss: Loss = "ce"
    seed: int = Field(0, ge=0)

    @property
    def determinants(self) -> dict[str, Any]:
        """What decides the run's numbers, as plain values."""
        return self._determinants(exclude_defaults=False)

    def _determinants(self, exclude_defaults: bool) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude={"data_root", "device"}, exclude_defaults=exclude_defaults)
        if self.dataset != "synthped":
            values = {key: value for key, value in values.items() if not key.startswith("synthped_")}
        return values | {"revision": REVISION}

    @property
    def name(self) -> str:
        # Defaults stay out of the hash: a new parameter whose default changes nothing leaves old records their names.
        text = json.dumps(self._determinants(exclude_defaults=True), sort_keys=True)
        parts = (self.dataset, self.attention, self.loss.replace("+", "-"), f"seed{self.seed}")
        return "-".join((*parts, hashlib.sha256(text.encode()).hexdigest()[:8]))

    @property
    def cell(self) -> str:
        return f"{self.attention}/{self.loss}"

    def command(self, profile: str) -> str:
        """The command that makes this run's record."""
        return f"reidkit run {profile} --cell {self.cell} --seed {self.seed}"


class Profile(Settings):
    """A file of `parameters/`: the settings, and which cells are run with which seeds."""

    profile: str = Field("synthped", description="the profile's name, and its folder below build/")
    cells: Literal["table 1", "grid"] | tuple[str, ...] = Field("table 1", description="which cells of the grid to run")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one run per cell and seed")

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        for cell in self.cell_names:
            if cell not in GRID:
                raise ValueError(f"cells: {cell!r} is not a cell of the grid{nearest(cell, GRID)}")
        return self

    @property
    def cell_names(self) -> tuple[str, ...]:
        return {"table 1": TABLE_1, "grid": tuple(GRID)}[self.cells] if isinstance(self.cells, str) else self.cells

    @classmethod
    def read(cls, path: str | Path, **changes: Any) -> Self:
        """A profile from a YAML file (or the name of one in `parameters/`), with some parameters changed.

        Raises ParameterError, naming the key, the file and the nearest valid name, before anything runs.
        """
        file = Path(path)
        if file.suffix not in {".yaml", ".yml"}:
            file = project_root() / "parameters" / f"{path}.yaml"
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = sorted(p.stem for p in (project_root() / "parameters").glob("*.yaml"))
            raise ParameterError(
                f"{file}: no such parameter file; there are {', '.join(known)}{nearest(file.stem, known)}"
            ) from error
        except yaml.YAMLError as error:
            raise ParameterError(f"{file}: not valid YAML: {error}") from error
        if not isinstance(content, dict):
            raise ParameterError(f"{file}: expected `key: value` lines, found {type(content).__name__}")
        return validate(cls, content | changes, source=str(file))

    def config(self, cell: str, seed: int | None = None) -> RunConfig:
        """The run of one cell of the grid; the profile's first seed unless one is given."""
        if cell not in GRID:
            raise ParameterError(
                f"{cell!r} is not a cell of the grid{nearest(cell, GRID)}; there are {', '.join(GRID)}"
            )
        shared = self.model_dump(include=set(Settings.model_fields))
        chosen = GRID[cell]
        seed = self.seeds[0] if seed is None else seed
        return RunConfig(**shared, attention=chosen.attention, loss=chosen.loss, seed=seed)

    def configs(self) -> list[RunConfig]:
        """Every run of the profile, seed by seed, so that all rows are there before the second seed begins."""
        return [self.config(cell, seed) for seed in self.seeds for cell in self.cell_names]


def validate(model: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """`values` as a `model`, strictly; raises ParameterError naming each bad key, its source and the nearest name."""
    try:
        return model.model_validate_json(json.dumps(dict(values), default=str))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"][:1])
            if problem["type"] == "extra_forbidden":
                lines.append(f"unknown parameter {key!r}{nearest(key, model.model_fields)}")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                given = f" (given: {problem['input']!r})" if key else ""
                lines.append(f"{key}: {message}{given}" if key else message)
        raise ParameterError("\n".join(f"{source}: {line}" for line in dict.fromkeys(lines))) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a misspelt name, or nothing where no known one is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def project_root() -> Path:
    """The checkout that this package lies in; the working directory where it was installed without one."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def build_root() -> Path:
    """Where everything that can be made again goes: `build/`, or what REIDKIT_BUILD names."""
    return Path(os.environ.get("REIDKIT_BUILD", project_root() / "build"))


def record_roots() -> tuple[Path, Path]:
    """Where records are looked for: working ones first, then the published ones."""
    return build_root() / "records", project_root() / "book" / "records"


@dataclass(frozen=True)
class Run:
    config: RunConfig
    record: Record

    @property
    def metrics(self) -> dict[str, float]:
        """mAP, mAP (trapezoid), mINP, rank-1, rank-5 and rank-10, as fractions."""
        return self.record.metrics

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: learning rate, the losses and their total, accuracy."""
        return self.record.history


def find_record(config: RunConfig) -> Record | None:
    """The finished record of a configuration, or None."""
    for root in record_roots():
        if (root / config.name / "record.json").is_file():
            return read_record(root / config.name)
    return None


def run(config: RunConfig, *, records: Path | None = None, progress: bool = True) -> Run:
    """Loads the finished record of `config`, or trains, evaluates and writes it to `records` (`build/records`).

    An interrupted run goes on from its last epoch. Where another process trains the same run, this one says so and
    waits for its record. Raises DatasetError, TrainingError, CheckpointError or RecordError, each saying what to do.
    """
    found = find_record(config)
    if found is not None:
        return Run(config, found)
    with OnlyOne(config.name):
        found = find_record(config)  # another process may have finished it meanwhile
        build = build_root()
        return Run(
            config, found if found is not None else _train(config, build, records or build / "records", progress)
        )


def repeat(record: Record, data_root: Path | None = None, progress: bool = True) -> Record:
    """Trains the run of a record once more, from scratch and apart from it, and returns the new record."""
    values = {key: value for key, value in record.config.items() if key != "revision"}
    if record.config["revision"] != REVISION:
        raise RecordError(
            f"{record.name}: made by revision {record.config['revision']} of the code, this is revision {REVISION}; "
            f"check out commit {record.provenance['commit']} to repeat it"
        )
    if data_root is not None:
        values["data_root"] = str(data_root.resolve())
    config = validate(RunConfig, values, source=record.name)
    apart = build_root() / "repeated" / record.name
    shutil.rmtree(apart, ignore_errors=True)
    return _train(config, apart, apart / "records", progress)


def open_dataset(config: Settings, progress: bool = True) -> Dataset:
    """The data set of a run; SynthPed is rendered first where it is missing."""
    if config.dataset == "synthped" and config.data_root is None:
        render_synthped(config, progress=progress)
    return load_dataset(config.dataset, config.root)


def render_synthped(config: Settings, root: Path | None = None, progress: bool = True) -> Path:
    """Renders the SynthPed of a profile or run where its runs look for it, or at `root`, unless it is there."""
    if config.dataset != "synthped":
        raise ParameterError(f"dataset is {config.dataset}, which is real and not rendered; use a profile of synthped")
    try:
        return render(
            root or config.root,
            config.synthped_preset,
            seed=config.synthped_seed,
            train_identities=config.synthped_train_identities,
            test_identities=config.synthped_test_identities,
            progress=progress,
        )
    except (ValueError, FileExistsError) as error:
        raise ParameterError(str(error)) from error


def build_network(config: RunConfig, num_classes: int) -> ReIDNetwork:
    """The re-identification network of a run, freshly initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ReIDNetwork(
            num_classes,
            attention=config.attention,
            classifier="circle" if config.loss == "ce+tri+cir" else "linear",
            width_multiplier=config.width_multiplier,
            last_stride=config.last_stride,
            circle_scale=config.circle_scale,
            circle_margin=config.circle_margin,
        )
    if config.weights is not None:
        load_imagenet_weights(
            network.backbone, config.weights if config.weights == "imagenet" else Path(config.weights)
        )
    return network


def _train(config: RunConfig, build: Path, records: Path, progress: bool) -> Record:
    dataset = open_dataset(config, progress)
    device = choose_device(config.device)
    labels = dataset.train.labels()
    network = build_network(config, int(labels.max()) + 1).to(device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)
    forward = torch.compile(network) if config.compile else network
    objective = JointLoss(
        label_smoothing=config.label_smoothing,
        triplet_margin=config.triplet_margin,
        use_triplet=config.loss != "ce",
    )

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        output = forward(batch.images, batch.labels)
        correct = output.logits.detach().argmax(dim=1) == batch.labels
        return {**objective(output, batch.labels), "accuracy": correct.float().mean()}

    test_images = {
        split: load_images(getattr(dataset, split).paths, config.size, device) for split in ("query", "gallery")
    }

    def evaluate() -> Mapping[str, float]:
        query, gallery = (extract_features(network, test_images[split], config) for split in ("query", "gallery"))
        ranking = rank_features(query, gallery, dataset)
        return {"mAP": ranking.mAP, "rank-1": float(ranking.cmc[0])}

    workplace = build / "runs" / config.name
    history, seconds = train(
        network,
        losses,
        load_images(dataset.train.paths, config.size, device),
        labels,
        _sampler(config, labels),
        config,
        seed=config.seed,
        directory=workplace,
        identity={"run": config.name},
        name=f"{config.attention} {config.loss} (seed {config.seed})",
        evaluate=evaluate,
        progress=progress,
    )
    started = time.perf_counter()
    query, gallery = (extract_features(network, test_images[split], config) for split in ("query", "gallery"))
    extracted = time.perf_counter()
    ranking, metrics = measure(query, gallery, dataset)
    evaluated = time.perf_counter()
    save_weights(weights_path(config, build), network, config)
    record = write_record(
        records / config.name,
        config=config.determinants,
        metrics=metrics,
        history=history,
        queries=pd.DataFrame(
            {
                "query": [path.name for path in dataset.query.paths],
                "average_precision": ranking.average_precision.numpy().round(6),
                "first_match_rank": ranking.first_match_rank.numpy(),
            }
        ),
        provenance=provenance(
            seed=config.seed,
            data=file_list_checksum(dataset),
            device=torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
            seconds={
                "training": round(seconds, 1),
                "features": round(extracted - started, 1),
                "ranking": round(evaluated - extracted, 1),
            },
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            images={split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")},
        ),
    )
    shutil.rmtree(workplace)
    return record


def rank_features(query: Tensor, gallery: Tensor, dataset: Dataset, **options: Any) -> Ranking:
    """`evaluate_ranking` of features against a data set's own identities and cameras, by cosine."""
    q, g = dataset.query, dataset.gallery
    return evaluate_ranking(query, gallery, q.ids, g.ids, q.cameras, g.cameras, **options)


def measure(query: Tensor, gallery: Tensor, dataset: Dataset) -> tuple[Ranking, dict[str, float]]:
    """The ranking and the metrics of a record, mAP in both published conventions."""
    ranking = rank_features(query, gallery, dataset)
    trapezoid = rank_features(query, gallery, dataset, average_precision="trapezoid")
    metrics = {"mAP": ranking.mAP, "mAP (trapezoid)": trapezoid.mAP, "mINP": ranking.mINP}
    metrics |= {f"rank-{k}": float(ranking.cmc[k - 1]) for k in (1, 5, 10)}
    return ranking, {name: round(value, 6) for name, value in metrics.items()}


def weights_path(config: RunConfig, build: Path | None = None) -> Path:
    """Where a finished run keeps its network's weights; they are never published."""
    return (build or build_root()) / "weights" / f"{config.name}.safetensors"


def save_weights(path: Path, network: torch.nn.Module, config: RunConfig) -> None:
    """The network's state as safetensors, with the run's name in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(state, partial, metadata={"run": config.name})
    partial.replace(path)


def load_network(config: RunConfig, num_classes: int) -> ReIDNetwork:
    """The trained network of a finished run, in evaluation mode on the CPU. Raises CheckpointError where none is."""
    path = weights_path(config)
    advice = f"Delete {path} and the record {config.name}, and run it again."
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no weights of this run on this machine (published records come without). "
            "Train it with `reidkit run`."
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            owner = (file.metadata() or {}).get("run")
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: truncated, or not a safetensors file ({error}). {advice}") from error
    if owner != config.name:
        raise CheckpointError(f"{path}: the weights are of the run {owner!r}, not of {config.name!r}. {advice}")
    network = build_network(config.model_copy(update={"weights": None}), num_classes)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit this network ({error}). {advice}") from error
    return network.eval()


def run_features(config: RunConfig, dataset: Dataset, splits: tuple[str, ...] = ("query", "gallery")) -> list[Tensor]:
    """Features (N, C) of some splits of `dataset` under the trained network of a finished run."""
    device = choose_device(config.device)
    network = load_network(config, len(dataset.train.ids.unique())).to(device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)
    chosen: list[Split] = [getattr(dataset, split) for split in splits]
    return [extract_features(network, load_images(split.paths, config.size, device), config) for split in chosen]


def check_data(record: Record, dataset: Dataset) -> None:
    """Raises RecordError where a record was made from other files than those of `dataset`."""
    made, found = record.provenance["data"], file_list_checksum(dataset)
    if made != found:
        raise RecordError(
            f"{record.name}: made from files with checksum {made[:12]}…, but {dataset.root} has {found[:12]}…: "
            "the data set was changed or is another version"
        )


def _sampler(config: RunConfig, labels: Tensor) -> Sampler:
    sampling = config.sampling
    if sampling == "auto":
        sampling = "shuffled" if config.loss == "ce" else "identities"
    if sampling == "shuffled":
        return ShuffledSampler(len(labels), config.batch_size)
    return IdentitySampler(labels, config.batch_size // config.images_per_identity, config.images_per_identity)


class OnlyOne:
    """Lets one process at a time train a run; the others say who holds it and wait."""

    def __init__(self, name: str, say: Callable[[str], None] = print) -> None:
        folder = build_root() / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.say = name, say
        self.lock, self.holder = filelock.FileLock(folder / f"{name}.lock"), folder / f"{name}.holder"

    def __enter__(self) -> None:
        try:
            self.lock.acquire(blocking=False)
        except filelock.Timeout:
            holder = self.holder.read_text(encoding="utf-8") if self.holder.exists() else "another process"
            self.say(f"{self.name} is being trained by {holder}; waiting for its record")
            self.lock.acquire()
        self.holder.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        self.holder.unlink(missing_ok=True)
        self.lock.release()

"""What becomes of a configuration: its record is loaded or made, its weights are kept, its data checked."""

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from reidkit import distributed
from reidkit.data import Dataset, load_dataset
from reidkit.data.layouts import file_list_checksum
from reidkit.data.resident import Images, load_images
from reidkit.data.samplers import IdentitySampler, ShuffledSampler
from reidkit.data.synthped import render
from reidkit.data.validation import hold_out
from reidkit.evaluation import Ranking, evaluate_ranking
from reidkit.experiments.settings import Configuration, ParameterError, Settings, build_root, record_roots
from reidkit.models.backbone import ResNet50, load_imagenet_weights
from reidkit.records import Record, RecordError, provenance, read_record, write_record
from reidkit.training import CheckpointError, Losses, Sampler, train


@dataclass(frozen=True)
class Run:
    config: Configuration
    record: Record

    @property
    def metrics(self) -> dict[str, float]:
        """mAP, mAP (trapezoid), mINP, rank-1, rank-5 and rank-10, as fractions."""
        return self.record.metrics

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: learning rate, the losses and their total, accuracy."""
        return self.record.history


def find_record(config: Configuration) -> Record | None:
    """The finished record of a configuration, or None."""
    for root in record_roots():
        if (root / config.name / "record.json").is_file():
            return read_record(root / config.name)
    return None


def run(config: Configuration, *, records: Path | None = None, progress: bool = True) -> Run:
    """Loads the finished record of `config`, or trains, evaluates and writes it to `records` (`build/records`).

    An interrupted run goes on from its last epoch. Where another process trains the same run, this one says so and
    waits for its record. Raises DatasetError, TrainingError, CheckpointError or RecordError, each saying what to do.
    """
    build = build_root()
    records = records or build / "records"
    found = find_record(config)
    if not distributed.agreed(found is not None):
        with OnlyOne(config.name) if distributed.rank() == 0 else contextlib.nullcontext():
            found = find_record(config)  # another process may have finished it meanwhile
            if not distributed.agreed(found is not None):
                found = config.make(build, records, progress)
                distributed.wait()
    return Run(config, read_record(records / config.name) if found is None else found)


def open_dataset(config: Settings, progress: bool = True) -> Dataset:
    """The data set of a run; SynthPed is rendered first where it is missing."""
    if config.dataset == "synthped" and config.data_root is None:
        with distributed.first_one_first():
            render_synthped(config, progress=progress)
    dataset = load_dataset(config.dataset, config.root)
    return hold_out(dataset, config.validation_identities) if config.validation_identities else dataset


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


def train_reid(
    config: Configuration,
    dataset: Dataset,
    network: nn.Module,
    losses: Losses,
    features: Callable[[Images, str], Tensor],
    sampler: Sampler,
    *,
    build: Path,
    records: Path,
    progress: bool,
    labels: Tensor | None = None,
    **tables: pd.DataFrame,
) -> Record | None:
    """Trains a re-identification network, ranks the gallery for every query and writes the record.

    `features` gives the embeddings (N, C) of the images of a split, named. `labels` (N, …) is what batches hold beside
    the images, unless given the identities. `tables` go into the record. None where another process writes it.
    """
    device = next(network.parameters()).device
    test = {split: load_images(getattr(dataset, split).paths, config.size, device) for split in ("query", "gallery")}

    def evaluate() -> Mapping[str, float]:
        query, gallery = (features(images, split) for split, images in test.items())
        ranking = rank_features(query, gallery, dataset)
        return {"mAP": ranking.mAP, "rank-1": float(ranking.cmc[0])}

    workplace = build / "runs" / config.name
    data = file_list_checksum(dataset)
    trained = train(
        network,
        losses,
        load_images(dataset.train.paths, config.size, device),
        dataset.train.labels() if labels is None else labels,
        sampler,
        config,
        seed=config.seed,
        directory=workplace,
        identity={"run": config.name, "data": data},
        name=" ".join(config.title[1:]),
        evaluate=evaluate,
        progress=progress,
    )
    if distributed.rank() > 0:
        return None
    started = time.perf_counter()
    query, gallery = (features(images, split) for split, images in test.items())
    extracted = time.perf_counter()
    ranking, metrics = measure(query, gallery, dataset)
    evaluated = time.perf_counter()
    save_weights(weights_path(config, build), network, config)
    record = write_record(
        records / config.name,
        config=config.determinants,
        metrics=metrics,
        history=trained.history,
        steps=trained.steps.round(4),
        queries=pd.DataFrame(
            {
                "query": [path.name for path in dataset.query.paths],
                "average_precision": ranking.average_precision.numpy().round(6),
                "first_match_rank": ranking.first_match_rank.numpy(),
            }
        ),
        provenance=provenance(
            seed=config.seed,
            data=data,
            device="; ".join(trained.devices),
            seconds={
                "training": round(trained.seconds, 1),
                "features": round(extracted - started, 1),
                "ranking": round(evaluated - extracted, 1),
            },
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            images={split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")},
        ),
        **tables,
    )
    shutil.rmtree(workplace)
    return record


def make_sampler(config: Settings, labels: Tensor, compares: bool) -> Sampler:
    """The sampler that the settings ask for; P×K by default where the loss `compares` images."""
    sampling = config.sampling
    if sampling == "auto":
        sampling = "identities" if compares else "shuffled"
    if sampling == "shuffled":
        return ShuffledSampler(len(labels), config.batch_size)
    return IdentitySampler(labels, config.batch_size // config.images_per_identity, config.images_per_identity)


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


def check_data(record: Record, dataset: Dataset) -> None:
    """Raises RecordError where a record was made from other files than those of `dataset`."""
    made, found = record.provenance["data"], file_list_checksum(dataset)
    if made != found:
        raise RecordError(
            f"{record.name}: made from files with checksum {made[:12]}…, but {dataset.root} has {found[:12]}…: "
            "the data set was changed or is another version"
        )


def weights_path(config: Configuration, build: Path | None = None) -> Path:
    """Where a finished run keeps its network's weights; they are never published."""
    return (build or build_root()) / "weights" / f"{config.name}.safetensors"


def save_weights(path: Path, network: torch.nn.Module, config: Configuration) -> None:
    """The network's state as safetensors, with the run's name in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(state, partial, metadata={"run": config.name})
    partial.replace(path)


def load_initial_weights(backbone: ResNet50, config: Settings) -> None:
    """What the settings say that a network starts from, beside its random initialisation."""
    if config.weights is not None:
        load_imagenet_weights(backbone, config.weights if config.weights == "imagenet" else Path(config.weights))


def load_weights(network: nn.Module, config: Configuration) -> None:
    """Fills `network` with the weights of a finished run. Raises CheckpointError where they are none or another's."""
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
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit this network ({error}). {advice}") from error


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

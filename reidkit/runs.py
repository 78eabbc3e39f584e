"""The one sequence: data → network → training → measurement → weights → record.

`run` loads its outcome or goes through it. Systems are called here and never call back: what a run needs beside images,
and the run that it needs before itself, it says in its configuration.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import filelock
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from reidkit import attending, distributed, focus
from reidkit.data import Attributes, Dataset, DatasetError, Split, load_dataset
from reidkit.data.heat_maps import HeatMaps, store_heat_maps
from reidkit.data.layouts import file_list_checksum
from reidkit.data.part_maps import PartMaps
from reidkit.data.resident import Images, load_images, normalise, resize
from reidkit.data.samplers import IdentitySampler, ShuffledSampler
from reidkit.data.synthped import RENDERER, render
from reidkit.data.validation import hold_out
from reidkit.evaluation.ranking import Metric
from reidkit.gradcam import attribute_heat_maps
from reidkit.losses import complete_anchors
from reidkit.places import LOCK_MODE, build_root, record_roots, replace_file
from reidkit.records import Record, RecordError, now, origin, provenance, read_record, replace_record, write_record
from reidkit.settings import REVISION, Configuration, MapClasses, ParameterError, Settings, validate
from reidkit.systems import SYSTEMS
from reidkit.systems.system import (
    Batch,
    Classes,
    CollapsedError,
    Maps,
    Material,
    Measured,
    Model,
    embed,
    ranking_metrics,
)
from reidkit.training import Batch as Step
from reidkit.training import CheckpointError, Sampler, Stop, choose_device, train
from reidkit.workers import ending_with_this_process

SAME = 5e-4  # by how much a metric may be off that is measured again, with other threads or on another device
SPLITS = ("train", "query", "gallery")
MapsOf = Callable[..., Maps]  # called as `heat_maps`
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Run:
    config: Configuration
    record: Record

    @property
    def metrics(self) -> dict[str, float]:
        """Fractions by name; of a run that ranks mAP, mAP (trapezoid), mINP, rank-1, rank-5 and rank-10."""
        return self.record.metrics

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: learning rate, the losses and their total, accuracy."""
        return self.record.history


def run(
    config: Configuration,
    *,
    records: Path | None = None,
    fresh: bool = False,
    progress: bool = True,
    stop: Stop | None = None,
) -> Run:
    """Loads the finished record of `config`, or trains, measures and writes it to `records` (`build/records`).

    The run that guides it, if one does, comes first. An interrupted run goes on from its last checkpoint. Where another
    process trains the same run, this one says so and waits for its record. `fresh`: only a record that is in `records`
    is loaded, no published one. Raises a UserError that says what to do, and StoppedError where `stop` ends its
    training.

    >>> from reidkit.profile import Profile
    >>> config = Profile.read("smoke", data_root=root, batch_size=8).config("none/ce")
    >>> sorted(run(config, progress=False).metrics)
    ['mAP', 'mAP (trapezoid)', 'mINP', 'rank-1', 'rank-10', 'rank-5']
    """
    records = records or build_root() / "records"
    roots = [records] if fresh else [records, *record_roots()]
    found = find_record(config, roots)
    if found is not None and config.root.is_dir():
        check_data(found, open_dataset(config, progress))  # no number is shown for data that it was not computed from
    if not distributed.agreed(found is not None):
        if config.guide is not None:
            with_weights(config.guide, records, progress)
        with OnlyOne(config.name) if distributed.rank() == 0 else contextlib.nullcontext():
            found = find_record(config, roots)  # another process may have finished it meanwhile
            if not distributed.agreed(found is not None):
                found = make(config, records, progress, stop=stop)
                distributed.wait()
    return Run(config, read_record(records / config.name) if found is None else found)


def with_weights(
    config: Configuration, records: Path | None = None, progress: bool = True, stop: Stop | None = None
) -> None:
    """As `run`, and sees to it that the weights are on this machine, which published records come without.

    What has a record already leaves its new one in `build/repeated`, so that the first goes on to count.
    """
    records = records or build_root() / "records"
    if (found := find_record(config, [records, *record_roots()])) is not None:
        records = build_root() / "repeated"
        if config.root.is_dir():
            check_data(found, open_dataset(config, progress))
    if not distributed.agreed(weights_path(config).is_file()):
        with OnlyOne(config.name) if distributed.rank() == 0 else contextlib.nullcontext():
            if not distributed.agreed(weights_path(config).is_file()):
                make(config, records, progress, stop=stop)
                distributed.wait()


def make(
    config: Configuration,
    records: Path,
    progress: bool = True,
    build: Path | None = None,
    stop: Stop | None = None,
    maps_of: MapsOf | None = None,
) -> Record | None:
    """Trains and measures a run and writes its record, unless that is there; None where another process writes it.

    Its checkpoint and its weights go below `build`, the build folder unless given. `maps_of`: see `gather`.

    Raises CollapsedError, at the end of the training, for a network whose ranking says nothing.
    """
    system, code = SYSTEMS[config.system], origin()  # now: much may be committed until the end
    device = choose_device(config.device)
    dataset = open_dataset(config, progress)
    if system.ranks and not dataset.answerable.any():
        raise DatasetError(
            f"{dataset.root}: no query has a picture of the same person by another camera in the gallery, so there is "
            "nothing to rank; `reidkit data check` says more"
        )
    sampler = make_sampler(config, dataset.train.labels())
    data = file_list_checksum(dataset)
    material = gather(config, dataset, device, progress=progress, maps_of=maps_of)
    network = on_device(system.build(config, material.classes), config, device)
    if config.compile:
        network.compile()
    build = build or build_root()
    workplace = checkpoint_path(config, build).parent
    trained = train(
        network,
        losses_of(network, config, material),
        material.images["train"],
        labels_of(material),
        sampler,
        config,
        seed=config.seed,
        directory=workplace,
        identity={"run": config.name, "data": data},
        name=" ".join(config.title[1:]),
        phases=config.phases,
        stages=network.stages(),
        undecayed=network.undecayed(),
        evaluate=(lambda: _scores(network, material, config)) if system.ranks else None,
        stop=stop,
        progress=progress,
    )
    if distributed.rank() > 0:
        return None
    if (records / config.name / "record.json").is_file():  # it was the weights that were missing
        save_weights(weights_path(config, build), network, config, material.classes, data)
        shutil.rmtree(workplace)
        return read_record(records / config.name)
    started = time.perf_counter()
    measured = measured_whole(network, material, config)
    seconds = {"training": round(trained.seconds, 1), "measurement": round(time.perf_counter() - started, 1)}
    save_weights(weights_path(config, build), network, config, material.classes, data)
    record = write_record(
        records / config.name,
        system=system.name,
        config=config.determinants,
        metrics=measured.metrics,
        provenance=provenance(
            **code,
            seed=config.seed,
            data=data,
            device="; ".join(trained.devices),
            seconds=seconds,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            images={split: len(getattr(dataset, split)) for split in SPLITS},
        ),
        history=trained.history,
        steps=trained.steps.round(4),
        **measured.tables,
    )
    shutil.rmtree(workplace)
    return record


def measured_whole(network: Model, material: Material, config: Configuration) -> Measured:
    """All that a record keeps of a trained network: what its system measures, and what it looks at."""
    system = SYSTEMS[config.system]
    measured = system.measure(network, material, config)
    looked = attending.tables(network, material, config) if system.ranks else {}
    return Measured(measured.metrics, looked | focus.tables(network, material, config) | measured.tables)


def measure_again(record: Record, data_root: Path | None = None, progress: bool = True) -> Record:
    """Measures a finished run again from its weights, and writes its record anew: for measures younger than it.

    Raises CheckpointError where the weights are not on this machine, and RecordError where the record was made from
    other data, or where a metric comes out otherwise.
    """
    config = configuration_of(record, data_root)
    dataset, device = open_dataset(config, progress), choose_device(config.device)
    check_data(record, dataset)
    network = on_device(load_network(config, dataset), config, device)
    measured = measured_whole(network, gather(config, dataset, device, progress=progress), config)
    if apart := [
        f"{name}: {record.metrics.get(name)} / {value}"
        for name, value in measured.metrics.items()
        if abs(record.metrics.get(name, value) - value) > SAME
    ]:
        raise RecordError(f"{record.name}: its weights measure otherwise than its record says ({'; '.join(apart)})")
    told = {"measured": {"created": now(), **origin()}}
    return replace_record(record, measured.metrics, record.provenance | told, measured.tables)


def checkpoint_path(config: Configuration, build: Path | None = None) -> Path:
    """Where a run that is not finished keeps how far it has come."""
    return (build or build_root()) / "runs" / config.name / "checkpoint.pt"


def _scores(network: Model, material: Material, config: Configuration) -> dict[str, float]:
    """What the history tells of an evaluation on the way: nothing of a network that has collapsed, and may recover."""
    try:
        metrics = SYSTEMS[config.system].measure(network, material, config).metrics
    except CollapsedError:
        return {}
    return {name: metrics[name] for name in ("mAP", "rank-1")}


# ---------------------------------------------------------------------------------------------------------------- data


def open_dataset(config: Settings, progress: bool = True) -> Dataset:
    """The data set of a run; SynthPed is rendered first where it is missing."""
    if config.dataset == "synthped" and config.data_root is None:
        with distributed.first_one_first():
            render_synthped(config, progress=progress)
    try:
        dataset = load_dataset(config.dataset, config.root)
    except DatasetError as error:
        if config.root.is_dir():
            raise
        raise DatasetError(
            f"{error}\nName the folder that holds it: --data-root FOLDER, or data_root in the parameter file."
        ) from error
    return hold_out(dataset, config.validation_identities) if config.validation_identities else dataset


def render_synthped(config: Settings, root: Path | None = None, progress: bool = True) -> Path:
    """Renders the SynthPed of a profile or run where its runs look for it, or at `root`, unless it is there."""
    if config.dataset != "synthped":
        raise ParameterError(f"dataset is {config.dataset}, which is real and not rendered; use a profile of synthped")
    root = root or config.root
    try:
        with ending_with_this_process(), _alone(root):
            return render(
                root,
                config.synthped_preset,
                seed=config.synthped_seed,
                train_identities=config.synthped_train_identities,
                test_identities=config.synthped_test_identities,
                progress=progress,
            )
    except (ValueError, FileExistsError) as error:
        raise ParameterError(str(error)) from error


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time renders to `root`; what a killed one has left beside it is removed."""
    if (root / "synthped.json").is_file() and not os.access(root.parent, os.W_OK):
        yield  # nobody can replace it, nor lock
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(root.parent / f".{root.name}.lock", mode=LOCK_MODE):
        for left in root.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(root.name)}-[a-z0-9_]{{8}}", left.name):
                shutil.rmtree(left)
        yield


def attributes_of(dataset: Dataset) -> Attributes:
    """The attribute labels of a data set. Raises DatasetError where it has none."""
    if dataset.attributes is None:
        raise DatasetError(
            f"{dataset.root}: no attribute labels; this run needs market_attribute.mat or duke_attribute.mat there, in "
            "its folder `attribute`, or beside it (Lin et al. 2019 publish them)"
        )
    return dataset.attributes


def gather(
    config: Configuration,
    dataset: Dataset,
    device: torch.device,
    splits: Sequence[str] = SPLITS,
    progress: bool = True,
    maps_of: MapsOf | None = None,
) -> Material:
    """What a run works with: the images of some splits on the device, and what else its configuration needs.

    `maps_of` gives the heat maps of its guide, a split and the classes that they explain, unless it is `heat_maps`.
    """
    maps: dict[str, Maps] = {}
    if (guide := config.guide) is not None:
        for split in splits:  # no label is known of a test image
            classes = config.map_classes if split == "train" else "predicted"
            stored = (maps_of or heat_maps)(guide, split, classes, progress=progress)
            maps[split] = SYSTEMS[config.system].guided(config, stored)
    if "parts" in config.needs:
        maps = {split: PartMaps(getattr(dataset, split).paths, device) for split in splits}
    return Material(
        dataset,
        {split: images_of(dataset, split, config.size, device) for split in splits},
        attributes_of(dataset) if "attributes" in config.needs else None,
        maps,
    )


_kept: dict[str, tuple[Any, Images]] | None = None  # by split, with what they were made from


@contextlib.contextmanager
def images_kept() -> Iterator[None]:
    """Within the block, the images last loaded of each split stay in memory, for runs that follow on the same data."""
    global _kept
    _kept = {}
    try:
        yield
    finally:
        _kept = None


def images_of(dataset: Dataset, split: str, size: tuple[int, int], device: torch.device) -> Images:
    """The images of a split on a device; where they are kept, those that are there, if no file has changed since."""
    paths = getattr(dataset, split).paths
    if _kept is None:
        return load_images(paths, size, device)
    source = (size, device, [(path, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths])
    if split in _kept and _kept[split][0] != source:
        del _kept[split]  # first, so that never both are in memory
    if split not in _kept:
        _kept[split] = source, load_images(paths, size, device)
    return _kept[split][1]


def labels_of(material: Material) -> Tensor:
    """What training learns of each image, int64 (N, 1 + G): the identity's class, and its class in each group."""
    train = material.dataset.train
    identities = train.labels()[:, None]
    if material.attributes is None:
        return identities
    return torch.cat([identities, material.attributes.train.labels_of(train.ids)], 1)


def losses_of(network: Model, config: Configuration, material: Material) -> Callable[[Step], Mapping[str, Tensor]]:
    """The losses of a step of the training loop: the network's own, of a batch with all that it needs."""
    maps, augmentation = material.maps.get("train"), config.augmentation()

    def losses(step: Step) -> Mapping[str, Tensor]:
        still = {} if maps is None else maps[step.indexes]
        batch = Batch(
            step.images,
            step.labels[:, 0],
            step.labels[:, 1:] if material.attributes else None,
            {name: augmentation.move_maps(values, step.draw) for name, values in still.items()},
            step,
        )
        return network.losses(batch)

    return losses


def make_sampler(config: Configuration, labels: Tensor) -> Sampler:
    """The sampler that the settings ask for; P×K by default where the loss compares images."""
    sampling = config.sampling
    if sampling == "auto":
        sampling = "identities" if config.compares else "shuffled"
    try:
        if sampling == "shuffled":
            return ShuffledSampler(len(labels), config.batch_size)
        sampler = IdentitySampler(labels, config.batch_size // config.images_per_identity, config.images_per_identity)
    except ValueError as error:
        raise ParameterError(str(error)) from error
    if config.compares:
        batch = sampler.epoch(torch.Generator().manual_seed(config.seed))[:1]  # (1, B), alike in all epochs
        with contextlib.suppress(ValueError):  # what cannot be shared is told by the training loop
            batch = distributed.share(batch)
        if not complete_anchors(labels[batch[0]]).any():
            raise ParameterError(
                f"batch_size {config.batch_size} with images_per_identity {config.images_per_identity}: among the "
                f"{batch.shape[1]} images of a process, none has both another of the same person and one of somebody "
                "else, so that the triplet loss would be 0; raise one of the two, or start fewer processes"
            )
    return sampler


def heat_maps(
    config: Configuration, split: str, classes: MapClasses = "predicted", *, progress: bool = True
) -> HeatMaps:
    """The stored heat maps of a split under the trained attribute network of a finished run; what is missing is made.

    `classes`: whose probability is explained, the class that the network predicts or that the labels name. Raises
    CheckpointError where the network's weights are not on this machine.
    """
    dataset = open_dataset(config, progress)
    attributes = attributes_of(dataset)
    device = choose_device(config.device)
    network = load_network(config, dataset).to(device)
    images: Split = getattr(dataset, split)
    labels = (attributes.train if split == "train" else attributes.test).labels_of(images.ids)  # (N, G)

    def produce(indexes: Tensor, pixels: Tensor) -> Mapping[str, Tensor]:
        chosen = labels[indexes].to(device) if classes == "labels" else None
        return attribute_heat_maps(network, normalise(resize(pixels, config.size)), chosen)

    with distributed.first_one_first():
        return store_heat_maps(
            heat_map_folder(config, split, classes),
            images_of(dataset, split, config.size, device),
            produce,
            key={
                "network": hashlib.sha256(weights_path(config).read_bytes()).hexdigest(),
                "images": f"{split} of {file_list_checksum(dataset)}",
                "size": f"{config.image_height}x{config.image_width}",
                "classes": classes,
            },
            progress=progress,
            name=f"heat maps, {split}",
            device=device,
        )


def heat_map_folder(config: Configuration, split: str, classes: MapClasses = "predicted") -> Path:
    return build_root() / "heatmaps" / config.name / (split if classes == "predicted" else f"{split}-{classes}")


# ------------------------------------------------------------------------------------------------------------- records


def find_record(config: Configuration, roots: Sequence[Path] | None = None) -> Record | None:
    """The finished record of a configuration in the first of `roots` that has one (all unless given), or None."""
    for root in roots or record_roots():
        if (root / config.name / "record.json").is_file():
            return read_record(root / config.name)
    return None


def configuration_of(record: Record, data_root: Path | None = None) -> Configuration:
    """The configuration that a record was made with, its data at `data_root`; what is younger has its default.

    Raises RecordError for a record of a system that this version does not have.
    """
    return configuration_from(record.system, record.config, record.name, data_root)


def configuration_from(
    system: str, config: Mapping[str, Any], name: str, data_root: Path | None = None
) -> Configuration:
    """The same from what a record or a weights file tells of the run `name`."""
    if system not in SYSTEMS:
        raise RecordError(f"{name}: of the system {system!r}; this version has {', '.join(SYSTEMS)}")
    values = _without(config, {"revision", "renderer", "data"})
    if data_root is not None:
        for part in (values, values.get("attributes")):
            if part is not None:
                part["data_root"] = str(data_root.resolve())
    return validate(SYSTEMS[system].configuration, values, source=name)


def _without(values: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    """`values` and the dictionaries in it, without some keys."""
    return {k: _without(v, keys) if isinstance(v, Mapping) else v for k, v in values.items() if k not in keys}


def repeat(record: Record, data_root: Path | None = None, progress: bool = True, device: str | None = None) -> Record:
    """Trains the run of a record once more, from scratch and apart from it, and returns the new record."""
    made = {"revision": record.config["revision"], "renderer": record.config.get("renderer")}
    here = {"revision": REVISION, "renderer": RENDERER if record.config["dataset"] == "synthped" else None}
    for key in made:
        if made[key] != here[key]:
            raise RecordError(
                f"{record.name}: made by {key} {made[key]} of the code, this is {key} {here[key]}; "
                f"check out commit {record.provenance['commit']} to repeat it"
            )
    config = configuration_of(record, data_root)
    if device is not None:
        config = config.model_copy(update={"device": device})
    apart = build_root() / "verified" / record.name  # not where `make book` keeps its repetitions
    shutil.rmtree(apart, ignore_errors=True)
    again = make(config, apart / "records", progress, apart)
    assert again is not None, "a run is repeated by one process"
    return again


def check_data(record: Record, dataset: Dataset) -> None:
    """Raises RecordError where a record was made from other files than those of `dataset`."""
    made, found = record.provenance["data"], file_list_checksum(dataset)
    if made != found:
        hint = (
            "If it was rendered here, delete it to have it rendered anew; a CPU that is no x86 with AVX2 draws a few "
            "pictures a shade differently, and needs FRESH=1"
            if record.config["dataset"] == "synthped"
            else "Pictures of your own are the data set `own` (--set dataset=own); a changed copy of a known one "
            "needs a build folder of its own (REIDKIT_BUILD)"
        )
        raise RecordError(
            f"{record.name}: made from files with checksum {made[:12]}…, but {dataset.root} has {found[:12]}…: "
            f"the data set was changed or is another one. {hint}"
        )


# ------------------------------------------------------------------------------------------------------------- weights


def features(config: Configuration, dataset: Dataset, splits: Sequence[str] = ("query", "gallery")) -> list[Tensor]:
    """Features (N, D) of some splits under the trained network of a finished run.

    Raises CheckpointError where its weights are not on this machine, ParameterError for a run that ranks nothing.
    """
    if not SYSTEMS[config.system].ranks:
        raise ParameterError(f"{config.row_name}: it ranks nothing; name a run that does")
    device = choose_device(config.device)
    network = on_device(load_network(config, dataset), config, device)
    material = gather(config, dataset, device, splits, progress=False)
    return [embed(network, material, config, split) for split in splits]


def measure(query: Tensor, gallery: Tensor, dataset: Dataset, metric: Metric = "cosine") -> dict[str, float]:
    """The metrics of a record from features (N, D) of its query and gallery, and its configuration's metric.

    Raises CollapsedError where they say nothing, as `rank_features` does.
    """
    return ranking_metrics(query, gallery, dataset, metric)[1]


def load_network(config: Configuration, dataset: Dataset) -> Any:
    """The trained network of a finished run, in evaluation mode on the CPU. Raises CheckpointError where none is."""
    system = SYSTEMS[config.system]
    attributes = attributes_of(dataset) if "attributes" in config.needs else None
    network = system.build(config.from_scratch(), Material(dataset, {}, attributes).classes)
    load_weights(network, config, file_list_checksum(dataset))
    return network.eval()


def on_device(network: Network, config: Configuration, device: torch.device) -> Network:
    """The network on its device, in the memory format of its training, so that every digit is the same."""
    network = network.to(device)
    return network.to(memory_format=torch.channels_last) if config.channels_last else network


def weights_path(config: Configuration, build: Path | None = None) -> Path:
    """Where a finished run keeps its network's weights; they are never published."""
    return (build or build_root()) / "weights" / f"{config.name}.safetensors"


def find_weights(config: Configuration) -> Path:
    """Where a finished run's weights are. Raises CheckpointError where they are not on this machine."""
    if not (path := weights_path(config)).is_file():
        raise CheckpointError(
            f"{path}: no weights of this run on this machine (published records come without). "
            f"`reidkit run PROFILE --row {config.row_name} --seed {config.seed} --with-weights` trains it."
        )
    return path


def save_weights(path: Path, network: nn.Module, config: Configuration, classes: Classes, data: str) -> None:
    """The network's state as safetensors, whole or not at all.

    The header names the run and its data's checksum, and holds all that it takes to build the network anew.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    told = {
        "run": config.name,
        "data": data,
        "system": config.system,
        "config": config.determinants,
        "classes": asdict(classes),
    }
    # One text: safetensors would write several in any order, and the same network should make the same file.
    replace_file(path, safetensors.torch.save(state, metadata={"reidkit": json.dumps(told)}))


def load_weights(network: nn.Module, config: Configuration, data: str) -> None:
    """Fills `network` with the weights of a finished run on the data with checksum `data`.

    Raises CheckpointError where there are none, where they are another run's or of other data.
    """
    path = find_weights(config)
    advice = f"Delete {path} and the record {config.name}, and run it again."
    try:
        told, state = read_weights(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {advice}") from error
    if (owner := told.get("run")) != config.name:
        raise CheckpointError(f"{path}: the weights are of the run {owner!r}, not of {config.name!r}. {advice}")
    if (made := told.get("data", data)) != data:  # older files do not say
        raise CheckpointError(
            f"{path}: trained on files with checksum {made[:12]}…, but the data set here has {data[:12]}…: give "
            f"another copy of the data a build folder of its own (REIDKIT_BUILD). {advice}"
        )
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit this network ({error}). {advice}") from error


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the header of a weights file tells, and the network's state. Raises CheckpointError for another file.

    The header holds the run's name as `run` and, unless the file is of an older version, the checksum of its `data`,
    its `system`, `config` and `classes`.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        told = json.loads(header["reidkit"]) if "reidkit" in header else header
        return dict(told), safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated, or not a safetensors file ({error})") from error


class OnlyOne:
    """Lets one process at a time train a run; the others say who holds it and wait."""

    def __init__(self, name: str) -> None:
        folder = build_root() / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.lock, self.holder = filelock.FileLock(folder / f"{name}.lock", mode=LOCK_MODE), folder / f"{name}.holder"

    def __enter__(self) -> None:
        try:
            self.lock.acquire(blocking=False)
        except filelock.Timeout:
            holder = self.holder.read_text(encoding="utf-8") if self.holder.exists() else "another process"
            print(f"{self.name} is being trained by {holder}; waiting for its record")
            self.lock.acquire()
        self.holder.unlink(missing_ok=True)  # left by a killed one, perhaps another user's
        self.holder.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        self.holder.unlink(missing_ok=True)
        self.lock.release()

"""SAN-GAL's runs: the attribute network, its stored heat maps, and the re-identification rows that they guide.

The attribute network is trained first; its heat maps are stored once per image (offline, as the paper trains); the
re-identification networks then read them. Each reading of the loosely printed equations is one field.
"""

import hashlib
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.io import decode_image, read_file

from reidkit import distributed
from reidkit.data import Attributes, Dataset, DatasetError, Split
from reidkit.data.heat_maps import HeatMaps, store_heat_maps
from reidkit.data.layouts import file_list_checksum
from reidkit.data.resident import Images, load_images, normalise, resize
from reidkit.data.samplers import ShuffledSampler
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.evaluation.attributes import evaluate_attributes
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.experiments.runs import (
    load_initial_weights,
    load_weights,
    make_sampler,
    open_dataset,
    run,
    save_weights,
    train_reid,
    weights_path,
)
from reidkit.experiments.settings import Configuration, ParameterError, build_root
from reidkit.gradcam import attribute_heat_maps
from reidkit.losses import JointLoss, attribute_loss
from reidkit.models.san_gal import STAGES, AttributeNetwork, AttributeSpatialAttention, SanGalNetwork, SanGalOutput
from reidkit.records import Record, provenance, write_record
from reidkit.training import Batch, autocast, choose_device, extract_features, precision_of, train

Row = Literal["IDonly", "ID+attr", "ID+attrAttention"]
Classes = Literal["predicted", "labels"]
ROWS: tuple[Row, ...] = get_args(Row)


class Schedule(Configuration):
    """The training that the paper prints for both networks; what it leaves open is as in the joint-loss runs."""

    epochs: int = Field(20, ge=1, description="passes over the training images")
    optimizer: Literal["adam", "sgd"] = Field("sgd", description="sgd is with a momentum of 0.9")
    learning_rate: float = Field(1e-3, gt=0, description="the highest learning rate")
    warmup_epochs: float = Field(1, ge=0, description="epochs over which the learning rate rises linearly")
    warmup_factor: float = Field(0.03, gt=0, le=1, description="the factor on the learning rate at the start")
    milestones: tuple[float, ...] = Field((5, 7, 15), description="epochs at which the learning rate falls")
    decay: float | tuple[float, ...] = Field((0.5, 0.2, 0.3), description="the factor by which it falls at each")
    weights: str | None = Field("imagenet", description="null, imagenet (torchvision's), or a local file of weights")


class AttributeConfig(Schedule):
    """One run of the attribute network."""

    epochs: int = Field(10, ge=1, description="the epochs for which the paper keeps its pre-training head")

    @property
    def title(self) -> tuple[str, ...]:
        return self.dataset, "attributes", f"seed{self.seed}"

    @property
    def cell(self) -> str:
        return "attributes"

    def make(self, build: Path, records: Path, progress: bool) -> Record | None:
        dataset = open_dataset(self, progress)
        attributes = attributes_of(dataset)
        device = choose_device(self.device)
        network = build_attribute_network(self, attributes).to(device)
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        labels = attributes.train.labels_of(dataset.train.ids)  # (N, G)

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            logits = network(batch.images)
            right = torch.stack([z.detach().argmax(1) for z in logits], 1) == batch.labels  # (B, G)
            known = batch.labels >= 0
            accuracy = (right & known).sum() / known.sum().clamp(min=1)
            return {"total": attribute_loss(logits, batch.labels), "accuracy": accuracy}

        workplace = build / "runs" / self.name
        data = file_list_checksum(dataset)
        trained = train(
            network,
            losses,
            load_images(dataset.train.paths, self.size, device),
            labels,
            ShuffledSampler(len(labels), self.batch_size),
            self,
            seed=self.seed,
            directory=workplace,
            identity={"run": self.name, "data": data},
            name=" ".join(self.title[1:]),
            progress=progress,
        )
        if distributed.rank() > 0:
            return None
        started = time.perf_counter()
        scores = attribute_scores(network, dataset, self)
        measured = {"attributes": scores}
        if has_part_maps(dataset):
            measured["localisation"] = localisation(network, dataset, self)
        metrics = {
            f"{column} ({level})": float(group[column].mean())
            for level, group in scores.groupby("level", sort=False)
            for column in ("accuracy", "balanced accuracy", "majority accuracy")
        }
        save_weights(weights_path(self, build), network, self)
        record = write_record(
            records / self.name,
            config=self.determinants,
            metrics={name: round(value, 6) for name, value in metrics.items()},
            provenance=provenance(
                seed=self.seed,
                data=data,
                device="; ".join(trained.devices),
                seconds={"training": round(trained.seconds, 1), "evaluation": round(time.perf_counter() - started, 1)},
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                images={split: len(getattr(dataset, split)) for split in ("train", "query", "gallery")},
            ),
            history=trained.history,
            steps=trained.steps.round(4),
            **measured,
        )
        shutil.rmtree(workplace)
        return record

    def features(self, dataset: Dataset, splits: Sequence[str] = ("query", "gallery")) -> list[Tensor]:
        raise ParameterError("attributes: the attribute network ranks nothing; name a run that does")


class SanGalConfig(Schedule):
    """One run of a row of SAN-GAL's Table 1, in one of the readings of its text. Literal readings are the default."""

    row: Row = Field("IDonly", description="of the paper's Table 1")
    triplet: bool = Field(True, description="the triplet loss beside the cross-entropy")
    attribute_weight: float = Field(1.0, ge=0, description="of the attribute loss, where there is one")
    attribute_epochs: float = Field(10, ge=0, description="epochs for which the attribute loss counts")
    sigmoids: Literal[1, 2] = Field(2, description="how often the attention passes through a sigmoid")
    scaling: Literal["raw", "minmax"] = Field("raw", description="of the heat maps in the attention module")
    attended: Literal["last", "first"] = Field("last", description="which half of the channels is attended")
    classes: Classes = Field("predicted", description="whose heat maps guide the training")
    attribute_heads: bool = Field(False, description="ID+attrAttention: with the attribute heads of ID+attr")
    online: bool = Field(False, description="ID+attrAttention: both networks at once, no stored heat maps")
    attributes: AttributeConfig | None = Field(None, description="ID+attrAttention: the attribute network's run")

    @model_validator(mode="after")
    def _check_row(self) -> Self:
        if (self.row == "ID+attrAttention") != (self.attributes is not None):
            raise ValueError("attributes: the row ID+attrAttention needs a run of the attribute network, others none")
        if self.online and (self.attribute_heads or self.classes != "predicted"):
            raise ValueError("online: goes with neither attribute_heads nor the heat maps of labels")
        return self

    @property
    def title(self) -> tuple[str, ...]:
        return self.dataset, self.row.lower().replace("+", "-"), f"seed{self.seed}"

    @property
    def cell(self) -> str:
        changed = {key: value for key in READING_KEYS if (value := getattr(self, key)) != _default(key)}
        if not changed:
            return self.row
        known = [name for name, reading in READINGS.items() if reading == changed]
        return f"{self.row}/{known[0] if known else '-'.join(f'{k}={v}' for k, v in changed.items())}"

    def _determinants(self, exclude_defaults: bool) -> dict[str, Any]:
        values = super()._determinants(exclude_defaults)
        if self.attributes is not None:
            values["attributes"] = self.attributes._determinants(exclude_defaults)
        return values

    def make(self, build: Path, records: Path, progress: bool) -> Record | None:
        dataset = open_dataset(self, progress)
        attributes = attributes_of(dataset) if self.row != "IDonly" else None
        identities = dataset.train.labels()
        labels = identities[:, None]
        if attributes is not None:
            labels = torch.cat([labels, attributes.train.labels_of(dataset.train.ids)], 1)  # (N, 1 + G)
        device = choose_device(self.device)
        network = build_san_gal(self, int(identities.max()) + 1, attributes).to(device)
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        stored = self.heat_maps(("train", "query", "gallery"), progress)
        objective = JointLoss(self.label_smoothing, self.triplet_margin, use_triplet=self.triplet)
        augmentation = self.augmentation()

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            maps = None
            if stored:
                at_rest = stored["train"][batch.indexes]
                maps = {stage: augmentation.move_maps(still, batch.draw) for stage, still in at_rest.items()}
            output = network(batch.images, maps)
            identity, attribute_labels = batch.labels[:, 0], batch.labels[:, 1:]
            terms = objective(output, identity)
            if output.attributes and batch.progress < self.attribute_epochs:
                terms["attributes"] = attribute_loss(output.attributes, attribute_labels)
                terms["total"] = terms["total"] + self.attribute_weight * terms["attributes"]
            correct = output.logits.detach().argmax(dim=1) == identity
            return {**terms, "accuracy": correct.float().mean()}

        return train_reid(
            self,
            dataset,
            network,
            losses,
            lambda images, split: self._extract(network, images, stored.get(split)),
            make_sampler(self, identities, compares=self.triplet),
            labels=labels,
            build=build,
            records=records,
            progress=progress,
            **({"attention": attention_spread(network, stored["query"])} if stored else {}),
        )

    def features(self, dataset: Dataset, splits: Sequence[str] = ("query", "gallery")) -> list[Tensor]:
        device = choose_device(self.device)
        attributes = attributes_of(dataset) if self.row != "IDonly" else None
        initial = self.model_copy(update={"weights": None})
        network = build_san_gal(initial, len(dataset.train.identities), attributes).to(device)
        load_weights(network, self)
        if self.channels_last:  # as in training, so that bf16 rounds alike
            network = network.to(memory_format=torch.channels_last)
        stored = self.heat_maps(splits)
        images = {split: load_images(getattr(dataset, split).paths, self.size, device) for split in splits}
        return [self._extract(network, images[split], stored.get(split)) for split in splits]

    def heat_maps(self, splits: Iterable[str], progress: bool = True) -> dict[str, HeatMaps]:
        """By split, the stored heat maps that guide the network; none for a row without, or trained online."""
        if self.attributes is None or self.online:
            return {}
        maker = self.attributes.model_copy(update={"data_root": self.data_root, "device": self.device})
        # No label is known of a test image.
        classes = {split: self.classes if split == "train" else "predicted" for split in splits}
        return {split: heat_maps(maker, split, classes[split], progress=progress) for split in splits}

    def _extract(self, network: nn.Module, images: Images, maps: HeatMaps | None) -> Tensor:
        given = None if maps is None else lambda indexes, _: maps[indexes]
        return extract_features(network, images, self, given=given)


READINGS: dict[str, dict[str, Any]] = {
    "one-sigmoid": {"sigmoids": 1},
    "scaled-maps": {"scaling": "minmax"},
    "scaled-maps-one-sigmoid": {"scaling": "minmax", "sigmoids": 1},
    "first-half": {"attended": "first"},
    "labelled-classes": {"classes": "labels"},
    "attribute-heads": {"attribute_heads": True},
    "online": {"online": True},
}
"""Readings of ID+attrAttention other than the literal one, by what they change."""

READING_KEYS = tuple(dict.fromkeys(key for reading in READINGS.values() for key in reading))

SAN_GAL: tuple[str, ...] = ("attributes", *ROWS, *(f"ID+attrAttention/{name}" for name in READINGS))
"""Every run of SAN-GAL that a profile can name."""


def _default(key: str) -> Any:
    return SanGalConfig.model_fields[key].default


def attributes_of(dataset: Dataset) -> Attributes:
    """The attribute labels of a data set. Raises DatasetError where it has none."""
    if dataset.attributes is None:
        raise DatasetError(
            f"{dataset.root}: no attribute labels; SAN-GAL needs market_attribute.mat or duke_attribute.mat there, in "
            "its folder `attribute`, or beside it (Lin et al. 2019 publish them)"
        )
    return dataset.attributes


def attribute_names(attributes: Attributes) -> list[str]:
    """The field names of the K attributes, in the order of the heat maps."""
    return [field for group in attributes.groups for field in group.fields]


# --------------------------------------------------------------------------------------------------------- networks


def build_attribute_network(config: AttributeConfig, attributes: Attributes) -> AttributeNetwork:
    """The attribute network of a run, freshly initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = AttributeNetwork(
            [len(group.classes) for group in attributes.groups],
            [len(group.fields) for group in attributes.groups],
            config.width_multiplier,
            config.last_stride,
            config.residual_scale,
        )
    load_initial_weights(network.backbone, config)
    return network


def load_attribute_network(config: AttributeConfig, attributes: Attributes) -> AttributeNetwork:
    """The trained attribute network of a finished run, in evaluation mode on the CPU."""
    network = build_attribute_network(config.model_copy(update={"weights": None}), attributes)
    load_weights(network, config)
    return network.eval()


def build_san_gal(config: SanGalConfig, num_classes: int, attributes: Attributes | None) -> nn.Module:
    """The re-identification network of a run, freshly initialised; with the attribute network where trained online."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        heads = config.row == "ID+attr" or config.attribute_heads
        network = SanGalNetwork(
            num_classes,
            attention=config.row == "ID+attrAttention",
            class_counts=[len(group.classes) for group in attributes.groups] if attributes and heads else (),
            width_multiplier=config.width_multiplier,
            last_stride=config.last_stride,
            residual_scale=config.residual_scale,
            sigmoids=config.sigmoids,
            scaling=config.scaling,
            attended=config.attended,
        )
    load_initial_weights(network.backbone, config)
    if config.online and config.attributes is not None and attributes is not None:
        return DualTrace(network, build_attribute_network(config.attributes, attributes))
    return network


class DualTrace(nn.Module):
    """Both networks at once, as Sect. 3.1 (3) trains them: the attribute network is back-propagated twice.

    The first time for Grad-CAM, whose gradients are discarded; the second time for its own loss.
    """

    def __init__(self, reid: SanGalNetwork, attributes: AttributeNetwork) -> None:
        super().__init__()
        self.reid, self.attributes = reid, attributes

    def forward(self, images: Tensor, heat_maps: None = None) -> SanGalOutput | Tensor:
        """Images (N, 3, H, W) -> as of `SanGalNetwork`, the attribute network's logits among the output."""
        output: SanGalOutput | Tensor = self.reid(images, attribute_heat_maps(self.attributes, images))
        return output._replace(attributes=self.attributes(images)) if isinstance(output, SanGalOutput) else output


# -------------------------------------------------------------------------------------------------------- heat maps


def heat_maps(
    config: AttributeConfig,
    split: str,
    classes: Classes = "predicted",
    *,
    progress: bool = True,
) -> HeatMaps:
    """The stored heat maps of a split under the trained attribute network of a run; what is missing is made first.

    `classes`: whose probability is explained, the class that the network predicts or that the labels name.
    """
    run(config, progress=progress)
    dataset = open_dataset(config, progress)
    attributes = attributes_of(dataset)
    device = choose_device(config.device)
    network = load_attribute_network(config, attributes).to(device)
    images: Split = getattr(dataset, split)
    labels = (attributes.train if split == "train" else attributes.test).labels_of(images.ids)  # (N, G)

    def produce(indexes: Tensor, pixels: Tensor) -> Mapping[str, Tensor]:
        chosen = labels[indexes].to(device) if classes == "labels" else None
        return attribute_heat_maps(network, normalise(resize(pixels, config.size)), chosen)

    with distributed.first_one_first():
        return store_heat_maps(
            heat_map_folder(config, split, classes),
            load_images(images.paths, config.size, device),
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


def heat_map_folder(config: AttributeConfig, split: str, classes: Classes = "predicted") -> Path:
    return build_root() / "heatmaps" / config.name / (split if classes == "predicted" else f"{split}-{classes}")


def attention_spread(network: nn.Module, maps: HeatMaps) -> pd.DataFrame:
    """How much the attention of each stage varies over images, attributes and places: it selects by that alone."""
    rows = []
    for stage, module in network.get_submodule("attention").named_children():
        assert isinstance(module, AttributeSpatialAttention)
        channels = network.get_submodule(f"backbone.{stage}.0.conv3").get_parameter("weight").shape[0]
        weights = []
        for indexes in torch.arange(len(maps)).split(64):
            heat = maps[indexes][stage].cpu()
            features = torch.zeros(()).expand(len(heat), channels, *heat.shape[2:])
            weights.append(module.block_attention(features, heat).flatten())
        values = torch.cat(weights).double()
        quantiles = np.quantile(values.numpy(), (0.05, 0.5, 0.95))
        shares = dict(zip(("5 %", "50 %", "95 %"), quantiles.tolist(), strict=True))
        extremes = {"lowest": values.min().item(), "highest": values.max().item()}
        rows.append({"stage": stage, "mean": values.mean().item(), "std": values.std().item(), **shares, **extremes})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------ what a record says of them


@torch.inference_mode()
def attribute_scores(network: AttributeNetwork, dataset: Dataset, config: AttributeConfig) -> pd.DataFrame:
    """Accuracies per attribute group on the test images, by image and by identity, beside the majority class."""
    attributes = attributes_of(dataset)
    network.eval()
    device = next(network.parameters()).device
    parts: list[list[Tensor]] = []
    for split in (dataset.query, dataset.gallery):
        images = load_images(split.paths, config.size, device)
        for pixels in images.batches(list(torch.arange(len(images)).split(256))):
            with autocast(device, precision_of(config.precision, device)):
                logits = network(normalise(resize(pixels, config.size)))
            parts.append([group.float().softmax(1).cpu() for group in logits])
    probabilities = [torch.cat(group) for group in zip(*parts, strict=True)]
    ids = torch.cat([dataset.query.ids, dataset.gallery.ids])
    evaluation = evaluate_attributes(probabilities, attributes.test.labels_of(ids), ids)
    rows = [
        {
            "attribute": group.name,
            "level": level,
            "count": int(scores.count[i]),
            "accuracy": scores.accuracy[i].item(),
            "balanced accuracy": scores.balanced_accuracy[i].item(),
            "majority accuracy": scores.majority_accuracy[i].item(),
            "majority balanced accuracy": scores.majority_balanced_accuracy[i].item(),
        }
        for level, scores in (("identity", evaluation.identities), ("image", evaluation.images))
        for i, group in enumerate(attributes.groups)
    ]
    return pd.DataFrame(rows)


def has_part_maps(dataset: Dataset) -> bool:
    """Whether the data set says where each attribute is: SynthPed does, no real one does."""
    return (dataset.root / "parts" / "query").is_dir()


def localisation(network: AttributeNetwork, dataset: Dataset, config: AttributeConfig) -> pd.DataFrame:
    """Where the heat maps of the labelled classes lie on the queries, against SynthPed's part maps.

    A row per attribute field, stage and measure. An image counts where the attribute is in sight and, for a colour,
    where the person wears it.
    """
    attributes = attributes_of(dataset)
    device = next(network.parameters()).device
    paths = dataset.query.paths
    labels = attributes.test.labels_of(dataset.query.ids)  # (N, G)
    images = load_images(paths, config.size, device)
    batches = list(torch.arange(len(images)).split(32))
    made = [
        attribute_heat_maps(network, normalise(resize(pixels, config.size)), labels[indexes].to(device))
        for indexes, pixels in zip(batches, images.batches(batches), strict=True)
    ]
    maps = {stage: torch.cat([batch[stage].cpu() for batch in made]) for stage in STAGES}  # (N, K, h, w)
    parts = torch.stack([part_map(dataset, path) for path in paths])  # (N, H, W)
    rows = []
    for k, (field, attribute) in enumerate(zip(attribute_names(attributes), network.attributes, strict=True)):
        inside = torch.isin(parts, torch.tensor([PARTS[part] for part in ATTRIBUTE_PARTS[field]], dtype=parts.dtype))
        if attribute.class_ is not None:
            inside &= (labels[:, attribute.group] == attribute.class_)[:, None, None]
        for stage in STAGES:
            found = evaluate_localisation(maps[stage][:, k], inside)
            for name in ("pointing", "energy", "iou"):
                measure = getattr(found, name)
                row = {"attribute": field, "stage": stage, "measure": name, "images": found.images}
                row |= {"blank": found.blank, "random": measure.random.mean, "centre": measure.centre.mean}
                for column in ("map", "over_random", "over_centre"):
                    interval = getattr(measure, column)
                    name_of = column.replace("_", " ")
                    row |= {name_of: interval.mean, f"{name_of} low": interval.low, f"{name_of} high": interval.high}
                rows.append(row)
    return pd.DataFrame(rows)


def part_map(dataset: Dataset, image: Path) -> Tensor:
    """SynthPed's part map (H, W) uint8 of one of its images."""
    pixels: Tensor = decode_image(read_file(str(dataset.root / "parts" / image.parent.name / f"{image.stem}.png")))
    return pixels[0]

"""SAN-GAL's attribute network: Hou et al. 2021, "SAN-GAL: Spatial Attention Network Guided by Attribute Label".

ResNet-50 with a BN–FC–softmax per attribute group (Sect. 3.1), which names what a person wears and ranks nobody. Its
Grad-CAM heat maps guide the paper's re-identification network (`san_gal.py`). What the paper prints of the training is
the default here; what it leaves open is as in the joint-loss paper's runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from reidkit.cells import to_cells
from reidkit.data import AttributeGroup, Attributes
from reidkit.data.part_maps import has_part_maps, read_part_maps, showing
from reidkit.data.resident import normalise, resize
from reidkit.data.synthped import ATTRIBUTE_PARTS
from reidkit.evaluation.attributes import evaluate_attributes
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.gradcam import attribute_heat_maps
from reidkit.losses import attribute_loss
from reidkit.models.backbone import STAGES, ResNet50, load_initial_weights
from reidkit.models.heads import Attribute, AttributeHeads
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Classes, Material, Measured, Model, System, seeded
from reidkit.training import autocast, precision_of

EXAMPLES = 24  # queries whose heat maps a record keeps


class SanGalTraining(Configuration):
    """What the paper prints of the training of both its networks."""

    optimizer: Literal["adam", "sgd"] = Field("sgd", description="sgd is with a momentum of 0.9")
    learning_rate: float = Field(1e-3, gt=0, description="the highest learning rate")
    warmup_epochs: float = Field(1, ge=0, description="epochs over which the learning rate rises linearly")
    warmup_factor: float = Field(0.03, gt=0, le=1, description="the factor on the learning rate at the start")
    milestones: tuple[float, ...] = Field((5, 7, 15), description="epochs at which the learning rate falls")
    decay: float | tuple[float, ...] = Field((0.5, 0.2, 0.3), description="the factor by which it falls at each")
    weights: str | None = Field("imagenet", description="null, imagenet (torchvision's), or a local file of weights")


class AttributeConfig(SanGalTraining):
    """One run of the attribute network."""

    system = "attributes"
    told_by_hash = False
    takes = frozenset({"attributes"})

    epochs: int = Field(10, ge=1, description="the epochs for which the paper keeps its pre-training head")


class AttributeNetwork(Model):
    """ResNet-50 with a classifier per attribute group: images (N, 3, H, W) -> logits (N, classes), one per group.

    `class_counts` holds the classes of each group. `field_counts` says how many attributes of the attribute file each
    group answers: 1 (it is one attribute, such as *hat*), or one less than its classes (one for each class but the
    first, such as the colours beside *none*). Unless given, every group is one attribute.
    """

    def __init__(
        self,
        class_counts: Sequence[int],
        field_counts: Sequence[int] | None = None,
        width_multiplier: float = 1.0,
        last_stride: int = 1,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.attributes = attributes_in(class_counts, field_counts)
        self.backbone = ResNet50("none", last_stride, width_multiplier, residual_scale)
        self.heads = AttributeHeads(self.backbone.out_channels, class_counts)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(images)  # (N, C, h, w)
        return list(self.heads(pool(maps)))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        assert batch.attributes is not None, "runs give them to who needs them"
        logits = self(batch.images)
        right = torch.stack([z.detach().argmax(1) for z in logits], 1) == batch.attributes  # (B, G)
        known = batch.attributes >= 0
        accuracy = (right & known).sum() / known.sum().clamp(min=1)
        return {"total": attribute_loss(logits, batch.attributes), "accuracy": accuracy}


def attributes_in(class_counts: Sequence[int], field_counts: Sequence[int] | None = None) -> tuple[Attribute, ...]:
    """The attributes of groups with so many classes and fields each; one field each unless given."""
    attributes: list[Attribute] = []
    for group, (classes, fields) in enumerate(zip(class_counts, field_counts or [1] * len(class_counts), strict=True)):
        if fields not in (1, classes - 1):
            raise ValueError(f"group {group} has {classes} classes and {fields} fields: expected 1 or {classes - 1}")
        # With two classes the two counts coincide, and so do their meanings: the group is one attribute.
        attributes += [Attribute(group, None if fields == 1 else class_) for class_ in range(1, fields + 1)]
    return tuple(attributes)


def build(config: AttributeConfig, classes: Classes) -> AttributeNetwork:
    """The network of a run, freshly initialised from its seed."""
    with seeded(config.seed):
        network = AttributeNetwork(
            [len(group.classes) for group in classes.groups],
            [len(group.fields) for group in classes.groups],
            config.width_multiplier,
            config.last_stride,
            config.residual_scale,
        )
    load_initial_weights(network.backbone, config.weights)
    return network


def attributes_of_groups(groups: Sequence[AttributeGroup]) -> tuple[Attribute, ...]:
    """The K attributes of some groups, in the order of the heat maps."""
    return attributes_in([len(group.classes) for group in groups], [len(group.fields) for group in groups])


def attribute_names(attributes: Attributes) -> list[str]:
    """The field names of the K attributes, in the order of the heat maps."""
    return [field for group in attributes.groups for field in group.fields]


def known_attributes(material: Material) -> Attributes:
    """The attribute labels that a run of this system is given."""
    assert material.attributes is not None, "runs give them to who needs them"
    return material.attributes


# ----------------------------------------------------------------------------------------------- what it is measured by


def measure(network: AttributeNetwork, material: Material, config: AttributeConfig) -> Measured:
    """How well it names attributes on the test images, and where its heat maps lie, where the data set can tell."""
    scores = attribute_scores(network, material, config)
    tables = {"attributes": scores}
    if has_part_maps(material.dataset):
        tables |= {
            "localisation": localisation(network, material, config),
            "examples": examples(network, material, config),
        }
    metrics = {
        f"{column} ({level})": round(float(group[column].mean()), 6)
        for level, group in scores.groupby("level", sort=False)
        for column in ("accuracy", "balanced accuracy", "majority accuracy")
    }
    return Measured(metrics, tables)


@torch.inference_mode()
def attribute_scores(network: AttributeNetwork, material: Material, config: AttributeConfig) -> pd.DataFrame:
    """Accuracies per attribute group on the test images, by image and by identity, beside the majority class."""
    dataset, attributes = material.dataset, known_attributes(material)
    network.eval()
    device = next(network.parameters()).device
    parts: list[list[Tensor]] = []
    for split in ("query", "gallery"):
        images = material.images[split]
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


def localisation(network: AttributeNetwork, material: Material, config: AttributeConfig) -> pd.DataFrame:
    """Where the heat maps of the labelled classes lie on the queries, against SynthPed's part maps.

    A row per attribute field, stage and measure. An image counts where the attribute is in sight and, for a colour,
    where the person wears it.
    """
    dataset, attributes = material.dataset, known_attributes(material)
    device = next(network.parameters()).device
    paths = dataset.query.paths
    labels = attributes.test.labels_of(dataset.query.ids)  # (N, G)
    images = material.images["query"]
    batches = list(torch.arange(len(images)).split(32))
    made = [
        attribute_heat_maps(network, normalise(resize(pixels, config.size)), labels[indexes].to(device))
        for indexes, pixels in zip(batches, images.batches(batches), strict=True)
    ]
    maps = {stage: torch.cat([batch[stage].cpu() for batch in made]) for stage in STAGES}  # (N, K, h, w)
    parts = read_part_maps(paths)  # (N, H, W)
    rows = []
    for k, (field, attribute) in enumerate(zip(attribute_names(attributes), network.attributes, strict=True)):
        inside = regions(parts, labels, field, attribute)
        for stage in STAGES:
            found = evaluate_localisation(maps[stage][:, k], inside, clusters=dataset.query.ids.numpy())
            rows += [{"attribute": field, "stage": stage} | row for row in found.rows()]
    return pd.DataFrame(rows)


def regions(parts: Tensor, labels: Tensor, field: str, attribute: Attribute) -> Tensor:
    """Where an attribute of a field is in images with part maps (N, H, W) and labels (N, G), bool (N, H, W).

    Nowhere where it is a colour that the person does not wear.
    """
    inside = showing(parts, ATTRIBUTE_PARTS[field])
    if attribute.class_ is not None:
        inside &= (labels[:, attribute.group] == attribute.class_)[:, None, None]
    return inside


def examples(network: AttributeNetwork, material: Material, config: AttributeConfig) -> pd.DataFrame:
    """The heat maps of EXAMPLES queries, evenly spread over the split, so that they can be drawn without the network.

    A row per query, attribute field and stage: what the map `explains`, the class of the "label"; the class that the
    network has `predicted`; the map, as of `to_cells`. Where the network is wrong, another row explains its "answer".
    """
    attributes, images = known_attributes(material), material.images["query"]
    device = next(network.parameters()).device
    split = material.dataset.query
    chosen = torch.linspace(0, len(split) - 1, min(EXAMPLES, len(split))).round().long()
    labels = attributes.test.labels_of(split.ids[chosen])  # (N, G)
    (pixels,) = images.batches([chosen])
    seen = normalise(resize(pixels, config.size))
    with torch.inference_mode():
        predicted = torch.stack([logits.argmax(1) for logits in network(seen)], 1).cpu()  # (N, G)
    rows: list[dict[str, Any]] = []
    for explains, classes in (("label", labels), ("answer", predicted)):
        maps = attribute_heat_maps(network, seen, classes.to(device))
        for n, image in enumerate(chosen.tolist()):
            for k, (field, attribute) in enumerate(zip(attribute_names(attributes), network.attributes, strict=True)):
                answer = int(predicted[n, attribute.group])
                if explains == "answer" and (attribute.class_ is not None or answer == labels[n, attribute.group]):
                    continue
                for stage in STAGES:
                    row = {"query": split.paths[image].name, "attribute": field, "stage": stage, "explains": explains}
                    rows.append(row | {"predicted": answer} | to_cells(maps[stage][n, k]))
    return pd.DataFrame(rows)


SYSTEM = System(
    name="attributes",
    title="Attribute network",
    article="hou2021sangal",
    configuration=AttributeConfig,
    rows={"attributes": {}},
    build=build,
    measure=measure,
    ranks=False,
)

"""What the record of an attribute network on SynthPed keeps of its example queries: their heat maps and its answers."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from reidkit.cells import from_cells
from reidkit.data import AttributeGroup, Dataset, Split
from reidkit.data.decoding import read_image
from reidkit.data.part_maps import read_part_maps
from reidkit.models.backbone import STAGES
from reidkit.models.heads import Attribute
from reidkit.report.sheets import Mask
from reidkit.runs import attributes_of, check_data, find_record, open_dataset
from reidkit.settings import Configuration
from reidkit.systems.attributes import attribute_names, attributes_of_groups, regions


@dataclass(frozen=True, eq=False)
class Explained:
    """Query images of a SynthPed render, and what the attribute network of a run sees in them."""

    dataset: Dataset
    split: Split  # the images
    groups: tuple[AttributeGroup, ...]
    attributes: tuple[Attribute, ...]  # the K of them
    fields: list[str]  # of the K attributes
    labels: Tensor  # (N, G)
    predicted: Tensor  # (N, G)
    maps: dict[str, Tensor]  # stage -> (N, K, h, w), of the labelled classes
    answers: dict[str, Tensor]  # the same of the predicted classes
    pictures: Tensor  # (N, H, W, 3) uint8, as they are stored
    parts: Tensor  # (N, H, W) uint8

    def person(self, query: str | None) -> int:
        """Which of the images a query is, by its file's name; the first where it is none of them."""
        names = [path.name for path in self.split.paths]
        return names.index(query) if query in names else 0

    def region(self, image: int, k: int) -> Mask:
        """Where attribute k is in an image; nowhere if it is a colour that the person does not wear."""
        return self.regions(k)[image].numpy()

    def regions(self, k: int) -> Tensor:
        """Where attribute k is in each image, bool (N, H, W)."""
        return regions(self.parts, self.labels, self.fields[k], self.attributes[k])


def explain(config: Configuration) -> Explained | None:
    """The heat maps of the example queries that the record of an attribute network's run on SynthPed keeps.

    None where the run has no record, or one that keeps no examples. Raises RecordError where the data set is not the
    one that the record was made from.
    """
    record = find_record(config)
    if record is None or "examples" not in record.tables:
        return None
    dataset = open_dataset(config)
    check_data(record, dataset)
    known, table = attributes_of(dataset), record.table("examples")
    fields, attributes = attribute_names(known), attributes_of_groups(known.groups)
    names = list(dict.fromkeys(table["query"]))
    split = dataset.query.select(torch.tensor([path.name in names for path in dataset.query.paths]))
    of_label = table[table["explains"] == "label"]
    maps = {str(stage): torch.stack(_maps(rows)) for stage, rows in of_label.groupby("stage")}
    maps = {stage: of_stage.unflatten(0, (len(names), len(fields))) for stage, of_stage in maps.items()}
    answers = {stage: of_stage.clone() for stage, of_stage in maps.items()}
    of_answer = table[table["explains"] == "answer"]
    for row, heat in zip(of_answer.itertuples(), _maps(of_answer), strict=True):
        answers[str(row.stage)][names.index(str(row.query)), fields.index(str(row.attribute))] = heat
    of_first = of_label[of_label["stage"] == STAGES[0]]  # the answer is the same at every stage
    predicted = torch.tensor(of_first["predicted"].to_numpy()).view(len(names), -1)  # (N, K)
    groups = [attribute.group for attribute in attributes]
    return Explained(
        dataset,
        split,
        known.groups,
        attributes,
        fields,
        known.test.labels_of(split.ids),
        predicted[:, [groups.index(g) for g in range(len(known.groups))]],
        maps,
        answers,
        torch.stack([read_image(path).permute(1, 2, 0) for path in split.paths]),
        read_part_maps(split.paths),
    )


def _maps(rows: pd.DataFrame) -> list[Tensor]:
    """The maps (h, w) float32 that rows of a record's examples hold."""
    return [from_cells(*cell) for cell in zip(rows["cells"], rows["height"], rows["peak"], strict=True)]

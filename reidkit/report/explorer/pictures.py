"""What the explorer shows of a data set's pictures: one sheet of thumbnails, and heat maps as bytes.

Only of toy data: pictures of real people stay off the page, whatever the profile.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from reidkit.data import Dataset
from reidkit.data.resident import load_images, normalise, resize
from reidkit.models.backbone import STAGES
from reidkit.records import Record
from reidkit.report.ranked_lists import first_results
from reidkit.report.sheets import HEAT, picture
from reidkit.report.words import field_title
from reidkit.runs import attributes_of, find_record, heat_map_folder, heat_maps, load_network, weights_path
from reidkit.settings import Configuration
from reidkit.systems.attributes import attribute_names, attributes_of_groups

TILE = (64, 128)  # width and height of a thumbnail: SynthPed's own
COLUMNS = 40  # of a sheet
MOST = 1500  # thumbnails of a data set, a megabyte of the page: what limits the queries that are shown with pictures
MOST_HEAT = 1_000_000  # bytes of heat maps of a data set: what limits the queries that are shown with them


def encoded(values: ArrayLike, kind: str) -> str:
    """Numbers of a NumPy kind, such as <u2, as base64: a third of what they take as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def thumbnails(dataset: Dataset, records: Iterable[Record]) -> dict[str, Any] | None:
    """The queries, what any record lists first for them, and what it should have listed; None where none kept its list.

    All queries, or as many, evenly spread, as stay below MOST thumbnails.
    """
    lists = [found for record in records if (found := first_results(record)) is not None]
    if not lists:
        return None
    query, gallery = dataset.query, dataset.gallery
    for step in range(1, len(query) + 1):
        shown = list(range(0, len(query), step))
        right = gallery.ids == query.ids[shown][:, None]
        right &= gallery.cameras != query.cameras[shown][:, None]  # (S, G)
        wanted = right.nonzero()[:, 1].unique()
        images = sorted({*wanted.tolist(), *(int(i) for found in lists for i in found[shown].unique() if i >= 0)})
        if len(shown) + len(images) <= MOST:
            break
    paths = [*(query.paths[i] for i in shown), *(gallery.paths[i] for i in images)]
    rows = -(-len(paths) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * TILE[0], rows * TILE[1]))
    for place, path in enumerate(paths):
        tile = Image.fromarray(picture(path)).resize(TILE, Image.Resampling.LANCZOS)
        canvas.paste(tile, (place % COLUMNS * TILE[0], place // COLUMNS * TILE[1]))
    file = io.BytesIO()
    canvas.save(file, "WEBP", quality=60, method=4)
    return {
        "sheet": base64.b64encode(file.getvalue()).decode("ascii"),
        "columns": COLUMNS,
        "rows": rows,
        "shown": shown,  # queries, by tile
        "images": images,  # of the gallery, by tile, after the queries
        "names": [gallery.paths[i].name for i in images],
        "right": [row.nonzero()[:, 0].tolist() for row in right[:, images]],  # by shown query, which of `images`
        "person": [(gallery.ids[images] == query.ids[i]).nonzero()[:, 0].tolist() for i in shown],
    }


def colours() -> str:
    """Red, green and blue of heat from 0 to its peak, (256, 3) bytes as base64."""
    return encoded(HEAT(np.arange(256), bytes=True)[:, :3], "u1")


def has_heat_maps(config: Configuration) -> bool:
    """Whether the heat maps of the queries under a finished attribute network are stored on this machine."""
    stored = (heat_map_folder(config, "query") / "meta.json").is_file()
    return stored and find_record(config) is not None and weights_path(config).is_file()


def stored_heat(config: Configuration, dataset: Dataset) -> dict[str, Any]:
    """The stored heat maps of all queries, or of as many as MOST_HEAT allows, and what the network answers."""
    attributes, maps = attributes_of(dataset), heat_maps(config, "query", progress=False)
    each = sum(of_stage[0].numel() for of_stage in maps.maps.values())  # bytes
    step = -(-each * len(dataset.query) // MOST_HEAT)
    chosen = torch.arange(0, len(dataset.query), step)
    predicted = _predicted(config, dataset, chosen)
    labels = attributes.test.labels_of(dataset.query.ids[chosen])  # (N, G)
    classes, answers, truths = [], [], []
    for group, class_ in attributes_of_groups(attributes.groups):
        answer, truth = predicted[:, group], labels[:, group]
        if class_ is not None:  # a colour: whether it is this one
            answer, truth = (answer == class_).long(), torch.where(truth < 0, -1, (truth == class_).long())
        classes.append(["no", "yes"] if class_ is not None else list(attributes.groups[group].classes))
        answers.append(answer)
        truths.append(truth)
    return {
        "queries": chosen.tolist(),
        "fields": [field_title(field) for field in attribute_names(attributes)],
        "classes": classes,
        "answers": encoded(torch.stack(answers, 1), "<i1"),  # (N, K) classes
        "truths": encoded(torch.stack(truths, 1), "<i1"),  # the same, -1 where unknown
        "stages": [
            {
                "name": stage,
                "height": maps.maps[stage].shape[2],
                "width": maps.maps[stage].shape[3],
                "maps": encoded(maps.maps[stage][chosen], "u1"),  # (N, K, h, w), 255 at each map's peak
                "peaks": encoded(maps.peaks[stage][chosen], "<f4"),  # (N, K)
            }
            for stage in STAGES
        ],
    }


@torch.inference_mode()
def _predicted(config: Configuration, dataset: Dataset, chosen: Tensor) -> Tensor:
    """The classes (N, G) that the attribute network gives some queries."""
    network = load_network(config, dataset)
    images = load_images([dataset.query.paths[i] for i in chosen.tolist()], config.size)
    parts: Sequence[Tensor] = list(torch.arange(len(images)).split(64))
    return torch.cat(
        [
            torch.stack([logits.argmax(1) for logits in network(normalise(resize(pixels, config.size)))], 1)
            for pixels in images.batches(parts)
        ]
    )

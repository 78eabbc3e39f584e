"""What the explorer shows of a data set's pictures: one sheet of thumbnails, and heat maps as bytes.

Only of toy data: pictures of real people stay off the page, whatever the profile.
"""

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from reidkit.data import Dataset
from reidkit.models.backbone import STAGES
from reidkit.records import Record
from reidkit.report.explained import Explained
from reidkit.report.ranked_lists import first_results
from reidkit.report.sheets import HEAT, picture
from reidkit.report.words import field_title

TILE = (64, 128)  # width and height of a thumbnail: SynthPed's own
COLUMNS = 40  # of a sheet
MOST = 1500  # thumbnails of a data set, a megabyte of the page: what limits the queries that are shown with pictures


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


def heat(explained: Explained) -> dict[str, Any]:
    """The heat maps of an attribute network's example queries, for the classes it predicts, and what it answers."""
    classes, answers, truths = [], [], []
    for group, class_ in explained.attributes:
        answer, truth = explained.predicted[:, group], explained.labels[:, group]
        if class_ is not None:  # a colour: whether it is this one
            answer, truth = (answer == class_).long(), torch.where(truth < 0, -1, (truth == class_).long())
        classes.append(["no", "yes"] if class_ is not None else list(explained.groups[group].classes))
        answers.append(answer)
        truths.append(truth)
    places = {path.name: place for place, path in enumerate(explained.dataset.query.paths)}
    return {
        "queries": [places[path.name] for path in explained.split.paths],
        "fields": [field_title(field) for field in explained.fields],
        "classes": classes,
        "answers": encoded(torch.stack(answers, 1), "<i1"),  # (N, K) classes
        "truths": encoded(torch.stack(truths, 1), "<i1"),  # the same, -1 where unknown
        "stages": [_stage(stage, explained.answers[stage]) for stage in STAGES],
    }


def _stage(name: str, maps: Tensor) -> dict[str, Any]:
    """Maps (N, K, h, w) as bytes, of which 255 is each one's peak."""
    peaks = maps.amax((2, 3))  # (N, K)
    bytes_ = (maps * (255 / peaks.clamp_min(1e-30))[..., None, None]).round()
    return {
        "name": name,
        "height": maps.shape[2],
        "width": maps.shape[3],
        "maps": encoded(bytes_, "u1"),
        "peaks": encoded(peaks, "<f4"),
    }

"""Ranked lists and heat maps of an experiment, as thumbnails cut from sheets that stand in the page once."""

import base64
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from reidkit.data import Dataset
from reidkit.models.backbone import STAGES
from reidkit.records import Record
from reidkit.report.explorer.experiments import Experiment
from reidkit.report.markup import markup
from reidkit.report.ranked_lists import example_queries, first_results
from reidkit.report.sheets import Picture, picture
from reidkit.runs import (
    attributes_of,
    check_data,
    find_record,
    heat_map_folder,
    heat_maps,
    open_dataset,
    weights_path,
)
from reidkit.settings import Configuration
from reidkit.systems.attributes import attribute_names

RESULTS = 8  # of a ranked list
QUERIES = {"easy": 0.9, "median": 0.5, "hard": 0.1}  # quantiles of the baseline's average precision
HEAT = np.array([230.0, 97.0, 0.0])  # the colour of a heat map at its peak
TILE = (48, 96)  # width and height of a thumbnail as it is stored; the page shows it at 40×80


class Sheet:
    """Thumbnails in one picture, each shown as a piece of it: what many lists share stands in the page once.

    name: of the CSS class, so different for every sheet of a page. tiles: pictures by their keys.
    """

    def __init__(self, name: str, tiles: Mapping[int, Picture], size: tuple[int, int] = TILE) -> None:
        self.name, self.places = name, {key: place for place, key in enumerate(tiles)}
        canvas = Image.new("RGB", (size[0] * len(tiles), size[1]))
        for place, tile in enumerate(tiles.values()):
            canvas.paste(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS), (place * size[0], 0))
        self.style = Markup(f'<style>.{name}{{--n:{len(tiles)};background-image:url("{data_uri(canvas)}")}}</style>')

    def thumb(self, key: int, alt: str, frame: str = "") -> Markup:
        text = '<span class="{}" role="img" aria-label="{}" style="--i:{}"></span>'
        return Markup(text).format(f"rx-thumb {self.name} {frame}".strip(), alt, self.places[key])


def data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


@dataclass(frozen=True)
class Pictures:
    """Ranked lists and heat maps of an experiment, for the same queries: one of each name in QUERIES."""

    dataset: Dataset
    queries: tuple[int, ...]  # positions in the query split
    top: dict[str, Tensor]  # by row: gallery indexes (queries, RESULTS), best first, -1 for none
    sheets: tuple[Sheet, ...]  # of each query: itself at key -1, the ground truth, and what any of the lists shows
    heat: dict[str, list[list[Markup]]]  # by row that reads heat maps, panels by query and stage

    @property
    def style(self) -> Markup:
        return Markup("").join(sheet.style for sheet in self.sheets)


def pictures(experiment: Experiment, name: str) -> Pictures | None:
    """The pictures of an experiment; None where no run kept its lists, and of real people, who belong on no page.

    The queries are those at the quantiles QUERIES of the baseline's average precision. name: of the sheets. Raises
    RecordError where the data set is not the one that the records were made from.
    """
    lists = {row: first_results(records[0]) for row, records in experiment.records.items() if records}
    kept = {row: found for row, found in lists.items() if found is not None}
    if experiment.profile.dataset != "synthped" or not experiment.baseline or not kept:
        return None
    dataset = open_dataset(experiment.profile, progress=False)
    check_data(experiment.baseline[0], dataset)
    queries = tuple(example_queries(experiment.baseline[0], tuple(QUERIES.values())))
    top = {row: found[list(queries)] for row, found in kept.items()}
    sheets = []
    for place, query in enumerate(queries):
        shown = itertools.chain(_truth(dataset, query), *(results[place].tolist() for results in top.values()))
        tiles = {-1: picture(dataset.query.paths[query])}
        tiles |= {i: picture(dataset.gallery.paths[i]) for i in dict.fromkeys(shown) if i >= 0}
        sheets.append(Sheet(f"{name}-{place}", tiles))
    guides = {row: guide for row in top if (guide := experiment.config(row).guide) and _has_heat_maps(guide)}
    drawn = {guide.name: _heat(guide, dataset, queries, name) for guide in guides.values()}
    return Pictures(dataset, queries, top, tuple(sheets), {row: drawn[guide.name] for row, guide in guides.items()})


def _has_heat_maps(config: Configuration) -> bool:
    folders = (heat_map_folder(config, split) / "meta.json" for split in ("query", "gallery"))
    return find_record(config) is not None and weights_path(config).is_file() and all(map(os.path.isfile, folders))


def _truth(dataset: Dataset, query: int) -> list[int]:
    """The first of the gallery's pictures of a query's person by other cameras."""
    gallery = dataset.gallery
    right = (gallery.ids == dataset.query.ids[query]) & (gallery.cameras != dataset.query.cameras[query])
    return [int(i) for i in right.nonzero()[:RESULTS, 0]]


def list_panel(found: Pictures, row: str, place: int, record: Record) -> Markup:
    """One ranked list: the query, its first results, and beneath them the ground truth."""
    query, gallery, sheet = found.queries[place], found.dataset.gallery, found.sheets[place]
    name, line = found.dataset.query.paths[query].name, record.queries.iloc[query]
    shown = [(sheet.thumb(-1, f"query {name}"), "query")]
    for rank, i in enumerate((i for i in found.top[row][place].tolist() if i >= 0), start=1):
        right = bool(gallery.ids[i] == found.dataset.query.ids[query])
        said = f"rank {rank}, {'right' if right else 'wrong'}: {gallery.paths[i].name}"
        shown.append((sheet.thumb(i, said, "rx-right" if right else "rx-wrong"), f"{rank} {'✓' if right else '✗'}"))
    text = Markup("Query <code>{}</code>: average precision {:.1f} %, first right picture at rank {:.0f}.").format(
        name, 100 * line["average_precision"], line["first_match_rank"]
    )
    truth = [sheet.thumb(i, gallery.paths[i].name) for i in _truth(found.dataset, query)]
    return markup("pictures.html", text=text, shown=shown, truth=truth, wide=False, style="")


def _heat(config: Configuration, dataset: Dataset, queries: Sequence[int], name: str) -> list[list[Markup]]:
    """By query and stage, the stored heat maps of all attributes over the query's picture, each on its own scale."""
    fields = attribute_names(attributes_of(dataset))
    maps = heat_maps(config, "query", progress=False)[torch.tensor(queries)]  # per stage (queries, K, h, w)
    panels: list[list[Markup]] = []
    for place, query in enumerate(queries):
        path = dataset.query.paths[query]
        grey = picture(path).mean(2, keepdims=True)  # (H, W, 1)
        panels.append([])
        for stage in STAGES:
            tiles, said = {}, []
            for k, (field, heat) in enumerate(zip(fields, maps[stage][place], strict=True)):
                peak, (row, column) = float(heat.max()), divmod(int(heat.argmax()), heat.shape[1])
                scaled = Image.fromarray((255 * heat / (peak or 1)).byte().numpy())
                share = 0.8 / 255 * np.asarray(scaled.resize(grey.shape[1::-1], Image.Resampling.BILINEAR))[..., None]
                tiles[k] = (grey * (1 - share) + HEAT * share).astype(np.uint8)
                where = f"in row {row + 1} of {heat.shape[0]}, column {column + 1} of {heat.shape[1]}"
                said.append(f"{field}: {f'peak {peak:.2g} {where}' if peak else 'zero everywhere'}")
            sheet = Sheet(f"{name}-heat", tiles, (32, 64))
            text = Markup(
                "Heat maps of <code>{}</code> at {}, for the classes that the attribute network predicts, each on its "
                "own scale."
            ).format(path.name, stage)
            shown = [(sheet.thumb(k, said[k]), fields[k]) for k in tiles]
            panels[-1].append(markup("pictures.html", text=text, shown=shown, truth=(), wide=True, style=sheet.style))
    return panels

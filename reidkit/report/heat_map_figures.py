"""The heat maps of SAN-GAL's attribute network over the pictures that they explain.

Pictures are SynthPed's: only there is it known where an attribute is, and nobody's privacy is at stake.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from reidkit.data import AttributeGroup, Dataset, Split
from reidkit.data.resident import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Draw, load_images, normalise, resize
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.gradcam import attribute_heat_maps
from reidkit.models.backbone import STAGES
from reidkit.report.attribute_figures import ORANGE, title_of
from reidkit.report.figures import WIDTH, Drawing, style
from reidkit.report.samples import GAP, Picture, part_map
from reidkit.runs import (
    attributes_of,
    check_data,
    find_record,
    heat_map_folder,
    load_network,
    open_dataset,
    weights_path,
)
from reidkit.systems.attributes import AttributeConfig, AttributeNetwork, attribute_names

HEAT = plt.get_cmap("inferno")
OPACITY = 0.6  # of the heat on a grey picture
Mask = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, eq=False)
class Explained:
    """Query images of a SynthPed render, and what the attribute network of a run sees in them."""

    dataset: Dataset
    split: Split  # the images
    network: AttributeNetwork
    groups: tuple[AttributeGroup, ...]
    fields: list[str]  # of the K attributes
    labels: Tensor  # (N, G)
    predicted: Tensor  # (N, G)
    maps: dict[str, Tensor]  # stage -> (N, K, h, w), of the labelled classes
    pictures: Tensor  # (N, H, W, 3) uint8, as they are stored
    parts: Tensor  # (N, H, W) uint8
    size: tuple[int, int]  # height and width of what the network is given

    def region(self, image: int, k: int) -> Mask:
        """Where attribute k is in an image; nowhere if it is a colour that the person does not wear."""
        return self._regions(k, slice(image, image + 1))[0].numpy()

    def regions(self, k: int) -> Tensor:
        """Where attribute k is in each image, bool (N, H, W)."""
        return self._regions(k, slice(None))

    def _regions(self, k: int, images: slice) -> Tensor:
        codes = torch.tensor([PARTS[part] for part in ATTRIBUTE_PARTS[self.fields[k]]], dtype=self.parts.dtype)
        inside = torch.isin(self.parts[images], codes)
        group, class_ = self.network.attributes[k]
        if class_ is not None:
            inside &= (self.labels[images, group] == class_)[:, None, None]
        return inside


def explain(config: AttributeConfig, most: int = 150) -> Explained | None:
    """The heat maps of query images under the network of a finished run on SynthPed, made on the spot.

    At most so many, evenly spread over the split: these are for pictures, the record has measured all.
    None where the run has no record, or its weights are not on this machine.
    Raises RecordError where the data set is not the one that the record was made from.
    """
    record = find_record(config)
    if record is None or not weights_path(config).is_file() or config.dataset != "synthped":
        return None
    dataset = open_dataset(config)
    check_data(record, dataset)
    attributes = attributes_of(dataset)
    network = load_network(config, dataset)
    count = len(dataset.query)
    chosen = torch.linspace(0, count - 1, min(most, count)).round().long()
    paths = tuple(dataset.query.paths[i] for i in chosen.tolist())
    split = Split(paths, dataset.query.ids[chosen], dataset.query.cameras[chosen])
    labels = attributes.test.labels_of(split.ids)
    images = load_images(split.paths, config.size)
    batches = list(torch.arange(len(images)).split(32))
    stored, predicted, maps = [], [], []
    for indexes, pixels in zip(batches, images.batches(batches), strict=True):
        seen = normalise(resize(pixels, config.size))
        maps.append(attribute_heat_maps(network, seen, labels[indexes]))
        with torch.inference_mode():
            predicted.append(torch.stack([logits.argmax(1) for logits in network(seen)], 1))
        stored.append(pixels.permute(0, 2, 3, 1))
    return Explained(
        dataset,
        split,
        network,
        attributes.groups,
        attribute_names(attributes),
        labels,
        torch.cat(predicted),
        {stage: torch.cat([batch[stage] for batch in maps]) for stage in STAGES},
        torch.cat(stored),
        torch.stack([torch.from_numpy(part_map(path).copy()) for path in split.paths]),
        config.size,
    )


def overlay(picture: Picture, heat: Tensor, peak: float | None = None) -> Picture:
    """A picture (H, W, 3) in grey under its heat map (h, w), upsampled to it and scaled to `peak`, else to its own."""
    peak = float(heat.max()) if peak is None else peak
    scaled = heat / peak if peak > 0 else heat
    size = picture.shape[0], picture.shape[1]
    fine = F.interpolate(scaled[None, None].float(), size, mode="bilinear")[0, 0].numpy()
    grey = (picture @ np.array([0.3, 0.59, 0.11]))[..., None]
    mixed = (1 - OPACITY) * grey + OPACITY * 255 * HEAT(fine)[..., :3]
    return np.asarray(mixed.round().clip(0, 255), np.uint8)


@dataclass(frozen=True)
class Cell:
    """A place of a mosaic."""

    picture: Picture | None = None
    outline: Mask | None = None  # a region to be outlined
    caption: str = ""  # beneath the picture
    wrong: bool = False  # whether the caption says something that is not so


def mosaic(
    blocks: Sequence[Sequence[Sequence[Cell]]],
    rows: Sequence[Sequence[str]],
    columns: Sequence[Sequence[str]],
    *,
    captions: bool = False,
    bar: str = "relative to each map's peak",
    groups: int = 1,
    wide: float = WIDTH,
) -> Figure:
    """Blocks of cells beneath one another, each with the names of its rows and columns, and a colour bar for the heat.

    captions: leave room beneath the pictures for them. groups: the columns come in so many groups, set apart.
    wide: the figure's width in inches.
    """
    height, width = next(c.picture for b in blocks for r in b for c in r if c.picture is not None).shape[:2]
    across = max(len(names) for names in columns)
    apart = 3 * GAP  # between groups of columns
    longest = max(len(line) for names in rows for name in names for line in name.split("\n"))
    left, edge = 0.1 + 0.08 * longest, 0.04
    total = across * (width + GAP) - GAP + (groups - 1) * apart  # pixels
    inch = (wide - left - edge) / total  # of a pixel
    gap = GAP + (0.22 / inch if captions else 0)
    lines = [max(name.count("\n") + 1 for name in names) for names in columns]
    tops = [0.1 + 0.165 * n for n in lines]  # inches of the columns' names
    heights = [len(names) * (height + gap) * inch for names in rows]
    below = 0.75
    tall = sum(tops) + sum(heights) + below
    with style():
        figure = plt.figure(figsize=(wide, tall))
        y = tall
        for block, names, titles, top, down in zip(blocks, rows, columns, tops, heights, strict=True):
            y -= top + down
            axes = figure.add_axes((left / wide, y / tall, total * inch / wide, down / tall))
            axes.set(xlim=(-0.5, total - 0.5), ylim=(len(names) * (height + gap) - 0.5, -0.5))
            middles = []
            for i, row in enumerate(block):
                for j, cell in enumerate(row):
                    x = j * (width + GAP) + j * groups // across * apart
                    _draw(axes, cell, x, i * (height + gap), (height, width))
                    if i == 0:
                        middles.append(x + width / 2 - 0.5)
            axes.set_xticks(middles, titles)
            axes.set_yticks([i * (height + gap) + height / 2 for i in range(len(names))], names)
            axes.tick_params(length=0, pad=3, labelsize=10, labeltop=True, labelbottom=False)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            axes.set_facecolor("none")
        place = figure.add_axes((0.25, 0.47 / tall, 0.5, 0.14 / tall))
        colours = (1 - OPACITY) * 0.6 + OPACITY * HEAT(np.linspace(0, 1, 256))[:, :3]  # as on a grey of the middle
        shown = ScalarMappable(cmap=ListedColormap(colours))
        figure.colorbar(shown, cax=place, orientation="horizontal", label=bar, ticks=[0, 0.5, 1])
        place.tick_params(labelsize=10)
        place.xaxis.label.set_fontsize(10.5)
    return figure


def _draw(axes: Axes, cell: Cell, x: int, y: float, size: tuple[int, int]) -> None:
    height, width = size
    if cell.picture is not None:
        extent = (x - 0.5, x + width - 0.5, y + height - 0.5, y - 0.5)
        axes.imshow(cell.picture, extent=extent, aspect="auto", interpolation="bilinear")
    if cell.outline is not None and cell.outline.any():
        frame = np.pad(cell.outline.astype(float), 1)  # a region at the edge is closed there
        xs, ys = x + np.arange(-1, width + 1), y + np.arange(-1, height + 1)
        for colour, thick in (("black", 1.6), ("#7fe5ff", 0.8)):
            axes.contour(xs, ys, frame, levels=[0.5], colors=colour, linewidths=thick)
    if cell.caption:
        text = f"{cell.caption} ✗" if cell.wrong else cell.caption
        axes.text(
            x + width / 2, y + height + 2, text, ha="center", va="top", fontsize=10, color=ORANGE if cell.wrong else "0"
        )


def stored_table(configs: Mapping[str, AttributeConfig]) -> pd.DataFrame:
    """The heat maps that are stored on this machine: a row per data set and split, with their measured size."""
    rows = []
    for data, config in configs.items():
        for split in ("train", "query", "gallery"):
            files = sorted(heat_map_folder(config, split).glob("*.npy"))
            if not files:
                rows.append({"Data": data, "Images of": split, "Images": "not stored here"})
                continue
            maps = [np.load(file, mmap_mode="r") for file in files if not file.stem.endswith(".peaks")]
            size, images = sum(file.stat().st_size for file in files), len(maps[0])
            cells = sum(int(np.prod(of_stage.shape[2:])) for of_stage in maps)
            rows.append(
                {
                    "Data": data,
                    "Images of": split,
                    "Images": f"{images:,}",
                    "Maps per image": f"{maps[0].shape[1]} × {len(maps)} stages",
                    "Cells": f"{cells}",
                    "MB": f"{size / 1e6:.1f}",
                    "Bytes per image": f"{size / images:,.0f}",
                }
            )
    columns = ["Data", "Images of", "Images", "Maps per image", "Cells", "MB", "Bytes per image"]
    return pd.DataFrame(rows, columns=columns)


def whole_body(field: str) -> bool:
    """Whether the region of an attribute is the person."""
    return len(ATTRIBUTE_PARTS[field]) > len(PARTS) / 2


def people_sheet(explained: Explained, images: Sequence[int], stage: str = "layer4") -> Drawing:
    """The paper's Fig. 2: pictures, and for each attribute group the heat map of the class that the network predicts.

    images: which of the queries. The class stands beneath its map, with a cross where it is wrong; the attribute's
    region, where it is in sight, is outlined. A predicted colour "none" has no heat map of its own.
    """
    e = explained
    at_hand = e.predicted[list(images)]
    seen = normalise(resize(e.pictures[list(images)].permute(0, 3, 1, 2), e.size))
    maps = attribute_heat_maps(e.network, seen, at_hand, [stage])[stage]  # (B, K, h, w)
    half = -(-len(e.groups) // 2)
    blocks, told = [], []
    for part in (range(half), range(half, len(e.groups))):
        block = []
        for row, image in enumerate(images):
            picture = e.pictures[image].numpy()
            cells = [Cell(picture)]
            for g in part:
                class_ = int(at_hand[row, g])
                chosen = [k for k, a in enumerate(e.network.attributes) if a.group == g and a.class_ in (None, class_)]
                wrong = class_ != int(e.labels[image, g])
                name = e.groups[g].classes[class_]
                if chosen:
                    heat = maps[row, chosen[0]]
                    cells.append(Cell(overlay(picture, heat), e.region(image, chosen[0]), name, wrong))
                else:
                    cells.append(Cell(None, None, name, wrong))
                told.append((image, f"{e.groups[g].name} {name}{' (wrong)' if wrong else ''}"))
            block.append(cells)
        blocks.append(block)
    names = [e.split.paths[image].name[:4] for image in images]
    titles = [
        ["query", *(_broken(e.groups[g].name) for g in part)] for part in (range(half), range(half, len(e.groups)))
    ]
    figure = mosaic(blocks, [names, names], titles, captions=True)
    described = "; ".join(
        f"{e.split.paths[image].stem}: {', '.join(text for of, text in told if of == image)}" for image in images
    )
    return figure, (
        f"Grid of {len(images)} query pictures under the heat maps of {len(e.groups)} attribute groups after {stage}, "
        f"{_cells(e.maps[stage])} cells each. Predicted classes: {described}."
    )


def example_images(explained: Explained, k: int, quantiles: Sequence[float], stage: str = "layer4") -> list[int]:
    """Of the queries that show attribute k, those at these quantiles of the map's energy inside the region.

    Examples by a rule, not by choice. Empty where no query shows it.
    """
    found = evaluate_localisation(explained.maps[stage][:, k], explained.regions(k), resamples=1)
    scores = found.energy.scores[:, 0]
    order = [i for i in scores.argsort(stable=True).tolist() if not torch.isnan(scores[i])]
    return [order[round(q * (len(order) - 1))] for q in quantiles] if order else []


def stage_sheet(explained: Explained, quantiles: Sequence[float] = (0.9, 0.5), by: str = "layer4") -> Drawing:
    """The three stages side by side: a row per attribute with a region of its own, two queries across.

    Which attributes, `regional` says. The queries are those of `example_images`, chosen by the stage `by`.
    """
    e = explained
    block, names, told = [], [], []
    for k in regional(e):
        images = example_images(e, k, quantiles, by)
        if not images:
            continue
        cells = []
        for image in images:
            picture, region = e.pictures[image].numpy(), e.region(image, k)
            cells.append(Cell(picture, region))
            cells += [Cell(overlay(picture, e.maps[stage][image, k]), region) for stage in STAGES]
            energies = [_energy(e.maps[stage][image, k], region) for stage in STAGES]
            told.append(
                f"{title_of(e.fields[k])}, {e.split.paths[image].stem}: "
                + ", ".join(f"{100 * energy:.0f} %" for energy in energies)
                + f" in {100 * region.mean():.0f} % of the picture"
            )
        block.append(cells)
        names.append(title_of(e.fields[k]).replace(" ", "\n"))
    first, *others = (stage.removeprefix("layer") for stage in STAGES)
    stages = [f"layer\n{first}", *(f"\n{other}" for other in others)]
    titles = [title for q in quantiles for title in (f"{100 * q:.0f} %\nquery", *stages)]
    figure = mosaic([block], [names], [titles], groups=len(quantiles), wide=4.2)
    cells_of = ", ".join(_cells(e.maps[stage]) for stage in STAGES)
    return figure, (
        f"Grid of query pictures under their heat maps after {', '.join(STAGES)} ({cells_of} cells). Share of each "
        f"map's energy inside the outlined region: {'; '.join(told)}."
    )


def regional(explained: Explained) -> list[int]:
    """The attributes with a region of their own, the first of those that share one.

    Of the colours of a group, the one that most queries wear.
    """
    e = explained
    chosen: list[int] = []
    seen: set[tuple[str, ...]] = set()
    for g, group in enumerate(e.groups):
        of_group = [k for k, attribute in enumerate(e.network.attributes) if attribute.group == g]
        parts = ATTRIBUTE_PARTS[group.fields[0]]
        if not whole_body(group.fields[0]) and parts not in seen:
            seen.add(parts)
            worn = e.labels[:, g].clamp(min=0).bincount(minlength=len(group.classes))
            best = max(of_group, key=lambda k: int(worn[k - of_group[0] + 1])) if len(of_group) > 1 else of_group[0]
            chosen.append(best)
    return chosen


REGIONS = {
    "head": ("hat", "hair", "head"),
    "upper": ("upper", "sleeves", "arms"),
    "lower": ("lower", "legs", "shoes"),
    "carried": ("backpack", "bag", "handbag"),
    "elsewhere": ("background", "occluder"),
}


def energy_by_region(explained: Explained, stage: str) -> pd.DataFrame:
    """On what the maps of each attribute group lie: shares of their energy, a column per region, mean over images.

    Of each image the map of its labelled class counts, where the attribute is in sight and the map is not blank. The
    first row, *area*, is the regions' share of the pictures.
    """
    e = explained
    codes = [torch.tensor([PARTS[part] for part in parts], dtype=e.parts.dtype) for parts in REGIONS.values()]
    masks = torch.stack([torch.isin(e.parts, of_region) for of_region in codes], 1).flatten(2)  # (N, R, H·W)
    sums: dict[str, Tensor] = {group.name: torch.zeros(len(REGIONS)) for group in e.groups}
    counts = dict.fromkeys(sums, 0)
    for k, attribute in enumerate(e.network.attributes):
        heat = e.maps[stage][:, k]
        counted = e.regions(k).flatten(1).any(1) & (heat.flatten(1).amax(1) > 0)
        fine = F.interpolate(heat[counted][:, None], e.parts.shape[1:], mode="bilinear").flatten(1)
        shares = torch.einsum("np,nrp->nr", fine / fine.sum(1, keepdim=True), masks[counted].float())
        name = e.groups[attribute.group].name
        sums[name] = sums[name] + shares.sum(0)
        counts[name] += int(counted.sum())
    rows = {"area": masks.float().mean((0, 2))} | {name: sums[name] / counts[name] for name in sums if counts[name]}
    return pd.DataFrame({name: row.tolist() for name, row in rows.items()}, index=list(REGIONS)).T


def region_chart(shares: pd.DataFrame) -> Drawing:
    """What `energy_by_region` returns, as a bar per attribute group, the area on top."""
    colours = {"head": "#f0c75e", "upper": "#0072b2", "lower": "#d55e00", "carried": "#5b3a75", "elsewhere": "#dddddd"}
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + 0.38 * len(shares)), layout="constrained")
        for row, (_, values) in enumerate(shares.iterrows()):
            left = 0.0
            for region, share in (100 * values).items():
                colour = colours[str(region)]
                axes.barh(row, share, left=left, height=0.72, color=colour, edgecolor="white", lw=0.8)
                if share >= 6:
                    ink = "white" if region in ("upper", "carried") else "black"
                    axes.text(left + share / 2, row, f"{share:.0f}", ha="center", va="center", color=ink, fontsize=10)
                left += share
        axes.axhline(0.5, color="0.3", lw=1)
        axes.set_yticks(range(len(shares)), ["area of the picture", *shares.index[1:]])
        axes.set(xlim=(0, 100), ylim=(len(shares) - 0.5, -0.5), xlabel="share of the heat maps' energy (%)")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        handles = [Patch(color=colours[str(region)], label=str(region)) for region in shares]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=5,
            frameon=False,
            fontsize=10.5,
            handlelength=0.8,
            columnspacing=1,
        )
    told = "; ".join(
        f"{name}: " + ", ".join(f"{region} {100 * share:.0f}" for region, share in row.items())
        for name, row in shares.iterrows()
    )
    return figure, f"Bar chart of the share of the heat maps' energy by region, in per cent. {told}."


def moved_sheet(explained: Explained, image: int, k: int, augmentation: Augmentation, stage: str = "layer4") -> Drawing:
    """A picture and its heat map under the same draws: flipped, shifted, erased, and all three at once."""
    e, size = explained, augmentation.size
    height, width = size
    down, right = augmentation.padding, -augmentation.padding
    box = [height // 4, width // 4, height // 2, 3 * width // 4]
    zero = [0, 0, 0, 0]
    draws = {
        "stored": (False, [0, 0], zero),
        "flip": (True, [0, 0], zero),
        "shift": (False, [down, right], zero),
        "erase": (False, [0, 0], box),
        "all": (True, [down, right], box),
    }
    flips, shifts, boxes = zip(*draws.values(), strict=True)
    draw = Draw(torch.tensor(flips), torch.tensor(shifts), torch.tensor(boxes))
    count = len(draws)
    pixels = resize(e.pictures[image].permute(2, 0, 1)[None], size)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    moved = ((augmentation(pixels.expand(count, -1, -1, -1), draw) * std + mean) * 255).round().clamp(0, 255).byte()
    heat = e.maps[stage][image, k][None, None]
    heats = augmentation.move_maps(heat.expand(count, -1, -1, -1), draw)[:, 0]
    pictures = [one.permute(1, 2, 0).numpy() for one in moved]
    block = [
        [Cell(picture) for picture in pictures],
        [Cell(overlay(picture, one, float(heat.max()))) for picture, one in zip(pictures, heats, strict=True)],
    ]
    figure = mosaic([block], [["image", "with map"]], [list(draws)], bar="relative to the stored map's peak", wide=4.2)
    return figure, (
        f"Query {e.split.paths[image].stem} and its heat map for {title_of(e.fields[k])} after {stage}, under "
        f"the same draws: as stored, flipped, shifted {down} pixels down and {-right} to the left, erased in a box of "
        f"{box[2] - box[0]} × {box[3] - box[1]} pixels, and all three. What is left of the map's sum: "
        + ", ".join(
            f"{name} {100 * float(one.sum() / heat.sum().clamp(min=1e-30)):.0f} %"
            for name, one in zip(draws, heats, strict=True)
        )
        + "."
    )


def _broken(name: str) -> str:
    """A group's name on several short lines."""
    return name.replace("-", "-\n").replace(" ", "\n")


def _energy(heat: Tensor, region: Mask) -> float:
    found = evaluate_localisation(heat[None], torch.from_numpy(region)[None], resamples=1)
    return found.energy.map.mean


def _cells(maps: Tensor) -> str:
    return f"{maps.shape[2]} × {maps.shape[3]}"

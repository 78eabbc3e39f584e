"""What the chapters on SAN-GAL's attribute network and its heat maps show: labels, scores, maps, and where maps lie.

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
from matplotlib.colors import ListedColormap, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from reidkit.data import AttributeGroup, Attributes, Dataset, DatasetError, Split
from reidkit.data.attributes import GROUPS
from reidkit.data.resident import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Draw, load_images, normalise, resize
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.experiments import AttributeConfig, check_data, find_record, open_dataset, weights_path
from reidkit.experiments.san_gal import attribute_names, attributes_of, heat_map_folder, load_attribute_network
from reidkit.gradcam import attribute_heat_maps
from reidkit.models.san_gal import STAGES, AttributeNetwork
from reidkit.report.drawings import observe, shape
from reidkit.report.figures import WIDTH, Drawing, style
from reidkit.report.samples import GAP, Picture, part_map

MEASURES = {"pointing": "pointing game", "energy": "energy", "iou": "IoU"}
BY = {"pointing": "the pointing game", "energy": "energy", "iou": "IoU"}
LEVELS = {"identity": "people", "image": "images"}
HEAT = plt.get_cmap("inferno")
OPACITY = 0.6  # of the heat on a grey picture
BLUE, ORANGE = "#0072b2", "#d55e00"
RESAMPLES = 2000
Mask = NDArray[np.bool_]  # (H, W)


def title_of(field: str) -> str:
    """What a field of an attribute file is called here: *hat*, *sleeve length*, *upper black*."""
    return _TITLES.get(field, field)


_TITLES = {
    field: group.name if len(group.fields) == 1 else f"{group.name.partition('-')[0]} {class_}"
    for groups in GROUPS.values()
    for group in groups
    for field, class_ in zip(group.fields, group.classes[-len(group.fields) :], strict=True)
}


# ---------------------------------------------------------------------------------------------- labels and the network


def attributes_at_hand(config: AttributeConfig) -> Attributes | None:
    """The attribute labels of a run's data set; None where the data set, or its attribute file, is not here."""
    try:
        return attributes_of(open_dataset(config))
    except DatasetError:
        return None


def class_table() -> pd.DataFrame:
    """The attribute groups of both real files and their classes; a column for each file."""
    names = dict.fromkeys(group.name for groups in GROUPS.values() for group in groups)
    found = {name: {group.name: ", ".join(group.classes) for group in groups} for name, groups in GROUPS.items()}
    columns = {"market_attribute": "Market-1501", "duke_attribute": "DukeMTMC-reID"}
    rows = {title: [found[variable].get(name) for name in names] for variable, title in columns.items()}
    return pd.DataFrame({"Group": list(names), **rows})


def class_balance(groups: Sequence[AttributeGroup], labels: Tensor) -> Drawing:
    """How often each class occurs: a bar per group, its classes from the most to the least frequent.

    labels: (I, G), one row per identity, -1 where missing, which is left out. Colours are drawn in their own colour.
    """
    told = []
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.7 + 0.42 * len(groups)), layout="constrained")
        for row, (group, column) in enumerate(zip(groups, labels.unbind(1), strict=True)):
            counts = column[column >= 0].bincount(minlength=len(group.classes)).double()
            shares = (100 * counts / counts.sum()).tolist()
            order = sorted(range(len(shares)), key=lambda k: -shares[k])
            left = 0.0
            for place, k in enumerate(order):
                colour, hatch = _face(group, k, place)
                ink = "black" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) > 0.5 else "white"
                axes.barh(row, shares[k], left=left, height=0.72, color=colour, edgecolor="0.35", lw=0.6, hatch=hatch)
                texts = (f"{group.classes[k]} {shares[k]:.0f} %", f"{shares[k]:.0f} %", f"{shares[k]:.0f}")
                if text := next((text for text in texts if shares[k] > 2.9 * len(text)), ""):  # the first that fits
                    box = {"facecolor": "white", "edgecolor": "none", "pad": 1} if hatch else None
                    axes.text(
                        left + shares[k] / 2, row, text, ha="center", va="center", color=ink, fontsize=10, bbox=box
                    )
                left += shares[k]
            told.append(f"{group.name}: " + ", ".join(f"{group.classes[k]} {shares[k]:.1f}" for k in order))
        axes.set_yticks(range(len(groups)), [group.name for group in groups])
        axes.set(xlim=(0, 100), ylim=(len(groups) - 0.4, -0.6), xlabel="share of the training identities (%)")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure, f"Bar chart, per cent of {len(labels)} training identities. {'; '.join(told)}."


def _face(group: AttributeGroup, class_: int, place: int) -> tuple[str, str | None]:
    """The colour and the hatching of a class."""
    if len(group.fields) > 1:
        name = group.classes[class_]
        return ("white", "////") if name == "none" else (name, None)
    return ("#0b4f7d", "#9cc7e3", "#dcebf5", "#f4f8fb")[min(place, 3)], None


def constant_loss(labels: Tensor) -> float:
    """The lowest attribute loss of a constant answer for labels (N, G): the classes' entropy, mean over groups."""
    entropies = []
    for column in labels.unbind(1):
        shares = column[column >= 0].bincount().double()
        entropies.append(-torch.special.xlogy(shares / shares.sum(), shares / shares.sum()).sum())
    return float(torch.stack(entropies).mean())


def head_table(network: AttributeNetwork, groups: Sequence[AttributeGroup], height: int, width: int) -> pd.DataFrame:
    """The heads of a network as they are: what each was given and gave in one forward pass, and what it holds."""
    calls = observe(network, torch.zeros(2, 3, height, width))
    rows = []
    for index, (group, head) in enumerate(zip(groups, network.heads, strict=True)):
        call = calls[f"heads.{index}"][0]
        rows.append(
            {
                "Group": group.name,
                "Given": shape(call.inputs),
                "Logits": shape(call.output),
                "Heat maps": str(sum(attribute.group == index for attribute in network.attributes)),
                "Parameters": f"{sum(p.numel() for p in head.parameters()):,}",
            }
        )
    total = sum(p.numel() for p in network.heads.parameters())
    outputs = sum(len(group.classes) for group in groups)
    rows.append(
        {
            "Group": "all heads",
            "Given": shape(calls["heads.0"][0].inputs),
            "Logits": str(outputs),
            "Heat maps": str(len(network.attributes)),
            "Parameters": f"{total:,}",
        }
    )
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------------------------------------------- scores


def means(scores: pd.DataFrame, level: str = "identity") -> dict[str, float]:
    """The means over the groups of a record's `attributes` table, in per cent."""
    columns = ["accuracy", "majority accuracy", "balanced accuracy", "majority balanced accuracy"]
    found = scores.query("level == @level")
    return {name: 100 * float(found[name].mean()) for name in columns}


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """A record's `attributes` table for display, in per cent: people, then images, and the mean over the groups."""
    shown: dict[str, list[str]] = {"Attribute": [*scores["attribute"].unique(), "mean"]}
    columns = {"accuracy": "accuracy", "majority accuracy": "majority", "balanced accuracy": "balanced"}
    columns["majority balanced accuracy"] = "chance"
    for level, words in LEVELS.items():
        found = scores[scores["level"] == level]
        for column, title in columns.items():
            shown[f"{words.capitalize()}: {title}"] = [
                f"{100 * value:.1f}" for value in (*found[column], found[column].mean())
            ]
    return pd.DataFrame(shown)


def mean_table(scores: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame:
    """The means of several records, by the data they were made on; None where there is no record."""
    rows = []
    for data, found in scores.items():
        for level, words in LEVELS.items() if found is not None else [("", "not run")]:
            mean = means(found, level) if found is not None else {}
            rows.append(
                {
                    "Data": data,
                    "Counted": words,
                    "Accuracy": _percent(mean.get("accuracy")),
                    "Majority": _percent(mean.get("majority accuracy")),
                    "Balanced": _percent(mean.get("balanced accuracy")),
                    "Chance": _percent(mean.get("majority balanced accuracy")),
                }
            )
    return pd.DataFrame(rows)


def what_was_learned(scores: pd.DataFrame, where: str) -> str:
    """A sentence on whether a network beats the majority class, and plainly that it learned nothing where it does not.

    By the means over the groups, a person counting once.
    """
    mean = means(scores)
    people = scores.query("level == 'identity'")
    over = people["accuracy"] > people["majority accuracy"]
    gain = mean["accuracy"] - mean["majority accuracy"]
    balanced = mean["balanced accuracy"] - mean["majority balanced accuracy"]
    text = (
        f"On {where} the network names the right class of {mean['accuracy']:.1f} % of the people's attributes, and the "
        f"majority class is right for {mean['majority accuracy']:.1f} %. "
    )
    if gain > 0:
        text += f"So it beats the majority class, by {gain:.1f} points on average"
    else:
        text += (
            "So it does **not** beat the majority class"
            + (f" but is {-gain:.1f} points below it" if gain else "")
            + ". By this measure it has learned nothing, and its heat maps explain nothing"
        )
    text += (
        f". Its mean balanced accuracy is {mean['balanced accuracy']:.1f} %, {abs(balanced):.1f} points "
        f"{'above' if balanced > 0 else 'below'} that of a constant answer. "
    )
    better, rest = list(people["attribute"][over]), list(people["attribute"][~over])
    text += f"It is ahead of the majority class in {len(better)} of {len(people)} groups"
    if better and rest:
        text += f", and not in {_listed(rest)}"
    return text + "."


def balanced_chart(scores: pd.DataFrame) -> Drawing:
    """Balanced accuracy of each group, people and images, beside that of a constant answer."""
    people, images = (scores.query("level == @level").set_index("attribute") for level in LEVELS)
    order = (people["balanced accuracy"] - people["majority balanced accuracy"]).sort_values(ascending=False).index
    people, images = people.loc[order], images.loc[order]
    places = np.arange(len(order))
    chance = 100 * people["majority balanced accuracy"]
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + 0.36 * len(order)), layout="constrained")
        axes.hlines(places, chance, 100 * people["balanced accuracy"], color=BLUE, lw=4, alpha=0.35)
        axes.plot(chance, places, "|", color="black", markersize=15, mew=2.5, label="a constant answer")
        axes.plot(100 * people["balanced accuracy"], places, "o", color=BLUE, markersize=8, label="people")
        axes.plot(
            100 * images["balanced accuracy"], places, "D", color=ORANGE, markersize=6, fillstyle="none", label="images"
        )
        axes.set_yticks(places, list(order))
        axes.set(xlim=(0, 103), xlabel="balanced accuracy (%)")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    told = "; ".join(
        f"{name}: people {100 * people['balanced accuracy'][name]:.1f}, images "
        f"{100 * images['balanced accuracy'][name]:.1f}, a constant answer {chance[name]:.1f}"
        for name in order
    )
    return figure, f"Chart of balanced accuracy in per cent, per attribute group. {told}."


# ----------------------------------------------------------------------------------------------------------- heat maps


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
    network = load_attribute_network(config, attributes)
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


def guessed(labels: Tensor, groups: Sequence[AttributeGroup], of: str, by: str) -> tuple[float, float]:
    """How many identities' class of the group `of` the class of the group `by` tells, and how many the majority class.

    labels: (I, G). Fractions of the identities whose labels are known; each class of `by` is taken for the class of
    `of` that is most frequent beside it.
    """
    names = [group.name for group in groups]
    pairs = labels[:, [names.index(of), names.index(by)]]
    wanted, given = pairs[(pairs >= 0).all(1)].unbind(1)
    told = sum(int(wanted[given == class_].bincount().max()) for class_ in given.unique())
    return told / len(wanted), int(wanted.bincount().max()) / len(wanted)


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


# -------------------------------------------------------------------------------------------------------- localisation


def localisation_chart(localisation: pd.DataFrame, measure: str = "pointing") -> Drawing:
    """A measure per attribute with its interval, a panel per stage, beside the two baselines. In per cent.

    `localisation` is the table of a record; attributes that no image shows are left out.
    """
    found = localisation.query("measure == @measure and images > 0")
    # The whole person first, then from large regions to small ones: `random` is the region's share of the picture.
    order = list(found.groupby("attribute")["random"].first().sort_values(ascending=False, kind="stable").index)
    told = []
    with style():
        size = (WIDTH, 1.35 + 0.255 * len(order))
        figure, panels = plt.subplots(1, len(STAGES), figsize=size, sharex=True, sharey=True, layout="constrained")
        for axes, stage in zip(panels, STAGES, strict=True):
            rows = found.query("stage == @stage").set_index("attribute").loc[order]
            places = np.arange(len(order))
            axes.plot(100 * rows["random"], places, "|", color="0.45", markersize=9, mew=2, label="random")
            axes.plot(100 * rows["centre"], places, "x", color=ORANGE, markersize=6, mew=2, label="centre")
            axes.hlines(places, 100 * rows["map low"], 100 * rows["map high"], color=BLUE, lw=3, alpha=0.45)
            axes.plot(100 * rows["map"], places, "o", color=BLUE, markersize=5, label="heat map, with 95 % interval")
            axes.set(title=stage, xlim=(-3, 103), ylim=(len(order) - 0.4, -0.6), xticks=[0, 50, 100])
            axes.grid(axis="y", lw=0.4)
        panels[0].set_yticks(range(len(order)), [title_of(field) for field in order], fontsize=10.5)
        panels[1].set_xlabel(f"{MEASURES[measure]} (%)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10, columnspacing=1)
    for field in order:
        rows = found.query("attribute == @field").set_index("stage").loc[list(STAGES)]
        values = ", ".join(f"{100 * v:.0f}" for v in rows["map"])
        first = rows.iloc[0]
        told.append(
            f"{title_of(field)} {values}; centre {100 * first['centre']:.0f}, random {100 * first['random']:.0f}"
        )
    return figure, (
        f"Dot plot of the {MEASURES[measure]} in per cent per attribute, a panel for each of {', '.join(STAGES)}. "
        f"{'. '.join(told)}."
    )


def over_centre_grid(localisation: pd.DataFrame) -> Drawing:
    """What the maps have over the centre, in points, per attribute, stage and measure; in bold where it is certain."""
    found = localisation.query("images > 0")
    order = list(found.groupby("attribute")["random"].first().sort_values(ascending=False, kind="stable").index)
    columns = [(measure, stage) for measure in MEASURES for stage in STAGES]
    cells = {(row["attribute"], row["measure"], row["stage"]): row for _, row in found.iterrows()}
    values = np.array([[100 * cells[field, *column]["over centre"] for column in columns] for field in order])
    certain = [[sign_of(cells[field, *column]) != 0 for column in columns] for field in order]
    reach = max(1.0, float(np.abs(values).max()))
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.29 * len(order)), layout="constrained")
        axes.imshow(values, cmap="PuOr", norm=TwoSlopeNorm(0, -reach, reach), aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            axes.text(
                column,
                row,
                (f"{value:+.0f}" if abs(value) >= 0.95 else f"{value:+.1f}").replace("-", "−"),
                ha="center",
                va="center",
                fontsize=10,
                color="white" if abs(value) > 0.62 * reach else "black",
                weight="bold" if certain[row][column] else "normal",
                alpha=1 if certain[row][column] else 0.65,
            )
        for edge in (2.5, 5.5):
            axes.axvline(edge, color="white", lw=4)
        axes.set_yticks(range(len(order)), [title_of(field) for field in order], fontsize=10.5)
        axes.set_xticks(range(len(columns)), [stage.removeprefix("layer") for _, stage in columns])
        axes.set_xlabel("layer")
        for place, words in zip((1, 4, 7), MEASURES.values(), strict=True):
            axes.text(place, -0.75, words, ha="center", va="bottom", fontsize=11)
        axes.grid(visible=False)
        axes.tick_params(length=0)
    told = "; ".join(
        f"{title_of(field)} "
        + ", ".join(f"{v:+.0f}{'' if sure else ' (uncertain)'}" for v, sure in zip(row, s, strict=True))
        for field, row, s in zip(order, values, certain, strict=True)
    )
    names = ", ".join(f"{MEASURES[measure]} after {stage}" for measure, stage in columns)
    return figure, f"Table of colours: points over the centre, in the order {names}. {told}."


def sign_of(row: pd.Series, baseline: str = "centre") -> int:
    """1 where a row's interval over a baseline lies above zero, -1 where below, 0 where it holds zero."""
    return int(row[f"over {baseline} low"] > 0) - int(row[f"over {baseline} high"] < 0)


def localisation_means(localisation: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The means over the attributes, per measure and stage, in per cent and points, with 95 % intervals.

    Columns: measure, stage, map, centre, random, and over centre and over random with low and high. The intervals are
    by bootstrap over the attributes: they say how far the mean depends on which attributes there are.
    """
    found = localisation.query("images > 0")
    rows = []
    for measure in MEASURES:
        for stage in STAGES:
            cells = found.query("measure == @measure and stage == @stage")
            row: dict[str, str | float] = {"measure": measure, "stage": stage}
            row |= {column: 100 * float(cells[column].mean()) for column in ("map", "centre", "random")}
            for column in ("over centre", "over random"):
                values = 100 * cells[column].to_numpy()
                picks = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
                low, high = np.percentile(values[picks].mean(1), (2.5, 97.5))
                row |= {column: float(values.mean()), f"{column} low": float(low), f"{column} high": float(high)}
            rows.append(row)
    return pd.DataFrame(rows)


def means_table(found: pd.DataFrame) -> pd.DataFrame:
    """What `localisation_means` returns, for display."""

    def difference(row: pd.Series, column: str) -> str:
        text = f"{row[column]:+.1f} ({row[f'{column} low']:+.1f} to {row[f'{column} high']:+.1f})"
        return text.replace("-", "−")

    return pd.DataFrame(
        {
            "Measure": MEASURES[str(row["measure"])],
            "Stage": row["stage"],
            "Heat map": f"{row['map']:.1f}",
            "Centre": f"{row['centre']:.1f}",
            "Random": f"{row['random']:.1f}",
            "Over centre": difference(row, "over centre"),
            "Over random": difference(row, "over random"),
        }
        for _, row in found.iterrows()
    )


def best_stage(found: pd.DataFrame, measure: str) -> str:
    """The stage with the highest mean of a measure, of what `localisation_means` returns."""
    rows = found.query("measure == @measure").sort_values("map", ascending=False, kind="stable")
    return str(rows.iloc[0]["stage"])


def stages_in_words(found: pd.DataFrame) -> str:
    """Which stage localises best by each measure, and whether even that is better than the two baselines."""
    best = {measure: best_stage(found, measure) for measure in MEASURES}
    text = []
    for measure, stage in best.items():
        row = found.query("measure == @measure and stage == @stage").iloc[0]
        verdicts = []
        for baseline, words in (("centre", "the centre"), ("random", "a constant map")):
            known = {
                1: f"better than {words}",
                0: f"not to be told from {words}",
                -1: f"worse than {words}",
            }[sign_of(row, baseline)]
            verdicts.append(f"{known} ({row[f'over {baseline}']:+.1f} points)".replace("-", "−"))
        text.append(f"By {BY[measure]}, {stage} is best with {row['map']:.1f} %: {verdicts[0]} and {verdicts[1]}.")
    stages = set(best.values())
    same = (
        f"All three measures agree on {stages.pop()}. " if len(stages) == 1 else "The measures disagree on the stage. "
    )
    return same + " ".join(text)


def attributes_in_words(localisation: pd.DataFrame, stage: str, measure: str = "energy") -> str:
    """Which attributes are found at a stage, by the interval over the centre: above zero, below, or holding it."""
    found = localisation.query("measure == @measure and stage == @stage and images > 0")
    signs = {title_of(str(row["attribute"])): sign_of(row) for _, row in found.iterrows()}
    unseen = sorted(set(localisation["attribute"]) - set(found["attribute"]))
    above, below, open_ = ([name for name, sign in signs.items() if sign == s] for s in (1, -1, 0))
    text = (
        f"By {BY[measure]} after {stage}, the maps of {len(above)} of {len(signs)} attributes are better "
        f"than the centre{_in_brackets(above)}, those of {len(below)} worse{_in_brackets(below)}, and "
        f"{len(open_)} cannot be told from it{_in_brackets(open_)}."
    )
    constant = sum(sign_of(row, "random") > 0 for _, row in found.iterrows())
    text += f" Those of {constant} are better than a constant map."
    if unseen:
        text += f" No query shows {_listed([title_of(field) for field in unseen])}."
    lucky = 0.025 * len(signs)
    return text + f" Of {len(signs)} intervals about {lucky:.1f} would lie above zero by luck alone."


def blanks_in_words(localisation: pd.DataFrame) -> str:
    """How many of the measured maps are blank, per stage."""
    found = localisation.query("measure == 'pointing'").groupby("stage")[["blank", "images"]].sum().loc[list(STAGES)]
    told = [f"{row['blank']:,} of {row['images']:,} after {stage}" for stage, row in found.iterrows()]
    if not found["blank"].any():
        return f"None of the {int(found['images'].sum()):,} maps is blank."
    worst = localisation.query("measure == 'pointing' and images > 0").assign(share=lambda f: f["blank"] / f["images"])
    row = worst.sort_values("share", ascending=False, kind="stable").iloc[0]
    return (
        f"Blank, that is zero everywhere, are {_listed(told)}; most often those for {title_of(row['attribute'])} after "
        f"{row['stage']}, {100 * row['share']:.0f} % of them."
    )


def learned_and_found(
    scores: pd.DataFrame,
    localisation: pd.DataFrame,
    groups: Sequence[AttributeGroup],
    stage: str,
    measure: str = "energy",
) -> tuple[Figure, str, float]:
    """Per attribute group, what was learned beside what is found; the figure, its text and Spearman's correlation,
    nan where there is none.

    Learned: balanced accuracy over images, over that of a constant answer. Found: the mean of a measure over the
    centre, over the group's attributes. Both in points.
    """
    images = scores.query("level == 'image'").set_index("attribute")
    learned = 100 * (images["balanced accuracy"] - images["majority balanced accuracy"])
    cells = localisation.query("measure == @measure and stage == @stage and images > 0").set_index("attribute")
    over = {group.name: 100 * float(cells["over centre"].reindex(list(group.fields)).mean()) for group in groups}
    frame = pd.DataFrame({"learned": learned, "found": pd.Series(over)}).dropna()
    frame = frame.sort_values("learned", ascending=False)
    varied = len(frame) > 2 and bool((frame.nunique() > 1).all())
    correlation = float(frame["learned"].corr(frame["found"], method="spearman")) if varied else float("nan")
    titles = {"learned": "learned:\nbalanced accuracy", "found": f"found after {stage}:\n{MEASURES[measure]}"}
    labels = {"learned": "over a constant\nanswer", "found": "over the\ncentre"}
    with style():
        size = (WIDTH, 1.2 + 0.3 * len(frame))
        figure, panels = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
        places = np.arange(len(frame))
        for axes, column, colour in zip(panels, titles, (BLUE, ORANGE), strict=True):
            axes.axvline(0, color="0.3", lw=1)
            axes.hlines(places, 0, frame[column], color=colour, lw=4, alpha=0.4)
            axes.plot(frame[column], places, "o", color=colour, markersize=8)
            axes.set(title=titles[column], xlabel=f"{labels[column]} (points)", ylim=(len(frame) - 0.5, -0.5))
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(places, list(frame.index))
    told = "; ".join(f"{name} {row['learned']:+.1f} and {row['found']:+.1f}" for name, row in frame.iterrows())
    return figure, f"Two charts side by side, points learned and points over the centre: {told}.", correlation


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _in_brackets(words: Sequence[str]) -> str:
    return f" ({', '.join(words)})" if words else ""

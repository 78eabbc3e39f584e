"""The heat maps of SAN-GAL's attribute network over the pictures that they explain.

Pictures are SynthPed's: only there is it known where an attribute is, and nobody's privacy is at stake.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.patches import Patch
from torch import Tensor

from reidkit.data.part_maps import showing
from reidkit.data.resident import Augmentation, Draw, resize
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.models.backbone import STAGES
from reidkit.places import record_roots
from reidkit.profile import Profile
from reidkit.records import Record, read_records
from reidkit.report import localisation
from reidkit.report.display import run_link
from reidkit.report.explained import Explained, explain
from reidkit.report.ranked_lists import followed
from reidkit.report.rows import record_of
from reidkit.report.sheets import Cell, Mask, augmented, mosaic, overlay
from reidkit.report.style import REGION_COLOURS, WIDTH, Drawing, notice, styled
from reidkit.report.words import field_title
from reidkit.runs import find_record
from reidkit.systems.attributes import AttributeConfig


@dataclass(frozen=True, eq=False)
class Subject:
    """What the two chapters on heat maps are about: the attribute network of a profile on SynthPed."""

    plan: Profile
    own: bool  # whether it is the profile that the book is built for

    @functools.cached_property
    def config(self) -> AttributeConfig:
        return cast(AttributeConfig, self.plan.config("attributes"))

    @functools.cached_property
    def record(self) -> Record | None:
        return record_of(self.plan, "attributes") if self.own else find_record(self.config)

    @functools.cached_property
    def explained(self) -> Explained | None:
        return explain(self.config) if self.record else None

    @functools.cached_property
    def person(self) -> int:
        """Of the examples, the one whom the book follows."""
        return 0 if self.explained is None else self.explained.person(followed(self.plan))

    @property
    def behind(self) -> list[Record]:
        return [self.record] if self.record else []

    @property
    def where(self) -> str:
        return f"{self.plan.synthped_preset} SynthPed"

    @property
    def best(self) -> str:
        """The stage whose maps have the largest share of their energy on the attribute."""
        if self.record is None or "localisation" not in self.record.tables:
            return STAGES[-1]
        return localisation.best_stage(localisation.localisation_means(self.record.table("localisation")))

    def missing(self) -> Drawing:
        return notice(f"The attribute network of the profile {self.plan.profile}\nhas no record with examples yet.")

    @property
    def told(self) -> str:
        """Whose maps are shown, in a sentence or two."""
        if self.explained is None:
            return (
                f"The attribute network of the profile `{self.plan.profile}` has no record yet, and its pictures are "
                f"missing; `reidkit run {self.plan.profile} --row attributes` makes it."
            )
        text = "" if self.own else "Only SynthPed knows where an attribute is, so this chapter stays with it. "
        return text + (
            f"The network is that of {{doc}}`attribute-network`, trained on {self.where}. Examples come from "
            f"{len(self.explained.split)} of the {len(self.explained.dataset.query):,} query pictures; what is "
            "measured is measured on all."
        )


def subject(profile: Profile) -> Subject:
    """That of a profile itself where it has one on SynthPed, else that of the default."""
    own = profile.dataset == "synthped" and "attributes" in profile.systems
    return Subject(profile if own else Profile.read("synthped"), own)


def at_other_sizes(record: Record) -> str:
    """What the maps of the same network are worth on pictures of another size, where such a run is published."""
    told = []
    for other in read_records(record_roots()[1]):
        alike = all(other.config.get(key) == record.config[key] for key in ("dataset", "synthped_preset", "seed"))
        size = [(r.config["image_height"], r.config["image_width"]) for r in (other, record)]
        if other.system == record.system and alike and size[0] != size[1] and "localisation" in other.tables:
            row = localisation.best_row(localisation.localisation_means(other.table("localisation")))
            told.append(
                f"Trained anew on pictures of {size[0][0]}×{size[0][1]}, the network's best maps by energy have "
                f"{row['map']:.1f} %, and the centre {row['centre']:.1f} % ({run_link(other.name)})."
            )
    return " ".join(told)


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
    maps = e.answers[stage][list(images)]  # (B, K, h, w)
    half = -(-len(e.groups) // 2)
    parts = range(half), range(half, len(e.groups))
    blocks: list[list[list[Cell]]] = [[], []]
    told = []
    for row, image in enumerate(images):
        picture, said = e.pictures[image].numpy(), []
        for block, part in zip(blocks, parts, strict=True):
            block.append([Cell(picture)])
            for g in part:
                class_ = int(at_hand[row, g])
                k = next((k for k, a in enumerate(e.attributes) if a.group == g and a.class_ in (None, class_)), None)
                name, wrong = e.groups[g].classes[class_], class_ != int(e.labels[image, g])
                heat, region = (None, None) if k is None else (overlay(picture, maps[row, k]), e.region(image, k))
                block[-1].append(Cell(heat, region, name, wrong))
                said.append(f"{e.groups[g].name} {name}{' (wrong)' if wrong else ''}")
        told.append(f"{e.split.paths[image].stem}: {', '.join(said)}")
    names = [e.split.paths[image].name[:4] for image in images]
    titles = [["query", *(_broken(e.groups[g].name) for g in part)] for part in parts]
    figure = mosaic(blocks, [names, names], titles, captions=True)
    return figure, (
        f"Grid of {len(images)} query pictures under the heat maps of {len(e.groups)} attribute groups after {stage}, "
        f"{_cells(e.maps[stage])} cells each. Predicted classes: {'; '.join(told)}."
    )


def example_images(explained: Explained, k: int, quantiles: Sequence[float], stage: str = "layer4") -> list[int]:
    """Of the queries that show attribute k, those at these quantiles of the map's energy inside the region.

    Examples by a rule, not by choice. Empty where no query shows it.
    """
    found = evaluate_localisation(explained.maps[stage][:, k], explained.regions(k), resamples=1)
    scores = found.energy.scores[:, 0]
    order = [i for i in scores.argsort(stable=True).tolist() if not torch.isnan(scores[i])]
    return [order[round(q * (len(order) - 1))] for q in quantiles] if order else []


def stage_sheet(explained: Explained) -> Drawing:
    """The three stages side by side: a row per attribute with a region of its own, two queries across.

    Which attributes, `regional` says. The queries are those of `example_images`, chosen by the last stage.
    """
    e, quantiles = explained, (0.9, 0.5)
    block, names, told = [], [], []
    for k in regional(e):
        images = example_images(e, k, quantiles)
        if not images:
            continue
        cells = []
        for image in images:
            picture, region = e.pictures[image].numpy(), e.region(image, k)
            cells.append(Cell(picture, region))
            cells += [Cell(overlay(picture, e.maps[stage][image, k]), region) for stage in STAGES]
            energies = [inside(e.maps[stage][image, k], region) for stage in STAGES]
            told.append(
                f"{field_title(e.fields[k])}, {e.split.paths[image].stem}: "
                + ", ".join(f"{100 * energy:.0f} %" for energy in energies)
                + f" in {100 * region.mean():.0f} % of the picture"
            )
        block.append(cells)
        names.append(field_title(e.fields[k]).replace(" ", "\n"))
    stages = [stage.removeprefix("layer") for stage in STAGES]
    titles = [title for q in quantiles for title in (f"{100 * q:.0f} %", *stages)]
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
        of_group = [k for k, attribute in enumerate(e.attributes) if attribute.group == g]
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
    "luggage": ("backpack", "bag", "handbag"),
    "elsewhere": ("background", "occluder"),
}


def energy_by_region(explained: Explained, stage: str) -> pd.DataFrame:
    """On what the maps of each attribute group lie: shares of their energy, a column per region, mean over images.

    Of each image the map of its labelled class counts, where the attribute is in sight and the map is not blank. The
    first row, *area*, is the regions' share of the pictures.
    """
    e = explained
    masks = torch.stack([showing(e.parts, parts) for parts in REGIONS.values()], 1).flatten(2)  # (N, R, H·W)
    sums: dict[str, Tensor] = {group.name: torch.zeros(len(REGIONS)) for group in e.groups}
    counts = dict.fromkeys(sums, 0)
    for k, attribute in enumerate(e.attributes):
        heat = e.maps[stage][:, k]
        counted = e.regions(k).flatten(1).any(1) & (heat.flatten(1).amax(1) > 0)
        fine = F.interpolate(heat[counted][:, None], e.parts.shape[1:], mode="bilinear").flatten(1)
        shares = torch.einsum("np,nrp->nr", fine / fine.sum(1, keepdim=True), masks[counted].float())
        name = e.groups[attribute.group].name
        sums[name] = sums[name] + shares.sum(0)
        counts[name] += int(counted.sum())
    rows = {"area": masks.float().mean((0, 2))} | {name: sums[name] / counts[name] for name in sums if counts[name]}
    return pd.DataFrame({name: row.tolist() for name, row in rows.items()}, index=list(REGIONS)).T


@styled
def region_chart(shares: pd.DataFrame) -> Drawing:
    """What `energy_by_region` returns, as a bar per attribute group, the area on top."""
    colours = {region: REGION_COLOURS[region] for region in REGIONS}
    figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + 0.38 * len(shares)), layout="constrained")
    left = np.zeros(len(shares))
    for region, colour in colours.items():
        width = 100 * shares[region].to_numpy()
        bars = axes.barh(range(len(shares)), width, left=left, height=0.72, color=colour, edgecolor="white", lw=0.8)
        ink = "white" if region in ("upper", "luggage") else "black"
        written = [f"{share:.0f}" if share >= 6 else "" for share in width]
        axes.bar_label(bars, written, label_type="center", color=ink, fontsize=10)
        left += width
    axes.axhline(0.5, color="0.3", lw=1)
    axes.set_yticks(range(len(shares)), ["area of the picture", *shares.index[1:]])
    axes.set(xlim=(0, 100), ylim=(len(shares) - 0.5, -0.5), xlabel="share of the heat maps' energy (%)")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    handles = [Patch(color=colour, label=region) for region, colour in colours.items()]
    look = {"ncols": 5, "frameon": False, "fontsize": 10.5, "handlelength": 0.8, "columnspacing": 1}
    figure.legend(handles=handles, loc="outside lower center", **look)
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
    pixels = resize(e.pictures[image].permute(2, 0, 1)[None], size)
    pictures = augmented(augmentation, pixels, draw)
    heat = e.maps[stage][image, k][None, None]
    heats = augmentation.move_maps(heat.expand(len(draws), -1, -1, -1), draw)[:, 0]
    mapped = [overlay(picture, one, float(heat.max())) for picture, one in zip(pictures, heats, strict=True)]
    block = [list(map(Cell, pictures)), list(map(Cell, mapped))]
    figure = mosaic([block], [["image", "with map"]], [list(draws)], bar="relative to the stored map's peak", wide=4.2)
    return figure, (
        f"Query {e.split.paths[image].stem} and its heat map for {field_title(e.fields[k])} after {stage}, under "
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


def inside(heat: Tensor, region: Mask) -> float:
    """The share of the energy of a map (h, w) that lies in a region of the picture."""
    found = evaluate_localisation(heat[None], torch.from_numpy(region)[None], resamples=1)
    return found.energy.map.mean


def _cells(maps: Tensor) -> str:
    return f"{maps.shape[2]} × {maps.shape[3]}"

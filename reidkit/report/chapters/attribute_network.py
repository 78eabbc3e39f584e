"""What the chapter on SAN-GAL's attribute network shows: its labels, its heads, and what they score."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_rgb
from torch import Tensor, nn

from reidkit.data import AttributeGroup, Attributes, DatasetError
from reidkit.data.attributes import GROUPS
from reidkit.report.drawings import observe
from reidkit.report.explained import Explained
from reidkit.report.style import BLUE, ORANGE, WIDTH, Drawing, name_rows, styled
from reidkit.report.words import a_few, number
from reidkit.runs import attributes_of, open_dataset
from reidkit.systems.attributes import AttributeConfig, AttributeNetwork

LEVELS = {"identity": "people", "image": "images"}
SCORES = {
    "accuracy": "accuracy",
    "majority accuracy": "majority",
    "balanced accuracy": "balanced",
    "majority balanced accuracy": "chance",
}  # the columns of a record's `attributes` table, as tables here call them


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


@styled
def answers_sheet(explained: Explained, image: int) -> Drawing:
    """A query, and beside it what the network says of it: a line per attribute group, with the truth where it errs."""
    figure = plt.figure(figsize=(0.8 * WIDTH, 0.22 * len(explained.groups)))
    place = figure.add_axes((0.0, 0.01, 0.3, 0.98))
    place.imshow(explained.pictures[image].numpy())
    place.set_axis_off()
    told = []
    for g, group in enumerate(explained.groups):
        answer, truth = (group.classes[int(of[image, g])] for of in (explained.predicted, explained.labels))
        right = answer == truth
        y = 1 - (g + 0.5) / len(explained.groups)
        figure.text(0.34, y, group.name.replace("-", " "), color="0.4", va="center", fontsize=9)
        said = f"{answer} ✓" if right else f"{answer} ✗ {truth}"
        figure.text(0.66, y, said, color="0" if right else ORANGE, va="center", fontsize=9)
        told.append(f"{group.name} {answer}{'' if right else f', true is {truth}'}")
    return figure, f"Query {explained.split.paths[image].stem}, and what the network says of it: {'; '.join(told)}."


@styled
def class_balance(groups: Sequence[AttributeGroup], labels: Tensor) -> Drawing:
    """How often each class occurs: a bar per group, its classes from the most to the least frequent.

    labels: (I, G), one row per identity, -1 where missing, which is left out. Colours are drawn in their own colour.
    """
    told = []
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
                axes.text(left + shares[k] / 2, row, text, ha="center", va="center", color=ink, fontsize=10, bbox=box)
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
    rows = [
        (
            group.name,
            calls.into(f"heads.{index}"),
            calls.out_of(f"heads.{index}"),
            str(sum(attribute.group == index for attribute in network.attributes)),
            _parameters(head),
        )
        for index, (group, head) in enumerate(zip(groups, network.heads, strict=True))
    ]
    outputs = sum(len(group.classes) for group in groups)
    rows.append(("all heads", rows[0][1], str(outputs), str(len(network.attributes)), _parameters(network.heads)))
    return pd.DataFrame(rows, columns=["Group", "Given", "Logits", "Heat maps", "Parameters"])


def _parameters(module: nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()):,}"


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


def means(scores: pd.DataFrame, level: str = "identity") -> dict[str, float]:
    """The means over the groups of a record's `attributes` table, in per cent."""
    found = scores.query("level == @level")
    return {column: 100 * float(found[column].mean()) for column in SCORES}


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """A record's `attributes` table for display, in per cent: people, then images, and the mean over the groups."""
    shown: dict[str, list[str]] = {"Attribute": [*scores["attribute"].unique(), "mean"]}
    for level, words in LEVELS.items():
        found = 100 * scores[scores["level"] == level][list(SCORES)]
        for column, title in SCORES.items():
            values = [*found[column], found[column].mean()]
            shown[f"{words.capitalize()}: {title}"] = [f"{value:.1f}" for value in values]
    return pd.DataFrame(shown)


def mean_table(scores: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame:
    """The means of several records, by the data they were made on; None where there is no record."""
    rows = []
    for data, found in scores.items():
        for level, words in LEVELS.items() if found is not None else [("", "not run")]:
            mean = means(found, level) if found is not None else {}
            told = {title.capitalize(): number(mean.get(column), 1) for column, title in SCORES.items()}
            rows.append({"Data": data, "Counted": words} | told)
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
    share = f"{len(better)} of" if rest else "all"
    text += f"Counted by people, it is ahead of the majority class in {share} {len(people)} groups"
    if better and rest:
        text += f", and not in {a_few(rest)}"
    return text + "."


@styled
def balanced_chart(scores: pd.DataFrame) -> Drawing:
    """Balanced accuracy of each group, people and images, beside that of a constant answer."""
    people, images = (scores.query("level == @level").set_index("attribute") for level in LEVELS)
    order = (people["balanced accuracy"] - people["majority balanced accuracy"]).sort_values(ascending=False).index
    people, images = people.loc[order], images.loc[order]
    places = np.arange(len(order))
    chance = 100 * people["majority balanced accuracy"]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + 0.36 * len(order)), layout="constrained")
    axes.hlines(places, chance, 100 * people["balanced accuracy"], color=BLUE, lw=4, alpha=0.35)
    axes.plot(chance, places, "|", color="black", markersize=15, mew=2.5, label="a constant answer")
    axes.plot(100 * people["balanced accuracy"], places, "o", color=BLUE, markersize=8, label="people")
    axes.plot(
        100 * images["balanced accuracy"], places, "D", color=ORANGE, markersize=6, fillstyle="none", label="images"
    )
    name_rows(axes, list(order))
    axes.set(xlim=(0, 103), xlabel="balanced accuracy (%)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    told = "; ".join(
        f"{name}: people {100 * people['balanced accuracy'][name]:.1f}, images "
        f"{100 * images['balanced accuracy'][name]:.1f}, a constant answer {chance[name]:.1f}"
        for name in order
    )
    return figure, f"Chart of balanced accuracy in per cent, per attribute group. {told}."

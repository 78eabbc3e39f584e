"""Where heat maps lie, as a record's table `localisation` tells it: charts, tables and sentences.

Everything is beside two baselines, a map with its peak in the centre and a constant one.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reidkit.data import AttributeGroup
from reidkit.data.attributes import GROUPS
from reidkit.evaluation.bootstrap import bootstrap
from reidkit.models.backbone import STAGES
from reidkit.report.style import BLUE, ORANGE, WIDTH, Drawing, name_rows, styled
from reidkit.report.words import a_few, field_title, interval, listed, signed

MEASURES = {"pointing": "pointing game", "energy": "energy", "iou": "IoU"}
BY = {"pointing": "the pointing game", "energy": "energy", "iou": "IoU"}


@styled
def over_centre_grid(localisation: pd.DataFrame) -> Drawing:
    """What the maps have over the centre, in points, per attribute, stage and measure; in bold where it is certain."""
    found = localisation.query("images > 0")
    order = list(found.groupby("attribute")["random"].first().sort_values(ascending=False, kind="stable").index)
    columns = [(measure, stage) for measure in MEASURES for stage in STAGES]
    values, low, high = (
        100
        * found.pivot(index="attribute", columns=["measure", "stage"], values=f"over centre{end}").loc[order, columns]
        for end in ("", " low", " high")
    )
    certain = ((low > 0) | (high < 0)).to_numpy()
    written = values.map(lambda v: signed(v, 0 if abs(v) >= 0.95 else 1))
    reach = max(1.0, float(np.abs(values.to_numpy()).max()))
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.29 * len(order)), layout="constrained")
    look = {"vmin": -reach, "vmax": reach, "cmap": "PuOr", "cbar": False}
    sns.heatmap(values, annot=written, fmt="", annot_kws={"fontsize": 10}, ax=axes, **look)
    for text, value, sure in zip(axes.texts, values.to_numpy().flat, certain.flat, strict=True):
        colour = "white" if abs(value) > 0.62 * reach else "black"
        text.set(color=colour, weight="bold" if sure else "normal", alpha=1 if sure else 0.65)
    for edge in (3, 6):
        axes.axvline(edge, color="white", lw=4)
    axes.set_yticks(np.arange(len(order)) + 0.5, [field_title(field) for field in order], fontsize=10.5)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [stage.removeprefix("layer") for _, stage in columns], rotation=0)
    axes.set(xlabel="layer", ylabel="")
    for place, words in zip((1.5, 4.5, 7.5), MEASURES.values(), strict=True):
        axes.text(place, -0.25, words, ha="center", va="bottom", fontsize=11)
    axes.tick_params(length=0)
    told = "; ".join(
        f"{field_title(field)} "
        + ", ".join(f"{v:+.0f}{'' if sure else ' (uncertain)'}" for v, sure in zip(row, s, strict=True))
        for field, row, s in zip(order, values.to_numpy(), certain, strict=True)
    )
    names = ", ".join(f"{MEASURES[measure]} after {stage}" for measure, stage in columns)
    return figure, f"Table of colours: points over the centre, in the order {names}. {told}."


def sign_of(row: pd.Series, baseline: str = "centre") -> int:
    """1 where a row's interval over a baseline lies above zero, -1 where below, 0 where it holds zero."""
    return int(row[f"over {baseline} low"] > 0) - int(row[f"over {baseline} high"] < 0)


def localisation_means(localisation: pd.DataFrame) -> pd.DataFrame:
    """The means over the attributes, per measure and stage, in per cent and points, with 95 % intervals.

    Columns: measure, stage, map, centre, random, and over centre and over random with low and high. The intervals are
    by bootstrap over the attributes: they say how far the mean depends on which attributes there are. The colours of a
    garment, which are found or not found together, are drawn together, and so is every other group.
    """
    group_of = {field: group.name for groups in GROUPS.values() for group in groups for field in group.fields}
    found = localisation.query("images > 0")
    rows = []
    for measure, stage in itertools.product(MEASURES, STAGES):
        cells = found.query("measure == @measure and stage == @stage")
        row: dict[str, str | float] = {"measure": measure, "stage": stage}
        row |= {column: 100 * float(cells[column].mean()) for column in ("map", "centre", "random")}
        for column in ("over centre", "over random"):
            values = 100 * cells[column].to_numpy()
            drawn = [group_of.get(field, field) for field in cells["attribute"]]
            (low,), (high,) = bootstrap(values[:, None], clusters=drawn)
            row |= {column: float(values.mean()), f"{column} low": float(low), f"{column} high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows)


def means_table(found: pd.DataFrame) -> pd.DataFrame:
    """What `localisation_means` returns, for display."""

    def difference(row: pd.Series, column: str) -> str:
        bounds = interval(row[f"{column} low"], row[f"{column} high"], sign=True)
        return f"{signed(row[column], 1)} [{bounds}]"

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


def best_row(found: pd.DataFrame, measure: str = "energy") -> "pd.Series[Any]":
    """The row, of what `localisation_means` returns, of the stage with the highest mean of a measure."""
    return found[found["measure"] == measure].sort_values("map", ascending=False, kind="stable").iloc[0]


def best_stage(found: pd.DataFrame, measure: str = "energy") -> str:
    """That stage."""
    return str(best_row(found, measure)["stage"])


def stages_in_words(found: pd.DataFrame) -> str:
    """Which stage localises best by each measure, and whether even that is better than the two baselines."""
    best = {measure: best_row(found, measure) for measure in MEASURES}
    stages = {row["stage"] for row in best.values()}
    if len(stages) == 1:
        text = f"All three measures find the maps after {stages.pop()} best."
    else:
        text = "The measures disagree on the stage; take the best by each."
    centre, constant = (in_words({m: sign_of(row, of) for m, row in best.items()}) for of in ("centre", "random"))
    return f"{text} Beside the centre these are {centre}; beside a constant map, {constant}."


def signs_at(found: pd.DataFrame, stage: str, baseline: str) -> dict[str, int]:
    """By measure, `sign_of` a stage's row of what `localisation_means` returns."""
    return {row["measure"]: sign_of(row, baseline) for _, row in found[found["stage"] == stage].iterrows()}


def in_words(signs: Mapping[str, int]) -> str:
    """By which measures something is ahead, level and behind, such as *ahead by energy, behind by IoU*."""
    words = {1: "ahead", 0: "level", -1: "behind"}
    by = {word: [BY[measure] for measure, of in signs.items() if of == sign] for sign, word in words.items()}
    return ", ".join(f"{word} by {listed(measures)}" for word, measures in by.items() if measures)


def attributes_in_words(localisation: pd.DataFrame, stage: str, measure: str = "energy") -> str:
    """How many attributes are found at a stage, by the interval over the centre: above zero, or below."""
    found = localisation.query("measure == @measure and stage == @stage and images > 0")
    signs = [sign_of(row) for _, row in found.iterrows()]
    constant = sum(sign_of(row, "random") > 0 for _, row in found.iterrows())
    text = (
        f"By {BY[measure]} after {stage}, the maps of {signs.count(1)} of {len(signs)} attributes are better than the "
        f"centre, and those of {signs.count(-1)} worse; {constant} beat a constant map."
    )
    if unseen := sorted(set(localisation["attribute"]) - set(found["attribute"])):
        text += f" No query shows {a_few([field_title(field) for field in unseen])}."
    return text


@styled
def learned_and_found(
    scores: pd.DataFrame,
    localisation: pd.DataFrame,
    groups: Sequence[AttributeGroup],
    stage: str,
) -> tuple[Figure, str, float]:
    """Per attribute group, what was learned beside what is found; the figure, its text and Spearman's correlation,
    nan where there is none.

    Learned: balanced accuracy over images, over that of a constant answer. Found: the mean energy over the
    centre, over the group's attributes. Both in points.
    """
    images = scores.query("level == 'image'").set_index("attribute")
    learned = 100 * (images["balanced accuracy"] - images["majority balanced accuracy"])
    cells = localisation.query("measure == 'energy' and stage == @stage and images > 0").set_index("attribute")
    over = {group.name: 100 * float(cells["over centre"].reindex(list(group.fields)).mean()) for group in groups}
    frame = pd.DataFrame({"learned": learned, "found": pd.Series(over)}).dropna()
    frame = frame.sort_values("learned", ascending=False)
    varied = len(frame) > 2 and bool((frame.nunique() > 1).all())
    correlation = float(frame["learned"].corr(frame["found"], method="spearman")) if varied else float("nan")
    titles = {"learned": "learned:\nbalanced accuracy", "found": f"found after {stage}:\nenergy"}
    labels = {"learned": "over a constant\nanswer", "found": "over the\ncentre"}
    size = (WIDTH, 1.2 + 0.3 * len(frame))
    figure, panels = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    places = np.arange(len(frame))
    for axes, column, colour in zip(panels, titles, (BLUE, ORANGE), strict=True):
        axes.axvline(0, color="0.3", lw=1)
        axes.hlines(places, 0, frame[column], color=colour, lw=4, alpha=0.4)
        axes.plot(frame[column], places, "o", color=colour, markersize=8)
        axes.set(title=titles[column], xlabel=f"{labels[column]} (points)")
        name_rows(axes, list(frame.index))
    told = "; ".join(f"{name} {row['learned']:+.1f} and {row['found']:+.1f}" for name, row in frame.iterrows())
    return figure, f"Two charts side by side, points learned and points over the centre: {told}.", correlation

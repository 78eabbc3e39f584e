"""What book/experiments.md shows of the joint-loss paper's Table 1: gains over the baseline, budgets, and the grid."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from reidkit.models import ATTENTION
from reidkit.places import record_roots
from reidkit.profile import Profile
from reidkit.published import OURS, TABLE_1
from reidkit.records import Record, read_records
from reidkit.report.curves import training_curves
from reidkit.report.differences import difference_table, with_interval
from reidkit.report.rows import PEOPLE, Estimate, Rows, Runs, difference, differences, score
from reidkit.report.style import WIDTH, Drawing, notice, styled
from reidkit.report.words import counted, listed, signed
from reidkit.systems import SYSTEMS
from reidkit.systems.joint_loss import GRID, LOSSES

BASE = "none/ce"
# What is shown of the ablation: the paper's eight rows, and those that say what they mean. The paper's names are kept
# but for its *Ours*, which in this book would be taken for a row of this book.
PAPER = {row.cell: row.scores["mAP"] for row in TABLE_1.rows}  # mAP by row
SHOWN = {row.cell: row.method for row in TABLE_1.rows if row.cell} | {
    OURS: "CBAM + joint loss",
    "cbam/ce": "CBAM, cross-entropy",
    **{row: SYSTEMS["joint-loss"].label(row) for row in ("half/ce", "none/ce/identities")},
}


def answer(runs: Runs, data: str) -> str:
    """What came of the joint loss, of CBAM with it, and of the modules on some data, in two sentences or so."""
    base, whole, losses = score(runs, BASE), difference(runs, OURS, BASE), difference(runs, "none/ce+tri+cir", BASE)
    if not base.known:
        return f"On {data} the baseline has not been run yet."
    text = f"On {data} the baseline reaches {base.ours:.1f} % mAP."
    if losses.known:
        text += f" The joint loss without attention has {with_interval(losses)} points over it."
    if whole.known:
        text += f" {SHOWN[OURS]}, the paper's method, has {with_interval(whole)} points over it."
    modules = {row: difference(runs, row, BASE) for row in ("se/ce", "eca/ce", "danet/ce", "nonlocal/ce", "cbam/ce")}
    run = {ATTENTION[row.partition("/")[0]].title: gain for row, gain in modules.items() if gain.known}
    return f"{text} {modules_in_words(run)}" if run else text


def modules_in_words(gains: Mapping[str, Estimate]) -> str:
    """What modules with cross-entropy alone gain, by their names, and which of them clearly help."""
    too_few = any(gain.covers == PEOPLE for gain in gains.values())
    helped = [name for name, gain in gains.items() if gain.clear and gain.ours > 0]
    if len(gains) == 1:
        ((name, gain),) = gains.items()
        verdict = "clearly helps" if helped else "does not clearly help"
        if too_few:
            verdict = "has too few seeds for a verdict"
        return f"{name} with cross-entropy changes it by {with_interval(gain)} and {verdict}."
    low, high = (signed(end(gain.ours for gain in gains.values()), 1) for end in (min, max))
    verdict = f"{listed(helped or ['none of them'])} clearly help{'' if len(helped) > 1 else 's'}"
    if too_few:
        verdict = "with so few seeds none can be said to help"
    many = counted(len(gains)).capitalize()
    return f"{many} modules with cross-entropy change it by {low} to {high} points, and {verdict}."


def controls(data: Mapping[str, Runs]) -> pd.DataFrame:
    """What the rows that the paper does not have say of those that it has, a line each; of those that were run."""
    said = {
        ("cbam/ce", BASE): "CBAM without the other losses",
        ("half/ce", BASE): "the constant ½ over the baseline",
        ("se/ce", "half/ce"): "SE over the constant ½",
        ("eca/ce", "half/ce"): "ECA over the constant ½",
        ("none/ce/identities", BASE): "batches of P×K, without the triplet loss",
        ("none/ce+tri", "none/ce/identities"): "the triplet loss over its batches",
    }
    return difference_table({words: differences(data, row, over) for (row, over), words in said.items()})


def triplets_in_words(data: Mapping[str, Runs], row: str) -> str:
    """Where the triplet loss of a row ended, and the share of triplets that it still moved."""
    told, margins = [], set()
    for title, runs in data.items():
        records = [record for record in runs.get(row, ()) if "active triplets" in record.history]
        margins |= {SYSTEMS[record.system].complete(record.config)["triplet_margin"] for record in records}
        if records:
            loss, active = (fmean(r.history[of].iloc[-1] for r in records) for of in ("triplet", "active triplets"))
            told.append(f"{loss:.2f} on {title} ({100 * active:.0f} % of the triplets are active)")
    return (
        f"The triplet loss, with its margin of {listed([str(margin) for margin in margins])}, ends at {listed(told)}."
        if told
        else ""
    )


def pairs_in_words(data: Mapping[str, Runs]) -> str:
    """What batches with two pictures of each person change for cross-entropy, in a sentence."""
    gains = differences(data, "none/ce/pairs", BASE)
    told = [f"{with_interval(gain)} points on {title}" for title, gain in gains.items() if gain.known]
    return f"Batches with two pictures of each person change mAP by {listed(told)}." if told else ""


def joint_column_in_words(data: Mapping[str, Runs]) -> str:
    """Where the paper's CBAM stands among the modules that were run with the joint loss, by data set, in a sentence."""
    told = []
    for title, runs in data.items():
        rows = {f"{key}/ce+tri+cir": placement.title for key, placement in ATTENTION.items() if not placement.control}
        scores = {row: score(runs, row).ours for row in rows if runs.get(row)}
        if OURS not in scores or len(scores) < 3:
            continue
        best, place = max(scores, key=lambda row: scores[row]), 1 + sum(of > scores[OURS] for of in scores.values())
        name = "no attention" if best == "none/ce+tri+cir" else rows[best]
        told.append(
            f"With the joint loss, CBAM is number {place} of {len(scores)} on {title}, at {scores[OURS]:.1f}"
            + (f"; {name} leads, at {scores[best]:.1f}." if place > 1 else ".")
        )
    return " ".join(told)


# ------------------------------------------------------------------------------------------------------------- budgets


def budgets(profile: Profile, rows: Iterable[str]) -> dict[str, dict[int, list[Record]]]:
    """By row and number of epochs, the finished runs that differ from a profile's in epochs and seeds alone."""
    system = SYSTEMS["joint-loss"]
    apart = {"epochs", "seed"}
    known = [record for record in read_records(*record_roots()) if record.system == system.name]
    found: dict[str, dict[int, list[Record]]] = {}
    for row in rows:
        wanted = system.complete(profile.config(row).determinants)
        for record in known:
            given = system.complete(record.config)
            if all(given.get(key) == value for key, value in wanted.items() if key not in apart):
                found.setdefault(row, {}).setdefault(record.config["epochs"], []).append(record)
    return {row: dict(sorted(of_row.items())) for row, of_row in found.items()}


def budget_chart(data: Mapping[str, Mapping[str, Mapping[int, Sequence[Record]]]]) -> Drawing:
    """mAP over the epochs of whole trainings, drawn as `curves.training_curves` does.

    Where no row was trained for several budgets, the figure says so.
    """
    panels = {
        title: {
            SHOWN[row]: [
                pd.DataFrame({"epoch": [epochs], "mAP": [record.metrics["mAP"]]})
                for epochs, seeds in of_row.items()
                for record in seeds
            ]
            for row, of_row in of_rows.items()
            if len(of_row) > 1
        }
        for title, of_rows in data.items()
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        return notice("Other numbers of epochs have not been trained yet.")
    return training_curves(panels, "mAP", label="mAP (%)", scale=100, across="epochs of the training")


def budgets_in_words(rows: Mapping[str, Mapping[int, Sequence[Record]]], own: int, data: str) -> str:
    """What a longer training than the `own` epochs adds to the baseline, and the joint loss's gain at every budget."""
    scores = {
        row: {epochs: 100 * fmean(record.metrics["mAP"] for record in seeds) for epochs, seeds in of_row.items()}
        for row, of_row in rows.items()
    }
    base, joint = scores.get(BASE, {}), scores.get("none/ce+tri+cir", {})
    told = []
    if own in base and (longest := max(base)) > own:
        gain = signed(base[longest] - base[own], 1)
        told.append(f"{longest} epochs instead of {own} change the baseline's mAP by {gain} points")
    gains = {epochs: signed(joint[epochs] - base[epochs], 1) for epochs in base if epochs in joint}
    if len(gains) > 1:
        first, *others = gains
        each = [f"{gains[first]} points after {first} epochs", *(f"{gains[more]} after {more}" for more in others)]
        told.append(f"what the joint loss has over the baseline is {listed(each)}")
    return f"On {data}, {', and '.join(told)}." if told else ""


# ---------------------------------------------------------------------------------------------------------------- grid


def grid(records: Iterable[Record]) -> pd.DataFrame:
    """The mAP of every cell of the ablation grid in per cent: attention down, loss across, nan where not run."""
    modules = dict.fromkeys(cell.attention for cell in GRID.values())
    frame = pd.DataFrame(np.nan, index=list(modules), columns=list(LOSSES))
    for row, seeds in Rows(records).items():
        if row in GRID:
            frame.loc[GRID[row].attention, GRID[row].loss] = 100 * np.mean([record.metrics["mAP"] for record in seeds])
    return frame


@styled
def grid_heat_map(scores: Mapping[str, pd.DataFrame]) -> Drawing:
    """The ablation grid in per cent, attention down and loss across, a panel per data set; –: not run."""
    told = []
    figure, panels = plt.subplots(
        1, len(scores), figsize=(WIDTH, 3.2), sharey=True, layout="constrained", squeeze=False
    )
    losses = {loss: title.replace(" + ", "\n+ ") for loss, title in LOSSES.items()}
    for axes, (title, frame) in zip(panels[0], scores.items(), strict=True):
        low, high = (frame.min(axis=None), frame.max(axis=None)) if frame.notna().any(axis=None) else (0, 100)
        sns.heatmap(
            frame.rename(index={name: placement.title for name, placement in ATTENTION.items()}, columns=losses),
            annot=True,
            fmt=".1f",
            cmap="crest",
            vmin=low,
            vmax=high,
            linewidths=2,
            linecolor="white",
            cbar=False,
            ax=axes,
        )
        for (row, column), value in np.ndenumerate(frame.to_numpy(dtype=float)):
            if np.isnan(value):
                axes.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color="0.45")
        axes.grid(visible=False)
        axes.set(xlabel="", ylabel="", title=title)
        axes.tick_params(length=0, rotation=0)
        for attention, line in frame.iterrows():
            cells = (f"{LOSSES[str(loss)]} {'not run' if np.isnan(s) else f'{s:.1f}'}" for loss, s in line.items())
            told.append(f"{title}, {ATTENTION[str(attention)].title}: {', '.join(cells)}")
    return figure, f"Heat map of mAP in per cent, attention module by loss. {'; '.join(told)}."

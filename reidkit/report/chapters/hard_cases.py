"""What book/hard-cases.md shows: which queries are hard, who fails on them, and where systems that choose look."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch.nn.functional as F
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reidkit.data import Dataset
from reidkit.data.conditions import CONDITIONS, conditions
from reidkit.data.part_maps import BODY, read_part_maps, showing
from reidkit.evaluation.bootstrap import bounds, resampled_means
from reidkit.profile import Profile
from reidkit.records import Record
from reidkit.report import localisation
from reidkit.report.chapters.comparison import NAMES
from reidkit.report.differences import with_interval
from reidkit.report.rows import KNOWN, Estimate, Runs, difference, people, query_scores, score
from reidkit.report.style import BLUE, REGION_COLOURS, WIDTH, Drawing, name_rows, notice, styled
from reidkit.report.words import listed, number, signed
from reidkit.runs import check_data, open_dataset

BASE = "none/ce"
PARTS = ("pcb", "pcb+rpp", "vpm", "spreid/predicted")  # the systems that divide a picture
MADE_FOR = (
    ("pan", "badly framed"),
    ("aligned-reid", "badly framed"),
    ("pcb+rpp", "badly framed"),
    ("vpm", "occluded"),
    ("bfe", "occluded"),
)
HIDDEN = 0.25  # of a region, from which it counts as hidden
FEWEST = 10  # queries in which a region is hidden, below which nothing is said of them
SINGLE = ("aanet", "pan")  # those that look at one place of it
COLOURS = {segment: REGION_COLOURS[segment] for segment in (*BODY, "luggage", "occluder", "background")}


def data_of(profile: Profile, book: Profile, runs: Runs) -> Dataset | None:
    """The data set of a profile; None where it is not on this machine, and not that of the `book` either.

    Raises RecordError where a run was made from another one.
    """
    config = profile.config(BASE)
    if not config.root.is_dir() and config.root != book.config(BASE).root:
        return None
    dataset = open_dataset(config, progress=False)
    for records in runs.values():
        check_data(records[0], dataset)
    return dataset


def conditions_of(dataset: Dataset | None) -> pd.DataFrame:
    """As `conditions`; of no query where the data set is not at hand."""
    return pd.DataFrame(columns=list(CONDITIONS), dtype=bool) if dataset is None else conditions(dataset)


def conditions_table(found: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """A line per condition: what it means, on how many queries it holds, and the baseline's mAP there and elsewhere."""
    lines = []
    for name, meaning in CONDITIONS.items():
        there, elsewhere = (baseline(runs, among) for among in sides(found, name))
        line = {"Condition": name, "Meaning": meaning, "Queries": int(found[name].sum())}
        line |= {"mAP there": number(there.mean(), 1), "mAP elsewhere": number(elsewhere.mean(), 1)}
        lines.append(line | {"Difference": with_interval(apart(there, elsewhere))})
    return pd.DataFrame(lines)


def baseline(runs: Runs, among: Collection[str]) -> "pd.Series[float]":
    """The baseline's average precision in some queries, in per cent, mean over its seeds."""
    seeds = runs.get(BASE)
    return query_scores(seeds, among)["mAP"] if seeds else pd.Series(dtype=float)


def sides(found: pd.DataFrame, condition: str) -> tuple[list[str], list[str]]:
    """The queries on which a condition holds, and the others."""
    return list(found.index[found[condition]]), list(found.index[~found[condition]])


def apart(there: "pd.Series[float]", elsewhere: "pd.Series[float]", error: float = 0.0, freedom: int = 1) -> Estimate:
    """How far the means of two groups of queries are apart, by name; nan where there is nobody in one.

    They are of the same networks: the interval covers the people sought, who may be in both groups, and what the seeds
    add by `error` and `freedom`, as of `bootstrap`.
    """
    if there.empty or elsewhere.empty:
        return Estimate()
    groups = pd.concat([there, elsewhere], axis=1)  # nan where a query is in the other
    drawn = resampled_means(groups.to_numpy(), clusters=people(groups.index))
    (low,), (high,) = bounds(drawn[:, :1] - drawn[:, 1:], error, freedom)
    return Estimate(float(there.mean() - elsewhere.mean()), float(low), float(high))


def run_rows(runs: Runs) -> list[str]:
    """The compared rows that were run, the baseline left out, the best first."""
    rows = [row for row in NAMES if row != BASE and runs.get(row)]
    return sorted(rows, key=lambda row: -score(runs, row).ours)


@styled
def gains_chart(found: pd.DataFrame, runs: Runs) -> Drawing:
    """What each system has over the baseline where a condition holds, beside what it has elsewhere: a panel each."""
    rows = run_rows(runs)
    if found.empty:
        return notice("The pictures of these runs are not on this machine: `reidkit data render synthped-compared`.")
    if not rows or not runs.get(BASE):
        return notice("None of the compared systems has been run yet.")
    told = []
    size = (WIDTH, 2 * (0.9 + 0.24 * len(rows)))
    figure, panels = plt.subplots(2, 2, figsize=size, sharex=True, sharey=True, layout="constrained")
    for axes, name in zip(panels.flat, CONDITIONS, strict=True):
        axes.axvline(0, color="0.3", linewidth=1)
        for y, row in enumerate(rows):
            there, elsewhere = (difference(runs, row, BASE, among) for among in sides(found, name))
            axes.hlines(y, there.low, there.high, color=BLUE, linewidth=3, alpha=0.4)
            axes.plot(elsewhere.ours, y, "o", color="0.45", fillstyle="none", label="elsewhere" if not y else None)
            axes.plot(there.ours, y, "o", color=BLUE, label="where it holds" if not y else None)
            told.append(f"{NAMES[row]}, {name} {with_interval(there)}, elsewhere {signed(elsewhere.ours)}")
        axes.set(title=f"{name} ({int(found[name].sum())})")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10], prune="both"))
        name_rows(axes, [NAMES[row] for row in rows], fontsize="small")
    figure.supxlabel("gain in mAP over the plain baseline (points)", fontsize="medium")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure, f"Gains over the plain baseline in points, by condition. {'; '.join(told)}."


def answer(found: pd.DataFrame, runs: Runs) -> str:
    """Which conditions are hard for the plain baseline, in a sentence for each kind."""
    gaps = {}
    for name in CONDITIONS:
        there, elsewhere = (baseline(runs, among) for among in sides(found, name))
        gaps[name] = apart(there, elsewhere)
    kinds = {
        "Queries are harder where they are ": [name for name, gap in gaps.items() if gap.high < 0],
        "It cannot be told of those that are ": [name for name, gap in gaps.items() if gap.low <= 0 <= gap.high],
        "They are easier where they are ": [name for name, gap in gaps.items() if gap.low > 0],
    }
    told = [start + listed([f"*{name}*" for name in names]) + "." for start, names in kinds.items() if names]
    return " ".join(told) or "The pictures of these runs are not on this machine, so there is nothing to tell."


def cameras_in_words(found: pd.DataFrame) -> str:
    """How far a condition is one of the cameras, in a sentence."""
    told = []
    for name in ("from behind", "dark"):
        cameras = Counter(query.split("_")[1].partition("s")[0] for query in map(str, found.index[found[name]]))
        if len(cameras) > 2:
            most = sum(count for _, count in cameras.most_common(2))
            told.append(f"two cameras took {most} of the {cameras.total()} queries that are *{name}*")
    return f"But {listed(told)}: it may be the cameras that are easy, or hide a loss." if told else ""


def contrasts(found: pd.DataFrame, runs: Runs, condition: str) -> dict[str, Estimate]:
    """How much more each row has in the queries on which a condition holds than in the others, beside the other rows.

    The mean of the other compared rows is taken off, query by query: what all of them gain there says nothing of one.
    The intervals cover the people sought and, where three seeds or more are repetitions, what seeds do to this very
    difference, pooled over the rows. None where there is no other row.
    """
    groups, rows = sides(found, condition), run_rows(runs)
    seeds = {row: np.array([_contrast(record, groups) for record in runs[row]]) for row in rows}
    freedom = sum(len(values) - 1 for values in seeds.values())
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in seeds.values())
    spread = (squares / freedom) ** 0.5 if freedom >= KNOWN and np.isfinite(squares) else 0.0
    scores = [{row: query_scores(runs[row], among)["mAP"] for row in rows} for among in groups]
    more = {}
    for row in rows:
        others = [other for other in rows if other != row]
        if not others:
            continue
        there, elsewhere = (of[row] - sum(of[other] for other in others) / len(others) for of in scores)
        share = 1 / len(seeds[row]) + sum(1 / len(seeds[other]) for other in others) / len(others) ** 2
        more[row] = apart(there, elsewhere, spread * share**0.5, max(freedom, 1))
    return {row: gain for row, gain in more.items() if gain.known}


def _contrast(record: Record, groups: Iterable[Collection[str]]) -> float:
    """How much higher one run's mAP is in one group of queries than in another, in points."""
    there, elsewhere = (float(query_scores([record], among)["mAP"].mean()) for among in groups)
    return there - elsewhere


def purpose_table(found: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """A line per system and the condition that it was made for: its gain over the baseline there, and elsewhere."""
    lines = []
    more = {name: contrasts(found, runs, name) for name in dict.fromkeys(name for _, name in MADE_FOR)}
    for row, name in MADE_FOR:
        there, elsewhere = (difference(runs, row, BASE, among) for among in sides(found, name))
        own, gains = more[name].get(row, Estimate()), [gain.ours for gain in more[name].values()]
        line = {"System": NAMES[row], "Made for": name, "Gain there": signed(there.ours)}
        line |= {"Elsewhere": signed(elsewhere.ours), "Than the others": with_interval(own)}
        place = 1 + sum(gain > own.ours for gain in gains)
        lines.append(line | {"Place": f"{place} of {len(gains)}" if own.known else "–"})
    return pd.DataFrame(lines)


def room_in_words(found: pd.DataFrame, runs: Runs) -> str:
    """What systems gain more where a condition holds, whatever they were made for, and who gains more than they do."""
    told, ahead = [], []
    for name in dict.fromkeys(name for _, name in MADE_FOR):
        groups = sides(found, name)
        gains = [[difference(runs, row, BASE, among).ours for among in groups] for row in run_rows(runs)]
        rising = [there - elsewhere for there, elsewhere in gains if np.isfinite(there - elsewhere)]
        if rising:
            told.append(
                f"Where queries are *{name}*, {sum(of > 0 for of in rising)} of {len(rising)} systems gain more over "
                f"the plain baseline than elsewhere, the median by {signed(float(np.median(rising)), 1)} points."
            )
        more = contrasts(found, runs, name)
        ahead += [NAMES[row] for row, purpose in MADE_FOR if purpose == name and row in more and more[row].low > 0]
    if not told:
        return "What the systems gain there has not been measured yet."
    if ahead:
        told.append(f"Of those made for such queries, clearly ahead of the other systems there: {listed(ahead)}.")
    else:
        told.append(
            "Of those made for such queries none is clearly ahead of the other systems there. The intervals are wide: "
            "an advantage of a few points would not show."
        )
    return " ".join(told)


# ------------------------------------------------------------------------------------------------------ where they look


def focused(runs: Runs, rows: Sequence[str]) -> dict[str, Record]:
    """Of some rows, the first record that says where its features come from, with intervals over people if one has."""
    found = {row: [record for record in runs.get(row, ()) if "focus" in record.tables] for row in rows}
    return {
        row: next((record for record in records if "clusters" in record.table("focus")), records[0])
        for row, records in found.items()
        if records
    }


def energies(record: Record) -> pd.DataFrame:
    """How much of each feature's map lies on each segment, a share: a row per feature, a column per segment.

    Over the queries that show the segment; over all of them, where they do not they have none.
    """
    focus = record.table("focus").query("measure == 'energy'")
    shown = focus["images"] / focus["images"].max()
    table = focus.assign(share=focus["map"] * shown).pivot(index="feature", columns="segment", values="share").fillna(0)
    table["luggage"] = table["person"] - table[list(BODY)].sum(axis=1)
    return table[list(COLOURS)]


@styled
def parts_chart(found: Mapping[str, Record]) -> Drawing:
    """What lies under each stripe, part or region, averaged over the queries: a bar each, a panel per system."""
    if not found:
        return notice("None of the systems that divide a picture has been measured yet.")
    told = []
    tables = {row: energies(record) for row, record in found.items()}
    heights = [len(table) for table in tables.values()]
    figure, panels = plt.subplots(
        len(tables), figsize=(WIDTH, 0.8 + 0.5 * len(tables) + 0.27 * sum(heights)), sharex=True,
        gridspec_kw={"height_ratios": heights}, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, (row, table) in zip(panels[:, 0], tables.items(), strict=True):
        left = np.zeros(len(table))
        for segment, colour in COLOURS.items():
            width = 100 * table[segment].to_numpy()
            axes.barh(table.index, width, left=left, color=colour, height=0.75)
            left += width
        axes.set(title=NAMES[row], yticks=list(table.index), ylim=(len(table) + 0.5, 0.5))
        axes.grid(axis="y", visible=False)
        for feature, shares in table.iterrows():
            most = listed([f"{name} {100 * share:.0f} %" for name, share in shares.items() if share >= 0.05])
            told.append(f"{NAMES[row]} {feature}: {most}")
    panels[-1, 0].set(xlabel="share of the map (%)", xlim=(0, 100))
    handles = [Patch(color=colour, label=segment) for segment, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure, f"Stacked bars, what lies under each part. {'; '.join(told)}."


def person_table(found: Mapping[str, Record]) -> pd.DataFrame:
    """A line per system and measure: how much better its one map lies on the person than maps that know nothing."""
    columns = ["System", "Measure", "Map", "Over random", "Over centre"]
    lines = [dict.fromkeys(columns, "–") | {"System": NAMES[row]} for row in SINGLE if row not in found]
    for row, record in found.items():
        focus = record.table("focus").query("segment == 'person'")
        for _, line in focus.iterrows():
            over = {
                f"Over {kind}": with_interval(
                    Estimate(*(100 * line[f"over {kind}{end}"] for end in ("", " low", " high")))
                )
                for kind in ("random", "centre")
            }
            lines.append({"System": NAMES[row], "Measure": line["measure"], "Map": number(100 * line["map"], 1)} | over)
    return pd.DataFrame(lines, columns=columns)


def person_in_words(found: Mapping[str, Record]) -> str:
    """How each system's one map stands on the person beside two that know nothing, in a sentence each."""
    told = []
    for rival, called in (("centre", "a blob in the middle"), ("random", "a map that is the same everywhere")):
        alike: dict[str, list[str]] = {}
        for row, record in found.items():
            lines = record.table("focus").query("segment == 'person'")
            signs = {str(line["measure"]): localisation.sign_of(line, rival) for _, line in lines.iterrows()}
            alike.setdefault(localisation.in_words(signs), []).append(f"{NAMES[row]}'s")
        standing = [f"{listed(names)} {'are' if len(names) > 1 else 'is'} {words}" for words, names in alike.items()]
        told += [f"Beside {called}, {'; '.join(standing)}."] if standing else []
    return " ".join(told) or "Neither has been measured yet."


class Visibility(NamedTuple):
    """Of one region of VPM: its share of a picture in per cent, where it is hidden, and how that changes there."""

    region: str
    share: float  # where it is not hidden
    hidden: int  # queries
    change: Estimate  # in points; nan where it is hidden in too few


def visibilities(record: Record, dataset: Dataset) -> list[Visibility]:
    shares = 100 * record.table("shares").set_index("query")
    hidden = hidden_stripes(dataset, len(shares.columns)).loc[shares.index] > HIDDEN
    found = []
    for region in map(str, shares):
        there, elsewhere = shares[region][hidden[region]], shares[region][~hidden[region]]
        change = apart(there, elsewhere) if len(there) >= FEWEST else Estimate()
        found.append(Visibility(region, float(elsewhere.mean()), len(there), change))
    return found


def visibility_table(found: Mapping[str, Record], dataset: Dataset | None) -> pd.DataFrame:
    """A line per region of VPM: its share of a picture, and how that differs where something stands in front of it."""
    columns = ["Region", "Share of the picture (%)", "Hidden in", "Change there (points)"]
    lines: list[tuple[object, ...]] = [
        (one.region, number(one.share, 1), one.hidden, with_interval(one.change))
        for record in found.values()
        if dataset is not None
        for one in visibilities(record, dataset)
    ]
    return pd.DataFrame(lines or [("–",) * 4], columns=columns)


def visibility_in_words(found: Mapping[str, Record], dataset: Dataset | None) -> str:
    """Whether VPM takes a hidden region for less visible, in a sentence or two."""
    measured = [one for record in found.values() if dataset is not None for one in visibilities(record, dataset)]
    known = [one for one in measured if one.change.known]
    if not known:
        return "It has not been measured yet."
    kinds = {
        "less of the picture for": [one.region for one in known if one.change.high < 0],
        "more for": [one.region for one in known if one.change.low > 0],
    }
    told = [f"{kind} {_regions(of)}" for kind, of in kinds.items() if of]
    text = f"Where something hides it, VPM takes {listed(told)}." if told else ""
    untold = [one.region for one in known if one.change.low <= 0 <= one.change.high]
    return f"{text} Of {_regions(untold)} it cannot be told.".strip() if untold else text


def _regions(of: Sequence[str]) -> str:
    return f"region{'s' if len(of) > 1 else ''} {listed(of)}"


def hidden_stripes(dataset: Dataset, stripes: int) -> pd.DataFrame:
    """Of each of so many equal stripes of every query, the share that an occluder covers; columns from "1"."""
    paths = dataset.query.paths
    covered = showing(read_part_maps(paths), ["occluder"])  # (N, H, W)
    shares = F.adaptive_avg_pool2d(covered[:, None].float(), (stripes, 1)).flatten(1)
    names = pd.Index([path.name for path in paths], name="query")
    return pd.DataFrame(shares.numpy(), index=names, columns=[str(stripe + 1) for stripe in range(stripes)])

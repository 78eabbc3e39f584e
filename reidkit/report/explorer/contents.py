"""All that the explorer can show, as plain data for its script: what is no picture is a number, a name or a list."""

import itertools
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidkit.profile import Profile
from reidkit.records import Record, flat
from reidkit.report.charts import CURVES
from reidkit.report.explained import explain
from reidkit.report.explorer.experiments import Experiment
from reidkit.report.explorer.pictures import colours, encoded, heat, thumbnails
from reidkit.report.explorer.sides import Side, gains, sides
from reidkit.report.ranked_lists import first_results
from reidkit.report.rows import METRICS as MEASURED
from reidkit.report.rows import PEOPLE, WIDENED
from reidkit.report.verdicts import departures
from reidkit.report.words import DATASETS, LABELS, data_title
from reidkit.runs import check_data, open_dataset
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import RESULTS

METRICS = tuple(sorted(MEASURED, key=lambda metric: metric != "mAP"))  # what a telephone shows first
RANKS = 20  # of the CMC curve
COVERS = ("", WIDENED, PEOPLE)  # what an interval says of itself, by number
HUNDREDTHS = 100  # in which scores and gains are told, of a per cent or a point


def contents(experiments: Sequence[Experiment], linked: Container[str] = ()) -> dict[str, Any]:
    """What the script draws from. linked: the names of the records that have a page beside this one.

    Raises ValueError where there is no experiment, RecordError where those of one data set are of different files.
    """
    if not experiments:
        raise ValueError("no experiment to explore: the profile runs no system that ranks")
    book = experiments[0].profile  # other profiles' data are shown where they are, but not rendered for that
    by_data: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        by_data.setdefault(_data(experiment.profile), []).append(experiment)
    for key, of in [*by_data.items()][1:]:
        if not any(itertools.chain.from_iterable(experiment.records.values() for experiment in of)):
            del by_data[key]  # nothing to be chosen
    data = [_data_set(of, linked, of[0].profile.profile in (book.profile, book.companion)) for of in by_data.values()]
    return {
        "metrics": [LABELS[metric] for metric in METRICS],
        "curves": [{"key": key, "label": label} for key, (label, _, _) in CURVES.items()],
        "colours": colours(),
        "data": data,
        "settings": [
            _setting(place, list(of_profile), data[place]["keys"])
            for place, of_data in enumerate(by_data.values())
            for _, of_profile in itertools.groupby(of_data, lambda experiment: experiment.profile.profile)
        ],
    }


def _data(profile: Profile) -> str:
    """What is the same for profiles whose runs rank the same pictures."""
    return profile.dataset if profile.dataset in DATASETS.keys() - {"synthped", "own"} else str(profile.root)


# --------------------------------------------------------------------------------------------------------- a data set


def _data_set(experiments: Sequence[Experiment], linked: Container[str], render: bool) -> dict[str, Any]:
    profile, chosen = experiments[0].profile, sides(experiments)
    toy = profile.dataset == "synthped"
    found: dict[str, Any] = {
        "name": data_title(profile),
        "toy": toy,
        "paper": DATASETS[experiments[0].table.dataset] if toy else "",
        "keys": [side.key for side in chosen],
        "sides": [],
        "runs": [],
        "queries": [],
        "gains": None,
        "pictures": None,
        "heat": None,
    }
    if not chosen:
        return found
    records = {record.name: record for side in chosen for record in side.records}
    over = gains(chosen)
    found["gains"] = {
        name: encoded(np.rint(HUNDREDTHS * values[:, [MEASURED.index(metric) for metric in METRICS]]), "<i2")
        for name, values in (("mean", over.mean), ("low", over.low), ("high", over.high))
    } | {"covers": [COVERS.index(kind) for kind in over.covers]}
    guide = None
    if toy and (render or (profile.root / "synthped.json").is_file()):
        dataset = open_dataset(profile, progress=False)
        for record in records.values():
            check_data(record, dataset)
        found["pictures"] = thumbnails(dataset, records.values())
        guides = {config.name: config for config in map(_guide, chosen) if config is not None}
        for config in guides.values():  # of one network: the maps of another's are not shown
            if (explained := explain(config)) is not None:
                guide, found["heat"] = config, heat(explained)
                break
    guided = {side.records[0].name for side in chosen if guide and _guide(side) == guide}
    place = {name: number for number, name in enumerate(records)}
    apart = varied(records.values())
    found["queries"] = next(iter(records.values())).queries["query"].tolist()
    found["sides"] = [_side(side, [place[record.name] for record in side.records]) for side in chosen]
    found["runs"] = [
        _run(record, name in linked, apart[name], bool(found["pictures"])) | {"heat": name in guided}
        for name, record in records.items()
    ]
    return found


def _guide(side: Side) -> Configuration | None:
    """The attribute network whose heat maps a side's first run reads."""
    return side.experiment.profile.config(side.row, side.records[0].config["seed"]).guide


def _side(side: Side, runs: list[int]) -> dict[str, Any]:
    experiment, scores = side.experiment, side.scores()
    printed = experiment.printed(side.row)
    label = experiment.label(side.row)
    return {
        "key": side.key,
        "label": label if side.seed is None else f"{label} (seed {side.seed})",
        "system": experiment.system.title,
        "setting": experiment.profile.profile,
        "baseline": side.row == experiment.rows[0] and side.seed is None,
        "runs": runs,
        "scores": [_told(scores[metric].ours) for metric in METRICS],
        "low": [_told(scores[metric].low) for metric in METRICS],
        "high": [_told(scores[metric].high) for metric in METRICS],
        "covers": COVERS.index(scores[METRICS[0]].covers),
        "paper": [printed.get(metric) for metric in METRICS] if printed else None,
        "verdict": experiment.verdict(side.row),
        "departures": list(departures(side.records[0], experiment.table)),
    }


def _run(record: Record, link: bool, settings: Mapping[str, str], lists: bool) -> dict[str, Any]:
    precision = record.queries["average_precision"].to_numpy(float)
    first, results = record.queries["first_match_rank"].to_numpy(), first_results(record) if lists else None
    history = record.history
    return {
        "name": record.name,
        "link": link,
        "seed": record.config["seed"],
        "settings": settings,
        # -1 without a match
        "precision": encoded(np.where(np.isnan(precision), -1, np.rint(100 * HUNDREDTHS * precision)), "<i2"),
        "first": encoded(np.minimum(first, 65_535), "<u2"),
        "results": None if results is None else encoded(results[:, :RESULTS], "<i2"),
        "across": None if results is None else min(RESULTS, results.shape[1]),
        "cmc": [_told(share) for share in cmc(record)],
        "epochs": history["epoch"].tolist(),
        "history": {
            key: [_told(scale * value, ".4g") for value in history[key].tolist()]
            for key, (_, scale, _) in CURVES.items()
            if key in history and history[key].notna().any()
        },
    }


def cmc(record: Record, ranks: int = RANKS) -> NDArray[np.float64]:
    """The share of queries (ranks,) in per cent with a right match among the first 1 … ranks results.

    Queries without a match in the gallery do not count.
    """
    rank = record.queries["first_match_rank"].to_numpy()
    shares: NDArray[np.float64] = 100 * (rank[rank >= 1][:, None] <= np.arange(1, ranks + 1)).mean(0)
    return shares


def varied(records: Iterable[Record]) -> dict[str, dict[str, str]]:
    """By record, the settings in which it differs from any other of them, but for its seed."""
    found = {record.name: flat(SYSTEMS[record.system].complete(record.config)) for record in records}
    keys = dict.fromkeys(key for settings in found.values() for key in settings)
    told = [key for key in keys if len({repr(settings.get(key)) for settings in found.values()}) > 1]
    left_out = ("seed", "revision", "renderer")
    return {
        name: {key: str(settings[key]) for key in told if key in settings and key.rpartition(".")[2] not in left_out}
        for name, settings in found.items()
    }


def _told(value: float, digits: str = ".4f") -> float | None:
    return None if math.isnan(value) else float(f"{value:{digits}}")


# ---------------------------------------------------------------------------------------------------------- a setting


def _setting(data: int, experiments: Sequence[Experiment], keys: Sequence[str]) -> dict[str, Any]:
    """A profile: the tables from which its rows are chosen, and how to run what is missing."""
    profile = experiments[0].profile
    tables, others = [], []
    for experiment in experiments:
        system = experiment.system
        of = {row: _cell(experiment, row, keys) for row in experiment.rows}
        if experiment.grid:
            up, across = system.choices.items()
            lines = [(title, [of[f"{value}/{loss}"] for loss in across[1]]) for value, title in up[1].items()]
            tables.append(_table(system.title, lines, list(across[1].values())))
        rest = [row for row in experiment.rows if row not in experiment.grid]
        named = [(experiment.label(row), [of[row]]) for row in rest]
        if experiment.grid and rest:
            tables.append(_table(f"{system.title}: controls", named))
        elif sum(system.varied(row) is None for row in rest) > 2:
            tables.append(_table(system.title, named))
        else:  # a table of its own would be a line or two
            others += [(system.title if row == rest[0] else f"{system.title}: {row}", [of[row]]) for row in rest]
    if others:
        tables.append(_table("Compared systems", others))
    missing = [cell["row"] for table in tables for line in table["lines"] for cell in line["cells"] if not cell["side"]]
    epochs = f"{profile.epochs} epoch{'s' if profile.epochs > 1 else ''}"
    return {
        "name": profile.profile,
        "data": data,
        "note": f"{epochs} at {profile.image_height}×{profile.image_width}",
        "tables": tables,
        "command": f"reidkit run {profile.profile} --row {missing[0]}" if missing else "",
        "missing": len(missing),
    }


def _cell(experiment: Experiment, row: str, keys: Sequence[str]) -> dict[str, Any]:
    key = f"{experiment.profile.profile}:{row}"
    return {"row": row, "label": experiment.label(row), "side": key if key in keys else None}


def _table(title: str, lines: Sequence[tuple[str, list[Any]]], across: Sequence[str] = ("mAP",)) -> dict[str, Any]:
    return {
        "title": title,
        "across": list(across),
        "lines": [{"title": name, "cells": cells} for name, cells in lines],
    }

"""Printed numbers beside recorded ones: difference, 95 % interval and verdict, by one declared rule.

A row without a record holds no number. Scores and intervals are in per cent, differences in points; `report.rows` says
what an interval covers.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from reidkit.published import PAPERS, Table
from reidkit.records import Record
from reidkit.report.rows import Rows, of_data
from reidkit.report.words import DATASETS, phrases
from reidkit.systems import SYSTEMS
from reidkit.systems.system import System

TOLERANCE = 0.5  # points by which an interval is widened before it decides


def verdict(published: float, low: float, high: float, departures: Sequence[str] = ()) -> str:
    """What a reproduction says of a published score, given our 95 % interval [low, high]; all in per cent.

    "other setting" where the run departs from the paper's setting, whatever the numbers. Otherwise "reproduced" where
    the published score lies within the interval widened by half a point on either side, "better" where ours lies
    above that, "worse" where it lies below. (A row without a record is "not run", as `compare` says.)
    """
    if departures:
        return "other setting"
    slack = TOLERANCE + 1e-9  # the bounds belong to the interval, however they were rounded
    if low - slack <= published <= high + slack:
        return "reproduced"
    return "better" if published < low else "worse"


def departures(record: Record, table: Table) -> tuple[str, ...]:
    """In which ways a run is not the experiment of a printed table; empty where it is.

    The yardstick is what the paper prints (data set, initial weights, ResNet-50, 256×128, learning rate, …) and, where
    it prints nothing, the declared reading: the defaults of the system's settings, or what it has in their place.
    """
    config, system = record.config, SYSTEMS[record.system]
    found = []
    if config["dataset"] != table.dataset:
        toy = config["dataset"] == "synthped"
        found.append("toy data (SynthPed)" if toy else f"data set {DATASETS[config['dataset']]}")
    if reading := system.varied(system.row_of(config)):
        found.append(f"the reading {reading[1]}")
    found += _departures(system, config, table.weights)
    for name, within in SYSTEMS.items():
        if config.get(name):
            others = _departures(within, config[name], table.weights)
            found += [f"{within.title.lower()}: {other}" for other in others if other not in found]
    return tuple(found)


def _departures(system: System, config: Mapping[str, Any], weights: str) -> list[str]:
    config, found = system.complete(config), []
    here, paper = phrases(system.name, config), phrases(system.name, system.paper)
    for key, phrase in here.items():
        if key == "residual_scale" and (config["weights"] or weights != "none"):
            continue  # it shows in no network that starts from weights
        if phrase != paper[key] and key not in system.idle(config):
            found.append(f"{phrase}, not {_what_differs(paper[key], phrase)}")
    if (config["weights"] is None) != (weights == "none"):
        found.append("no ImageNet weights" if config["weights"] is None else "ImageNet weights")
    return found


def _what_differs(phrase: str, other: str) -> str:
    """A phrase without the words, but not the numbers, with which another one begins and ends as well."""
    words, others = phrase.split(), other.split()
    while words[0] == others[0] and not re.search(r"\d", words[0]):
        words, others = words[1:], others[1:]
    while words[-1] == others[-1] and not re.search(r"\d", words[-1]):
        words, others = words[:-1], others[:-1]
    return " ".join(words)


# ---------------------------------------------------------------------------------------------- a table beside records


def table_of(system: str, dataset: str) -> Table:
    """The first table of a system's paper on a data set; an empty one where no paper prints any."""
    tables = itertools.chain.from_iterable(PAPERS.get(system, {}).values())
    weights = "imagenet" if SYSTEMS[system].paper["weights"] else "none"
    unprinted = Table(SYSTEMS[system].title, 0, "not printed", dataset, weights, ())
    return next((table for table in tables if table.dataset == dataset), unprinted)


def compare(table: Table, records: Iterable[Record]) -> pd.DataFrame:
    """A printed table beside records of one setting: a line per row and metric.

    Columns: method, cell, metric, paper, ours, low, high, covers, difference (ours − paper; points), verdict, seeds,
    records (their names). Only records on the table's data set, or on SynthPed's copy of it, count. Rows of other
    people's methods, which have no cell, have an empty verdict. Raises RecordError for records of several settings.
    """
    measured, lines = Rows(of_data(table.dataset, records)), []
    for row in table.rows:
        seeds, scores = measured.get(row.cell or "", []), measured.score(row.cell)
        others = departures(seeds[0], table) if seeds else ()
        for metric, paper in row.scores.items():
            ours = scores[metric]
            missing = "not run" if row.cell else ""
            judged = verdict(paper, ours.low, ours.high, others) if seeds else missing
            line = {"method": row.method, "cell": row.cell, "metric": metric, "paper": paper} | ours._asdict()
            line |= {"difference": ours.ours - paper, "verdict": judged, "seeds": len(seeds)}
            lines.append(line | {"records": tuple(record.name for record in seeds)})
    return pd.DataFrame(lines)

"""What there is to explore: a system's rows under one profile, beside what its paper prints of them."""

import itertools
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from reidkit.places import project_root, record_roots
from reidkit.profile import Plan, Profile
from reidkit.published import Table
from reidkit.records import Record
from reidkit.report.display import NumberedTable, numbered_table, run_link
from reidkit.report.rows import METRICS, WIDENED, Estimate, Spread, difference, estimates, query_scores
from reidkit.report.verdicts import departures, table_of, verdict
from reidkit.report.words import data_title, interval, number, signed, stands_for
from reidkit.runs import find_record
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import System


@dataclass(frozen=True)
class Experiment:
    """One system under one profile."""

    system: System
    profile: Profile

    @property
    def name(self) -> str:
        return f"{self.system.title} on {data_title(self.profile)}, profile `{self.profile.profile}`"

    @property
    def slug(self) -> str:
        """The name as a part of a label."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.system.name} {self.profile.profile}".lower()).strip("-")

    @property
    def grid(self) -> tuple[str, ...]:
        """The rows that are the combinations of the system's choices, the baseline first; none of another system."""
        choices = self.system.choices.values()
        return tuple(map("/".join, itertools.product(*choices))) if choices else ()

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """All there are, the baseline first; of those that are one run under this profile, the first."""
        names: dict[str, str] = {}
        for row in (*self.grid, *self.system.rows):
            names.setdefault(self.profile.config(row).name, row)
        return tuple(names.values())

    @cached_property
    def table(self) -> Table:
        """What the paper prints of these data."""
        return table_of(self.system.name, stands_for(self.profile.model_dump()))

    @cached_property
    def records(self) -> dict[str, list[Record]]:
        """By row, the records of the profile's seeds; none where it was not run."""
        seeds = self.profile.systems.get(self.system.name, Plan()).seeds
        configs = {row: [self.profile.config(row, seed) for seed in seeds] for row in self.rows}
        return {row: [record for c in of_row if (record := find_record(c))] for row, of_row in configs.items()}

    @cached_property
    def spread(self) -> Spread:
        """Between seeds."""
        return Spread.of(self.records.values())

    @cached_property
    def scores(self) -> dict[str, dict[str, Estimate]]:
        """By row and metric; of a row without a record all nan."""
        none = dict.fromkeys(METRICS, Estimate())
        return {
            row: estimates(query_scores(records), self.spread, [records]) if records else none
            for row, records in self.records.items()
        }

    def printed(self, row: str) -> dict[str, float]:
        """What the paper prints of a row, by metric; empty where it does not."""
        return next((dict(line.scores) for line in self.table.rows if line.cell == row), {})

    def verdict(self, row: str, metric: str = "mAP") -> str:
        if not self.records[row]:
            return "not run"
        printed, here = self.printed(row), self.scores[row][metric]
        if metric not in printed:
            return "not printed"
        return verdict(printed[metric], here.low, here.high, departures(self.records[row][0], self.table))

    def label(self, row: str) -> str:
        """A row in words, with what the paper calls it."""
        printed = next((line.method for line in self.table.rows if line.cell == row), "")
        if row in self.grid:
            return self.system.label(row) + (f": {printed}" if printed else "")
        return printed or self.system.label(row)

    def config(self, row: str) -> Configuration:
        """The run of a row, with the seed of its first record if it has one."""
        records = self.records[row]
        return self.profile.config(row, records[0].config["seed"] if records else None)


def experiments(profile: Profile) -> list[Experiment]:
    """What there is to explore of a profile: every system that ranks on its data and on its companion's.

    Then what is published of other profiles, so that any of it can be compared with the rest; a run that several of
    them have is one of that with the most rows.
    """
    own = {plan.profile: plan for plan in (profile, profile.other()) if plan}
    others = [plan for plan in _published() if plan.profile not in own]
    ranking = [system for system in SYSTEMS.values() if system.ranks]
    pairs = [(system, plan) for plan in [*own.values(), *others] for system in ranking if plan.rows(system.name)]
    pairs.sort(key=lambda pair: 0 if pair[1].profile in own else 1 / len(pair[1].rows(pair[0].name)))
    offered: set[str] = set()
    chosen = []
    for experiment in (Experiment(system, plan) for system, plan in pairs):
        names = {record.name for records in experiment.records.values() for record in records}
        if experiment.profile.profile in own or names - offered:
            chosen.append(experiment)
            offered |= names
    return chosen


def _published() -> Iterator[Profile]:
    """The profiles of `parameters/` that a published record is of; trials on held-out people are none of the book."""
    for file in sorted((project_root() / "parameters").glob("*.yaml")):
        plan = Profile.read(file)
        names = (config.name for config in plan.configs() if SYSTEMS[config.system].ranks)
        if not plan.validation_identities and any((record_roots()[1] / n / "record.json").is_file() for n in names):
            yield plan


def tabled(found: Sequence[Experiment]) -> list[Experiment]:
    """Those with a table of their own: systems of which more than one row was run, or is printed."""
    return [e for e in found if sum(bool(records or e.printed(row)) for row, records in e.records.items()) > 1]


def overview(experiment: Experiment, linked: Container[str]) -> NumberedTable:
    """The rows of an experiment that were run or that its paper prints, in a line each: paper, here, and what it gains.

    Columns that say nothing are left out, and a verdict that is the same in every line is said once. linked: the names
    of the records that have a page.
    """
    lines, missing = [], [row for row, records in experiment.records.items() if not records]
    for row, records in experiment.records.items():
        printed, scores = experiment.printed(row), experiment.scores[row]
        if not records and not printed:
            continue
        over = difference(experiment.records, row, experiment.rows[0] if row != experiment.rows[0] else None)
        here = scores["mAP"]
        names = [run_link(record.name) if record.name in linked else f"`{record.name[-8:]}`" for record in records]
        lines.append(
            {
                "Run": experiment.label(row),
                "Rank-1 paper": number(printed.get("rank-1")),
                "Rank-1 here": number(scores["rank-1"].ours),
                "mAP paper": number(printed.get("mAP")),
                "mAP here": number(here.ours),
                "95 % interval": interval(here.low, here.high),
                "Over baseline": signed(over.ours),
                "95 % of that": interval(over.low, over.high, sign=True),
                "Verdict on mAP": experiment.verdict(row),
                "Record": " ".join(names) or "–",
            }
        )
    frame = pd.DataFrame(lines)
    verdicts = set(frame["Verdict on mAP"]) - {"not run", "not printed"}
    empty = [column for column in frame.columns if (frame[column] == "–").all()]
    notes = []
    if len(verdicts) <= 1:
        empty.append("Verdict on mAP")
        notes += [f"Verdict on every mAP that the paper prints: {verdict}." for verdict in verdicts]
    if any(scores["mAP"].covers == WIDENED for scores in experiment.scores.values()):
        notes.append("The interval of a row with one seed is widened by the spread between the seeds of the others.")
    if missing:
        command = experiment.profile.command(missing[0], experiment.config(missing[0]).seed)
        rows = ", ".join(f"`{row}`" for row in missing)
        notes.append(f"Not run: {rows}. `{command}` runs one.")
    caption = f"The runs of {experiment.name}, in per cent."
    return numbered_table(frame.drop(columns=empty), f"table-explorer-{experiment.slug}", caption, " ".join(notes))

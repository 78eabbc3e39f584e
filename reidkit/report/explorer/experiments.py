"""What there is to explore: a system's rows on one data set, beside what its paper prints of them."""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from reidkit.profile import Plan, Profile
from reidkit.published import Row, Table
from reidkit.records import Record
from reidkit.report.display import run_link
from reidkit.report.rows import Rows
from reidkit.report.verdicts import compare, table_of
from reidkit.report.words import DATASETS, LABELS, interval, signed, stands_for
from reidkit.runs import find_record
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import System


@dataclass(frozen=True)
class Experiment:
    """One system on one data set: what the first dropdown chooses from."""

    system: System
    profile: Profile

    @property
    def name(self) -> str:
        plan = self.profile
        if plan.dataset == "synthped":
            like = "" if plan.synthped_preset == "market-like" else f" {plan.synthped_preset}"
            return f"{self.system.title}: SynthPed{like} (toy)"
        return f"{self.system.title}: {DATASETS[plan.dataset]}{' (small)' if plan.profile.endswith('-small') else ''}"

    @property
    def slug(self) -> str:
        """The name as a part of a label."""
        return "-".join((*self.system.title.lower().split(), self.profile.profile))

    @property
    def rows(self) -> tuple[str, ...]:
        """What is chosen from, the baseline first; controls have their own place."""
        if self.system.choices:
            return tuple(map("/".join, itertools.product(*self.system.choices.values())))
        return tuple(row for row in self.system.rows if row not in self.system.row_groups.get("controls", ()))

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
    def measured(self) -> Rows:
        return Rows(record for records in self.records.values() for record in records)

    @property
    def baseline(self) -> list[Record]:
        return self.records[self.rows[0]]

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """`verdicts.compare` of every row, by its name; "not printed" is the verdict on those that no paper has."""
        printed = {row.cell: row.scores for row in self.table.rows}
        unknown = dict.fromkeys(self.table.metrics if self.table.rows else LABELS, np.nan)
        rows = [Row(row, printed.get(row, unknown), row) for row in self.rows]
        return compare(self.table, [record for runs in self.records.values() for record in runs], rows)

    def scores(self, row: str) -> pd.DataFrame:
        return self.comparison[self.comparison["cell"] == row]

    def label(self, row: str) -> str:
        """A row in words, with what the paper calls it."""
        printed = next((line.method for line in self.table.rows if line.cell == row), "")
        if not self.system.choices:
            of, reading = self.system.varied(row) or (row, "")
            return printed or (f"{of}, {reading.replace('-', ' ')}" if reading else of)
        values = zip(self.system.choices.values(), row.split("/"), strict=True)
        return ", ".join(titles[value] for titles, value in values) + (f": {printed}" if printed else "")

    def config(self, row: str) -> Configuration:
        """The run of a row, with the seed of its first record if it has one."""
        records = self.records[row]
        return self.profile.config(row, records[0].config["seed"] if records else None)

    def bases(self, row: str) -> dict[str, str]:
        """What a row is compared with, by what it is called."""
        baseline, (of, _) = self.rows[0], self.system.varied(row) or (row, "")
        bases = {baseline: "the baseline"} | ({of: "the literal reading"} if of != baseline else {})
        return {name: base for base, name in bases.items() if base != row}


def experiments(profile: Profile) -> list[Experiment]:
    """What there is to explore of a profile: every system on its data, on its companion's, and on Market-1501."""
    plans = [profile]
    for plan in (profile.other(), Profile.read("market1501-small")):
        if plan is not None and plan.profile not in {other.profile for other in plans}:
            plans.append(plan)
    ranking = [system for system in SYSTEMS.values() if system.ranks]
    return [Experiment(system, plan) for system in ranking for plan in plans if plan.rows(system.name)]


def overview(experiment: Experiment) -> pd.DataFrame:
    """Every row of an experiment in a line, for display: paper, here, and what it gains over the baseline in mAP."""
    lines = []
    for row, records in experiment.records.items():
        scores = experiment.scores(row).set_index("metric").to_dict("index")
        rank_1, mean = scores["rank-1"], scores["mAP"]
        gain = experiment.measured.gain(row if row != experiment.rows[0] else None, experiment.rows[0])["mAP"]
        lines.append(
            {
                "Run": experiment.label(row),
                "Rank-1 paper": rank_1["paper"],
                "Rank-1 here": rank_1["ours"],
                "mAP paper": mean["paper"],
                "mAP here": mean["ours"],
                "95 % interval": interval(mean["low"], mean["high"], mean["covers"]),
                "Over baseline": signed(gain.ours),
                "95 % of that": interval(*gain[1:], sign=True),
                "Verdict on mAP": mean["verdict"],
                "Record": " ".join(run_link(record.name) for record in records) or "–",
            }
        )
    return pd.DataFrame(lines)

"""The two sides of a comparison, and what each may gain over each other: scores with their 95 % intervals.

Runs of any system and profile can be compared if they ranked the same queries of the same data. The rule of the
intervals is that of `report.rows`; where a side is one seed of several, its interval covers the people alone.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reidkit.evaluation.bootstrap import bounds, resampled_means
from reidkit.records import Record, RecordError
from reidkit.report.explorer.experiments import Experiment
from reidkit.report.rows import METRICS, PEOPLE, WIDENED, Estimate, Spread, estimates, people, query_scores

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """A row, the mean of all its seeds, or one seed of a row that has several."""

    experiment: Experiment
    row: str
    seed: int | None  # None: all there are
    records: tuple[Record, ...]

    @property
    def key(self) -> str:
        """What the address of a page calls it."""
        of = f"{self.experiment.profile.profile}:{self.row}"
        return of if self.seed is None else f"{of}@{self.seed}"

    @property
    def spread(self) -> Spread:
        """Between seeds, as far as its interval is to cover them."""
        return self.experiment.spread if self.seed is None else Spread()

    def scores(self) -> dict[str, Estimate]:
        if self.seed is None:
            return self.experiment.scores[self.row]
        return estimates(query_scores(self.records), self.spread, [self.records])


def sides(experiments: Sequence[Experiment]) -> list[Side]:
    """All that can be chosen: every row that was run, and its seeds where it has several."""
    found = []
    for experiment in experiments:
        for row, records in experiment.records.items():
            found += [Side(experiment, row, None, tuple(records))] if records else []
            found += [Side(experiment, row, r.config["seed"], (r,)) for r in records if len(records) > 1]
    return found


class Gains(NamedTuple):
    """What the second of two sides has over the first, for every pair of N, in the order of `itertools.combinations`.

    A pair takes all seeds of both, as `report.rows` says.
    """

    mean: Values  # (N·(N−1)/2, metrics) in points
    low: Values
    high: Values
    covers: list[str]  # as of an `Estimate`


def gains(chosen: Sequence[Side]) -> Gains:
    """Raises RecordError where they rank different queries or other data."""
    records = {record.name: record for side in chosen for record in side.records}
    first = next(iter(records.values()))
    scores = {name: query_scores([record]) for name, record in records.items()}
    for name, record in records.items():
        if record.provenance["data"] != first.provenance["data"]:
            raise RecordError(f"{first.name} and {name} are of different data: no gain is a gain there")
        if not scores[name].index.equals(scores[first.name].index):
            raise RecordError(f"{first.name} and {name} rank different queries")
    place = {name: number for number, name in enumerate(records)}
    stacked = np.concatenate([of[list(METRICS)].to_numpy() for of in scores.values()], axis=1)
    shape, clusters = (len(records), len(METRICS)), people(scores[first.name].index)
    points, drawn = stacked.mean(0).reshape(shape), resampled_means(stacked, clusters=clusters).reshape(-1, *shape)
    mean, low, high = np.empty((3, len(chosen) * (len(chosen) - 1) // 2, len(METRICS)))
    covers = []
    for number, (base, ours) in enumerate(itertools.combinations(chosen, 2)):
        over, under = ([place[r.name] for r in runs] for runs in (ours.records, base.records))
        error, freedom = _error(ours, base)
        means = drawn[:, over].mean(1) - drawn[:, under].mean(1)
        mean[number] = points[over].mean(0) - points[under].mean(0)
        low[number], high[number] = bounds(means, error, freedom)
        covers.append(PEOPLE if not freedom else WIDENED if min(len(over), len(under)) == 1 else "")
    return Gains(mean, low, high, covers)


def _error(ours: Side, base: Side) -> tuple[Values, int]:
    """The standard error (metrics,) of a difference by the seeds, and how well it is known.

    Two experiments have each their own spread between seeds; where one's is not known, neither is that of the two.
    """
    (one, own), (other, others) = (side.spread.error([side.records]) for side in (ours, base))
    if not (own and others):
        return np.zeros(len(METRICS)), 0
    return np.array([math.hypot(one[metric], other[metric]) for metric in METRICS]), min(own, others)

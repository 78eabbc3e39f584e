"""The rows of an experiment, from records: scores, differences, and 95 % intervals that cover people and seeds.

Every number of ours is computed here from the per-query results of records; scores are in per cent, differences in
points. The rule of the intervals:

- The people sought are drawn anew (`evaluation.bootstrap`), each with all queries, which are alike; the same people
  for all seeds and for both sides of a difference.
- What the choice of seeds adds is the spread between the seeds of one row, pooled over all rows of the experiment (one
  system, data set and setting) that have several, divided by the root of the row's own number of seeds. Where rows
  differ in their spread by more than so few seeds explain, as different systems do, a row's own counts too, beside the
  pooled one (Smyth, "Linear Models and Empirical Bayes Methods …", Stat. Appl. Genet. Mol. Biol. 3, 2004). A row with
  one seed is thereby widened by what the seeds of the other rows do, and its interval says so. A spread counts as
  known from three degrees of freedom on (three rows with a second seed, say): with one, Student's t is 12.7 times the
  standard error and says nothing of any difference. Below that an interval covers the people alone, and says that.
- A difference is that of the two scores, each a mean over all seeds of its row: tables can be subtracted. Two networks
  started from one number are taken for independent: if they are not, the interval is too wide and not too narrow.
- Two rows differ clearly where the interval of their difference leaves out zero, and knows what seeds do.
"""

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from reidkit.evaluation.bootstrap import bootstrap
from reidkit.profile import Plan, Profile
from reidkit.published import Table
from reidkit.records import Record, RecordError
from reidkit.report.words import DATASETS, LABELS, stands_for
from reidkit.runs import find_record, run
from reidkit.settings import Configuration
from reidkit.systems import ROWS, SYSTEMS

METRICS = tuple(LABELS)
WIDENED, PEOPLE = "widened", "people"  # what an interval says of itself where it is not of several seeds
KNOWN = 3  # degrees of freedom from which a spread between seeds counts as known
MANY = 8  # rows with several seeds from which it can be said whether they differ in their spread
MOST = 1000  # degrees of freedom beyond which rows count as alike
Queries = Collection[str] | None  # the names of those that count; None: all
NO_SEEDS = pd.Series(np.nan, METRICS)  # the spread between seeds where it is not known


class Estimate(NamedTuple):
    """A score or a difference with its 95 % interval; nan where a run is missing."""

    ours: float = np.nan
    low: float = np.nan
    high: float = np.nan
    covers: str = ""  # WIDENED, PEOPLE, or nothing to be said: several seeds of its own

    @property
    def known(self) -> bool:
        """Whether all runs are there that it is of."""
        return not math.isnan(self.ours)

    @property
    def clear(self) -> bool:
        """Whether it differs from zero by more than the choice of people and seeds explains."""
        return self.covers != PEOPLE and (self.low > 0 or self.high < 0)


class Spread(NamedTuple):
    """How far apart the seeds of one row lie: the standard deviation by metric, and its degrees of freedom."""

    std: "pd.Series[float]" = NO_SEEDS
    freedom: int = 0
    prior: float = math.inf  # so many degrees of freedom the other rows are worth to each, inf: all rows are alike

    @classmethod
    def of(cls, rows: Iterable[Sequence[Record]], among: Queries = None) -> "Spread":
        """Over those of an experiment's rows that have several seeds; not known below `KNOWN` of them in all."""
        scores = [pd.DataFrame([means(record, among) for record in seeds]) for seeds in rows if seeds]
        freedom = sum(len(seeds) - 1 for seeds in scores)
        if freedom < KNOWN:
            return cls()
        several = [seeds for seeds in scores if len(seeds) > 1]
        prior, squared = prior_of([(float(seeds["mAP"].var()), len(seeds) - 1) for seeds in several])
        pooled = pd.DataFrame([((seeds - seeds.mean()) ** 2).sum() for seeds in several]).sum() / freedom
        return cls((pooled * (squared / pooled["mAP"] if squared else 1)) ** 0.5, freedom, prior)

    def error(self, sides: Sequence[Sequence[Record]], among: Queries = None) -> tuple["pd.Series[float]", int]:
        """The standard error of a row's means by its seeds, or of what two rows differ, and its degrees of freedom.

        By metric; 0, and none of them, where the spread is not known.
        """
        if math.isinf(self.prior) or not self.freedom:
            return (self.std * sum(1 / len(seeds) for seeds in sides) ** 0.5).fillna(0), self.freedom
        parts, known = [], []
        for seeds in sides:
            own = len(seeds) - 1
            squares = self.prior * self.std**2
            if own:
                squares = squares + own * pd.DataFrame([means(record, among) for record in seeds]).var()
            known.append(self.prior + own)
            parts.append(squares / known[-1] / len(seeds))
        total = sum(parts[1:], parts[0])
        freedom = total["mAP"] ** 2 / sum(
            part["mAP"] ** 2 / degrees for part, degrees in zip(parts, known, strict=True)
        )
        return total**0.5, max(1, int(freedom))


def prior_of(variances: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """How alike rows are in the variance between their seeds: what they are worth to each, and their typical variance.

    variances: each row's, and its degrees of freedom. Returns degrees of freedom, infinitely many where the variances
    differ by no more than chance explains, and then 0 for a variance: take the pooled one. Smyth 2004, section 6.2.
    """
    values, degrees = np.array(variances).T if len(variances) else np.zeros((2, 0))
    if len(values) < MANY or not np.median(values):
        return math.inf, 0.0
    values = np.maximum(values, 1e-4 * np.median(values))  # two seeds may be alike by chance
    logs = np.log(values) - digamma(degrees / 2) + np.log(degrees / 2)
    beyond = logs.var(ddof=1) - polygamma(1, degrees / 2).mean()
    if beyond <= polygamma(1, MOST / 2):
        return math.inf, 0.0
    prior = 2 * brentq(lambda half: polygamma(1, half) - beyond, 1e-3, MOST)
    return prior, float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))


class Rows(dict[str, list[Record]]):
    """The records of one experiment by their row: one system, one data set, one setting; they differ in row and seed.

    Raises RecordError for records that do not belong in one table: of other settings, of a seed twice, or of a system
    that ranks nobody.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        super().__init__()
        first: dict[str, Record] = {}  # the first record of all, and the first with a run of another system within
        for record in records:
            system = SYSTEMS[record.system]
            if not system.ranks:
                raise RecordError(f"{record.name}: {system.title} ranks nobody and is no row of a table; leave it out")
            within = [key for key in SYSTEMS if record.config.get(key)]
            for part in ("", *within):
                other = first.setdefault(part, record)
                one, two = (
                    SYSTEMS[part or r.system].complete(r.config[part] if part else r.config) for r in (other, record)
                )
                same = {"seed", *SYSTEMS, *([] if part else system.told_by_rows)}
                same |= SYSTEMS[part or system.name].idle(one) | SYSTEMS[part or system.name].idle(two)
                if keys := [key for key in one | two if key not in same and one.get(key) != two.get(key)]:
                    raise RecordError(
                        f"{other.name} and {record.name} are of different settings ({', '.join(keys)}) and do not "
                        "belong in one table: pass the records of one profile and system, as `records_of` gives them"
                    )
            seeds = self.setdefault(system.row_of(record.config), [])
            if any(record.config["seed"] == other.config["seed"] for other in seeds):
                raise RecordError(f"{record.name}: the same run and seed twice would count twice")
            seeds.append(record)

    @functools.cached_property
    def spread(self) -> Spread:
        return Spread.of(self.values())

    def score(self, row: str | None) -> dict[str, Estimate]:
        """A row's score by metric, mean over its seeds."""
        seeds = self.get(row or "", [])
        return estimates(query_scores(seeds), self.spread, [seeds]) if seeds else dict.fromkeys(METRICS, Estimate())

    def gain(self, row: str | None, over: str | None) -> dict[str, Estimate]:
        """What a row has over another, by metric."""
        ours, base = (self.get(name or "", []) for name in (row, over))
        return gain(ours, base, self.spread) if ours and base else dict.fromkeys(METRICS, Estimate())


def gain(ours: Sequence[Record], base: Sequence[Record], spread: Spread, among: Queries = None) -> dict[str, Estimate]:
    """What some runs have over others, by metric, in points; `spread` between the seeds of their experiment.

    Raises RecordError where they rank different queries.
    """
    over, under = query_scores(ours, among), query_scores(base, among)
    if not over.index.equals(under.index):
        raise RecordError(f"{ours[0].name} and {base[0].name} rank different queries")
    return estimates(over - under, spread, [ours, base], among)


def estimates(
    scores: pd.DataFrame, spread: Spread, sides: Sequence[Sequence[Record]], among: Queries = None
) -> dict[str, Estimate]:
    """The means of scores (Q, metrics), of one side's runs or between two sides', with their intervals."""
    error, freedom = spread.error(sides, among)
    clusters, errors = people(scores.index), np.array([error[metric] for metric in map(str, scores)], np.float64)
    low, high = bootstrap(scores.to_numpy(), errors, freedom, clusters=clusters)
    covers = PEOPLE if not spread.freedom else WIDENED if min(map(len, sides)) == 1 else ""
    means = zip(map(str, scores), scores.mean().tolist(), low.tolist(), high.tolist(), strict=True)
    return {metric: Estimate(mean, lowest, highest, covers) for metric, mean, lowest, highest in means}


def people(queries: Iterable[str]) -> list[str]:
    """The person whom each query (its file's name) shows: in every layout it begins with the identity's number."""
    return [query.rpartition("/")[2].partition("_")[0] for query in queries]


def means(record: Record, among: Queries = None) -> "pd.Series[float]":
    """The metrics of one run in per cent, over some of its queries or all."""
    if among is None:
        return 100 * pd.Series(record.metrics)[list(METRICS)]
    return query_scores([record], among).mean()


def query_scores(records: Sequence[Record], among: Queries = None) -> pd.DataFrame:
    """Per-query scores in per cent, mean over the given records: the seeds of one run.

    One row per query that has a match, a column per metric; their means are the metrics. Raises RecordError where the
    records rank different queries, or disagree with their own metrics.
    """
    first = records[0].queries
    total = np.zeros((len(first), len(METRICS)))
    for record in records:
        queries = record.queries
        if not queries["query"].equals(first["query"]):
            raise RecordError(
                f"{record.name} ranks other queries than {records[0].name}: no mean over them can be taken"
            )
        rank = queries["first_match_rank"].to_numpy()
        hits = [(rank >= 1) & (rank <= int(metric.removeprefix("rank-"))) for metric in METRICS if metric != "mAP"]
        scores = np.column_stack([*hits, queries["average_precision"].to_numpy()])  # (Q, M), nan without a match
        for metric, mean in zip(METRICS, np.nanmean(scores[rank >= 1], axis=0), strict=True):
            if abs(mean - record.metrics[metric]) > 1e-5:
                raise RecordError(
                    f"{record.name}: its queries give {metric} = {mean:.6f}, its metrics say "
                    f"{record.metrics[metric]:.6f}; the record is not whole, delete it and run it again"
                )
        total += 100 * scores
    scored = pd.DataFrame(total / len(records), columns=list(METRICS), index=first["query"])
    counted = scored["mAP"].notna()
    return scored[counted if among is None else counted & scored.index.isin(list(among))]


# --------------------------------------------------------------------------------------------- the records of a profile


def records_of(profile: Profile, system: str, *, companion: bool = True) -> list[Record]:
    """The finished records of a profile's rows of one system, in its order, then those of its companion.

    A run of a control that looks like a row is left out: a record does not tell it.
    """
    plans = [plan for plan in (profile, profile.other() if companion else None) if plan]
    configs = [run.config for plan in plans for run in plan.planned(system) if run.config.row_name == run.row]
    return [record for config in configs if (record := find_record(config))]


def record_of(profile: Profile, row: str) -> Record | None:
    """The record of a row with its first seed; where there is none, trained now if the profile says so."""
    config = profile.config(row)
    return run(config).record if profile.train_missing else find_record(config)


def train_missing(profile: Profile, *systems: str) -> None:
    """Trains the runs of a profile's rows of some systems that have no record, where the profile says so."""
    if profile.train_missing:
        for config in profile.configs(*systems):
            run(config)


def records_behind(data: Mapping[str, "Runs"], rows: Iterable[str]) -> list[Record]:
    """The records of some rows, on every data set."""
    return [record for runs in data.values() for row in rows for record in runs.get(row, ())]


def plans_beside(profile: Profile) -> dict[str, Profile]:
    """By what a page calls their data: the profile itself, and beside it the one that runs Market-1501 on a CPU."""
    market = Profile.read("market1501-small")
    own = "SynthPed" if profile.dataset == "synthped" else DATASETS[profile.dataset]
    beside = f"{DATASETS['market1501']}, small network" if own == DATASETS["market1501"] else DATASETS["market1501"]
    return {own: profile} if profile.profile == market.profile else {own: profile, beside: market}


Runs = Mapping[str, Sequence[Record]]  # by row, the records of its seeds


def runs_of(profile: Profile, system: str) -> dict[str, list[Record]]:
    """The finished records of a profile's rows of a system, controls included, by row."""
    found: dict[str, list[Record]] = {}
    for planned in profile.planned(system):
        if (record := find_record(planned.config)) is not None:
            found.setdefault(planned.row, []).append(record)
    return found


def score(runs: Runs, row: str) -> Estimate:
    """A row's mAP, mean over its seeds; nan where it was not run."""
    if not (seeds := runs.get(row)):
        return Estimate()
    return estimates(query_scores(seeds), Spread.of(runs.values()), [seeds])["mAP"]


def difference(runs: Runs, row: str, over: str | None, among: Queries = None) -> Estimate:
    """What a row has over another in mAP, in points; nan where one of them was not run, and among no queries."""
    ours, base = (runs.get(name or "", ()) for name in (row, over))
    if not ours or not base or (among is not None and not among):
        return Estimate()
    return gain(ours, base, Spread.of(runs.values(), among), among)["mAP"]


def differences(data: Mapping[str, Runs], row: str, over: str | None) -> dict[str, Estimate]:
    """The same by data set."""
    return {title: difference(runs, row, over) for title, runs in data.items()}


def of_data(dataset: str, records: Iterable[Record]) -> list[Record]:
    """The records on a data set, or on SynthPed's copy of it."""
    return [record for record in records if stands_for(record.config) == dataset]


def plan_of(table: Table, profile: Profile) -> Profile | None:
    """Whichever of a profile and its companion is on the table's data set, or on SynthPed's copy of it."""
    plans = (plan for plan in (profile, profile.other()) if plan)
    return next((plan for plan in plans if stands_for(plan.model_dump()) == table.dataset), None)


def missing_runs(table: Table, profile: Profile) -> list[Configuration]:
    """The runs of a profile, one per row and seed of `table`, that have no record."""
    plan = profile.systems.get(ROWS[table.cells[0]].name, Plan())
    configs = (profile.config(row, seed) for row in table.cells for seed in plan.seeds)
    return [config for config in configs if find_record(config) is None]

"""Scores and differences of rows, and what their intervals cover."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reidkit.evaluation.bootstrap import bootstrap
from reidkit.profile import Profile
from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_2, TABLE_1
from reidkit.records import Record, RecordError
from reidkit.report import rows
from reidkit.report.rows import KNOWN, PEOPLE, WIDENED, Rows, Spread, gain, query_scores
from reidkit.report.verdicts import compare
from reidkit.settings import Configuration
from reidkit.systems.san_gal import READINGS, ROWS, SanGalConfig
from tests.report.conftest import DUKE, MARKET, MakeRecord


def test_query_scores_against_a_naive_loop(make_record: MakeRecord) -> None:
    seeds = [make_record(seed=seed) for seed in range(3)]
    scores = query_scores(seeds)
    assert len(scores) == 199  # the query without a match does not count
    for row, (name, found) in enumerate(scores.iterrows(), start=1):
        per_seed = [record.queries.iloc[row] for record in seeds]
        assert name == per_seed[0]["query"]
        assert found["mAP"] == pytest.approx(sum(q["average_precision"] for q in per_seed) * 100 / 3)
        for k in (1, 5, 10):
            assert found[f"rank-{k}"] == pytest.approx(sum(q["first_match_rank"] <= k for q in per_seed) * 100 / 3)


def test_records_that_do_not_add_up_are_refused(make_record: MakeRecord) -> None:
    record = make_record()
    altered = dataclasses.replace(record, metrics=record.metrics | {"mAP": record.metrics["mAP"] + 0.001})
    with pytest.raises(RecordError, match=r"its queries give mAP = 0\.\d+, its metrics say"):
        query_scores([altered])
    with pytest.raises(RecordError, match="ranks other queries"):
        query_scores([record, make_record(seed=1, queries=150)])
    with pytest.raises(RecordError, match=r"different settings \(epochs\)"):
        compare(TABLE_1, [record, make_record("se", epochs=50)])
    with pytest.raises(RecordError, match="would count twice"):
        compare(TABLE_1, [record, record])


def test_cells_are_rows_and_readings_of_one_setting_of_both_networks(make_san_gal_record: MakeRecord) -> None:
    names = [*ROWS, *(f"{SAN_GAL_OURS}/{name}" for name in READINGS)]
    cells = Rows([make_san_gal_record(name, seed) for seed in (0, 1) for name in names])
    assert {cell: len(seeds) for cell, seeds in cells.items()} == dict.fromkeys(names, 2)
    ours, other = make_san_gal_record(SAN_GAL_OURS), {"epochs": 5, "milestones": (4.0,), "decay": 0.5}
    with pytest.raises(RecordError, match=r"different settings \(epochs, milestones, decay\)"):
        Rows([ours, make_san_gal_record(f"{SAN_GAL_OURS}/online", attributes=other)])
    with pytest.raises(RecordError, match=r"different settings \(batch_size\)"):
        Rows([ours, make_san_gal_record(batch_size=32)])
    attribute_run = dataclasses.replace(ours, system="attributes", config=ours.config["attributes"])
    with pytest.raises(RecordError, match="Attribute network ranks nobody"):
        Rows([attribute_run])


def test_missing_runs_are_those_without_a_record(monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord) -> None:
    profile = Profile.model_validate({"systems": {"joint-loss": {"rows": ("none/ce",), "seeds": (0, 1)}}})
    have = {profile.config("none/ce", 1).name, profile.config("se/ce", 0).name}
    monkeypatch.setattr(rows, "find_record", lambda config: make_record() if config.name in have else None)
    missing = [(config.attention, config.loss, config.seed) for config in rows.missing_runs(TABLE_1, profile)]
    assert len(missing) == 14
    assert ("none", "ce", 0) in missing
    assert ("none", "ce", 1) not in missing
    assert ("se", "ce", 0) not in missing
    assert len(rows.records_of(profile, "joint-loss")) == 1


def test_records_and_plans_of_both_sides_of_san_gals_tables(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    profile, companion = Profile.read("synthped"), Profile.read("synthped-duke")
    asked: list[Configuration] = []
    monkeypatch.setattr(rows, "find_record", lambda config: asked.append(config) or make_record())
    rows.records_of(profile, "san-gal")
    planned = [*profile.configs("attributes", "san-gal"), *companion.configs("attributes", "san-gal")]
    assert [config.name for config in asked] == [c.name for c in planned if isinstance(c, SanGalConfig)]
    assert rows.plan_of(MARKET, profile) is profile
    assert rows.plan_of(DUKE, profile) == companion
    assert rows.plan_of(MARKET, companion) is None
    assert rows.plan_of(DUKE, Profile.read("dukemtmcreid")) is not None


def test_missing_runs_of_san_gal_are_rows_with_its_own_seeds(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    profile = Profile.model_validate({"systems": {"joint-loss": {"seeds": (7,)}, "san-gal": {"seeds": (0, 1)}}})
    have = {profile.config("ID+attr", 1).name}
    monkeypatch.setattr(rows, "find_record", lambda config: make_record() if config.name in have else None)
    missing = [(config.row_name, config.seed) for config in rows.missing_runs(MARKET, profile)]
    assert missing == [(row, seed) for row in ROWS for seed in (0, 1) if (row, seed) != ("ID+attr", 1)]
    market, _ = SAN_GAL_TABLE_2
    assert [config.row_name for config in rows.missing_runs(market, profile)] == [SAN_GAL_OURS] * 2
    assert {config.seed for config in rows.missing_runs(TABLE_1, profile)} == {7}


def of_means(means: list[float]) -> list[Record]:
    """Runs of which only the scores count, as fractions, one per seed."""
    return [Record(Path(), "joint-loss", {}, dict.fromkeys(rows.METRICS, mean), {}, {}) for mean in means]


def test_the_spread_is_pooled_over_the_rows_with_several_seeds() -> None:
    scores = [[0.1, 0.3], [0.5, 0.6, 0.7], [0.9]]
    squares = sum((100 * (x - np.mean(row))) ** 2 for row in scores for x in row)
    found = Spread.of(map(of_means, scores))
    assert (found.freedom, found.std["mAP"]) == (3, pytest.approx(np.sqrt(squares / 3)))
    unknown = Spread.of([of_means([0.4])])
    assert unknown.freedom == 0
    assert unknown.std.isna().all()


def test_rows_that_differ_in_their_spread_keep_their_own() -> None:
    generator = np.random.default_rng(0)
    calm, wild = ([of_means((0.6 + generator.normal(0, e, 3)).tolist()) for _ in range(10)] for e in (0.003, 0.06))
    alike, apart = Spread.of(calm), Spread.of(calm + wild)
    assert math.isinf(alike.prior)
    assert apart.prior < 4
    (of_calm, known), (of_wild, _) = (apart.error([row]) for row in (calm[0], wild[0]))
    pooled = float(np.sqrt(np.mean([np.var([100 * r.metrics["mAP"] for r in row], ddof=1) for row in calm + wild]) / 3))
    assert of_calm["mAP"] < pooled / 2
    assert of_wild["mAP"] > 3 * of_calm["mAP"]
    assert known == int(apart.prior + 2)
    both, freedom = apart.error([calm[0], wild[0]])
    assert both["mAP"] == pytest.approx(np.hypot(of_calm["mAP"], of_wild["mAP"]))
    assert known - 1 <= freedom <= 2 * known  # the wild one decides
    (single, least) = apart.error([wild[0][:1]])  # nothing of its own is known
    assert (single["mAP"], least) == (pytest.approx(apart.std["mAP"]), max(1, int(apart.prior)))


def test_what_rows_are_worth_to_each_is_found_and_their_intervals_hold_the_truth() -> None:
    """Variances drawn from the prior that is assumed, four degrees of freedom and a spread of two points."""
    generator, priors, held = np.random.default_rng(0), [], []
    for _ in range(100):
        variances = 4 * 4 / generator.chisquare(4, 24)
        rows_ = [of_means((0.6 + generator.normal(0, v**0.5, 3) / 100).tolist()) for v in variances]
        spread = Spread.of(rows_)
        priors.append(spread.prior)
        for row in rows_:
            error, freedom = spread.error([row])
            off = np.mean([100 * record.metrics["mAP"] for record in row]) - 60
            held.append(abs(off) <= error["mAP"] * stats.t.ppf(0.975, freedom))
    assert 2.5 < np.median(priors) < 7
    assert 0.93 < np.mean(held) < 0.975


@pytest.mark.parametrize(("ours", "base"), [(3, 0), (1, 1)])
def test_intervals_hold_the_truth_as_often_as_they_say_whatever_seeds_do(ours: int, base: int) -> None:
    """Queries and seeds are drawn anew, with effects of one size; what seeds do is known from five rows of two.

    ours, base: how many seeds the row has, and the one that it is compared with, if any.
    """
    generator, queries, effect = np.random.default_rng(ours + 10 * base), 80, 2.0
    held, narrow = [], []
    for _ in range(400):
        others = [of_means((0.6 + generator.normal(0, effect, 2) / 100).tolist()) for _ in range(5)]
        seeds = [generator.normal(0, effect, count).mean() for count in (ours, base) if count]
        scores = generator.normal(0, effect * np.sqrt(queries), (queries, 1)) + seeds[0] - sum(seeds[1:])
        spread = Spread.of(others)
        error = spread.std["mAP"] * np.sqrt(sum(1 / count for count in (ours, base) if count))
        for found, *what in ((held, error, spread.freedom), (narrow,)):
            low, high = bootstrap(scores, *what)
            found.append(low[0] <= 0 <= high[0])
    assert 0.92 <= np.mean(held) <= 0.985
    assert np.mean(narrow) < np.mean(held) - 0.02  # of the queries alone


def test_an_interval_says_what_it_covers_and_one_seed_is_widened_by_the_others(make_record: MakeRecord) -> None:
    alone = Rows([make_record("se"), *(make_record(seed=seed) for seed in range(KNOWN))])
    assert {estimate.covers for estimate in alone.score("se/ce").values()} == {PEOPLE}
    several = Rows([make_record("se"), *(make_record(seed=seed) for seed in range(KNOWN + 1))])
    one, two = several.score("se/ce")["mAP"], several.score("none/ce")["mAP"]
    assert (one.covers, two.covers) == (WIDENED, "")
    before = alone.score("se/ce")["mAP"]
    assert one.ours == before.ours
    assert one.low < before.low < before.high < one.high
    assert several.gain("se/ce", "none/ce")["mAP"].covers == WIDENED
    missing = several.gain("se/ce", "eca/ce")["mAP"]
    assert np.isnan(missing.ours)
    assert not missing.clear


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_spread_is_known_from_three_degrees_of_freedom_on(make_record: MakeRecord, rows: int) -> None:
    names = ("none", "se", "eca", "danet")[:rows]
    measured = Rows([make_record(name, seed=seed) for name in names for seed in (0, 1)])
    assert measured.spread.freedom == (rows if rows >= 3 else 0)
    assert {estimate.covers for estimate in measured.score("none/ce").values()} == {"" if rows >= 3 else PEOPLE}


def test_a_row_without_a_run_says_nothing_of_the_spread(make_record: MakeRecord) -> None:
    rows = [[make_record(name, seed=seed) for seed in (0, 1)] for name in ("none", "se", "eca")]
    assert Spread.of([*rows, [], []]).freedom == Spread.of(rows).freedom == 3


def test_a_difference_is_that_of_the_two_scores(make_record: MakeRecord) -> None:
    base = [make_record(seed=seed) for seed in (2, 0, 3, 1)]
    spread = Spread.of([base])
    for seeds in ((1,), (1, 2), (7,)):
        ours = [make_record("se", seed=seed) for seed in seeds]
        found = gain(ours, base, spread)["mAP"]
        means = [np.mean([record.metrics["mAP"] for record in runs]) for runs in (ours, base)]
        assert found.ours == pytest.approx(100 * (means[0] - means[1]), abs=1e-3)
        assert found.covers == (WIDENED if len(seeds) == 1 else "")
    with pytest.raises(RecordError, match="rank different queries"):
        gain([make_record("se", queries=50)], base[1:2], spread)


def test_of_one_query_only_the_seeds_are_an_error(make_record: MakeRecord) -> None:
    seeds = [make_record(queries=2, seed=seed) for seed in range(KNOWN + 1)]  # of the queries, one has no match
    alone, several = Rows(seeds[:1]).score("none/ce")["mAP"], Rows(seeds).score("none/ce")["mAP"]
    assert alone.low == alone.ours == alone.high
    assert several.low < several.ours < several.high

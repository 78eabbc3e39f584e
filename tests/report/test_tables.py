"""The verdict rule, the intervals against naive loops, and that no table holds a number without a record."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit.models.backbone import STAGES
from reidkit.profile import Profile
from reidkit.published import (
    PAPERS,
    SAN_GAL_ATTRIBUTE_SETTINGS,
    SAN_GAL_OURS,
    SAN_GAL_SETTINGS,
    SAN_GAL_TABLE_1,
    SAN_GAL_TABLE_2,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    Table,
)
from reidkit.records import Record, RecordError
from reidkit.report import tables
from reidkit.report.tables import bootstrap_interval, compare, departures, query_scores, verdict
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.attributes import AttributeConfig
from reidkit.systems.joint_loss import RunConfig
from reidkit.systems.san_gal import READINGS, ROWS, SanGalConfig
from tests.report.conftest import MakeRecord

CELLS = [row.cell for row in TABLE_1.rows if row.cell]
MARKET, DUKE = SAN_GAL_TABLE_1
EVERY_TABLE = [table for paper in PAPERS.values() for halves in paper.values() for table in halves]


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        (64.5, "reproduced"),  # exactly half a point below the interval
        (66.5, "reproduced"),
        (65.4, "reproduced"),
        (64.49, "better"),
        (66.51, "worse"),
        (10.0, "better"),
        (90.0, "worse"),
    ],
)
def test_verdict_at_the_edges_of_the_widened_interval(published: float, expected: str) -> None:
    assert verdict(published, 65.0, 66.0) == expected
    assert verdict(published, 65.0, 66.0, ["toy data"]) == "other setting"


@given(st.integers(-2000, 2000), st.integers(0, 10000), st.integers(0, 500))
def test_verdict_is_the_rule_in_whole_hundredths(offset: int, low: int, length: int) -> None:
    published, high = low + offset, low + length
    expected = "reproduced" if low - 50 <= published <= high + 50 else "better" if published < low else "worse"
    assert verdict(published / 100, low / 100, high / 100) == expected


def test_records_older_than_a_parameter_count_as_its_default(make_record: MakeRecord) -> None:
    old = make_record("se")
    old = dataclasses.replace(old, config={key: value for key, value in old.config.items() if key != "sampling"})
    assert departures(old, TABLE_1) == ()
    assert compare(TABLE_1, [old, make_record()])["seeds"].sum() == 8
    with pytest.raises(RecordError, match=r"different settings \(sampling\)"):
        compare(TABLE_1, [old, make_record(sampling="identities")])


def of(config: Configuration) -> Record:
    """A record of a configuration, of which only that counts."""
    return Record(Path(config.name), config.system, config.determinants, {}, {}, {})


def test_departures_of_the_papers_setting_and_of_others() -> None:
    reading = SYSTEMS["joint-loss"].reading
    full = RunConfig.model_validate({"dataset": "market1501", "data_root": Path("x"), **reading})
    assert departures(of(full), TABLE_1) == ()
    assert departures(of(full), TABLE_2) == ("no ImageNet weights",)
    pretrained = full.model_copy(update={"weights": "imagenet"})
    assert departures(of(pretrained), TABLE_1) == ("ImageNet weights",)
    assert departures(of(pretrained), TABLE_2) == ()
    assert departures(of(full), TABLE_3) == ("data set Market-1501", "no ImageNet weights")
    small = full.model_copy(
        update={"width_multiplier": 0.25, "image_height": 128, "image_width": 64, "schedule": "milestones"}
    )
    assert departures(of(small), TABLE_1) == (
        "width × 0.25, not 1",
        "128×64 pixels, not 256×128",
        "learning rate × 0.1 at epochs 40 and 90, not along a cosine from epoch 30",
    )
    assert departures(of(RunConfig()), TABLE_1)[0] == "toy data (SynthPed)"


@pytest.mark.parametrize("kind", [RunConfig, SanGalConfig, AttributeConfig])
def test_every_setting_is_either_part_of_the_yardstick_or_known_not_to_be(kind: type[Configuration]) -> None:
    judged = {key for keys in tables._WORDS if {*keys} <= {*kind.model_fields} for key in keys} | {"dataset", "weights"}
    data = {"data_root", "validation_identities", *(key for key in kind.model_fields if key.startswith("synthped_"))}
    computing = {
        "precision",
        "channels_last",
        "compile",
        "deterministic",
        "evaluate_every",
        "schedule_by",
        "device",
    }
    assert judged | data | computing | (tables._ROW & kind.model_fields.keys()) == set(kind.model_fields)


def test_bootstrap_interval_against_a_naive_loop() -> None:
    scores = np.random.default_rng(1).random((37, 3))
    low, high = bootstrap_interval(scores, resamples=200, seed=5)
    generator = np.random.default_rng(5)
    means: list[list[float]] = []
    for _ in range(200):
        drawn = [int(i) for i in generator.integers(37, size=37)]
        means.append([sum(scores[i, m] for i in drawn) / 37 for m in range(3)])
    for m in range(3):
        column = sorted(row[m] for row in means)
        for bound, share in ((low[m], 0.025), (high[m], 0.975)):
            place = share * 199
            below = int(place)
            expected = column[below] + (place - below) * (column[below + 1] - column[below])
            assert bound == pytest.approx(expected, abs=1e-12)


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    samples = generator.beta(2, 1, (300, 60))
    bounds = [bootstrap_interval(sample[:, None], resamples=300, seed=i) for i, sample in enumerate(samples)]
    covered = np.mean([low[0] <= 2 / 3 <= high[0] for low, high in bounds])
    assert 0.90 <= covered <= 0.98


def test_bootstrap_interval_of_equal_scores_is_a_point_and_of_none_an_error() -> None:
    low, high = bootstrap_interval(np.full((5, 1), 0.25))
    assert (low[0], high[0]) == (0.25, 0.25)
    with pytest.raises(ValueError, match="no query has a match"):
        bootstrap_interval(np.empty((0, 2)))


def test_query_scores_against_a_naive_loop(make_record: MakeRecord) -> None:
    seeds = [make_record(seed=seed) for seed in range(3)]
    scores = query_scores(seeds)
    assert len(scores) == 199  # the query without a match does not count
    for row, (name, found) in enumerate(scores.iterrows(), start=1):
        per_seed = [record.queries.iloc[row] for record in seeds]
        assert name == per_seed[0]["query"]
        assert found["mAP"] == pytest.approx(sum(q["average_precision"] for q in per_seed) / 3)
        for k in (1, 5, 10):
            assert found[f"rank-{k}"] == pytest.approx(sum(q["first_match_rank"] <= k for q in per_seed) / 3)


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


def test_a_row_without_a_record_holds_no_number(make_record: MakeRecord) -> None:
    records = [
        make_record("se"),
        make_record("none", seed=0),
        make_record("none", seed=1),
        make_record("eca", "ce+tri"),
    ]
    run = {"se/ce", "none/ce"}
    comparison = compare(TABLE_1, records)
    for _, line in comparison.iterrows():
        has_record = line["cell"] in run
        assert line[["ours", "low", "high", "difference"]].notna().all() == has_record
        assert (line["verdict"] == "not run") == (not has_record)
        assert bool(line["records"]) == has_record
    for shown in (tables.side_by_side(comparison), tables.intervals(comparison, "rank-5")):
        ours = shown.drop(columns=[c for c in shown if "paper" in c.lower()]).set_index("Method")
        for method, row in ours.iterrows():
            has_record = TABLE_1.row(str(method)).cell in run
            assert any(character.isdigit() for character in " ".join(row)) == has_record


def test_every_shown_number_of_ours_is_a_records_own(make_record: MakeRecord) -> None:
    records = {cell: [make_record(*cell.split("/"), seed=seed) for seed in (0, 1)] for cell in CELLS}
    comparison = compare(TABLE_1, [record for seeds in records.values() for record in seeds])
    for _, line in comparison.iterrows():
        seeds = records[line["cell"]]
        assert line["ours"] == pytest.approx(100 * np.mean([r.metrics[line["metric"]] for r in seeds]), abs=1e-3)
        assert line["low"] <= line["ours"] <= line["high"]
        assert line["difference"] == pytest.approx(line["ours"] - line["paper"])
        assert line["records"] == tuple(record.name for record in seeds)
        assert line["verdict"] == verdict(line["paper"], line["low"], line["high"])
    shown = tables.side_by_side(comparison)
    assert list(shown["mAP here"]) == [f"{x:.2f}" for x in comparison[comparison["metric"] == "mAP"]["ours"]]


@pytest.mark.parametrize("table", EVERY_TABLE)
def test_without_records_only_the_papers_numbers_are_left(table: Table) -> None:
    comparison = compare(table, [])
    assert comparison[["ours", "low", "high", "difference"]].isna().all(axis=None)
    assert set(comparison["verdict"]) <= {"", "not run"}
    text = tables.as_text(table, [])
    assert "Here: not run." in text
    for row in table.rows:
        assert all(f"{score:.2f}" in text for score in row.scores.values())


def test_records_stand_only_in_the_tables_of_their_own_data_set(make_record: MakeRecord) -> None:
    market = make_record("cbam", "ce+tri+cir")
    toy = make_record("cbam", "ce+tri+cir", dataset="synthped", data_root=None)
    assert compare(TABLE_3, [market])["seeds"].sum() == 0
    assert compare(TABLE_3, [toy])["seeds"].sum() == 0
    for record, other in ((market, "no ImageNet weights"), (toy, "toy data (SynthPed)")):
        comparison = compare(TABLE_2, [record])
        assert set(comparison[comparison["seeds"] > 0]["verdict"]) == {"other setting"}
        assert other in tables.setting_note(TABLE_2, [record])
    assert "The paper's setting" in tables.setting_note(TABLE_1, [market])


def test_gains_are_paired_over_queries(make_record: MakeRecord) -> None:
    base, better = make_record(), make_record("se")
    queries = base.queries.assign(average_precision=base.queries["average_precision"] * 0.9)
    metrics = base.metrics | {"mAP": base.metrics["mAP"] * 0.9}
    worse = dataclasses.replace(better, tables={"queries": queries}, metrics=metrics)
    found = tables.gains(TABLE_1, [base, worse]).set_index("method")
    line = found.loc["Baseline(+SE)"]
    assert line["paper"] == pytest.approx(73.43 - 65.05)
    assert line["ours"] == pytest.approx(-10 * base.metrics["mAP"], abs=1e-3)
    spread = 100 * query_scores([base])["mAP"].std() / np.sqrt(199) * 1.96
    assert line["high"] - line["low"] < 0.25 * 2 * spread  # unpaired, it would be about as wide as either run's
    assert found.drop("Baseline(+SE)")[["ours", "low", "high"]].isna().all(axis=None)
    assert tables.gains(TABLE_1, [worse])["ours"].isna().all()  # no baseline, no gain


def test_grid_holds_what_was_run_and_nan_elsewhere(make_record: MakeRecord) -> None:
    record = make_record("eca", "ce+tri")
    frame = tables.grid([record])
    assert frame.shape == (6, 3)
    assert frame.loc["eca", "ce+tri"] == pytest.approx(100 * record.metrics["mAP"])
    assert frame.notna().sum(axis=None) == 1


def test_agreement_counts_pairs_as_a_naive_loop_does(make_record: MakeRecord) -> None:
    qualities = dict(zip(CELLS, (0.5, 0.52, 0.4, 0.6, 0.61, 0.62, 0.45, 0.8), strict=True))
    records = [make_record(*cell.split("/"), quality=quality) for cell, quality in qualities.items()]
    found = tables.agreement(TABLE_1, records)
    scored = {row.method: query_scores([r])["mAP"].to_numpy() for row, r in zip(TABLE_1.rows, records, strict=True)}
    printed = {row.method: row.scores["mAP"] for row in TABLE_1.rows}
    pairs = clear = alike = 0
    for i, a in enumerate(scored):
        for b in list(scored)[i + 1 :]:
            if printed[a] == printed[b]:  # SE and DANet
                continue
            pairs += 1
            low, high = bootstrap_interval((scored[a] - scored[b])[:, None])
            if low[0] > 0 or high[0] < 0:
                clear += 1
                alike += (scored[a].mean() > scored[b].mean()) == (printed[a] > printed[b])
    assert found == tables.Agreement(pairs, clear, alike)
    assert (pairs, 0 < alike < clear < pairs) == (27, True)
    assert tables.agreement(TABLE_1, records[:1]) == tables.Agreement(0, 0, 0)


def test_settings_say_what_the_paper_prints_and_what_a_run_used() -> None:
    small = RunConfig.model_validate({"epochs": 12, "width_multiplier": 0.25})
    shown = tables.settings({"A": RunConfig(), "B": small}).set_index("Setting")
    assert shown.loc["input size", "Paper"] == "256×128"
    assert shown.loc["epochs"].tolist() == ["not printed (60)", "120", "12"]
    assert shown.loc["backbone", "B"] == "width × 0.25"
    assert shown.loc["augmentation", "A"] == "flip 0.5; pad-crop 10; random erasing 0.5"
    assert shown.loc["data set of the ablation", "A"] == "SynthPed (toy data)"


def test_summary_counts_rows_and_verdicts(make_record: MakeRecord) -> None:
    shown = tables.summary([TABLE_1, TABLE_2], {"real": [make_record()], "none": []}).set_index(["Table", "Data"])
    first, second = (f"{table.number}: {table.title}" for table in (TABLE_1, TABLE_2))
    assert shown.loc[(first, "real"), "Rows run"] == "1 of 8"
    assert sum(int(n) for n in re.findall(r"\((\d)\)", shown.loc[(first, "real"), "Verdicts"])) == 4
    assert (first, "none") not in shown.index
    assert shown.loc[(second, "real")].tolist() == ["0 of 1", "not run"]
    toy = {"toy": [make_record("cbam", "ce+tri+cir", dataset="synthped", data_root=None)]}
    shown = tables.summary([TABLE_1, TABLE_2, TABLE_3], toy)
    assert shown["Data"].tolist() == ["toy", "–", "–"]  # none beside other people's numbers, none of Market for Duke
    assert shown["Rows run"].tolist() == ["1 of 8", "0 of 1", "0 of 1"]


def test_conventions_are_those_of_the_records(make_record: MakeRecord) -> None:
    seeds = [make_record("se", seed=seed) for seed in (0, 1)]
    seeds = [dataclasses.replace(r, metrics=r.metrics | {"mAP (trapezoid)": r.metrics["mAP"] + 0.01}) for r in seeds]
    shown = tables.conventions(TABLE_1, seeds)
    assert shown["Method"].tolist() == ["Baseline(+SE)"]
    assert shown.loc[0, "Difference"] == "+1.00"
    assert float(shown.loc[0, "Rectangular"]) == pytest.approx(
        100 * np.mean([r.metrics["mAP"] for r in seeds]), abs=0.01
    )


def test_verdicts_of_several_metrics_are_told_apart(make_record: MakeRecord) -> None:
    comparison = compare(TABLE_1, [make_record()])
    comparison.loc[comparison["method"] == "Baseline", "verdict"] = [
        "reproduced",
        "worse",
        "worse",
        "reproduced",
    ]
    shown = tables.side_by_side(comparison).set_index("Method")["Verdict"]
    assert shown["Baseline"] == "reproduced (Rank-1, mAP); worse (Rank-5, Rank-10)"
    assert shown["Ours"] == "not run"


def test_provenance_names_the_record_of_every_hash_in_the_table(make_record: MakeRecord) -> None:
    records = [make_record(), make_record("se")]
    origin = tables.provenance(records)
    hashes = set(re.findall(r"{doc}`[^`]+`", " ".join(tables.side_by_side(compare(TABLE_1, records))["Record"])))
    assert hashes == set(origin["Record"])
    assert origin.loc[0, "Minutes"] == "2.0"
    assert origin.loc[0, "Commit"] == "`01234567 (changed)`"


def test_missing_runs_are_those_without_a_record(monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord) -> None:
    profile = Profile.model_validate({"systems": {"joint-loss": {"rows": ("none/ce",), "seeds": (0, 1)}}})
    have = {profile.config("none/ce", 1).name, profile.config("se/ce", 0).name}
    monkeypatch.setattr(tables, "find_record", lambda config: make_record() if config.name in have else None)
    missing = [(config.attention, config.loss, config.seed) for config in tables.missing_runs(TABLE_1, profile)]
    assert len(missing) == 14
    assert ("none", "ce", 0) in missing
    assert ("none", "ce", 1) not in missing
    assert ("se", "ce", 0) not in missing
    assert len(tables.records_of(profile)) == 1


def test_console_text_lines_up(make_record: MakeRecord) -> None:
    text = tables.as_text(TABLE_1, [make_record(*cell.split("/")) for cell in CELLS])
    block = text.split("\n\n")[1].splitlines()
    assert len(block) == 9
    assert len({line.index("  ", 20) for line in block}) <= 2
    assert isinstance(compare(TABLE_1, []), pd.DataFrame)


# ------------------------------------------------------------------------------------------------------------ SAN-GAL


def test_departures_of_san_gal_name_the_reading_and_what_is_the_attribute_networks(
    make_san_gal_record: MakeRecord,
) -> None:
    for row in ROWS:
        assert departures(make_san_gal_record(row), MARKET) == ()
    assert departures(make_san_gal_record(), DUKE) == ("data set Market-1501",)
    assert departures(make_san_gal_record(f"{SAN_GAL_OURS}/first-half"), MARKET) == ("the reading first-half",)
    unnamed = make_san_gal_record(SAN_GAL_OURS)
    unnamed = dataclasses.replace(unnamed, config=unnamed.config | {"attended": "first", "classes": "labels"})
    assert departures(unnamed, MARKET) == ("the reading attended=first-classes=labels",)
    shorter = {"epochs": 5, "batch_size": 32, "milestones": (4.0,), "decay": 0.1}
    record = make_san_gal_record(SAN_GAL_OURS, batch_size=32, epochs=8, attributes=shorter)
    assert departures(record, MARKET) == (
        "epochs 8, not 20",
        "batch size 32, not 64",
        "attribute network: epochs 5, not 10",  # its batch size is the other network's, and not told twice
        "attribute network: learning rate × 0.1 at epochs 4, not × 0.5, 0.2 and 0.3 at epochs 5, 7 and 15",
    )


def test_rows_of_san_gal_stand_in_the_tables_of_their_data_and_its_readings_in_none(
    make_san_gal_record: MakeRecord,
) -> None:
    duke_like = {"dataset": "synthped", "data_root": None, "synthped_preset": "duke-like"}
    rows = {row: make_san_gal_record(row) for row in ROWS}
    readings = [make_san_gal_record(f"{SAN_GAL_OURS}/{name}", quality=0.9) for name in READINGS]
    other = [make_san_gal_record(row, **duke_like) for row in ROWS]
    records = [*rows.values(), *readings, *other]
    found = compare(MARKET, records)
    assert found["seeds"].tolist() == [1] * 6
    for _, line in found.iterrows():
        assert line["ours"] == pytest.approx(100 * rows[line["cell"]].metrics[line["metric"]], abs=1e-3)
    assert {name for names in compare(DUKE, records)["records"] for name in names} == {r.name for r in other}
    assert set(compare(DUKE, records)["verdict"]) == {"other setting"}
    assert "toy data (SynthPed)" in tables.setting_note(DUKE, records)
    market, _ = SAN_GAL_TABLE_2
    assert compare(market, records).query("seeds > 0")["method"].unique().tolist() == ["SAN-GAL (ours)"]


def test_cells_are_rows_and_readings_of_one_setting_of_both_networks(make_san_gal_record: MakeRecord) -> None:
    names = [*ROWS, *(f"{SAN_GAL_OURS}/{name}" for name in READINGS)]
    cells = tables.by_cell([make_san_gal_record(name, seed) for seed in (0, 1) for name in names])
    assert {cell: len(seeds) for cell, seeds in cells.items()} == dict.fromkeys(names, 2)
    ours, other = make_san_gal_record(SAN_GAL_OURS), {"epochs": 5, "milestones": (4.0,), "decay": 0.5}
    with pytest.raises(RecordError, match=r"different settings \(epochs, milestones, decay\)"):
        tables.by_cell([ours, make_san_gal_record(f"{SAN_GAL_OURS}/online", attributes=other)])
    with pytest.raises(RecordError, match=r"different settings \(batch_size\)"):
        tables.by_cell([ours, make_san_gal_record(batch_size=32)])
    attribute_run = dataclasses.replace(ours, system="attributes", config=ours.config["attributes"])
    with pytest.raises(RecordError, match="attribute network's run is no row"):
        tables.by_cell([attribute_run])


def test_steps_are_every_gain_of_a_row_over_one_above_it(make_san_gal_record: MakeRecord) -> None:
    records = {
        row: [make_san_gal_record(row, seed, quality=0.4 + i / 10) for seed in (0, 1)] for i, row in enumerate(ROWS)
    }
    found = tables.steps(MARKET, [record for seeds in records.values() for record in seeds])
    expected = [
        (b, a, metric) for i, a in enumerate(MARKET.rows) for metric in MARKET.metrics for b in MARKET.rows[i + 1 :]
    ]
    assert list(zip(found["row"], found["over"], found["metric"], strict=True)) == [
        (row.method, over.method, metric) for row, over, metric in expected
    ]
    for (row, over, metric), (_, line) in zip(expected, found.iterrows(), strict=True):
        assert line["paper"] == pytest.approx(row.scores[metric] - over.scores[metric])
        ours, base = (query_scores(records[str(cell)])[metric].to_numpy() for cell in (row.cell, over.cell))
        low, high = bootstrap_interval(100 * (ours - base)[:, None])
        assert line["ours"] == pytest.approx(100 * (ours.mean() - base.mean()))
        assert (line["low"], line["high"]) == pytest.approx((low[0], high[0]))
    shown = tables.step_table(found)
    assert shown["Here"].tolist() == [f"{x:+.2f}".replace("-", "−") for x in found["ours"]]
    assert shown["Paper"].tolist()[0] == "−0.20"
    assert shown["Gain"].tolist()[-1] == "ID+attrAttention over ID+attr, mAP"
    by_seed = tables.steps_by_seed(MARKET, [*records["IDonly"], *records["ID+attr"], records[SAN_GAL_OURS][1]])
    first, last = MARKET.rows[0], MARKET.rows[-1]
    assert by_seed[last.method, first.method] == pytest.approx(
        [100 * (records[SAN_GAL_OURS][1].metrics["mAP"] - records["IDonly"][1].metrics["mAP"])]
    )
    gained = [
        100 * (a.metrics["mAP"] - b.metrics["mAP"]) for a, b in zip(*(records[r] for r in ROWS[1::-1]), strict=True)
    ]
    assert by_seed[MARKET.rows[1].method, first.method] == pytest.approx(gained)
    alone = tables.step_table(tables.steps(MARKET, records["IDonly"]))
    assert set(alone["Here"]) | set(alone["95 % interval"]) == {"–"}


def test_readings_are_paired_with_the_literal_row_of_the_same_seeds(make_san_gal_record: MakeRecord) -> None:
    literal = [make_san_gal_record(SAN_GAL_OURS, seed, quality=0.5 + seed / 5) for seed in (0, 1)]
    scaled = make_san_gal_record(f"{SAN_GAL_OURS}/scaled-maps", spread=0.4, quality=0.7)
    online = make_san_gal_record(f"{SAN_GAL_OURS}/online", quality=0.4)
    found = tables.readings(MARKET, [online, make_san_gal_record(), *literal, scaled])
    assert found["reading"].tolist() == ["literal", "scaled-maps", "online"]  # in the order of READINGS
    assert found["seeds"].tolist() == [1, 1, 1]  # seed 0 is what all have
    for (_, line), record in zip(found.iterrows(), (literal[0], scaled, online), strict=True):
        assert line["ours"] == pytest.approx(100 * record.metrics["mAP"], abs=1e-3)
        if record is literal[0]:
            assert line[["difference", "low", "high"]].isna().all()
        else:
            gain = tables.gain([record], literal[:1])
            assert line[["difference", "low", "high"]].tolist() == [gain["ours"], gain["low"], gain["high"]]
            assert line["difference"] == pytest.approx(line["ours"] - found["ours"].iloc[0])
    spread = found.set_index("reading")[[f"{stage} std" for stage in STAGES]]
    assert spread.loc["scaled-maps"].tolist() == pytest.approx([0.4, 0.8, 1.2])
    assert spread.loc["online"].isna().all()  # no stored heat maps
    shown = tables.reading_table(found)
    assert shown["Difference"].tolist()[0] == "–"
    assert shown["Std layer3"].tolist() == ["0.2000", "0.8000", "–"]


def test_readings_of_several_seeds_are_means(make_san_gal_record: MakeRecord) -> None:
    records = [make_san_gal_record(SAN_GAL_OURS, seed, spread=0.1 * (1 + seed)) for seed in (0, 1)]
    found = tables.readings(MARKET, records)
    assert found["ours"].tolist() == pytest.approx([50 * sum(r.metrics["mAP"] for r in records)], abs=1e-3)
    assert found["layer2 std"].tolist() == pytest.approx([0.15])
    alone = tables.readings(MARKET, [make_san_gal_record(f"{SAN_GAL_OURS}/first-half")])
    assert alone[["difference", "low", "high"]].isna().all(axis=None)  # nothing literal to compare it with
    apart = tables.readings(MARKET, [records[0], make_san_gal_record(f"{SAN_GAL_OURS}/first-half", 1)])
    for none in (apart, tables.readings(MARKET, []), tables.readings(DUKE, records)):
        assert none.empty
        assert none.columns.equals(found.columns)


def test_intervals_of_every_metric_name_it(make_san_gal_record: MakeRecord) -> None:
    comparison = compare(MARKET, [make_san_gal_record()])
    shown = tables.intervals(comparison, None)
    assert list(zip(shown["Method"], shown["Score"], strict=True)) == [
        (row.method, label) for row in MARKET.rows for label in ("Rank\N{NON-BREAKING HYPHEN}1", "mAP")
    ]
    both = [tables.intervals(comparison, metric) for metric in ("rank-1", "mAP")]
    for i in range(len(MARKET.rows)):
        for j in range(2):
            assert shown.drop(columns="Score").loc[2 * i + j].tolist() == both[j].loc[i].tolist()


def test_records_and_plans_of_both_sides_of_san_gals_tables(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    profile, companion = Profile.read("synthped"), Profile.read("synthped-duke")
    asked: list[Configuration] = []
    monkeypatch.setattr(tables, "find_record", lambda config: asked.append(config) or make_record())
    tables.san_gal_records(profile)
    planned = [*profile.configs("attributes", "san-gal"), *companion.configs("attributes", "san-gal")]
    assert [config.name for config in asked] == [c.name for c in planned if isinstance(c, SanGalConfig)]
    assert tables.plan_of(MARKET, profile) is profile
    assert tables.plan_of(DUKE, profile) == companion
    assert tables.plan_of(MARKET, companion) is None
    assert tables.plan_of(DUKE, Profile.read("dukemtmcreid")) is not None


def test_missing_runs_of_san_gal_are_rows_with_its_own_seeds(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    profile = Profile.model_validate({"systems": {"joint-loss": {"seeds": (7,)}, "san-gal": {"seeds": (0, 1)}}})
    have = {profile.config("ID+attr", 1).name}
    monkeypatch.setattr(tables, "find_record", lambda config: make_record() if config.name in have else None)
    missing = [(config.row_name, config.seed) for config in tables.missing_runs(MARKET, profile)]
    assert missing == [(row, seed) for row in ROWS for seed in (0, 1) if (row, seed) != ("ID+attr", 1)]
    market, _ = SAN_GAL_TABLE_2
    assert [config.row_name for config in tables.missing_runs(market, profile)] == [SAN_GAL_OURS] * 2
    assert {config.seed for config in tables.missing_runs(TABLE_1, profile)} == {7}


def test_settings_of_both_networks_of_san_gal() -> None:
    market = Profile.read("market1501-imagenet")
    shown = tables.settings({"A": market.config(SAN_GAL_OURS)}, SAN_GAL_SETTINGS).set_index("Setting")
    assert shown.loc["input size"].tolist() == ["256×128", "256×128 pixels"]
    assert shown.loc["initial weights"].tolist() == ["pre-trained", "imagenet"]
    assert shown.loc["momentum"].tolist() == ["not printed (0.9)", "0.9"]
    assert shown.loc["epochs"].tolist() == ["20", "20"]
    assert shown.loc["warm-up", "A"] == "to epoch 1 from × 0.03"
    adam = Profile.read("synthped").config("IDonly")
    assert tables.settings({"A": adam}, SAN_GAL_SETTINGS).set_index("Setting").loc["momentum", "A"] == "–"
    shown = tables.settings({"A": market.config("attributes")}, SAN_GAL_ATTRIBUTE_SETTINGS).set_index("Setting")
    assert shown.loc["epochs", "A"] == "10"


def test_data_are_called_by_what_they_are_a_copy_of(make_san_gal_record: MakeRecord) -> None:
    assert tables.data_title(Profile.read("synthped-duke")) == "SynthPed, duke-like (toy data)"
    assert tables.data_title(Profile.read("market1501-small")) == "Market-1501"
    toy = {"dataset": "synthped", "data_root": None}
    records = [make_san_gal_record(), make_san_gal_record(SAN_GAL_OURS + "/online", 1, **toy)]
    assert [data.split()[0] for data in tables.provenance(records)["Data"]] == ["market1501", "market-like"]
    assert tables.provenance(records)["Run"].tolist() == ["IDonly", SAN_GAL_OURS + "/online"]


@pytest.mark.parametrize(("value", "digits", "text"), [(-1.25, 1, "−1.2"), (0.5, 2, "+0.50"), (np.nan, 2, "–")])
def test_differences_are_shown_with_their_sign(value: float, digits: int, text: str) -> None:
    assert tables.signed(value, digits) == text


def test_runs_that_differ_in_a_few_settings_are_told_apart_by_them_and_others_by_size_and_hash(
    make_record: MakeRecord,
) -> None:
    first, second = make_record(), make_record(sampling="identities")
    assert list(tables.told_apart([first, second]).values()) == [", sampling auto", ", sampling identities"]
    other = make_record(epochs=40, image_height=64, image_width=32, width_multiplier=0.25, batch_size=32)
    apart = tables.told_apart([first, other])
    assert apart[other.name] == f", 40 epochs at 64×32, {other.name[-8:]}"
    assert apart[first.name] == f", 60 epochs at 256×128, {first.name[-8:]}"

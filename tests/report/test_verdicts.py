"""The verdict rule, and that no table holds a number without a record."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_2, TABLE_1, TABLE_2, TABLE_3, Table
from reidkit.records import Record, RecordError
from reidkit.report import tables
from reidkit.report.verdicts import compare, departures, verdict
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.joint_loss import RunConfig
from reidkit.systems.san_gal import READINGS, ROWS
from tests.report.conftest import CELLS, DUKE, EVERY_TABLE, MARKET, MakeRecord


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
        "128×64 pixels, not 256×128",
        "width × 0.25, not 1",
        "learning rate × 0.1 at epochs 40 and 90, not along a cosine from epoch 30",
    )
    assert departures(of(RunConfig()), TABLE_1)[0] == "toy data (SynthPed)"


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
        "batch size 32, not 64",
        "epochs 8, not 20",
        "attribute network: epochs 5, not 10",  # its batch size is the other network's, and not told twice
        "attribute network: learning rate × 0.1 at epochs 4, not 0.5, 0.2 and 0.3 at epochs 5, 7 and 15",
    )


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

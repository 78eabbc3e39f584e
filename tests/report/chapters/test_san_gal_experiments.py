"""SAN-GAL's experiments as their chapter shows them."""

import re

import numpy as np
import pytest

from reidkit.models.backbone import STAGES
from reidkit.published import SAN_GAL_OURS
from reidkit.records import Record
from reidkit.report.chapters import san_gal_experiments as shown
from reidkit.report.differences import gain_chart, with_interval
from reidkit.report.rows import WIDENED, Spread, difference, gain, records_behind
from reidkit.report.tables import beside_runs
from reidkit.systems.san_gal import CONTROLS
from tests.report.conftest import DUKE, MARKET, MakeRecord, check_page


def runs(make: MakeRecord, **quality: float) -> dict[str, list[Record]]:
    """Two seeds of each of the rows and of the controls that `SHOWN` has, so good; 0.6 unless given."""
    return {
        row: [make(row, seed, quality=quality.get(row.rpartition("/")[-1].replace("+", "_"), 0.6)) for seed in (0, 1)]
        for row in shown.SHOWN
        if row.partition("/")[2] not in CONTROLS
    }


def test_the_table_and_the_chart_have_every_row_that_was_run(make_san_gal_record: MakeRecord) -> None:
    data = {"toy": runs(make_san_gal_record, ID_attr=0.8), "Market-1501": {}}
    table = beside_runs(shown.SHOWN, shown.PAPER, data).set_index("Row")
    assert table.loc["IDonly", "Paper"] == "81.30"
    assert table.loc["ID+attr", "toy"].startswith(
        f"{np.mean([100 * r.metrics['mAP'] for r in data['toy']['ID+attr']]):.1f} ["
    )
    assert table.loc["another image's maps (control)"].tolist() == ["–"] * 3
    assert len(re.findall(r"<runs/", " ".join(table.iloc[:, 2]))) == 2 * len(data["toy"])
    figure, alt = gain_chart(shown.SHOWN, shown.BASE, shown.PAPER, data)
    check_page(figure)
    assert "ID+attr: paper +0.80, toy +" in alt
    assert "control" not in alt
    assert len(records_behind(data, shown.SHOWN)) == 10


def test_the_answer_and_the_controls_are_sentences_of_what_was_run(make_san_gal_record: MakeRecord) -> None:
    found = runs(make_san_gal_record, ID_attr=0.8)
    gain = difference(found, "ID+attr", "IDonly")
    assert f"change mAP by {with_interval(gain)} points over *IDonly*" in shown.answer(found, "toy")
    alone = [difference(found, row, over) for row, over in ((SAN_GAL_OURS, "IDonly"), (shown.WITH_HEADS, "ID+attr"))]
    assert all(with_interval(gain) in shown.answer(found, "toy") for gain in alone)
    assert shown.answer({}, "toy") == "On toy, none of these rows has been run yet."
    assert shown.answer({"IDonly": found["IDonly"]}, "toy") == "On toy, these rows have not all been run yet."
    assert list(shown.controls({"toy": found})["Control"]) == ["not run yet"]
    found[f"{SAN_GAL_OURS}/shuffled"] = found["IDonly"]
    assert list(shown.controls({"toy": found})["Control"]) == ["the true maps over another image's maps"]


def test_readings_are_paired_with_the_literal_row_of_the_same_seeds(make_san_gal_record: MakeRecord) -> None:
    literal = [make_san_gal_record(SAN_GAL_OURS, seed, quality=0.5 + seed / 10) for seed in range(4)]
    scaled = make_san_gal_record(f"{SAN_GAL_OURS}/scaled-maps", spread=0.4, quality=0.7)
    online = make_san_gal_record(f"{SAN_GAL_OURS}/online", quality=0.4)
    found = shown.readings(MARKET, [online, make_san_gal_record(), *literal, scaled])
    assert found["reading"].tolist() == ["literal", "scaled-maps", "online"]  # in the order of READINGS
    assert found["seeds"].tolist() == [1, 1, 1]  # seed 0 is what all have
    for (_, line), record in zip(found.iterrows(), (literal[0], scaled, online), strict=True):
        assert line["ours"] == pytest.approx(100 * record.metrics["mAP"], abs=1e-3)
        if record is literal[0]:
            assert line[["difference", "low", "high"]].isna().all()
        else:
            alone = gain([record], literal[:1], Spread.of([literal]))["mAP"]
            assert line[["difference", "low", "high", "covers"]].tolist() == list(alone)
            assert alone.covers == WIDENED
            assert line["difference"] == pytest.approx(line["ours"] - found["ours"].iloc[0])
    spread = found.set_index("reading")[[f"{stage} std" for stage in STAGES]]
    assert spread.loc["scaled-maps"].tolist() == pytest.approx([0.4, 0.8, 1.2])
    assert spread.loc["online"].isna().all()  # no stored heat maps
    table = shown.reading_table(found)
    assert table["Difference"].tolist()[0] == "–"
    assert table["Std layer3"].tolist() == ["200.00", "800.00", "–"]  # thousandths


def test_readings_of_several_seeds_are_means(make_san_gal_record: MakeRecord) -> None:
    records = [make_san_gal_record(SAN_GAL_OURS, seed, spread=0.1 * (1 + seed)) for seed in (0, 1)]
    found = shown.readings(MARKET, records)
    assert found["ours"].tolist() == pytest.approx([50 * sum(r.metrics["mAP"] for r in records)], abs=1e-3)
    assert found["layer2 std"].tolist() == pytest.approx([0.15])
    alone = shown.readings(MARKET, [make_san_gal_record(f"{SAN_GAL_OURS}/first-half")])
    assert alone[["difference", "low", "high"]].isna().all(axis=None)  # nothing literal to compare it with
    apart = shown.readings(MARKET, [records[0], make_san_gal_record(f"{SAN_GAL_OURS}/first-half", 1)])
    for none in (apart, shown.readings(MARKET, []), shown.readings(DUKE, records)):
        assert none.empty
        assert none.columns.equals(found.columns)

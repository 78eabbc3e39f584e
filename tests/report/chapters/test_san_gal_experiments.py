"""SAN-GAL's experiments as their chapter shows them."""

import numpy as np
import pytest

from reidkit.evaluation.bootstrap import bootstrap
from reidkit.models.backbone import STAGES
from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_1
from reidkit.report.chapters import san_gal_experiments as shown
from reidkit.report.rows import WIDENED, Rows, Spread, gain, query_scores
from reidkit.systems.san_gal import ROWS
from tests.report.conftest import DUKE, MARKET, MakeRecord, check_page


def test_reading_chart_draws_gains_and_each_attention_once(make_san_gal_record: MakeRecord) -> None:
    names = {"": 0.1, "/scaled-maps": 0.4, "/first-half": 0.1, "/online": 0.0}
    records = [make_san_gal_record(SAN_GAL_OURS + name, spread=spread) for name, spread in names.items()]
    readings = shown.readings(SAN_GAL_TABLE_1[0], records)
    figure, alt = shown.reading_chart(readings)
    above, below = figure.axes
    assert [text.get_text() for text in above.get_yticklabels()] == ["scaled-maps", "first-half", "online"]
    # first-half has the literal attention, online has none that is stored
    assert [text.get_text() for text in below.get_yticklabels()] == ["literal", "scaled-maps"]
    assert [len(lines.get_segments()) for lines in below.collections] == [2] * len(STAGES)
    for _, line in readings.iloc[1:].iterrows():
        assert f"{line['reading']} {line['difference']:+.2f} ({line['low']:+.2f} to {line['high']:+.2f})" in alt
    assert "scaled-maps layer2 0.500 to 0.900, layer3 0.500 to 0.900" in alt
    assert "not run" in shown.reading_chart(readings.iloc[:0])[1]


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(make_san_gal_record: MakeRecord) -> None:
    for figure, _ in (
        shown.reading_chart(
            shown.readings(
                SAN_GAL_TABLE_1[0],
                [make_san_gal_record(SAN_GAL_OURS + name) for name in ("", "/scaled-maps-one-sigmoid")],
            )
        ),
    ):
        check_page(figure)


def test_steps_are_every_gain_of_a_row_over_one_above_it(make_san_gal_record: MakeRecord) -> None:
    records = {
        row: [make_san_gal_record(row, seed, quality=0.4 + i / 10) for seed in (0, 1)] for i, row in enumerate(ROWS)
    }
    found = shown.steps(MARKET, [record for seeds in records.values() for record in seeds])
    expected = [
        (b, a, metric) for i, a in enumerate(MARKET.rows) for metric in MARKET.metrics for b in MARKET.rows[i + 1 :]
    ]
    assert list(zip(found["row"], found["over"], found["metric"], strict=True)) == [
        (row.method, over.method, metric) for row, over, metric in expected
    ]
    for (row, over, metric), (_, line) in zip(expected, found.iterrows(), strict=True):
        assert line["paper"] == pytest.approx(row.scores[metric] - over.scores[metric])
        ours, base = (query_scores(records[str(cell)])[metric].to_numpy() for cell in (row.cell, over.cell))
        spread = Rows(record for seeds in records.values() for record in seeds).spread
        assert spread.freedom == 3
        low, high = bootstrap((ours - base)[:, None], np.sqrt(1 / 2 + 1 / 2) * spread.std[metric], 3)
        assert line["ours"] == pytest.approx(ours.mean() - base.mean())
        assert (line["low"], line["high"], line["covers"]) == (pytest.approx(low[0]), pytest.approx(high[0]), "")
    table = shown.step_table(found)
    assert table["Here"].tolist() == [f"{x:+.2f}".replace("-", "−") for x in found["ours"]]
    assert table["Paper"].tolist()[0] == "−0.20"
    assert table["Gain"].tolist()[-1] == "ID+attrAttention over ID+attr, mAP"
    by_seed = shown.steps_by_seed(MARKET, [*records["IDonly"], *records["ID+attr"], records[SAN_GAL_OURS][1]])
    first, last = MARKET.rows[0], MARKET.rows[-1]
    assert by_seed[last.method, first.method] == pytest.approx(
        [100 * (records[SAN_GAL_OURS][1].metrics["mAP"] - records["IDonly"][1].metrics["mAP"])]
    )
    gained = [
        100 * (a.metrics["mAP"] - b.metrics["mAP"]) for a, b in zip(*(records[r] for r in ROWS[1::-1]), strict=True)
    ]
    assert by_seed[MARKET.rows[1].method, first.method] == pytest.approx(gained)
    alone = shown.step_table(shown.steps(MARKET, records["IDonly"]))
    assert set(alone["Here"]) | set(alone["95 % interval"]) == {"–"}


def test_readings_are_paired_with_the_literal_row_of_the_same_seeds(make_san_gal_record: MakeRecord) -> None:
    literal = [make_san_gal_record(SAN_GAL_OURS, seed, quality=0.5 + seed / 5) for seed in (0, 1)]
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
    assert table["Std layer3"].tolist() == ["0.2000", "0.8000", "–"]


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

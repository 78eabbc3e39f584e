"""SAN-GAL's experiments as their chapter shows them."""

from reidkit.models.backbone import STAGES
from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_1
from reidkit.report import tables
from reidkit.report.chapters import san_gal_experiments as shown
from tests.report.conftest import MakeRecord, check_page


def test_reading_chart_draws_gains_and_each_attention_once(make_san_gal_record: MakeRecord) -> None:
    names = {"": 0.1, "/scaled-maps": 0.4, "/first-half": 0.1, "/online": 0.0}
    records = [make_san_gal_record(SAN_GAL_OURS + name, spread=spread) for name, spread in names.items()]
    readings = tables.readings(SAN_GAL_TABLE_1[0], records)
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
            tables.readings(
                SAN_GAL_TABLE_1[0],
                [make_san_gal_record(SAN_GAL_OURS + name) for name in ("", "/scaled-maps-one-sigmoid")],
            )
        ),
    ):
        check_page(figure)

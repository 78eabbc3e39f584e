"""The joint-loss paper's experiments as its chapter shows them."""

import pytest

from reidkit.published import TABLE_1
from reidkit.report.chapters import experiments as shown
from reidkit.report.verdicts import gains
from tests.report.conftest import MakeRecord, check_page


def test_grid_heat_map_leaves_blank_what_was_not_run(make_record: MakeRecord) -> None:
    record = make_record("eca", "ce+tri")
    score = f"{100 * record.metrics['mAP']:.1f}"
    figure, alt = shown.grid_heat_map(shown.grid([record]))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted([score] + ["not run"] * 17)
    assert f"ECA: CE not run, CE + Tri {score}, CE + Tri + Cir not run" in alt
    figure, _ = shown.grid_heat_map(shown.grid([]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["not run"] * 18


def test_gain_chart_draws_both_and_says_both(make_record: MakeRecord) -> None:
    found = gains(TABLE_1, [make_record(), make_record("se")])
    figure, alt = shown.gain_chart(found)
    assert len(figure.axes[0].get_yticklabels()) == 7
    line = found.set_index("method").loc["Baseline(+SE)"]
    assert f"Baseline(+SE): paper +8.38, here {line['ours']:+.2f}" in alt
    assert "Ours: paper +14.65, here not run" in alt


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(make_record: MakeRecord) -> None:
    for figure, _ in (
        shown.grid_heat_map(shown.grid([make_record()])),
        shown.gain_chart(gains(TABLE_1, [make_record()])),
    ):
        check_page(figure)


def test_grid_holds_what_was_run_and_nan_elsewhere(make_record: MakeRecord) -> None:
    record = make_record("eca", "ce+tri")
    frame = shown.grid([record])
    assert frame.shape == (6, 3)
    assert frame.loc["eca", "ce+tri"] == pytest.approx(100 * record.metrics["mAP"])
    assert frame.notna().sum(axis=None) == 1

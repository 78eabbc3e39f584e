"""What the chapters say of where heat maps lie, from made-up tables of localisation."""

import re

import pandas as pd
import pytest

from reidkit.data.attributes import GROUPS
from reidkit.models.backbone import STAGES
from reidkit.report import localisation as shown
from reidkit.report.style import Drawing
from tests.report.conftest import GROUP_LIST, MakeLocalisation, check_page


def test_words_on_attributes_follow_the_intervals(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.2, "bag": 0.05, "up": -0.2, "upred": float("nan")})
    text = shown.attributes_in_words(table, "layer2")
    assert "of 1 of 3 attributes are better than the centre, and those of 1 worse" in text
    assert "No query shows upper red" in text
    assert "2 beat a constant map" in text  # 0.3 + 0.05 is 0.24 over 0.11, 0.1 is 0.02 below 0.12


def test_means_are_those_of_the_attributes_and_their_intervals_hold_them(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.2, "bag": 0.05, "up": -0.2, "upred": float("nan")})
    means = shown.localisation_means(table)
    assert len(means) == len(shown.MEASURES) * len(STAGES)
    for _, row in means.iterrows():
        cells = table[(table["measure"] == row["measure"]) & (table["stage"] == row["stage"]) & (table["images"] > 0)]
        for column in ("map", "centre", "random", "over centre", "over random"):
            assert row[column] == pytest.approx(100 * sum(cells[column]) / 3)
        assert row["over centre low"] <= row["over centre"] <= row["over centre high"]
        lowest, highest = 100 * cells["over centre"].min(), 100 * cells["over centre"].max()
        assert lowest - 1e-9 <= row["over centre low"] <= row["over centre high"] <= highest + 1e-9
    assert shown.best_stage(means, "energy") == "layer2"
    shows = shown.means_table(means)
    assert shows["Stage"].tolist() == list(STAGES) * 3
    assert all(re.fullmatch(r"[+−]\d+\.\d \[[+−]\d+\.\d to [+−]\d+\.\d\]", text) for text in shows["Over centre"])


@pytest.mark.parametrize(("gain", "says"), [(0.2, "ahead"), (-0.2, "behind")])
def test_words_on_stages_follow_the_means(localisation: MakeLocalisation, gain: float, says: str) -> None:
    text = shown.stages_in_words(shown.localisation_means(localisation({"hat": gain, "bag": gain})))
    assert "All three measures find the maps after layer2 best" in text
    assert f"Beside the centre these are {says} by the pointing game, energy and IoU;" in text


def test_words_on_stages_leave_open_what_is_open(localisation: MakeLocalisation) -> None:
    text = shown.stages_in_words(shown.localisation_means(localisation({"hat": 0.2, "bag": -0.2})))
    assert "Beside the centre these are level by the pointing game, energy and IoU;" in text


def test_charts_of_localisation_leave_out_what_no_query_shows(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.22, "bag": 0.05, "up": -0.2, "upred": float("nan")})
    figure, alt = shown.over_centre_grid(table)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["sleeve length", "bag", "hat"]  # from the largest region to the smallest
    assert "hat +22, +17, +12, +22" in alt
    assert "bag +5 (uncertain), " in alt
    cells = {text.get_text(): text.get_fontweight() for text in figure.axes[0].texts}
    assert cells["+22"] == "bold"
    assert cells["+5"] == "normal"
    assert cells["−20"] == "bold"


def test_learned_and_found_agree_where_they_do(scores: pd.DataFrame, localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.3, "age": -0.2, "upblack": 0.1, "upred": 0.3})
    figure, alt, correlation = shown.learned_and_found(scores, table, GROUP_LIST, "layer2")
    assert "hat +30.0 and +30.0" in alt
    assert "upper-body colour +6.7 and +20.0" in alt  # the mean over its colours
    assert correlation == pytest.approx(1.0)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["hat", "upper-body colour", "age"]


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(
    scores: pd.DataFrame, localisation: MakeLocalisation
) -> None:
    table = localisation({field: 0.1 for groups in GROUPS.values() for group in groups for field in group.fields})
    drawn: list[Drawing] = [
        shown.over_centre_grid(table),
        shown.learned_and_found(scores, table, GROUP_LIST, "layer2")[:2],
    ]
    for figure, alt in drawn:
        assert alt.strip()
        check_page(figure)

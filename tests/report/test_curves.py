"""Curves over the epochs, against naive loops."""

import numpy as np
import pandas as pd
import pytest

from reidkit.report import curves
from tests.report.conftest import check_page


def histories() -> list[pd.DataFrame]:
    """Two seeds; mAP was measured now and then, and the second seed's last epoch was not."""
    return [
        pd.DataFrame({"epoch": [1, 2, 3, 4], "loss": [8.0, 4.0, 2.0, 1.0], "mAP": [np.nan, 0.2, np.nan, 0.5]}),
        pd.DataFrame({"epoch": [1, 2, 3], "loss": [6.0, 5.0, 4.0], "mAP": [np.nan, 0.4, np.nan]}),
    ]


@pytest.mark.parametrize(("column", "scale"), [("loss", 1.0), ("mAP", 100.0)])
def test_curves_against_a_naive_loop_over_seeds(column: str, scale: float) -> None:
    seeds = histories()
    figure, alt = curves.training_curves({"A": {"one": seeds, "two": seeds[:1]}}, column, scale=scale)
    first, second = figure.axes[0].lines
    expected: dict[int, list[float]] = {}
    for seed in seeds:
        for _, row in seed.iterrows():
            if not np.isnan(row[column]):
                expected.setdefault(int(row["epoch"]), []).append(scale * row[column])
    assert list(first.get_xdata()) == sorted(expected)
    assert list(first.get_ydata()) == pytest.approx([sum(v) / len(v) for _, v in sorted(expected.items())])
    corners = {(x, round(y, 6)) for x, y in figure.axes[0].collections[0].get_paths()[0].vertices}
    assert corners == {(epoch, round(f(v), 6)) for epoch, v in expected.items() for f in (min, max)}
    assert list(second.get_ydata()) == pytest.approx((scale * seeds[0][column].dropna()).tolist())
    start, end = (sum(expected[epoch]) / len(expected[epoch]) for epoch in (min(expected), max(expected)))
    assert f"A, one: {start:.3g} at {min(expected)}, " in alt
    assert f", {end:.3g} at {max(expected)}" in alt


def test_curves_are_normalised_by_the_highest_point_of_each_panel() -> None:
    low, high = histories()[0], histories()[0].assign(loss=[100.0, 50.0, 20.0, 10.0])
    panels = {"A": {"one": [low], "two": [high]}, "B": {"one": [low]}}
    figure, alt = curves.training_curves(panels, "loss", normalise=True)
    (one, two), (alone,) = (axes.lines for axes in figure.axes)
    assert list(one.get_ydata()) == pytest.approx([0.08, 0.04, 0.02, 0.01])
    assert list(two.get_ydata()) == pytest.approx([1, 0.5, 0.2, 0.1])
    assert list(alone.get_ydata()) == pytest.approx([1, 0.5, 0.25, 0.125])
    assert "A, two: 1 at 1, 0.5 at 2, 0.2 at 3, 0.1 at 4" in alt
    assert one.get_color() == alone.get_color() != two.get_color()


def test_curves_say_what_was_not_run_and_what_several_seeds_span() -> None:
    first, second = (
        history.assign(mAP=[np.nan] * 2 + [value] + [np.nan] * (len(history) - 3))
        for history, value in zip(histories(), (0.25, 0.75), strict=True)
    )
    figure, alt = curves.training_curves({"A": {"one": [first, second]}, "B": {"one": []}}, "mAP", label="score")
    assert [text.get_text() for text in figure.axes[1].texts] == ["not run"]
    assert "A, one: 0.5 at 3 (0.25 to 0.75 over 2 seeds)" in alt
    assert "B: not run" in alt
    assert [axes.get_ylabel() for axes in figure.axes] == ["score", "score"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one"]  # once, whatever the panels


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone() -> None:
    many = {f"Baseline(+Something {i})": histories() for i in range(9)}
    for panels in ({"A": {"one": histories()}, "B": {}}, {"A": many}):
        check_page(curves.training_curves(panels, "loss")[0])


def test_of_many_points_the_ends_are_said() -> None:
    history = pd.DataFrame({"epoch": range(1, 13), "loss": np.linspace(12, 1, 12)})
    assert "A, one: 12 at 1 to 1 at 12." in curves.training_curves({"A": {"one": [history]}}, "loss")[1]


def test_of_many_lines_no_two_look_alike_and_none_is_faint() -> None:
    rows = {f"row {i}": histories()[:1] for i in range(24)}
    figure, _ = curves.training_curves({"A": rows}, "loss")
    lines = figure.axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 24
    for line in lines:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in line.get_color()]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 2  # WCAG's contrast with a white page

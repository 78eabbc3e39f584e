"""The figures: what they draw, and that their alternative texts hold the numbers."""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from reidkit.data import Dataset, Split
from reidkit.models.backbone import STAGES
from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_1, TABLE_1
from reidkit.report import figures, tables
from reidkit.systems.joint_loss import RunConfig
from tests.report.conftest import MakeRecord


def test_training_curves_draw_every_run_that_recorded_the_column() -> None:
    histories = {
        "A": pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "mAP": [np.nan, 0.25, np.nan]}),
        "B": pd.DataFrame({"epoch": [1, 2], "loss": [4.0, 0.5]}),
    }
    figure, alt = figures.training_curves(histories, "loss", log=True)
    assert figure.axes[0].get_yscale() == "log"
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[3, 2, 1], [4, 0.5]]
    assert "A from 3 to 1" in alt
    assert "B from 4 to 0.5" in alt
    figure, alt = figures.training_curves(histories, "mAP")
    assert len(figure.axes[0].lines) == 1
    assert "0.25" in alt
    with pytest.raises(ValueError, match="none of the 2 histories has a column 'rank-1'"):
        figures.training_curves(histories, "rank-1")


def test_grid_heat_map_leaves_blank_what_was_not_run(make_record: MakeRecord) -> None:
    record = make_record("eca", "ce+tri")
    score = f"{100 * record.metrics['mAP']:.1f}"
    figure, alt = figures.grid_heat_map(tables.grid([record]))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted([score] + ["not run"] * 17)
    assert f"ECA: CE not run, CE + Tri {score}, CE + Tri + Cir not run" in alt
    figure, _ = figures.grid_heat_map(tables.grid([]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["not run"] * 18


def test_gain_chart_draws_both_and_says_both(make_record: MakeRecord) -> None:
    gains = tables.gains(TABLE_1, [make_record(), make_record("se")])
    figure, alt = figures.gain_chart(gains)
    assert len(figure.axes[0].get_yticklabels()) == 7
    line = gains.set_index("method").loc["Baseline(+SE)"]
    assert f"Baseline(+SE): paper +8.38, here {line['ours']:+.2f}" in alt
    assert "Ours: paper +14.65, here not run" in alt


def histories() -> list[pd.DataFrame]:
    """Two seeds; mAP was measured now and then, and the second seed's last epoch was not."""
    return [
        pd.DataFrame({"epoch": [1, 2, 3, 4], "loss": [8.0, 4.0, 2.0, 1.0], "mAP": [np.nan, 0.2, np.nan, 0.5]}),
        pd.DataFrame({"epoch": [1, 2, 3], "loss": [6.0, 5.0, 4.0], "mAP": [np.nan, 0.4, np.nan]}),
    ]


@pytest.mark.parametrize(("column", "scale"), [("loss", 1.0), ("mAP", 100.0)])
def test_training_bands_against_a_naive_loop_over_seeds(column: str, scale: float) -> None:
    seeds = histories()
    figure, alt = figures.training_bands({"A": {"one": seeds, "two": seeds[:1]}}, column, scale=scale)
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
    assert f"A, one: {start:.3g} to {end:.3g}" in alt


def test_training_bands_are_normalised_by_the_highest_point_of_each_panel() -> None:
    low, high = histories()[0], histories()[0].assign(loss=[100.0, 50.0, 20.0, 10.0])
    panels = {"A": {"one": [low], "two": [high]}, "B": {"one": [low]}}
    figure, alt = figures.training_bands(panels, "loss", normalise=True)
    (one, two), (alone,) = (axes.lines for axes in figure.axes)
    assert list(one.get_ydata()) == pytest.approx([0.08, 0.04, 0.02, 0.01])
    assert list(two.get_ydata()) == pytest.approx([1, 0.5, 0.2, 0.1])
    assert list(alone.get_ydata()) == pytest.approx([1, 0.5, 0.25, 0.125])
    assert "A, two: 1 to 0.1, epochs 1 to 4" in alt
    assert one.get_color() == alone.get_color() != two.get_color()


def test_training_bands_say_what_was_not_run_and_what_several_seeds_span() -> None:
    first, second = (
        history.assign(mAP=[np.nan] * 2 + [value] + [np.nan] * (len(history) - 3))
        for history, value in zip(histories(), (0.25, 0.75), strict=True)
    )
    figure, alt = figures.training_bands({"A": {"one": [first, second]}, "B": {"one": []}}, "mAP", label="score")
    assert [text.get_text() for text in figure.axes[1].texts] == ["not run"]
    assert "A, one: 0.5 to 0.5 (0.25 to 0.75 over 2 seeds), epochs 3 to 3" in alt
    assert "B: not run" in alt
    assert [axes.get_ylabel() for axes in figure.axes] == ["score", "score"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one"]  # once, whatever the panels


def test_reading_chart_draws_gains_and_each_attention_once(make_san_gal_record: MakeRecord) -> None:
    names = {"": 0.1, "/scaled-maps": 0.4, "/first-half": 0.1, "/online": 0.0}
    records = [make_san_gal_record(SAN_GAL_OURS + name, spread=spread) for name, spread in names.items()]
    readings = tables.readings(SAN_GAL_TABLE_1[0], records)
    figure, alt = figures.reading_chart(readings)
    above, below = figure.axes
    assert [text.get_text() for text in above.get_yticklabels()] == ["scaled-maps", "first-half", "online"]
    # first-half has the literal attention, online has none that is stored
    assert [text.get_text() for text in below.get_yticklabels()] == ["literal", "scaled-maps"]
    assert [len(lines.get_segments()) for lines in below.collections] == [2] * len(STAGES)
    for _, line in readings.iloc[1:].iterrows():
        assert f"{line['reading']} {line['difference']:+.2f} ({line['low']:+.2f} to {line['high']:+.2f})" in alt
    assert "scaled-maps layer2 0.500 to 0.900, layer3 0.500 to 0.900" in alt
    assert "not run" in figures.reading_chart(readings.iloc[:0])[1]


@pytest.fixture
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("people")

    def split(name: str, ids: list[int], cameras: list[int]) -> Split:
        paths = tuple(root / f"{name}_{i}.png" for i in range(len(ids)))
        for i, path in enumerate(paths):
            Image.new("RGB", (8, 16), (10 * i, 100, 100)).save(path)
        return Split(paths, torch.tensor(ids), torch.tensor(cameras))

    gallery = split("gallery", [1, 2, 1, 0, 1], [2, 2, 3, 1, 1])
    return Dataset("market1501", root, split("train", [9], [1]), split("query", [1, 2], [1, 1]), gallery, None)


def test_ranked_lists_frame_right_red_and_wrong_blue_above_the_ground_truth(dataset: Dataset) -> None:
    top = torch.tensor([[0, 3, 2], [1, -1, -1]])  # item 4 is left out for query 0: its own camera
    figure, alt = figures.ranked_lists(dataset, top, [0, 1], k=5)
    panels = [panel.axes for panel in figure.subfigs]
    frames = [[to_hex(patch.get_edgecolor()) for patch in ax.patches] for ax in panels[0]]
    assert frames == [[], [figures.RIGHT], [figures.WRONG], [figures.RIGHT], [], [], [], []]
    shown = [[len(ax.images) for ax in axes] for axes in panels]
    assert shown == [[1, 1, 1, 1, 0, 1, 1, 0], [1, 1, 0, 0, 0, 1, 0, 0]]
    assert "query_0.png: 2 of the first 3 results are right (ranks 1, 3); the gallery holds 2 right images" in alt
    assert "query_1.png: 1 of the first 1 results are right (ranks 1); the gallery holds 1 right images" in alt
    with pytest.raises(ValueError, match="at least one query"):
        figures.ranked_lists(dataset, top, [])


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(
    dataset: Dataset, make_record: MakeRecord, make_san_gal_record: MakeRecord
) -> None:
    readings = [make_san_gal_record(SAN_GAL_OURS + name) for name in ("", "/scaled-maps-one-sigmoid")]
    drawn = [
        figures.training_bands({"A": {"one": histories()}, "B": {}}, "loss"),
        figures.reading_chart(tables.readings(SAN_GAL_TABLE_1[0], readings)),
        figures.training_curves({"A": make_record().history}, "loss"),
        figures.grid_heat_map(tables.grid([make_record()])),
        figures.gain_chart(tables.gains(TABLE_1, [make_record()])),
        figures.ranked_lists(dataset, torch.tensor([[0, 3, 2]]), [0]),
    ]
    for figure, _ in drawn:
        figure.draw_without_rendering()
        width = figure.get_figwidth()
        assert width <= 6.5
        # a telephone shows a figure 3.4 inches wide; type below 6.5 points is not read there
        texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]
        assert min(text.get_fontsize() for text in texts) * min(1, 3.4 / width) >= 6.5


def test_example_queries_are_those_at_the_quantiles(make_record: MakeRecord) -> None:
    record = make_record(queries=102)  # 101 with a match
    precision = record.queries["average_precision"]
    shown = figures.example_queries(record, (1.0, 0.5, 0.0))
    assert precision[shown].tolist() == [precision.max(), precision.median(), precision.min()]
    empty = dataclasses.replace(record, tables={"queries": record.queries.assign(average_precision=np.nan)})
    with pytest.raises(ValueError, match="no query has a match"):
        figures.example_queries(empty)


def test_ranked_lists_of_a_run_that_cannot_be_shown_say_why(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    config = RunConfig()
    monkeypatch.setattr(figures, "find_record", lambda _: None)
    figure, alt = figures.ranked_lists_of(config)
    assert alt == "Not run yet: none/ce, seed 0 of this profile."
    assert figure.texts[0].get_text().split() == alt.split()
    monkeypatch.setattr(figures, "find_record", lambda _: make_record())
    monkeypatch.setattr(figures, "weights_path", lambda _: Path("nowhere"))
    assert config.name in figures.ranked_lists_of(config)[1]

"""The figures: what they draw, and that their alternative texts hold the numbers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from reidkit.data import Dataset, Split
from reidkit.experiments import RunConfig
from reidkit.published import TABLE_1
from reidkit.records import Record
from reidkit.report import figures, tables

MakeRecord = Callable[..., Record]
mpl.use("agg")


@pytest.fixture(autouse=True)
def _close() -> None:
    plt.close("all")


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


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(dataset: Dataset, make_record: MakeRecord) -> None:
    drawn = [
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

"""Ranked lists: what is framed, and which queries are shown."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from reidkit.data import Dataset, Split
from reidkit.report import ranked_lists as shown
from reidkit.systems.joint_loss import RunConfig
from tests.report.conftest import MakeRecord, check_page


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
    figure, alt = shown.ranked_lists(dataset, top, [0, 1], k=5)
    frames = [[to_hex(patch.get_edgecolor()) for patch in axes.patches] for axes in figure.axes]
    assert frames == [[shown.RIGHT, shown.WRONG, shown.RIGHT], [shown.RIGHT]]
    red = [{round(image.get_array()[0, 0, 0].item(), -1) for image in axes.images} for axes in figure.axes]
    assert [len(axes.images) for axes in figure.axes] == [1 + 3 + 2, 1 + 1 + 1]  # query, results, ground truth
    assert red == [{0, 30, 20}, {10}]
    assert "query_0.png: 2 of the first 3 results are right (ranks 1, 3); the gallery holds 2 right images" in alt
    assert "query_1.png: 1 of the first 1 results are right (ranks 1); the gallery holds 1 right images" in alt
    with pytest.raises(ValueError, match="at least one query"):
        shown.ranked_lists(dataset, top, [])


def test_example_queries_are_those_at_the_quantiles(make_record: MakeRecord) -> None:
    record = make_record(queries=102)  # 101 with a match
    precision = record.queries["average_precision"]
    chosen = shown.example_queries(record, (1.0, 0.5, 0.0))
    assert precision[chosen].tolist() == [precision.max(), precision.median(), precision.min()]
    empty = dataclasses.replace(record, tables={"queries": record.queries.assign(average_precision=np.nan)})
    with pytest.raises(ValueError, match="no query has a match"):
        shown.example_queries(empty)


def test_ranked_lists_of_a_run_that_cannot_be_shown_say_why(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    config = RunConfig()
    monkeypatch.setattr(shown, "find_record", lambda _: None)
    figure, alt = shown.ranked_lists_of(config)
    assert alt == "Not run yet: none/ce, seed 0 of this profile."
    assert figure.texts[0].get_text().split() == alt.split()
    record = make_record()
    monkeypatch.setattr(shown, "find_record", lambda _: record)
    assert shown.ranked_lists_of(config)[1] == f"An older record, which keeps no ranked lists: {config.name}."
    record.queries["results"] = "3 1"
    real = RunConfig(dataset="market1501", data_root=Path("nowhere"))
    assert "not the pictures" in shown.ranked_lists_of(real)[1]


def test_the_first_results_of_a_record_are_lists_filled_up(make_record: MakeRecord) -> None:
    record = make_record(queries=3)
    assert shown.first_results(record) is None
    record.queries["results"] = ["4 0 2", None, "1"]
    assert torch.equal(shown.first_results(record), torch.tensor([[4, 0, 2], [-1, -1, -1], [1, -1, -1]]))


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(dataset: Dataset) -> None:
    for figure, _ in (shown.ranked_lists(dataset, torch.tensor([[0, 3, 2]]), [0]),):
        check_page(figure)

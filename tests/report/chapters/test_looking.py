"""Whether attention looks: tables and words from made-up weights, and what an optimiser does to a weight alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reidkit.records import Record
from reidkit.report.chapters import looking as shown
from tests.report.conftest import MakeRecord, check_page


def attending(record: Record, between: float, worse: float) -> Record:
    """The record as if its attention differed so much between pictures, and its queries got so much worse frozen."""
    weights = {"module": ["backbone.layer1.0.attention"], "weighs": ["channels"], "mean": [0.5]}
    record.tables["attention"] = pd.DataFrame({**weights, "within": [0.25], "between": [between]})
    frozen = record.queries[["query", "average_precision", "first_match_rank"]].copy()
    frozen["average_precision"] -= worse
    record.tables["frozen"] = frozen
    record.tables["looks"] = pd.DataFrame(columns=["query", "module", "peak", "height", "cells"])
    return record


@pytest.fixture
def runs(make_record: MakeRecord) -> dict[str, list[Record]]:
    return {
        "none/ce": [make_record()],
        "se/ce": [
            attending(make_record("se", seed=seed, decay_attention=False), 0.1 * (seed + 1), 0.02) for seed in (0, 1)
        ],
        "se/ce/decayed": [attending(make_record("se", decay_attention=True), 0.0, 0.0)],
        "eca/ce": [make_record("eca")],  # older than the measure
    }


def test_rows_come_with_what_decay_left_of_them(runs: dict[str, list[Record]]) -> None:
    assert shown.shown_rows(runs) == ["se/ce", "se/ce/decayed"]
    spared, decayed = shown.weights_table(runs).to_dict("records")
    assert (spared["Decayed"], decayed["Decayed"]) == ("no", "yes")
    assert (spared["Row"], spared["Mean"], spared["Within"], spared["Between"]) == ("SE, CE", "0.50", "25.0", "15.0")
    assert spared["mAP, frozen"].startswith("−2.00 [")
    assert (spared["Blind"], decayed["Blind"]) == ("0 of 2", "1 of 1")
    assert (decayed["Between"], decayed["mAP, frozen"]) == ("0.0", "0.00 [0.0 to 0.0]")


def test_what_freezing_costs_is_paired_over_queries(runs: dict[str, list[Record]]) -> None:
    found = shown.frozen_gain(runs["se/ce"])
    assert (found.ours, found.low, found.high) == pytest.approx((-2, -2, -2), abs=1e-6)


def test_words_follow_the_numbers(runs: dict[str, list[Record]]) -> None:
    told = shown.answer(runs)
    assert told.startswith("SE's weights of channels differ by 15.0 % of their mean from picture to picture")
    assert told.endswith("SE's differ by 0.0 %: it looks at nothing.")
    assert shown.answer({}) == "No row with attention has been measured yet."


def test_adam_takes_a_weight_to_zero_whatever_its_penalty_and_others_leave_it() -> None:
    figure, alt = shown.decay_chart()
    check_page(figure)
    paths = [np.asarray(line.get_ydata(), float) for line in figure.axes[0].lines]
    adam, lighter, decoupled, sgd = paths
    assert adam[100] < 0.001
    assert lighter == pytest.approx(adam, abs=0.005)
    assert decoupled[-1] > 0.099
    assert sgd[-1] > 0.099
    assert "gone after" in alt


def test_without_maps_a_notice_takes_the_place_of_the_sheet() -> None:
    _, alt = shown.looks_sheet([])
    assert alt.startswith("No run with attention over places")


def test_of_each_stage_the_last_module_is_drawn() -> None:
    modules = [f"backbone.layer{stage}.{block}.output" for stage, block in ((2, 2), (2, 3), (3, 3), (3, 5))]
    assert shown.last_of_stages(modules) == ["backbone.layer2.3.output", "backbone.layer3.5.output"]


def test_a_sheet_of_pictures_that_are_not_here_says_so(make_record: MakeRecord, tmp_path: Path) -> None:
    record = attending(make_record("cbam", "ce+tri+cir"), 0.1, 0.0)
    _, alt = shown.looks_sheet([record], tmp_path / "nowhere")
    assert alt == "The pictures of Market-1501 are not on this machine."

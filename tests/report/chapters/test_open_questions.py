"""What is shown of the joint-loss paper's open questions."""

import dataclasses

import numpy as np
import pytest

from reidkit.published import TABLE_1
from reidkit.report.chapters import open_questions
from tests.report.conftest import MakeRecord


def test_conventions_are_those_of_the_records(make_record: MakeRecord) -> None:
    seeds = [make_record("se", seed=seed) for seed in (0, 1)]
    seeds = [dataclasses.replace(r, metrics=r.metrics | {"mAP (trapezoid)": r.metrics["mAP"] + 0.01}) for r in seeds]
    shown = open_questions.conventions(TABLE_1, seeds)
    assert shown["Method"].tolist() == ["Baseline(+SE)"]
    assert shown.loc[0, "Difference"] == "+1.00"
    assert float(shown.loc[0, "Rectangular"]) == pytest.approx(
        100 * np.mean([r.metrics["mAP"] for r in seeds]), abs=0.01
    )

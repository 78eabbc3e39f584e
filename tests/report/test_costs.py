"""What a training step costs: the stored figures, and that they can be measured anew."""

from itertools import pairwise

import pytest

from reidkit.profile import Profile
from reidkit.queue import UntrainedMaps
from reidkit.report import costs
from reidkit.report.chapters.comparison import NAMES
from reidkit.training import Stage

SMALL = {"synthped_train_identities": 20, "synthped_test_identities": 4, "batch_size": 4}


def test_every_compared_row_was_measured_once() -> None:
    steps = costs.step_costs()
    assert steps.index.is_unique
    assert set(NAMES) <= set(steps.index), "measure anew, on a quiet machine: python -m reidkit.report.costs"
    assert (steps > 0).all()


def test_the_shortest_training_has_all_stages() -> None:
    assert costs.shortest([Stage()]) == [0, 1]
    firsts = costs.shortest([Stage(0.55), Stage(0.15), Stage(0.3)])
    assert all(after > before for before, after in pairwise(firsts))
    assert len(firsts) == 4


@pytest.mark.parametrize("row", ["none/ce", "pcb+rpp"])
def test_a_step_is_timed_in_every_stage(row: str, build: object) -> None:
    config = Profile.read("synthped-compared", **SMALL).config(row)
    assert 0 < costs.step_cost(config, UntrainedMaps()) < 60

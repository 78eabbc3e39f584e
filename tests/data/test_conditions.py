"""What is the matter with a query of SynthPed, against what the renderer did and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reidkit.data import DatasetError, load_dataset
from reidkit.data.conditions import CONDITIONS, _aside, conditions, yaw
from reidkit.data.part_maps import part_map
from reidkit.data.synthped import PARTS, PRESETS, Cast, dataset, plan, take


def test_a_view_is_that_of_the_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    angles: list[float] = []
    original = dataset.View
    monkeypatch.setattr(dataset, "View", lambda turn, *rest: angles.append(turn) or original(turn, *rest))
    cast, shots = Cast(PRESETS["market-like"], 3), plan(PRESETS["market-like"], 3)[::90]
    for shot in shots:
        take(shot, cast)
    apart = np.array([yaw(shot, 3) for shot in shots]) - angles
    assert np.abs(apart).max() < 5 * 0.12  # by which a picture may differ from its walk
    assert len({round(math.cos(angle), 1) for angle in angles}) > 5


def test_conditions_of_a_render(synthped: Path) -> None:
    data = load_dataset("synthped", synthped)
    found = conditions(data)
    assert found.columns.tolist() == list(CONDITIONS)
    assert found.index.tolist() == [path.name for path in data.query.paths]
    hidden = [(part_map(path) == PARTS["occluder"]).any().item() for path in data.query.paths]
    assert found["occluded"].tolist() == hidden
    assert found["dark"].sum() == math.ceil(0.2 * (len(found) - 1))


def test_who_stands_aside() -> None:
    person = torch.zeros(4, 20, 10, dtype=torch.bool)
    person[0, 2:18, 3:7] = True  # in the middle
    person[1, 2:18, 6:10] = True  # to the right
    person[2, 8:20, 3:7] = True  # low
    assert _aside(person).tolist() == [False, True, True, True]  # the last is nobody


def test_other_pictures_tell_nothing(synthped: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for folder in synthped.iterdir():
        if folder.is_dir():
            (copy / folder.name).symlink_to(folder)
    with pytest.raises(DatasetError, match="copy: not rendered by this package"):
        conditions(load_dataset("synthped", copy))

from pathlib import Path

import pytest
import torch

from reidkit.data import Dataset, DatasetError, load_dataset
from reidkit.data.validation import hold_out


@pytest.fixture
def dataset(synthped: Path) -> Dataset:
    return load_dataset("synthped", synthped)  # 8 training identities


def test_held_out_people_are_in_no_two_splits(dataset: Dataset) -> None:
    held = hold_out(dataset, 3)
    assert len(held.train.identities) == 5
    assert held.query.identities.tolist() == held.gallery.identities.tolist()
    assert len(held.query.identities) == 3
    assert not torch.isin(held.query.ids, held.train.ids).any()
    paths = [*held.train.paths, *held.query.paths, *held.gallery.paths]
    assert sorted(paths) == sorted(dataset.train.paths)  # none lost, none twice, none of the test images


def test_every_camera_of_a_person_asks_once_and_can_be_answered(dataset: Dataset) -> None:
    held = hold_out(dataset, 3)
    asked = list(zip(held.query.ids.tolist(), held.query.cameras.tolist(), strict=True))
    assert len(set(asked)) == len(asked)
    seen = dataset.train.select(torch.isin(dataset.train.ids, held.query.ids))
    assert set(asked) == set(zip(seen.ids.tolist(), seen.cameras.tolist(), strict=True))


def test_the_choice_is_the_seeds(dataset: Dataset) -> None:
    assert hold_out(dataset, 3).query.paths == hold_out(dataset, 3).query.paths
    others = {tuple(hold_out(dataset, 3, seed).query.identities.tolist()) for seed in range(5)}
    assert len(others) > 1


def test_attributes_of_the_held_out_are_those_of_training(dataset: Dataset) -> None:
    held = hold_out(dataset, 3)
    assert held.attributes is not None
    assert dataset.attributes is not None
    labels = held.attributes.test.labels_of(held.query.ids)
    assert torch.equal(labels, dataset.attributes.train.labels_of(held.query.ids))


@pytest.mark.parametrize("identities", [8, 9])
def test_somebody_must_be_left_to_train_on(dataset: Dataset, identities: int) -> None:
    with pytest.raises(DatasetError, match=f"cannot hold {identities} of 8 training identities out"):
        hold_out(dataset, identities)

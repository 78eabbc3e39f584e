"""Reading market_attribute.mat and duke_attribute.mat, on files written as the authors wrote theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reidkit.data import DatasetError, read_attributes
from reidkit.data.attributes import GROUPS

Struct = dict[str, Any]


def make_split(variable: str, ids: list[int], *, seed: int = 0, reverse: bool = False) -> Struct:
    """A split as in the original files: coded from 1, at most one colour; `reverse` turns the order of fields."""
    rng = np.random.default_rng(seed)
    split: Struct = {}
    for group in GROUPS[variable]:
        labels = rng.integers(len(group.classes), size=len(ids))
        if len(group.fields) == 1:
            split[group.fields[0]] = (labels + 1).astype(np.uint8)
        else:
            for colour, field in enumerate(group.fields, start=1):
                split[field] = np.where(labels == colour, 2, 1).astype(np.uint8)
    split["image_index"] = np.array([f"{identity:04d}" for identity in ids], dtype=object)
    return dict(reversed(split.items())) if reverse else split


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(variable: str = "market_attribute", name: str = "", **content: Any) -> Path:
        path = tmp_path / (name or f"{variable}.mat")
        splits = {
            "train": make_split(variable, [2, 7, 10]),
            "test": make_split(variable, [1, 3], seed=1, reverse=True),
        }
        scipy.io.savemat(path, {variable: splits | content})
        return path

    return write


@pytest.mark.parametrize(
    ("variable", "groups", "attributes"), [("market_attribute", 12, 27), ("duke_attribute", 10, 23)]
)
def test_groups_cover_the_published_attributes(variable: str, groups: int, attributes: int) -> None:
    assert len(GROUPS[variable]) == groups
    fields = [field for group in GROUPS[variable] for field in group.fields]
    assert len(fields) == len(set(fields)) == attributes
    for group in GROUPS[variable]:
        assert len(set(group.classes)) == len(group.classes) > 1
        if len(group.fields) > 1:
            assert group.classes[0] == "none"
            assert [field.endswith(colour) for field, colour in zip(group.fields, group.classes[1:], strict=True)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variable=st.sampled_from(sorted(GROUPS)), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_reads_what_a_naive_loop_reads(tmp_path: Path, variable: str, seed: int, data: st.DataObject) -> None:
    """Fields in another order in each split, identities in any order: names and identities decide."""
    ids = data.draw(st.lists(st.integers(1, 9999), min_size=2, max_size=6, unique=True))
    splits = {
        "test": make_split(variable, ids[:1], seed=seed, reverse=True),
        "train": make_split(variable, ids[1:], seed=seed + 1),
    }
    path = tmp_path / f"{variable}.mat"
    scipy.io.savemat(path, {variable: splits})
    read = read_attributes(path, torch.tensor(ids[1:]), torch.tensor(ids[:1]))
    assert read.notes == ()
    for name, split in (("train", read.train), ("test", read.test)):
        source = splits[name]
        order = sorted(range(len(source["image_index"])), key=lambda i: source["image_index"][i])
        assert split.ids.tolist() == [int(source["image_index"][i]) for i in order]
        for column, group in enumerate(read.groups):
            for row, i in enumerate(order):
                if len(group.fields) == 1:
                    label = int(source[group.fields[0]][i]) - 1
                else:
                    worn = [field for field in group.fields if source[field][i] == 2]
                    label = group.fields.index(worn[0]) + 1 if worn else 0
                assert split.labels[row, column] == label


def test_market_coding(write: Callable[..., Path]) -> None:
    """Two people spelt out, after the authors' README: 1/2 coding, age 1 to 4, no colour marked is none."""
    fields = [field for group in GROUPS["market_attribute"] for field in group.fields]
    train: Struct = {field: [1, 1] for field in fields} | {
        "gender": [2, 1],
        "up": [2, 1],
        "clothes": [1, 2],
        "age": [4, 1],
    }
    train |= {"upwhite": [2, 1], "downbrown": [1, 2], "image_index": np.array(["0002", "0007"], dtype=object)}
    read = read_attributes(write(train=train))
    described = [
        {group.name: group.classes[label] for group, label in zip(read.groups, row, strict=True)}
        for row in read.train.labels.tolist()
    ]
    shared = {"hair length": "short", "lower-body length": "long", "hat": "no", "backpack": "no", "bag": "no"}
    shared |= {"handbag": "no"}
    assert described == [
        shared | {"gender": "female", "sleeve length": "short", "lower-body type": "dress", "age": "old",
                  "upper-body colour": "white", "lower-body colour": "none"},
        shared | {"gender": "male", "sleeve length": "long", "lower-body type": "trousers", "age": "young",
                  "upper-body colour": "none", "lower-body colour": "brown"},
    ]  # fmt: skip


def test_dukes_oddities_are_missing_labels_with_a_note(write: Callable[..., Path]) -> None:
    train, test = make_split("duke_attribute", [369, 370]), make_split("duke_attribute", [80, 81])
    train["top"] = np.array([1, 0], dtype=np.uint8)
    test["downblack"], test["downwhite"] = np.array([2, 1], np.uint8), np.array([2, 1], np.uint8)
    for field in ("downred", "downgray", "downblue", "downgreen", "downbrown"):
        test[field] = np.array([1, 1], np.uint8)
    read = read_attributes(write("duke_attribute", train=train, test=test))
    column = {group.name: i for i, group in enumerate(read.groups)}
    assert read.train.labels[:, column["upper-body length"]].tolist() == [0, -1]
    assert read.test.labels[:, column["lower-body colour"]].tolist() == [-1, 0]
    assert (read.train.labels < 0).sum() == (read.test.labels < 0).sum() == 1
    assert [("top" in note, "0370" in note) for note in read.notes[:1]] == [(True, True)]
    assert len(read.notes) == 2
    assert "0080" in read.notes[1]
    assert "downblack, downwhite" in read.notes[1]


def test_one_identity(write: Callable[..., Path]) -> None:
    """MATLAB files do not tell a scalar from a list of one."""
    read = read_attributes(write(test=make_split("market_attribute", [5])))
    assert read.test.ids.tolist() == [5]
    assert read.test.labels.shape == (1, 12)


def test_labels_of_images(write: Callable[..., Path]) -> None:
    split = read_attributes(write()).train
    labels = split.labels_of(torch.tensor([10, 2, 0, 10, -1]))
    assert torch.equal(labels[[0, 1, 3]], split.labels[[2, 0, 2]])
    assert (labels[[2, 4]] == -1).all()
    with pytest.raises(KeyError, match="0003, 9999"):
        split.labels_of(torch.tensor([2, 9999, 3]))


def changed(**fields: Any) -> Struct:
    return {
        name: value
        for name, value in (make_split("market_attribute", [2, 7, 10]) | fields).items()
        if value is not None
    }


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (changed(hat=None), r"market_attribute\.train lacks the fields hat"),
        (changed(boots=[1, 2, 1]), r"market_attribute\.train has the unknown fields boots"),
        (changed(gender=[1, 0, 2]), r"train\.gender: label 0 of 0007 is out of range, expected 1 to 2"),
        (changed(gender=[1, 2, 3]), r"train\.gender: label 3 of 0010 is out of range"),
        (changed(age=[1, 5, 5]), r"train\.age: label 5 of 0007 .* expected 1 to 4 \(2 such labels\)"),
        (changed(upred=[1, 1.5, 1]), r"train\.upred: label 1\.5 of 0007"),
        (changed(bag=[1, 2]), r"train\.bag: 2 labels for 3 identities"),
        (changed(image_index=np.array(["0002", "0007", "0002"], object)), "more than one entry for 0002"),
        (
            changed(image_index=np.array(["0002", "0007", "x"], object)),
            r"image_index: expected identities .*'x'",
        ),
        *(
            (changed(image_index=np.array(ids, object)), r"train\.image_index: expected identities such as '0002'")
            for ids in ([2, 7, 0], [2, 7, -1], [2, 7, 9.5], [2, 7, 1e300], [2, 7, np.inf], ["2", "7", "9" * 30])
        ),
        (changed(hat=np.array(["1", "2", "1"], object)), r"train\.hat: labels are no numbers"),
        (changed(upred=np.array([[1, 2], [1], [1]], object)), r"train\.upred: labels are no numbers"),
        (changed(age="123"), r"train\.age: 1 labels for 3 identities"),
        (changed(bag={"yes": 1}), r"train\.bag: 1 labels for 3 identities"),
        ([1, 2], "market_attribute has no struct 'train'"),
    ],
)
def test_names_what_does_not_fit(write: Callable[..., Path], train: Any, message: str) -> None:
    path = write(train=train)
    with pytest.raises(DatasetError, match=message) as caught:
        read_attributes(path)
    assert str(path) in str(caught.value)


def test_identities_without_labels(write: Callable[..., Path]) -> None:
    read_attributes(path := write(), torch.tensor([2, 2, 10]), torch.tensor([3]))
    with pytest.raises(DatasetError, match=r"no train attributes for 2 identities .*0003, 0004"):
        read_attributes(path, torch.tensor([4, 2, 3]))
    with pytest.raises(DatasetError, match=r"no test attributes for 12 .* and 2 more"):
        read_attributes(path, test_ids=torch.arange(4, 16))


def test_another_data_sets_file(write: Callable[..., Path]) -> None:
    path = write("duke_attribute", name="market_attribute.mat")
    with pytest.raises(DatasetError, match="found duke_attribute: it is another data set's attribute file"):
        read_attributes(path)
    assert len(read_attributes(write("duke_attribute", name="anything.mat")).groups) == 10


@pytest.mark.parametrize("content", [None, b"", b"not a MATLAB file, but long enough to be taken for one" * 9])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "market_attribute.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read as a MATLAB file") as caught:
        read_attributes(path)
    assert str(path) in str(caught.value)


def test_truncated_file(write: Callable[..., Path]) -> None:
    path = write()
    whole = path.read_bytes()
    for length in (100, 200, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"market_attribute\.mat"):
            read_attributes(path)

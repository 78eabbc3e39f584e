"""The readers, on small trees laid out exactly like the originals."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidkit.data import Dataset, DatasetError, Split, file_list_checksum, load_dataset
from reidkit.data.attributes import GROUPS


def rows(split: Split) -> list[tuple[str, int, int]]:
    assert len(split) == len(split.paths) == len(split.ids) == len(split.cameras)
    assert split.ids.dtype == split.cameras.dtype == torch.int64
    assert all(path.is_file() for path in split.paths)
    return list(zip((p.name for p in split.paths), split.ids.tolist(), split.cameras.tolist(), strict=True))


def write_attributes(path: Path, variable: str, train: list[int], test: list[int]) -> None:
    def split(ids: list[int]) -> dict[str, object]:
        fields = {field: np.ones(len(ids), np.uint8) for group in GROUPS[variable] for field in group.fields}
        return {**fields, "image_index": np.array([f"{identity:04d}" for identity in ids], dtype=object)}

    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {variable: {"train": split(train), "test": split(test)}})


@pytest.mark.parametrize("name", ["market1501", "synthped"])
def test_market_layout(market: Path, name: str) -> None:
    if name == "synthped":  # the same layout, but no file of ours is called .jpg.jpg
        for path in list(market.glob("*/*.jpg.jpg")):
            path.rename(path.with_suffix(""))
    suffix = ".jpg.jpg" if name == "market1501" else ".jpg"
    dataset = load_dataset(name, market)
    assert (dataset.name, dataset.root, dataset.attributes) == (name, market, None)
    assert rows(dataset.train) == [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c2s1_000301_01.jpg", 2, 2),
        ("0007_c6s6_023071_12.jpg", 7, 6),
    ]
    assert rows(dataset.query) == [
        ("0001_c1s1_001051_00.jpg", 1, 1),
        ("1488_c1s6_023021_00" + suffix, 1488, 1),
    ]
    assert rows(dataset.gallery) == [
        ("0000_c3s2_000077_05.jpg", 0, 3),  # a distractor stays; junk (-1) is gone
        ("0001_c2s1_000301_02.jpg", 1, 2),
        ("1488_c6s3_094992_01" + suffix, 1488, 6),
    ]


def test_duke_layout(duke: Path) -> None:
    dataset = load_dataset("dukemtmcreid", duke)
    assert rows(dataset.train) == [("0001_c2_f0046182.jpg", 1, 2), ("0008_c8_f0046302.jpg", 8, 8)]
    assert rows(dataset.query) == [("0005_c2_f0046985.jpg", 5, 2)]
    assert rows(dataset.gallery) == [("0002_c1_f0044158.jpg", 2, 1), ("0005_c6_f0091440.jpg", 5, 6)]


def test_msmt_layout(msmt: Path) -> None:
    dataset = load_dataset("msmt17", msmt)
    assert rows(dataset.train) == [  # list_train.txt and list_val.txt
        ("0000_000_01_0303morning_0015_0_ex.jpg", 0, 1),
        ("0000_001_07_0302afternoon_0100_2.jpg", 0, 7),
        ("0001_002_15_0113noon_0002_1.jpg", 1, 15),
    ]
    assert rows(dataset.query) == [("0000_000_01_0303morning_0008_0_ex.jpg", 0, 1)]
    assert rows(dataset.gallery) == [
        ("0000_001_02_0303noon_0001_0.jpg", 0, 2),
        ("0003_000_04_0114morning_0015_0.jpg", 3, 4),
    ]
    assert dataset.train.paths[0].parent == msmt / "train" / "0000"
    assert dataset.query.paths[0].parent == msmt / "test" / "0000"


@pytest.mark.parametrize(("name", "tree"), [("market1501", "market"), ("dukemtmcreid", "duke"), ("msmt17", "msmt")])
def test_root_may_be_the_folder_that_holds_it(name: str, tree: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(tree)
    inside, above = load_dataset(name, root), load_dataset(name, str(root.parent))
    assert inside.root == above.root == root
    assert inside.query.paths == above.query.paths


@given(st.lists(st.integers(1, 9999), min_size=1))
def test_labels_are_contiguous_and_in_order_of_identity(ids: list[int]) -> None:
    split = Split(tuple(Path(str(i)) for i in ids), torch.tensor(ids), torch.ones(len(ids), dtype=torch.int64))
    numbers = sorted(set(ids))
    assert split.labels().tolist() == [numbers.index(identity) for identity in ids]
    assert split.identities.tolist() == numbers
    chosen = split.select(split.ids == ids[0])
    assert chosen.ids.tolist() == [ids[0]] * ids.count(ids[0])
    assert {path.name for path in chosen.paths} == {str(ids[0])}


def test_checksum_tells_files_and_sizes_but_not_places(market: Path, image: Callable[[Path], None]) -> None:
    def checksum(root: Path = market) -> str:
        return file_list_checksum(load_dataset("market1501", root))

    before = checksum()
    assert re.fullmatch("[0-9a-f]{64}", before)
    assert checksum(Path(shutil.copytree(market, market.parent / "copy"))) == before
    image(market / "bounding_box_test" / "-1_c1s1_000999_03.jpg")  # junk is not part of the data set
    assert checksum() == before
    image(extra := market / "bounding_box_test" / "0001_c3s1_000999_03.jpg")
    with_extra = checksum()
    extra.write_bytes(extra.read_bytes() + b"\0")
    changed = checksum()
    extra.rename(market / "query" / extra.name)
    assert len({before, with_extra, changed, checksum()}) == 4


# attributes


@pytest.mark.parametrize("place", ["attribute", ".", "..", "../attribute"])
def test_attributes_in_the_root_or_beside_it(market: Path, place: str) -> None:
    write_attributes(market / place / "market_attribute.mat", "market_attribute", [2, 7], [1, 1488])
    attributes = load_dataset("market1501", market).attributes
    assert attributes is not None
    assert attributes.test.ids.tolist() == [1, 1488]


def test_synthped_takes_either_attribute_file_but_not_both(market: Path) -> None:
    for path in list(market.glob("*/*.jpg.jpg")):
        path.rename(path.with_suffix(""))
    write_attributes(market / "attribute" / "duke_attribute.mat", "duke_attribute", [2, 7], [1, 1488])
    attributes = load_dataset("synthped", market).attributes
    assert attributes is not None
    assert len(attributes.groups) == 10
    write_attributes(market / "attribute" / "market_attribute.mat", "market_attribute", [2, 7], [1, 1488])
    with pytest.raises(DatasetError, match=r"market_attribute\.mat and duke_attribute\.mat: leave only"):
        load_dataset("synthped", market)


def test_attributes_must_cover_the_people_in_the_images(market: Path) -> None:
    write_attributes(market / "market_attribute.mat", "market_attribute", [2, 7], [1])
    with pytest.raises(DatasetError, match=r"market_attribute\.mat: no test attributes for 1 .*1488"):
        load_dataset("market1501", market)


# bad input: the message names the path and the expected layout


def error(name: str, root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(name, root)
    return str(caught.value)


def test_unknown_name(tmp_path: Path) -> None:
    assert "did you mean 'market1501'" in error("market1051", tmp_path)


def test_root_is_missing_or_holds_something_else(tmp_path: Path) -> None:
    message = error("market1501", tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'} is not a folder" in message
    assert "expected layout:\n  Market-1501-v15.09.15/\n    bounding_box_train/" in message
    message = error("msmt17", tmp_path)
    assert f"{tmp_path} or {tmp_path / 'MSMT17_V1'}" in message
    assert "list_gallery.txt" in message


@pytest.mark.parametrize(("name", "tree"), [("market1501", "market"), ("dukemtmcreid", "duke")])
@pytest.mark.parametrize("folder", ["bounding_box_train", "query", "bounding_box_test"])
def test_half_extracted_folders(name: str, tree: str, folder: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(tree)
    shutil.rmtree(root / folder)
    message = error(name, root.parent)
    assert f"{root / folder}: no such folder" in message
    assert "expected layout" in message
    (root / folder).mkdir()
    assert f"{root / folder}: holds no image named like" in error(name, root)


@pytest.mark.parametrize(
    "name",
    ["0002_c7s1_000451_03.jpg", "0002_c1s1_000451.jpg", "2_c1s1_000451_03.jpg", "0002_c1s1_000451_03.png",
     "0002_c1s1_000451_03 (1).jpg", "._0002_c1s1_000451_03.jpg", "a0002_c1s1_000451_03.jpg"],
)  # fmt: skip
def test_image_with_an_odd_name(market: Path, name: str) -> None:
    (market / "bounding_box_train" / name).touch()
    message = error("market1501", market)
    assert f"{market / 'bounding_box_train' / name}: the file name does not fit" in message
    assert "0002_c1s1_000451_03.jpg" in message


def test_files_that_are_no_images_are_passed_over(market: Path) -> None:
    before = rows(load_dataset("market1501", market).train)
    (market / "bounding_box_train" / ".DS_Store").touch()
    assert rows(load_dataset("market1501", market).train) == before


@pytest.mark.parametrize("folder", ["bounding_box_train", "query"])
@pytest.mark.parametrize("identity", ["0000", "-1"])
def test_nobody_is_trained_on_or_searched_for(
    market: Path, image: Callable[[Path], None], folder: str, identity: str
) -> None:
    image(path := market / folder / f"{identity}_c1s1_000451_03.jpg")
    assert f"{path}: junk (-1) and distractors (0) belong in bounding_box_test only" in error("market1501", market)


def test_every_problem_up_to_ten_is_told_at_once(market: Path) -> None:
    shutil.rmtree(market / "query")
    for number in range(12):
        (market / "bounding_box_train" / f"{number}.jpg").touch()
    message = error("market1501", market)
    assert len(re.findall(r"^  - ", message, re.MULTILINE)) == 11
    assert "and 3 more: `reidkit data check`" in message


def test_msmt_bad_lists(msmt: Path) -> None:
    gone = msmt / "train" / "0001" / "0001_002_15_0113noon_0002_1.jpg"
    gone.unlink()
    (msmt / "list_gallery.txt").unlink()
    query = msmt / "list_query.txt"
    good = query.read_text()
    query.write_text(f"{good}\n{good}0000/0000_000_01_0303morning_0008_0_ex.jpg\n0000/c1.jpg 0\n")
    message = error("msmt17", msmt)
    assert f"{gone}: listed in list_train.txt, line 2, but there is no such file" in message
    assert f"{msmt / 'list_gallery.txt'}: no such file" in message
    assert f"{query}, line 3: {good.split()[0]} is listed twice" in message
    assert f"{query}, line 4: expected 'path identity'" in message
    assert f"{query}, line 5: '0000/c1.jpg' does not fit" in message
    shutil.rmtree(msmt / "test")
    assert f"{msmt / 'test'}: no such folder" in error("msmt17", msmt)


def test_market_and_duke_are_not_taken_for_each_other(market: Path, duke: Path) -> None:
    assert "does not fit the pattern of 0002_c1s1_000451_03.jpg" in error("market1501", duke)
    assert "does not fit the pattern of 0001_c2_f0046182.jpg" in error("dukemtmcreid", market)


def test_a_data_set_cannot_be_changed(market: Path) -> None:
    dataset: Dataset = load_dataset("market1501", market)
    with pytest.raises(AttributeError):
        dataset.train = dataset.query  # type: ignore[misc]

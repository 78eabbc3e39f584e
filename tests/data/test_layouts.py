"""The readers, on small trees laid out exactly like the originals."""

import os
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
from reidkit.data.layouts import IMAGE_SUFFIXES, LAYOUTS, read_dataset


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


def test_zero_is_a_person_in_msmt17_and_nobody_elsewhere(market: Path, msmt: Path) -> None:
    assert load_dataset("market1501", market).distractors.tolist() == [True, False, False]
    assert load_dataset("msmt17", msmt).distractors.tolist() == [False, False]


views = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=8)


@given(views, views)
def test_a_query_is_answerable_by_another_camera_only(
    query: list[tuple[int, int]], gallery: list[tuple[int, int]]
) -> None:
    def split(views: list[tuple[int, int]]) -> Split:
        ids, cameras = (torch.tensor([view[i] for view in views], dtype=torch.int64) for i in (0, 1))
        return Split(tuple(Path(str(i)) for i in range(len(views))), ids, cameras)

    dataset = Dataset("own", Path(), split([]), split(query), split(gallery), None)
    expected = [any(p == person and c != camera for p, c in gallery) for person, camera in query]
    assert dataset.answerable.tolist() == expected
    assert dataset.answerable.dtype == torch.bool


# one's own pictures


@pytest.fixture
def own(tmp_path: Path, image: Callable[[Path], None]) -> Path:
    """More cameras and more digits than Market-1501's, names that go on as they like, and its marks."""
    for name in ("bounding_box_train/1_c1_a.jpg", "bounding_box_train/123456789012_c17_left door.JPEG",
                 "bounding_box_train/0031_c0.png", "query/7_c1s1_000151_01.jpg.jpg", "query/8_c2é.PNG",
                 "bounding_box_test/7_c23_1.webp", "bounding_box_test/8_c1_1.Tif", "bounding_box_test/0_c1.bmp",
                 "bounding_box_test/0000_c2_.gif", "bounding_box_test/-1_c3_.jpg"):  # fmt: skip
        image(tmp_path / "shop" / name)
    return tmp_path / "shop"


def test_own_pictures(own: Path) -> None:
    dataset = load_dataset("own", own)
    assert (dataset.name, dataset.root, dataset.attributes) == ("own", own, None)
    assert rows(dataset.train) == [
        ("0031_c0.png", 31, 0), ("123456789012_c17_left door.JPEG", 123456789012, 17), ("1_c1_a.jpg", 1, 1),
    ]  # fmt: skip
    assert rows(dataset.query) == [("7_c1s1_000151_01.jpg.jpg", 7, 1), ("8_c2é.PNG", 8, 2)]
    assert rows(dataset.gallery) == [
        ("0000_c2_.gif", 0, 2), ("0_c1.bmp", 0, 1), ("7_c23_1.webp", 7, 23), ("8_c1_1.Tif", 8, 1),
    ]  # fmt: skip
    assert dataset.distractors.tolist() == [True, True, False, False]
    assert dataset.answerable.all()


@given(
    identity=st.integers(1, 10**18 - 1),
    zeros=st.integers(0, 3),
    camera=st.integers(0, 10**9),
    rest=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), max_size=20),
    suffix=st.sampled_from(sorted(IMAGE_SUFFIXES)),
)
def test_own_names_say_identity_and_camera_and_go_on_as_they_like(
    identity: int, zeros: int, camera: int, rest: str, suffix: str
) -> None:
    digits = "0" * min(zeros, 18 - len(str(identity))) + str(identity)
    separator = "" if not rest[:1].isdecimal() else "_"
    match = LAYOUTS["own"].file_name.fullmatch(f"{digits}_c{camera}{separator}{rest}{suffix}")
    assert match is not None
    assert (int(match["id"]), int(match["camera"])) == (identity, camera)


@pytest.mark.parametrize("name", ["IMG_0001.jpg", "c1_0001.jpg", "1_c.jpg", "-2_c1.jpg", "1_c1", f"{'9' * 19}_c1.jpg"])
def test_own_names_that_say_neither(own: Path, name: str) -> None:
    (own / "query" / name).touch()
    if name == "1_c1":  # no image
        load_dataset("own", own)
        return
    message = error("own", own)
    assert f"{own / 'query' / name}: the file name does not fit the pattern of 1_c1_anything.jpg" in message
    assert "a folder of any name/\n    bounding_box_train/1_c1_anything.jpg" in message


def test_a_file_name_that_is_no_text(own: Path) -> None:
    """As on a disk of other times, written in Latin-1: no record could name it."""
    image = sorted((own / "query").iterdir())[0]
    odd = os.fsencode(image.with_suffix("")) + b"_K\xf6ln.jpg"
    try:
        os.rename(image, odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DatasetError, match="is not in utf-8; give it another"):
        load_dataset("own", own)


def test_own_people_are_numbered_from_1(own: Path, image: Callable[[Path], None]) -> None:
    image(path := own / "bounding_box_train" / "0_c1_a.jpg")
    assert f"{path}: junk (-1) and distractors (0) belong in bounding_box_test only; people are numbered from 1" in (
        error("own", own)
    )


def test_odd_names_in_market1501_lead_to_own(market: Path, image: Callable[[Path], None]) -> None:
    image(market / "query" / "0001_c7s1_001051_00.jpg")
    assert 'pictures of your own in these folders are the data set "own"' in error("market1501", market)
    assert load_dataset("own", market).query.cameras.tolist() == [1, 7, 1]


def test_own_attributes_are_those_in_the_folder_only(own: Path) -> None:
    write_attributes(own.parent / "market_attribute.mat", "market_attribute", [2, 7], [1, 1488])  # somebody else's
    assert load_dataset("own", own).attributes is None
    write_attributes(own / "market_attribute.mat", "market_attribute", [1, 31, 123456789012], [7, 8])
    attributes = load_dataset("own", own).attributes
    assert attributes is not None
    assert attributes.train.ids.tolist() == [1, 31, 123456789012]


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
     "0002_c1s1_000451_03 (1).jpg", "0002_c1s1_000451_03.JPG", "a0002_c1s1_000451_03.jpg"],
)  # fmt: skip
def test_image_with_an_odd_name(market: Path, name: str) -> None:
    (market / "bounding_box_train" / name).touch()
    message = error("market1501", market)
    assert f"{market / 'bounding_box_train' / name}: the file name does not fit" in message
    assert "0002_c1s1_000451_03.jpg" in message


def test_what_is_no_image_or_hidden_is_passed_over_with_a_note(market: Path, image: Callable[[Path], None]) -> None:
    folder = market / "bounding_box_train"
    before = rows(load_dataset("market1501", market).train)
    assert [note.split(": ")[1] for note in read_dataset("market1501", market).notes] == [
        "1 passed over that are no images or hidden"
    ] * 3  # Thumbs.db in each folder
    (folder / "._0002_c1s1_000451_03.jpg").write_bytes(b"\0\5\x16\7" + bytes(100))  # a Mac's, on other file systems
    (folder / "desktop.ini").touch()
    image(folder / "@eaDir" / "0002_c1s1_000451_03.jpg")
    (folder / "empty").mkdir()
    reading = read_dataset("market1501", market)
    assert reading.problems == ()
    assert rows(reading.dataset.train) == before
    assert f"{folder}: 4 passed over that are no images or hidden: ._0002_c1s1_000451_03.jpg, @eaDir, Thumbs.db, " in (
        note.replace("Thumbs.db, desktop.ini", "Thumbs.db, ") for note in reading.notes
    )
    assert f"{folder / 'empty'}: a folder without images, passed over" in reading.notes


def test_images_in_a_folder_within_are_not_ignored_without_a_word(market: Path, image: Callable[[Path], None]) -> None:
    inner = market / "bounding_box_train" / "0002"
    for name in ("0002_c1s1_000452_03.jpg", "more/0002_c1s1_000453_03.png"):
        image(inner / name)
    (inner / "._0002_c1s1_000452_03.jpg").touch()  # hidden there too
    assert f"{inner}: a folder within bounding_box_train, so that 2 images in it would not be read" in error(
        "market1501", market
    )


def test_what_is_named_like_an_image_and_is_no_file(market: Path) -> None:
    links = {
        "0001_c3s1_001051_00.jpg": "nowhere.jpg",
        "0001_c3s1_001052_00.jpg": "0001_c3s1_001052_00.jpg",  # itself
    }
    for name, target in links.items():
        (market / "query" / name).symlink_to(target)
    (folder := market / "query" / "0001_c3s1_001053_00.jpg").mkdir()
    message = error("market1501", market)
    for name in links:
        assert f"{market / 'query' / name}: a link to a file that is not there" in message
    assert f"{folder}: a folder, where an image is expected" in message


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_msmt_lists_with_a_byte_order_mark(msmt: Path, encoding: str) -> None:
    expected = rows(load_dataset("msmt17", msmt).train)
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    for file in msmt.glob("list_*.txt"):
        file.write_bytes((mark + file.read_text()).replace("\n", "\r\n").encode(encoding))
    assert rows(load_dataset("msmt17", msmt).train) == expected


def test_msmt_list_that_is_no_text(msmt: Path) -> None:
    file = msmt / "list_query.txt"
    file.write_bytes("0000/0000_000_01_0303morning_0008_0_é.jpg 0".encode("latin-1"))
    assert f"{file}: cannot be read as text, in UTF-8 or marked as UTF-16: " in error("msmt17", msmt)


@pytest.mark.parametrize("folder", ["../test/0000", "/etc", "0000/../../test/0000"])
def test_msmt_list_that_leads_out_of_its_folder(msmt: Path, folder: str) -> None:
    file = msmt / "list_train.txt"
    file.write_text(f"{folder}/0000_000_01_0303morning_0008_0_ex.jpg 0\n")
    assert f"{file}, line 1: '{folder}/0000_000_01_0303morning_0008_0_ex.jpg' does not fit" in error("msmt17", msmt)


def test_market_and_duke_are_not_taken_for_each_other(market: Path, duke: Path) -> None:
    assert "does not fit the pattern of 0002_c1s1_000451_03.jpg" in error("market1501", duke)
    assert "does not fit the pattern of 0001_c2_f0046182.jpg" in error("dukemtmcreid", market)


def test_a_data_set_cannot_be_changed(market: Path) -> None:
    dataset: Dataset = load_dataset("market1501", market)
    with pytest.raises(AttributeError):
        dataset.train = dataset.query  # type: ignore[misc]

"""`reidkit data check` on small trees: what is wrong is listed, whole and by name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from reidkit.data.attributes import GROUPS
from reidkit.data.check import PUBLISHED, Counts, Report, check


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the small tree holds stands in for the published numbers."""
    counts = Counts((4, 2), (4, 2), (4, 3), cameras=3, distractors=1, junk=2)
    monkeypatch.setitem(PUBLISHED, "market1501", counts)


@pytest.fixture
def whole(market: Path, image: Callable[[Path], None], published: None) -> Path:
    """The small tree, filled up so that each split has three cameras and the check finds nothing."""
    for name in ("query/0001_c2s1_000001_00", "query/1488_c3s1_000001_00", "bounding_box_train/0007_c3s1_000001_01",
                 "bounding_box_test/0001_c1s1_000001_01"):  # fmt: skip
        image(market / f"{name}.jpg")
    (market / "bounding_box_test" / "1488_c6s3_094992_01.jpg.jpg").rename(
        market / "bounding_box_test" / "1488_c1s3_094992_01.jpg.jpg"
    )
    (market / "bounding_box_train" / "0007_c6s6_023071_12.jpg").rename(
        market / "bounding_box_train" / "0007_c1s6_023071_12.jpg"
    )
    return market


def failures(report: Report) -> str:
    assert report.ok == (not any(line.startswith("FAIL") for line in report.lines))
    return "\n".join(line for line in report.lines if line.startswith("FAIL"))


def test_published_numbers_agree_with_each_other() -> None:
    market, msmt = PUBLISHED["market1501"], PUBLISHED["msmt17"]
    assert market.gallery[0] + market.junk == 19732
    assert market.gallery[0] - market.distractors == 13115
    assert msmt.train[0] == 30248 + 2373
    assert msmt.train[0] + msmt.query[0] + msmt.gallery[0] == 126441
    assert msmt.train[1] + msmt.gallery[1] == 4101


def test_counts_fall_short_of_the_published(market: Path) -> None:
    report = check("market1501", market.parent, progress=False)
    assert not report.ok
    assert report.root == market
    text = str(report)
    assert "FAIL  train: 3 images of 2 identities from 3 cameras (published: 12,936 of 751 from 6)" in text
    assert "FAIL  bounding_box_test: 5 = 2 good + 1 distractors + 2 junk (published: 2,798" in text
    assert "ok    unreadable images: 0 of 10" in text


def test_nothing_published_about_synthped(market: Path) -> None:
    for path in list(market.glob("*/*.jpg.jpg")):
        path.rename(path.with_suffix(""))
    report = check("synthped", market, progress=False)
    assert report.ok
    assert "nothing is wrong" in str(report)
    assert "ok    gallery: 3 images of 3 identities from 3 cameras" in report.lines


def test_a_whole_data_set(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = check("market1501", whole)
    assert report.ok
    assert failures(report) == ""
    assert "14/14" in capsys.readouterr().err  # the progress bar


def test_every_bad_file_is_listed(whole: Path) -> None:
    junk, truncated, unended, empty, text = sorted(whole.glob("*/*.jpg"))[:9:2]
    assert junk.name.startswith("-1")
    junk.write_bytes(junk.read_bytes()[:200])
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    unended.write_bytes(unended.read_bytes()[:-2])  # only the end marker is gone
    empty.write_bytes(b"")
    text.write_text("<html>not found</html>")
    (odd := whole / "query" / "IMG_1.JPG").touch()
    found = failures(check("market1501", whole, progress=False)).splitlines()
    assert found[0].startswith(f"FAIL  {odd}: the file name does not fit")
    assert found[1] == "FAIL  unreadable images: 5 of 14"
    named = {line.removeprefix("FAIL").strip().split(": ")[0] for line in found[2:]}
    assert named == {str(path) for path in (junk, truncated, unended, empty, text)}
    assert not any(".cpp" in line for line in found)  # the reason, without the decoder's own source lines


def test_leakage_by_identity_and_by_content(market: Path, image: Callable[[Path], None]) -> None:
    image(market / "bounding_box_test" / "0007_c1s1_000451_03.jpg")
    train = market / "bounding_box_train" / "0002_c1s1_000451_03.jpg"
    copy = market / "bounding_box_test" / "-1_c1s1_000451_03.jpg"
    shutil.copy(train, copy)
    found = failures(check("market1501", market, progress=False))
    assert "identities in both training and test: 0007" in found
    assert "images in both training and test: 1" in found
    assert f"{train} and {copy} are the same image" in found


def test_a_query_without_its_person_in_the_gallery(market: Path) -> None:
    (market / "bounding_box_test" / "0001_c2s1_000301_02.jpg").unlink()
    assert "query identities that the gallery lacks: 0001" in failures(check("market1501", market, progress=False))


def test_msmt_numbers_of_training_and_test_are_not_compared(msmt: Path) -> None:
    report = check("msmt17", msmt, progress=False)
    assert "identities in both" not in failures(report)  # though both have a person 0
    assert any(line.startswith("note  identities in both") for line in report.lines)
    shutil.copy(next(msmt.glob("train/*/*.jpg")), next(msmt.glob("test/*/*.jpg")))
    assert "are the same image" in failures(check("msmt17", msmt, progress=False))


def test_person_0_of_msmt17_is_no_distractor(msmt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts((3, 2), (1, 1), (2, 2), cameras=3)
    monkeypatch.setitem(PUBLISHED, "msmt17", counts)
    text = str(check("msmt17", msmt, progress=False))
    assert "gallery: 2 images of 2 identities" in text
    assert "distractors" not in text


def test_one_camera_cannot_be_measured(tmp_path: Path, image: Callable[[Path], None]) -> None:
    for name in ("bounding_box_train/1_c4_a.jpg", "query/2_c4_a.jpg", "bounding_box_test/2_c4_b.jpg"):
        image(tmp_path / name)
    assert (
        "FAIL  queries with a match from another camera: 0 of 1: nothing can be measured, since matches from the "
        "query's own camera do not count and camera 4 is the only one"
    ) in failures(check("own", tmp_path, progress=False))
    image(tmp_path / "bounding_box_test" / "3_c5_a.jpg")  # another camera, but not of that person
    assert failures(check("own", tmp_path, progress=False)).endswith("own camera do not count")
    image(tmp_path / "bounding_box_test" / "2_c5_b.jpg")
    assert check("own", tmp_path, progress=False).ok


def test_queries_without_a_match_are_counted(market: Path) -> None:
    for name in ("query/0001_c2s1_001051_00", "query/0001_c2s1_001052_00"):  # its only image is camera 2's, too
        shutil.copy(market / "query" / "0001_c1s1_001051_00.jpg", market / f"{name}.jpg")
    lines = check("market1501", market, progress=False).lines
    at = lines.index("ok    queries with a match from another camera: 2 of 4")
    assert lines[at + 1] == "note    2 queries without one are left out of every measure"


def test_what_was_passed_over_is_noted(market: Path) -> None:
    (market / "query" / "._0001_c1s1_001051_00.jpg").touch()
    report = check("market1501", market, progress=False)
    assert (
        f"note  {market / 'query'}: 2 passed over that are no images or hidden: ._0001_c1s1_001051_00.jpg, Thumbs.db"
        in (report.lines)
    )
    assert "passed over" not in failures(report)


def test_an_image_of_several_frames_is_listed(market: Path) -> None:
    path = market / "query" / "0001_c1s1_001051_00.jpg"
    frame = Image.open(path)
    frame.save(path, "GIF", save_all=True, append_images=[frame.rotate(180)])
    assert f"FAIL    {path}: not a readable image (it holds 2 frames; expected one picture)" in (
        check("market1501", market, progress=False).lines
    )


def test_attributes(market: Path) -> None:
    def write(train: list[int]) -> None:
        def split(ids: list[int]) -> dict[str, object]:
            fields = {f: np.ones(len(ids)) for group in GROUPS["market_attribute"] for f in group.fields}
            return {**fields, "image_index": np.array([f"{identity:04d}" for identity in ids], dtype=object)}

        content = {"train": split(train), "test": split([1, 1488])}
        scipy.io.savemat(market / "market_attribute.mat", {"market_attribute": content})

    assert any("attributes: none read" in line for line in check("market1501", market, progress=False).lines)
    write([2, 7])
    report = check("market1501", market, progress=False)
    assert "attributes" not in failures(report)
    assert any(line.startswith("ok    train attributes: 12 groups for 2 identities, 0") for line in report.lines)
    write([2, 7, 9])
    assert "identities without an image: 0009" in failures(check("market1501", market, progress=False))
    write([2])
    assert "no train attributes for 1 identities" in failures(check("market1501", market, progress=False))


def test_nothing_there(tmp_path: Path) -> None:
    report = check("dukemtmcreid", tmp_path / "gone", progress=False)
    assert not report.ok
    assert f"{tmp_path / 'gone'} is not a folder" in failures(report)
    assert "expected layout" in str(report)


def test_half_extracted(duke: Path) -> None:
    shutil.rmtree(duke / "query")
    found = failures(check("dukemtmcreid", duke, progress=False))
    assert f"{duke / 'query'}: no such folder" in found
    assert "query: 0 images of 0 identities" in found

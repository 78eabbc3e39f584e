"""SynthPed: the same bytes every time, Market-1501's layout, attribute files like the originals, part maps that fit."""

import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.data import load_dataset
from reidkit.data.synthped import ATTRIBUTE_PARTS, MAT_FIELDS, PARTS, PRESETS, RENDERER, Cast, Shot, plan, render, take
from reidkit.data.synthped import dataset as synthped
from reidkit.data.synthped.bodies import Solid, View, body, draw
from reidkit.data.synthped.people import COLOURS, Cloth, Print

SMALL = {"train_identities": 4, "test_identities": 3, "images_per_identity": 8, "distractors": 3, "junk": 2}
TINY = {"train_identities": 1, "test_identities": 1, "images_per_identity": 8, "distractors": 0, "junk": 1}

# The fields of the originals, in their order, copied from the published files.
MARKET_TEST = """age backpack bag handbag clothes down up hair hat gender upblack upwhite upred uppurple upyellow upgray
upblue upgreen downblack downwhite downpink downpurple downyellow downgray downblue downgreen downbrown image_index"""
MARKET_TRAIN = """age backpack bag handbag downblack downblue downbrown downgray downgreen downpink downpurple
downwhite downyellow upblack upblue upgreen upgray uppurple upred upwhite upyellow clothes down up hair hat gender
image_index"""
DUKE_TRAIN = """backpack bag handbag boots gender hat shoes top downblack downwhite downred downgray downblue downgreen
downbrown upblack upwhite upred uppurple upgray upblue upgreen upbrown image_index"""
DUKE_TEST = """boots shoes top gender hat backpack bag handbag downblack downwhite downred downgray downblue downgreen
downbrown upblack upwhite upred upgray upblue upgreen uppurple upbrown image_index"""


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("synthped") / "market", seed=3, workers=2, progress=False, **SMALL)


def test_the_number_of_workers_changes_no_byte(rendered: Path, tmp_path: Path) -> None:
    again = render(tmp_path / "again", seed=3, workers=1, progress=False, **SMALL)
    assert digests(again) == digests(rendered)


PICTURES = {  # by preset, what the first sixteen pictures and part maps are to the bit
    "market-like": "47d2cb4194d1504c",
    "duke-like": "a6ef53d7b9df53f7",
    "msmt-like": "2ed41089ed17f90b",
}


def taken(preset: str) -> str:
    """A checksum of the first pictures of a preset and their part maps."""
    cast = Cast(PRESETS[preset], 0)
    arrays = (array for shot in plan(PRESETS[preset], 0)[:16] for array in take(shot, cast))
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="NumPy's tanh is another one there")
@pytest.mark.parametrize("without", ["", "X86_V4 AVX512_ICL"])  # features of the CPU that NumPy may not use
def test_every_cpu_draws_the_pictures_that_the_renderers_name_stands_for(without: str) -> None:
    """Where this fails everywhere, the pictures were changed: `RENDERER` needs another name, and runs other records."""
    code = "from tests.data.test_synthped import PICTURES, taken; print({p: taken(p) for p in PICTURES})"
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": without}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(done.stdout) == PICTURES
    assert RENDERER == "80ee49393ea93e6c"


def test_another_seed_is_another_data_set() -> None:
    preset, shot = PRESETS["market-like"], Shot("query", 1, 1, 1, 1, 1, 0)
    assert plan(preset, 3) == plan(preset, 3) != plan(preset, 4)
    assert Cast(preset, 3).looks == Cast(preset, 3).looks != Cast(preset, 4).looks
    assert (take(shot, Cast(preset, 3))[0] != take(shot, Cast(preset, 4))[0]).mean() > 0.5


def test_is_read_as_market_1501_is(rendered: Path) -> None:
    dataset = load_dataset("synthped", rendered)
    assert len(dataset.train.ids.unique()) == 4
    assert len(dataset.query.ids.unique()) == 3
    assert not set(dataset.train.ids.tolist()) & set(dataset.query.ids.tolist())
    assert (dataset.gallery.ids == 0).sum() == 3, "distractors stay in the gallery"
    assert (dataset.gallery.ids >= 0).all(), "junk does not"
    assert len(list((rendered / "bounding_box_test").glob("-1_*.jpg"))) == 2
    for identity, camera in zip(dataset.query.ids, dataset.query.cameras, strict=True):
        matches = (dataset.gallery.ids == identity) & (dataset.gallery.cameras != camera)
        assert matches.any(), f"person {identity} of camera {camera} has no true match"
    assert dataset.attributes is not None
    assert dataset.attributes.train.ids.tolist() == dataset.train.ids.unique().tolist()
    assert dataset.attributes.test.ids.tolist() == dataset.query.ids.unique().tolist()


def test_images_are_native_crops_and_every_one_has_its_part_map(rendered: Path) -> None:
    images = sorted(path.relative_to(rendered) for path in rendered.glob("*/*.jpg"))
    maps = sorted(path.relative_to(rendered / "parts") for path in rendered.glob("parts/*/*.png"))
    assert [path.with_suffix("") for path in images] == [path.with_suffix("") for path in maps]
    for image, part_map in zip(images, maps, strict=True):
        with Image.open(rendered / image) as picture, Image.open(rendered / "parts" / part_map) as labels:
            assert (picture.size, picture.mode, labels.size, labels.mode) == ((64, 128), "RGB", (64, 128), "L")
            assert np.asarray(labels).max() <= max(PARTS.values())


@pytest.mark.parametrize(
    ("preset", "splits"),
    [
        ("market-like", {"test": MARKET_TEST, "train": MARKET_TRAIN}),
        ("duke-like", {"train": DUKE_TRAIN, "test": DUKE_TEST}),
        ("msmt-like", {"test": MARKET_TEST, "train": MARKET_TRAIN}),
    ],
)
def test_the_attribute_file_is_laid_out_as_the_original(preset: str, splits: dict[str, str], tmp_path: Path) -> None:
    size, name = replace(PRESETS[preset], train_identities=9, test_identities=5), PRESETS[preset].attributes
    shots, cast = plan(size, 1), Cast(size, 1)
    synthped._write_attributes(tmp_path / "a.mat", size, cast, shots)
    outer = scipy.io.loadmat(tmp_path / "a.mat")[name]
    assert outer.shape == (1, 1)
    assert outer.dtype.names == tuple(splits)
    for split, fields in splits.items():
        inner, people = outer[split][0, 0], {"train": 9, "test": 5}[split]
        assert inner.dtype.names == tuple(fields.split())
        ids = [str(cell[0]) for cell in inner["image_index"][0, 0][0]]
        assert ids == sorted(ids)
        assert all(len(identity) == 4 for identity in ids)
        for field in fields.split()[:-1]:
            values = inner[field][0, 0]
            assert values.dtype == np.uint8
            assert values.shape == (1, people)
            assert set(values.ravel().tolist()) <= ({1, 2, 3, 4} if field == "age" else {1, 2})
        for prefix in ("up", "down"):  # nobody wears two colours
            colours = [f for f in inner.dtype.names if f.startswith(prefix) and f.removeprefix(prefix) in COLOURS]
            assert (sum(inner[f][0, 0].astype(int) - 1 for f in colours) <= 1).all()


def test_the_attribute_file_says_what_is_drawn() -> None:
    """Whoever has a hat, bag, backpack or handbag by code 2 has solids of that part, and no one else has."""
    cast = Cast(PRESETS["market-like"], 0)
    for number in range(40):
        person = cast.person(number)
        drawn = {solid.part for solid in body(person, 0.7)}
        for field in ("hat", "bag", "backpack", "handbag"):
            assert (person.look.code(field) == 2) == (field in drawn)
        assert (person.look.code("up") == 1) == (sum(s.part == "sleeves" for s in body(person, 0.7)) == 4)
        assert ("legs" in drawn) == (person.look.dress or person.look.short_lower)


def test_every_attribute_field_has_parts() -> None:
    fields = {f for splits in MAT_FIELDS.values() for names in splits.values() for f in names} - {"image_index"}
    assert fields <= set(ATTRIBUTE_PARTS)
    assert {part for parts in ATTRIBUTE_PARTS.values() for part in parts} <= set(PARTS)


def test_attributes_alone_cannot_tell_people_apart() -> None:
    preset = PRESETS["market-like"]
    cast, people = Cast(preset, 0), range(1, preset.train_identities + preset.test_identities + 1)
    sharing = Counter(cast.look(person) for person in people)
    assert min(sharing.values()) >= preset.people_per_look
    assert len({cast.person(person) for person in people}) == len(people)


@settings(max_examples=25, deadline=None)
@given(yaw=st.floats(-4, 4), x=st.floats(-10, 74), y=st.floats(60, 140), number=st.integers(0, 50))
def test_the_part_map_lies_where_the_paint_lies(yaw: float, x: float, y: float, number: int) -> None:
    """People in pure green on black: a pixel is labelled exactly where more than half of it is painted."""
    green = Cloth((0.0, 255.0, 0.0))
    solids = [solid._replace(cloth=green) for solid in body(Cast(PRESETS["market-like"], 0).person(number), yaw)]
    canvas, labels = np.zeros((128, 64, 3), np.float32), np.zeros((128, 64), np.uint8)
    draw(canvas, labels, solids, View(yaw, 0.2, 110, 1.0, x, y, 0.0))
    assert not canvas[..., 0].any()
    assert not canvas[..., 2].any()
    painted = canvas[..., 1] > 0
    assert painted[labels > 0].all()
    outside = np.pad(labels > 0, 1)
    near = sum(outside[i : i + 128, j : j + 64].astype(int) for i in range(3) for j in range(3)) > 0
    assert not (canvas[..., 1] > 140)[~near].any(), "no paint beyond the antialiased rim of the labels"


def test_a_print_on_the_chest_is_seen_from_the_front_only_and_a_backpack_from_behind() -> None:
    preset = PRESETS["market-like"]
    cast = Cast(preset, 0)
    person = next(p for p in map(cast.person, range(200)) if p.look.backpack and not p.look.bag)
    seen = {}
    for yaw in (0.0, np.pi):
        labels = np.zeros((256, 128), np.uint8)
        draw(np.zeros((256, 128, 3), np.float32), labels, body(person, 0.0), View(yaw, 0.1, 230, 1.0, 64, 245, 0.0))
        seen[yaw] = (labels == PARTS["backpack"]).sum()
    assert seen[np.pi] > 2 * seen[0.0]

    mark = Print("square", (250.0, 0.0, 0.0), 0.0, 0.6, 0.1)
    trunk = Solid("upper", Cloth((50.0, 50.0, 50.0), prints=(mark,)), (0, 0.9, 0), (0, 0.3, 0), (0.2, 0.2), flat=True)
    red = {}
    for yaw in (0.0, np.pi):
        canvas = np.zeros((256, 128, 3), np.float32)
        draw(canvas, np.zeros((256, 128), np.uint8), [trunk], View(yaw, 0.0, 230, 1.0, 64, 245, 0.0))
        red[yaw] = (canvas[..., 0] > 120).sum()
    assert red[0.0] > 100
    assert red[np.pi] == 0


def test_an_occluder_takes_the_label_of_what_it_hides() -> None:
    preset = PRESETS["market-like"]
    cast = Cast(preset, 0)
    rng, view = np.random.default_rng(0), View(0.0, 0.1, 230, 1.0, 64, 245, 0.0)
    for _ in range(12):
        canvas, labels = np.zeros((256, 128, 3), np.float32), np.zeros((256, 128), np.uint8)
        draw(canvas, labels, body(cast.person(1), 0.0), view)
        before, painted = labels.copy(), canvas.copy()
        synthped._occlude(canvas, labels, rng, cast, view)
        hidden = labels == PARTS["occluder"]
        assert hidden.any()
        assert (labels == before)[~hidden].all()
        assert (canvas != painted).any(axis=2)[hidden].all()


@pytest.mark.parametrize(("preset", "cameras"), [("market-like", 6), ("duke-like", 8), ("msmt-like", 15)])
def test_presets(preset: str, cameras: int) -> None:
    shots = plan(PRESETS[preset], 0)
    assert {shot.camera for shot in shots} == set(range(1, cameras + 1))
    assert len({shot.stem for shot in shots}) == len(shots)
    assert len({shot.sequence for shot in shots}) > 1
    train = {shot.identity for shot in shots if shot.split == "bounding_box_train"}
    query = {shot.identity for shot in shots if shot.split == "query"}
    assert (len(train), len(query)) == (PRESETS[preset].train_identities, PRESETS[preset].test_identities)


def test_file_names_are_those_of_the_layout() -> None:
    assert Shot("query", 2, 2, 1, 3, 451, 0).stem == "0002_c1s3_000451_01"
    assert Shot("bounding_box_test", -1, 9, 12, 1, 60_000, 0).stem == "-1_c12s1_060000_01"


def test_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'marketlike'; did you mean 'market-like'\?.*duke-like, msmt-like"):
        render(tmp_path / "x", "marketlike")


@pytest.mark.parametrize("wrong", [{"train_identities": 0}, {"junk": -1}, {"seed": -1}, {"images_per_identity": 0}])
def test_a_number_out_of_range_is_named(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        render(tmp_path / "x", **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_render_never_looks_complete(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(shot: Shot, cast: Cast) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(synthped, "take", dies)
    with pytest.raises(OSError, match="No space left"):
        render(tmp_path / "x", workers=workers, progress=False, **TINY)
    assert not list(tmp_path.iterdir()), "neither the data set nor what was begun is left"


def test_an_interruption_leaves_the_render_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = render(tmp_path / "x", workers=1, progress=False, **TINY)
    before = digests(root)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthped, "_write_attributes", stop)
    with pytest.raises(KeyboardInterrupt):
        render(root, seed=9, workers=1, progress=False, **TINY)
    assert digests(root) == before


def test_a_finished_render_is_not_done_again_but_another_one_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = render(tmp_path / "x", workers=1, progress=False, **TINY)
    with monkeypatch.context() as patch:
        patch.setattr(synthped, "_write_files", lambda *_: pytest.fail("rendered again"))
        assert render(root, progress=False, **TINY) == root
    render(root, workers=1, progress=False, **{**TINY, "junk": 0})
    assert json.loads((root / "synthped.json").read_text())["junk"] == 0
    assert not list((root / "bounding_box_test").glob("-1_*"))


def test_a_folder_that_is_no_render_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a SynthPed render"):
        render(tmp_path, progress=False, **TINY)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"

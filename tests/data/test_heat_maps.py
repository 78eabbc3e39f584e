"""Stored heat maps: what comes back, what survives an interruption at any point, and what is refused."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from reidkit.data import DatasetError
from reidkit.data.heat_maps import HeatMapError, HeatMaps, store_heat_maps
from reidkit.data.resident import ResidentImages, StreamedImages

COUNT = 10
KEY = {"network": "a1b2c3", "images": "d4e5f6"}
SHAPES = {"layer3": (5, 4, 2), "layer4": (5, 2, 1)}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ResidentImages:
    """Ten images whose first pixel is their index."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(COUNT):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 4, 3)).astype(np.uint8)
        pixels[0, 0] = index
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return ResidentImages([folder / f"{index}.png" for index in range(COUNT)], (8, 4))


def produce(pixels: Tensor) -> dict[str, Tensor]:
    """Maps that tell the images apart, with some that are zero throughout."""
    maps = {}
    for stage, shape in SHAPES.items():
        generators = [torch.Generator().manual_seed(int(index)) for index in pixels[:, 0, 0, 0]]
        maps[stage] = torch.stack([torch.rand(shape, generator=generator) * 3 for generator in generators])
        maps[stage][pixels[:, 0, 0, 0] % 3 == 0, 2] = 0
    return maps


def store(
    directory: Path, images: Any, produce: Callable[[Tensor], dict[str, Tensor]] = produce, **more: Any
) -> HeatMaps:
    def of_batch(indexes: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        assert indexes.tolist() == pixels[:, 0, 0, 0].tolist()
        return produce(pixels)

    options: dict[str, Any] = {"key": KEY, "batch_size": 4, "progress": False, "sync_seconds": 0}
    return store_heat_maps(directory, images, of_batch, **(options | more))


def assert_whole(stored: HeatMaps, images: ResidentImages) -> None:
    """What is read is what was made, to 1/510 of the peak."""
    read, made = stored[torch.arange(COUNT)], produce(images.pixels)
    assert read.keys() == made.keys()
    for stage, maps in made.items():
        assert read[stage].dtype == torch.float32
        assert ((read[stage] - maps).abs() <= maps.amax((2, 3), keepdim=True) / 509).all()


def test_what_was_made_comes_back(tmp_path: Path, images: ResidentImages) -> None:
    stored = store(tmp_path, images)
    assert len(stored) == COUNT
    assert stored.nbytes == COUNT * 5 * (8 + 2 + 2 * 4)  # a byte a cell, four bytes a peak
    assert_whole(stored, images)
    assert_whole(HeatMaps.open(tmp_path, KEY), images)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, COUNT - 1), max_size=30))
def test_any_order_and_repeats(
    images: ResidentImages, tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    stored = store(tmp_path_factory.getbasetemp() / "ordered", images)
    whole = stored[torch.arange(COUNT)]
    read = stored[torch.tensor(order, dtype=torch.int64)]
    for stage, shape in SHAPES.items():
        assert read[stage].shape == (len(order), *shape)
        assert torch.equal(read[stage], torch.stack([whole[stage][i] for i in order]) if order else read[stage])


@pytest.mark.parametrize("index", [COUNT, -1])
def test_an_index_out_of_range_is_an_error(tmp_path: Path, images: ResidentImages, index: int) -> None:
    with pytest.raises(IndexError):
        store(tmp_path, images)[torch.tensor([index])]


def test_reading_leaves_the_files_alone(tmp_path: Path, images: ResidentImages) -> None:
    stored = store(tmp_path, images)
    stored[torch.arange(3)]["layer3"].fill_(7)
    assert_whole(stored, images)
    assert_whole(HeatMaps.open(tmp_path, KEY), images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_maps_of_any_precision_and_size(
    tmp_path: Path, images: ResidentImages, dtype: torch.dtype, scale: float
) -> None:
    def made(pixels: Tensor) -> dict[str, Tensor]:
        return {stage: (maps * scale).to(dtype).requires_grad_() for stage, maps in produce(pixels).items()}

    read = store(tmp_path, images, made)[torch.arange(COUNT)]
    for stage, maps in made(images.pixels).items():
        error = (read[stage] - maps.detach().float()).abs()
        assert (error <= maps.detach().float().amax((2, 3), keepdim=True) / 509).all()


def test_streamed_images_give_the_same(tmp_path: Path, images: ResidentImages) -> None:
    paths = []
    for index, pixels in enumerate(images.pixels):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(paths[-1])
    assert_whole(store(tmp_path / "maps", StreamedImages(paths, (8, 4))), images)


def test_maps_that_are_there_are_not_made_again(tmp_path: Path, images: ResidentImages) -> None:
    store(tmp_path, images)

    def never(pixels: Tensor) -> dict[str, Tensor]:
        raise AssertionError("made again")

    assert_whole(store(tmp_path, images, never), images)


# ------------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("sync_seconds", [0, 1e9])
def test_it_goes_on_after_the_last_finished_batch(tmp_path: Path, images: ResidentImages, sync_seconds: float) -> None:
    seen: list[int] = []

    def interrupted(pixels: Tensor) -> dict[str, Tensor]:
        if 8 in pixels[:, 0, 0, 0]:
            raise KeyboardInterrupt
        return produce(pixels)

    def watched(pixels: Tensor) -> dict[str, Tensor]:
        seen.extend(pixels[:, 0, 0, 0].tolist())
        return produce(pixels)

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path, images, interrupted, sync_seconds=sync_seconds)
    with pytest.raises(HeatMapError, match="unfinished, 8 of 10"):
        HeatMaps.open(tmp_path, KEY)
    assert_whole(store(tmp_path, images, watched, batch_size=1), images)
    assert seen == [8, 9]


# Two stages, a file and its peaks each, and the meta: for each of three batches, or once at the end.
@pytest.mark.parametrize(("sync_seconds", "step"), [*((0, step) for step in range(15)), *((1e9, s) for s in range(5))])
def test_a_power_cut_at_any_point_loses_only_what_was_not_on_the_disk(
    tmp_path: Path, images: ResidentImages, monkeypatch: pytest.MonkeyPatch, sync_seconds: float, step: int
) -> None:
    """The disk fails at the n-th fsync, and with it goes whatever has not gone through one."""
    safe: dict[int, int] = {}
    calls = iter(range(1000))
    fsync = os.fsync

    def cut(descriptor: int) -> None:
        if next(calls) == step:
            for path in tmp_path.glob("*.npy"):
                os.truncate(path, min(path.stat().st_size, safe.get(path.stat().st_ino, 0)))
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)
        safe[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(OSError, match="No space"):
        store(tmp_path, images, sync_seconds=sync_seconds)
    assert next(calls) == step + 1, "what a disk has lost was vouched for by another try"
    monkeypatch.undo()
    with pytest.raises(HeatMapError, match=r"no meta.json|unfinished"):
        HeatMaps.open(tmp_path, KEY)
    done = json.loads((tmp_path / "meta.json").read_text())["done"] if (tmp_path / "meta.json").exists() else 0
    assert done == step // 5 * 4
    assert_whole(store(tmp_path, images), images)
    assert not list(tmp_path.glob("*.partial"))


def test_the_disk_is_waited_for_by_the_clock_and_at_the_end(
    tmp_path: Path, images: ResidentImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, at = 0.0, []

    def tick(pixels: Tensor) -> dict[str, Tensor]:
        nonlocal now
        now += 4
        return produce(pixels)

    monkeypatch.setattr("reidkit.data.heat_maps.time.monotonic", lambda: now)
    monkeypatch.setattr(os, "fsync", lambda _: at.append(now))
    assert_whole(store(tmp_path, images, tick, batch_size=1, sync_seconds=10), images)
    assert sorted(set(at)) == [12, 24, 36, 40]
    assert len(at) == 4 * 5


def test_a_killed_process_leaves_what_another_finishes(tmp_path: Path, images: ResidentImages) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_heat_maps as tests
from reidkit.data.resident import ResidentImages

def produce(pixels):
    if 4 in pixels[:, 0, 0, 0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return tests.produce(pixels)

class Ten(ResidentImages):
    def __init__(self): self.pixels = tests.torch.load(sys.argv[1])

tests.store(Path(sys.argv[2]), Ten(), produce)
"""
    torch.save(images.pixels, tmp_path / "pixels.pt")
    arguments = [sys.executable, "-c", script, str(tmp_path / "pixels.pt"), str(tmp_path / "maps")]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    with pytest.raises(HeatMapError, match="unfinished, 4 of 10"):
        HeatMaps.open(tmp_path / "maps", KEY)
    assert_whole(store(tmp_path / "maps", images), images)


def test_a_second_process_waits_for_the_first(
    tmp_path: Path, images: ResidentImages, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock is held in another thread, through a handle of its own, as another process would."""
    held = threading.Event()
    released: list[float] = []

    def hold() -> None:
        with filelock.FileLock(tmp_path / "lock"):
            held.set()
            time.sleep(0.3)
            released.append(time.monotonic())

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    assert_whole(store(tmp_path, images, progress=True), images)
    assert released[0] <= time.monotonic()
    other.join()
    assert f"another process is making {tmp_path}" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("part", ["network", "images"])
def test_maps_of_another_network_or_other_images_are_refused(tmp_path: Path, images: ResidentImages, part: str) -> None:
    store(tmp_path, images)
    other = KEY | {part: "999"}
    kept = "images" if part == "network" else "network"
    attempts: list[Callable[[], object]] = [
        lambda: HeatMaps.open(tmp_path, other),
        lambda: store(tmp_path, images, key=other),
    ]
    for attempt in attempts:
        with pytest.raises(HeatMapError, match=f"{part} is {KEY[part]}, expected 999.*delete this folder") as caught:
            attempt()
        assert f"{kept} is" not in str(caught.value)
    assert_whole(store(tmp_path, images), images)  # and were left as they were


def test_a_key_with_more_or_less_in_it_is_refused(tmp_path: Path, images: ResidentImages) -> None:
    store(tmp_path, images, key=KEY | {"size": "256x128"})
    with pytest.raises(HeatMapError, match="size is 256x128, expected none"):
        HeatMaps.open(tmp_path, KEY)
    with pytest.raises(HeatMapError, match="stage is not given, expected 4"):
        HeatMaps.open(tmp_path, KEY | {"size": "256x128", "stage": "4"})


def test_other_images_under_the_same_name_are_refused(tmp_path: Path, images: ResidentImages) -> None:
    store(tmp_path, images)
    fewer = ResidentImages([], (8, 4))
    fewer.pixels = images.pixels[:7]
    with pytest.raises(HeatMapError, match="10 images, not of 7"):
        store(tmp_path, fewer)


def test_no_maps_no_images(tmp_path: Path) -> None:
    with pytest.raises(HeatMapError, match=r"no heat maps here"):
        HeatMaps.open(tmp_path / "nothing", KEY)
    with pytest.raises(HeatMapError, match="no image"):
        store(tmp_path, ResidentImages([], (8, 4)))
    assert issubclass(HeatMapError, DatasetError)  # which the command line reports without a traceback


@pytest.mark.parametrize("name", ["layer3.npy", "layer4.peaks.npy"])
@pytest.mark.parametrize("length", [None, 0, 60, -1])
def test_damaged_files_are_refused(tmp_path: Path, images: ResidentImages, name: str, length: int | None) -> None:
    store(tmp_path, images)
    path = tmp_path / name
    if length is None:
        path.unlink()
    else:
        os.truncate(path, length if length >= 0 else path.stat().st_size + length)
    with pytest.raises(HeatMapError, match=f"{name}: missing, truncated.*delete this folder"):
        HeatMaps.open(tmp_path, KEY)


def test_a_file_of_another_shape_is_refused(tmp_path: Path, images: ResidentImages) -> None:
    store(tmp_path, images)
    np.save(tmp_path / "layer3.npy", np.zeros((COUNT, 5, 4, 3), np.uint8))
    with pytest.raises(HeatMapError, match=r"uint8 \(10, 5, 4, 3\), expected uint8 \(10, 5, 4, 2\)"):
        HeatMaps.open(tmp_path, KEY)


@pytest.mark.parametrize("name", ["layer3.npy", "layer4.peaks.npy"])
def test_nothing_is_added_to_a_truncated_file(tmp_path: Path, images: ResidentImages, name: str) -> None:
    def interrupted(pixels: Tensor) -> dict[str, Tensor]:
        if 4 in pixels[:, 0, 0, 0]:
            raise KeyboardInterrupt
        return produce(pixels)

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path, images, interrupted)
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size - 1)
    with pytest.raises(HeatMapError, match=f"{name}: shorter than the 4 images"):
        store(tmp_path, images)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}'])
def test_a_damaged_meta_is_refused(tmp_path: Path, images: ResidentImages, content: str) -> None:
    store(tmp_path, images)
    (tmp_path / "meta.json").write_text(content)
    attempts: list[Callable[[], object]] = [lambda: HeatMaps.open(tmp_path, KEY), lambda: store(tmp_path, images)]
    for attempt in attempts:
        with pytest.raises(HeatMapError, match="damaged, or of another version"):
            attempt()


@pytest.mark.parametrize("value", [float("nan"), -0.5, float("inf")])
def test_what_is_no_heat_map_is_named(tmp_path: Path, images: ResidentImages, value: float) -> None:
    def wrong(pixels: Tensor) -> dict[str, Tensor]:
        maps = produce(pixels)
        maps["layer4"][pixels[:, 0, 0, 0] == 6, 3, 1, 0] = value
        return maps

    with pytest.raises(HeatMapError, match="layer4: the heat maps of image 6 "):
        store(tmp_path, images, wrong)
    with pytest.raises(HeatMapError, match="unfinished, 4 of 10"):
        HeatMaps.open(tmp_path, KEY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda pixels: {}, "no stage"),
        (lambda pixels: {"layer3": torch.ones(len(pixels), 4, 2)}, r"layer3.*\(4, 4, 2\); expected \(4, maps, h, w\)"),
        (lambda pixels: {"layer3": torch.ones(1, 5, 4, 2)}, r"\(1, 5, 4, 2\)"),
        (lambda pixels: {"layer3": torch.ones(len(pixels), 0, 4, 2)}, r"\(4, 0, 4, 2\)"),
        (lambda pixels: {"layer3": torch.ones(len(pixels), 5, 4 - int(pixels[0, 0, 0, 0] > 0), 2)}, "that follow"),
    ],
)
def test_wrong_shapes_are_named(
    tmp_path: Path, images: ResidentImages, wrong: Callable[[Tensor], dict[str, Tensor]], message: str
) -> None:
    with pytest.raises(HeatMapError, match=message):
        store(tmp_path, images, wrong)


def test_a_bar_shows_what_is_done(tmp_path: Path, images: ResidentImages, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, images, progress=True, name="maps of ten")
    shown = capsys.readouterr().err
    assert "maps of ten: 100%" in shown
    assert "10/10" in shown

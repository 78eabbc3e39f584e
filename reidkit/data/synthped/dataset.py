"""SynthPed as a data set: who is photographed where, the images, and the files."""

import json
import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from reidkit.data.synthped.bodies import PARTS, Labels, View, body, draw, sole
from reidkit.data.synthped.cameras import HEIGHT, SUPERSAMPLING, WIDTH, camera, light
from reidkit.data.synthped.people import (
    COLOURS,
    TAU,
    Array,
    Look,
    Palette,
    Person,
    draw_look,
    draw_palettes,
    draw_person,
)

RENDERER = "80ee49393ea93e6c"
"""What the pictures are called in the names of runs. Other pictures are another data set: they need another name."""

TRAIN, QUERY, GALLERY = SPLITS = ("bounding_box_train", "query", "bounding_box_test")
SEQUENCES = 6

# The struct of each original attribute file: its splits in order, and each split's fields in order. They differ.
MAT_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "market_attribute": {
        "test": (
            "age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender",
            "upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen",
            "downblack", "downwhite", "downpink", "downpurple", "downyellow", "downgray", "downblue", "downgreen",
            "downbrown", "image_index",
        ),
        "train": (
            "age", "backpack", "bag", "handbag",
            "downblack", "downblue", "downbrown", "downgray", "downgreen", "downpink", "downpurple", "downwhite",
            "downyellow", "upblack", "upblue", "upgreen", "upgray", "uppurple", "upred", "upwhite", "upyellow",
            "clothes", "down", "up", "hair", "hat", "gender", "image_index",
        ),
    },
    "duke_attribute": {
        "train": (
            "backpack", "bag", "handbag", "boots", "gender", "hat", "shoes", "top",
            "downblack", "downwhite", "downred", "downgray", "downblue", "downgreen", "downbrown",
            "upblack", "upwhite", "upred", "uppurple", "upgray", "upblue", "upgreen", "upbrown", "image_index",
        ),
        "test": (
            "boots", "shoes", "top", "gender", "hat", "backpack", "bag", "handbag",
            "downblack", "downwhite", "downred", "downgray", "downblue", "downgreen", "downbrown",
            "upblack", "upwhite", "upred", "upgray", "upblue", "upgreen", "uppurple", "upbrown", "image_index",
        ),
    },
}  # fmt: skip

_WHOLE_BODY = tuple(part for part in PARTS if part not in ("background", "occluder"))
ATTRIBUTE_PARTS: dict[str, tuple[str, ...]] = {
    "gender": _WHOLE_BODY, "age": _WHOLE_BODY, "hair": ("hair",), "hat": ("hat",),
    "up": ("sleeves", "arms"), "top": ("upper",), "down": ("lower", "legs"), "clothes": ("lower", "legs"),
    "shoes": ("shoes",), "boots": ("shoes",), "backpack": ("backpack",), "bag": ("bag",), "handbag": ("handbag",),
    **{"up" + colour: ("upper", "sleeves") for colour in COLOURS},
    **{"down" + colour: ("lower",) for colour in COLOURS},
}  # fmt: skip
"""Attribute field -> the parts (keys of PARTS) that show it. Where the answer is no (no hat), none may be in sight."""


@dataclass(frozen=True)
class Preset:
    """Size and kind of a data set."""

    cameras: int
    attributes: str  # whose attribute file: a key of MAT_FIELDS
    train_identities: int = 240
    test_identities: int = 70
    images_per_identity: int = 8  # or more: everyone is seen twice by each camera in the test, once in training
    distractors: int = 300
    junk: int = 60
    cameras_per_identity: tuple[int, int] = (4, 6)  # the least and the most
    people_per_look: int = 2  # who share all their attributes
    palettes: int = 18  # of clothes, shared by many: the fewer, the less a histogram of colours is worth


PRESETS: dict[str, Preset] = {
    "market-like": Preset(cameras=6, attributes="market_attribute"),
    "duke-like": Preset(cameras=8, attributes="duke_attribute", cameras_per_identity=(3, 6)),
    "msmt-like": Preset(cameras=15, attributes="market_attribute", train_identities=320, test_identities=140),
}


class Cast:
    """Everyone who can be drawn. Person n has look n modulo the number of looks, look n palette n modulo theirs."""

    def __init__(self, preset: Preset, seed: int) -> None:
        self.seed = seed
        fields = MAT_FIELDS[preset.attributes]["train"]
        upper = sorted(field[2:] for field in fields if field.startswith("up") and field[2:] in COLOURS)
        lower = sorted(field[4:] for field in fields if field.startswith("down") and field[4:] in COLOURS)
        count = max(2, (preset.train_identities + preset.test_identities) // preset.people_per_look)
        self.palettes = draw_palettes(np.random.default_rng((seed, 10)), preset.palettes, upper, lower)
        self.looks = [draw_look(np.random.default_rng((seed, 2, n)), self._palette(n)) for n in range(count)]

    def _palette(self, look: int) -> Palette:
        return self.palettes[look % len(self.palettes)]

    def look(self, number: int) -> Look:
        return self.looks[number % len(self.looks)]

    def person(self, number: int) -> Person:
        palette = self._palette(number % len(self.looks))
        return draw_person(np.random.default_rng((self.seed, 3, number)), self.look(number), palette)


class Shot(NamedTuple):
    """One image to be taken."""

    split: str  # the folder it goes to
    identity: int  # in the file's name: -1 junk, 0 distractor
    person: int  # who is drawn; distractors and junk are people of their own
    camera: int
    sequence: int
    frame: int
    number: int  # within the person's walk past this camera

    @property
    def stem(self) -> str:
        identity = "-1" if self.identity < 0 else f"{self.identity:04d}"
        return f"{identity}_c{self.camera}s{self.sequence}_{self.frame:06d}_{self.number + 1:02d}"


def plan(preset: Preset, seed: int) -> list[Shot]:
    """Every image of the data set: who walks past which camera, and which split the image goes to."""
    identities = preset.train_identities + preset.test_identities
    shuffled = np.random.default_rng((seed, 4)).permutation(identities) + 1
    train = set(shuffled[: preset.train_identities].tolist())
    least, most = (min(bound, preset.cameras) for bound in preset.cameras_per_identity)
    shots = []
    for identity in range(1, identities + 1):
        rng = np.random.default_rng((seed, 5, identity))
        passed = sorted(rng.permutation(preset.cameras)[: rng.integers(least, most + 1)].tolist())
        at_least = 1 if identity in train else 2  # one for the query, one for the gallery
        spare = max(0, preset.images_per_identity - at_least * len(passed))
        for place, extra in zip(passed, rng.multinomial(spare, [1 / len(passed)] * len(passed)), strict=True):
            sequence, frame = int(rng.integers(1, SEQUENCES + 1)), int(rng.integers(1, 60_000))
            for number in range(at_least + extra):
                test = GALLERY if number else QUERY  # one query per identity and camera, as in Market-1501
                split = TRAIN if identity in train else test
                shots.append(Shot(split, identity, identity, place + 1, sequence, frame + 25 * number, number))
    for n in range(preset.distractors + preset.junk):
        rng = np.random.default_rng((seed, 6, n))
        place, sequence = int(rng.integers(1, preset.cameras + 1)), int(rng.integers(1, SEQUENCES + 1))
        identity = 0 if n < preset.distractors else -1
        shots.append(Shot(GALLERY, identity, identities + 1 + n, place, sequence, 60_000 + n, 0))
    return shots


def take(shot: Shot, cast: Cast) -> tuple[NDArray[np.uint8], Labels]:
    """The image (128, 64, 3) uint8 of a shot, and its part map (128, 64) uint8."""
    eye = camera(cast.seed, shot.camera)
    hour = np.random.default_rng((cast.seed, 7, shot.camera, shot.sequence))  # the light at this camera then
    gains = light(hour, 0.04, 0.1)
    walk = np.random.default_rng((cast.seed, 8, shot.person, shot.camera))  # what the images of one walk share
    heading = eye.yaw + walk.normal(0, 0.3) + (math.pi if walk.random() < 0.15 else 0.0)
    phase = walk.uniform(0, TAU) + 1.1 * shot.number

    rng = np.random.default_rng((cast.seed, 9, shot.person, shot.camera, shot.number))
    height, width = HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING
    y, x = rng.integers(0, (eye.scene.shape[0] - height, eye.scene.shape[1] - width))
    canvas, labels = eye.scene[y : y + height, x : x + width].copy(), np.zeros((height, width), np.uint8)

    tall = height * rng.uniform(0.82, 1.0)
    spare = height - tall
    middle, feet = width * rng.normal(0.5, 0.06), tall + spare * rng.uniform(0.1, 0.9)
    if rng.random() < 0.1:  # a badly aligned box
        tall *= rng.uniform(0.75, 1.3)
        middle, feet = middle + rng.normal(0, 0.12) * width, feet + rng.normal(0, 0.08) * height
    if shot.identity < 0:  # a box of nobody, or of a piece of somebody
        tall, middle, feet = (
            tall * rng.uniform(0.6, 2.2),
            width * rng.uniform(-0.1, 1.1),
            height * rng.uniform(0.7, 2.0),
        )
    turn, stretch = heading + rng.normal(0, 0.12), rng.uniform(0.92, 1.1)
    solids = body(cast.person(shot.person), phase)
    view = View(turn, eye.pitch, tall, stretch, middle, feet, eye.light)

    _cast_shadow(canvas, view)
    draw(canvas, labels, solids, replace(view, y=feet + tall * math.cos(eye.pitch) * sole(solids)))
    if rng.random() < 0.08:
        _occlude(canvas, labels, rng, cast, view)
    if rng.random() < 0.9:
        _shade(canvas, rng)
    image = eye.expose(canvas, gains * np.float32(math.exp(rng.normal(0, 0.05))), rng)
    return image, np.ascontiguousarray(labels[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING])


def _cast_shadow(canvas: Array, view: View) -> None:
    y, x = np.ogrid[: canvas.shape[0], : canvas.shape[1]]
    far = np.hypot((x - view.x - 12 * view.light) / (0.17 * view.scale), (y - view.y) / (0.035 * view.scale))
    canvas *= 1 - np.clip(1.3 - far, 0, 0.5)[..., None].astype(np.float32)


def _shade(canvas: Array, rng: np.random.Generator) -> None:
    """The shadow of something outside the picture, over a part of the person: one cloth has two colours then."""
    height, width = canvas.shape[:2]
    y, x = np.ogrid[:height, :width]
    angle, darkness, softness = rng.uniform(0, TAU), rng.uniform(0.25, 0.5), rng.uniform(3, 12)
    middle_y, middle_x = rng.uniform(0.2, 0.8) * height, rng.uniform(0.3, 0.7) * width
    depth = ((x - middle_x) * math.cos(angle) + (y - middle_y) * math.sin(angle)) / softness  # into the shadow
    canvas *= 1 - darkness * np.clip(0.5 + depth, 0, 1)[..., None].astype(np.float32)


def _occlude(canvas: Array, labels: Labels, rng: np.random.Generator, cast: Cast, view: View) -> None:
    """Put something in front of the person: a post, a hedge, or somebody who walks by."""
    height, width = labels.shape
    kind, grey = rng.choice(("post", "hedge", "passer-by")), rng.uniform(40, 150)
    if kind == "passer-by":
        aside = float(rng.choice((-1, 1)) * rng.uniform(0.28, 0.42)) * width
        beside = replace(view, yaw=view.yaw + rng.uniform(1, 5), x=view.x + aside, y=view.y + 8)
        draw(canvas, labels, body(cast.person(int(rng.integers(1 << 20))), rng.uniform(0, TAU)), beside, "occluder")
        return
    y, x = np.ogrid[:height, :width]
    if kind == "post":
        left, colour = rng.uniform(0.1, 0.8) * width, np.array((grey, grey, grey))
        where = np.broadcast_to((x >= left) & (x < left + rng.uniform(10, 22)), labels.shape)
    else:
        top, colour = rng.uniform(0.7, 0.88) * height, np.array((0.6 * grey, 0.9 * grey, 0.5 * grey))
        where = y > top + 5 * np.sin(x / rng.uniform(4, 9)) + 3 * np.sin(x / rng.uniform(2, 4))
    canvas[where] = colour * rng.normal(1, 0.2, (int(where.sum()), 1))
    labels[where] = PARTS["occluder"]


# ---------------------------------------------------------------------------------------------------------- the files


def render(
    root: Path | str,
    preset: str = "market-like",
    *,
    seed: int = 0,
    train_identities: int | None = None,
    test_identities: int | None = None,
    images_per_identity: int | None = None,
    distractors: int | None = None,
    junk: int | None = None,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Render SynthPed into `root` and return it; do nothing if the same render is there already.

    The data set appears whole or not at all: it is written beside `root`, then renamed. A render with other
    parameters is replaced; a folder that holds anything else is never touched.

    Raises:
        ValueError: an unknown preset, or a number out of range.
        FileExistsError: `root` exists and is neither empty nor a render.
    """
    root = Path(root)
    if preset not in PRESETS:
        near = get_close_matches(preset, PRESETS, n=1, cutoff=0)[0]
        raise ValueError(
            f"there is no SynthPed preset {preset!r}; did you mean {near!r}? Presets: {', '.join(PRESETS)}"
        )
    if seed < 0:
        raise ValueError(f"SynthPed's seed is {seed}; it must be 0 or more")
    sizes = {
        "train_identities": train_identities, "test_identities": test_identities,
        "images_per_identity": images_per_identity, "distractors": distractors, "junk": junk,
    }  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    for name, value in given.items():
        if value < (least := 0 if name in ("distractors", "junk") else 1):
            raise ValueError(f"SynthPed's {name} is {value}; it must be {least} or more")
    size = replace(PRESETS[preset], **given)
    parameters = {"preset": preset, "seed": seed, **asdict(size), "renderer": RENDERER}
    before = rendered_with(root)
    if before == json.loads(json.dumps(parameters)):
        return root
    if root.exists() and before is None and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} holds something that is not a SynthPed render: name a new or an empty folder")

    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        _write_files(unfinished, size, seed, workers, progress)
        (unfinished / "synthped.json").write_text(json.dumps(parameters, indent=2) + "\n")
        unfinished.chmod(0o755)
        if before is not None:
            shutil.rmtree(root)
        os.replace(unfinished, root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def rendered_with(root: Path) -> dict[str, Any] | None:
    """The parameters of the complete render in `root`; None where there is none."""
    try:
        parameters = json.loads((root / "synthped.json").read_text())
    except (OSError, ValueError):
        return None
    return parameters if isinstance(parameters, dict) else None


def _write_files(root: Path, preset: Preset, seed: int, workers: int, progress: bool) -> None:
    for split in SPLITS:
        (root / split).mkdir()
        (root / "parts" / split).mkdir(parents=True)
    shots, cast = plan(preset, seed), Cast(preset, seed)
    write = partial(_write_shot, cast=cast, root=root)
    for _ in tqdm(_in_parallel(write, shots, workers), "SynthPed", len(shots), unit="image", disable=not progress):
        pass
    (root / "attribute").mkdir()
    _write_attributes(root / "attribute" / f"{preset.attributes}.mat", preset, cast, shots)


def _in_parallel(write: "partial[None]", shots: list[Shot], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(write, shots)
        return
    quick = "fork" if "fork" in multiprocessing.get_all_start_methods() else None  # no library is imported again
    with ProcessPoolExecutor(workers, multiprocessing.get_context(quick)) as pool:
        yield from pool.map(write, shots, chunksize=16)


def _write_shot(shot: Shot, cast: Cast, root: Path) -> None:
    image, labels = take(shot, cast)
    Image.fromarray(image).save(root / shot.split / f"{shot.stem}.jpg", quality=92)
    Image.fromarray(labels).save(root / "parts" / shot.split / f"{shot.stem}.png", compress_level=1)


def _write_attributes(path: Path, preset: Preset, cast: Cast, shots: list[Shot]) -> None:
    """Write a .mat like the original: structs of splits of fields (1, I) uint8, and a cell row of id strings."""
    splits: dict[str, dict[str, NDArray[Any]]] = {}
    for split, fields in MAT_FIELDS[preset.attributes].items():
        folders = (TRAIN,) if split == "train" else (QUERY, GALLERY)
        ids = sorted({shot.identity for shot in shots if shot.identity > 0 and shot.split in folders})
        names = np.array([[f"{identity:04d}" for identity in ids]], object)
        codes = {name: np.array([[cast.look(identity).code(name) for identity in ids]], np.uint8) for name in fields}
        splits[split] = codes | {"image_index": names}
    scipy.io.savemat(path, {preset.attributes: splits})
    with path.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file, SynthPed".ljust(116))  # over the time of writing

"""SynthPed: a deterministic renderer of walking people, written in Market-1501's own layout.

No real person is in it. Every image is drawn from solids of revolution (a trunk, limbs, hair, bags) that an orthographic
camera sees from some yaw angle, so a print on the chest is not seen from behind and a backpack is. Each solid knows which body or attribute part it is: the part map beside every image says where each attribute is to be found.

    root/bounding_box_train/0002_c1s1_000451_03.jpg      person_camera-sequence_frame_box, 128 x 64 JPEG
    root/query/  root/bounding_box_test/                 the gallery also holds distractors (0000) and junk (-1)
    root/attribute/market_attribute.mat                  the fields, order and coding of the original (or duke_attribute.mat)
    root/parts/<split>/<same stem>.png                   uint8 label map, 128 x 64, see PARTS
    root/synthped.json                                   what was rendered; only a complete render has it

An image depends only on (seed, person, camera, index): neither the number of workers nor their order changes a byte.
"""

import difflib
import hashlib
import io
import json
import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

Array = NDArray[np.float32]
Point = tuple[float, float, float]  # left of the person, up, forward; the person is about 1 tall and stands at the origin
Colour = tuple[float, float, float]  # RGB, 0 to 255

HEIGHT, WIDTH = 128, 64  # of an image, as in Market-1501
SUPERSAMPLING = 2  # images are drawn this much larger and box-filtered, so that edges and prints do not alias

# ---------------------------------------------------------------------------------------------------- parts, attributes

PARTS = {
    "background": 0, "hat": 1, "hair": 2, "head": 3, "upper": 4, "sleeves": 5, "arms": 6, "lower": 7, "legs": 8,
    "shoes": 9, "backpack": 10, "bag": 11, "handbag": 12, "occluder": 13,
}  # fmt: skip
"""Label of every part in a part map. `arms`, `legs` and `head` are bare skin, `sleeves` is cloth on the arms."""

BODY = tuple(name for name in PARTS if name not in ("background", "occluder"))

_MARKET_UPPER = ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")
_MARKET_LOWER = ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")

# The struct of each original file: its splits in order, and the fields of each split in order. The two splits differ.
MAT_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "market_attribute": {
        "test": tuple(
            "age backpack bag handbag clothes down up hair hat gender upblack upwhite upred uppurple upyellow upgray "
            "upblue upgreen downblack downwhite downpink downpurple downyellow downgray downblue downgreen downbrown "
            "image_index".split()
        ),
        "train": tuple(
            "age backpack bag handbag downblack downblue downbrown downgray downgreen downpink downpurple downwhite "
            "downyellow upblack upblue upgreen upgray uppurple upred upwhite upyellow clothes down up hair hat gender "
            "image_index".split()
        ),
    },
    "duke_attribute": {
        "train": tuple(
            "backpack bag handbag boots gender hat shoes top downblack downwhite downred downgray downblue downgreen "
            "downbrown upblack upwhite upred uppurple upgray upblue upgreen upbrown image_index".split()
        ),
        "test": tuple(
            "boots shoes top gender hat backpack bag handbag downblack downwhite downred downgray downblue downgreen "
            "downbrown upblack upwhite upred upgray upblue upgreen uppurple upbrown image_index".split()
        ),
    },
}

_COLOUR_FIELDS = ("upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen", "upbrown")
_LOWER_FIELDS = ("downblack", "downwhite", "downpink", "downpurple", "downyellow", "downgray", "downblue", "downgreen",
                 "downbrown", "downred")  # fmt: skip
ATTRIBUTE_PARTS: dict[str, tuple[str, ...]] = {
    "gender": BODY, "age": BODY, "hair": ("hair",), "hat": ("hat",),
    "up": ("sleeves", "arms"), "top": ("upper",), "down": ("lower", "legs"), "clothes": ("lower", "legs"),
    "shoes": ("shoes",), "boots": ("shoes",), "backpack": ("backpack",), "bag": ("bag",), "handbag": ("handbag",),
    **{field: ("upper", "sleeves") for field in _COLOUR_FIELDS},
    **{field: ("lower",) for field in _LOWER_FIELDS},
}  # fmt: skip
"""Attribute field -> the parts where it can be seen; none of them is in the image where the answer is no (no hat)."""

COLOURS: dict[str, Colour] = {
    "black": (42, 42, 46), "white": (214, 214, 208), "red": (172, 44, 50), "purple": (112, 60, 132),
    "yellow": (204, 178, 62), "gray": (124, 124, 126), "blue": (52, 78, 150), "green": (58, 118, 70),
    "pink": (214, 138, 164), "brown": (112, 80, 54), "orange": (212, 120, 50), "teal": (44, 132, 138),
}  # fmt: skip
_NAMELESS = ("orange", "teal")  # worn by those whose colour attributes all say no, as 78 of Market's 751 training ids
_SKIN: tuple[Colour, ...] = ((226, 188, 160), (204, 160, 126), (168, 122, 90), (120, 84, 62), (86, 60, 46))
_HAIR: tuple[Colour, ...] = ((30, 26, 26), (58, 42, 34), (96, 66, 44), (156, 122, 76), (120, 56, 36))


@dataclass(frozen=True)
class Look:
    """What the attribute file can say of a person. Several people share one look."""

    female: bool
    age: int  # 1 young, 2 teenager, 3 adult, 4 old
    long_hair: bool
    hat: bool
    backpack: bool
    bag: bool
    handbag: bool
    short_sleeves: bool
    short_lower: bool
    dress: bool
    long_top: bool
    boots: bool
    light_shoes: bool
    upper: str  # a colour name
    lower: str

    def code(self, field: str) -> int:
        """The number that the attribute file holds for a field: 1 or 2, and 1 to 4 for the age."""
        if field == "age":
            return self.age
        if field == "clothes":
            return 1 if self.dress else 2
        named = {"gender": self.female, "hair": self.long_hair, "up": self.short_sleeves, "down": self.short_lower,
                 "top": self.long_top, "shoes": self.light_shoes, "hat": self.hat, "backpack": self.backpack,
                 "bag": self.bag, "handbag": self.handbag, "boots": self.boots}  # fmt: skip
        if field in named:
            return 1 + named[field]
        return 1 + (field == "up" + self.upper or field == "down" + self.lower)


def _draw_look(rng: np.random.Generator, fields: tuple[str, ...]) -> Look:
    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    upper = [field[2:] for field in fields if field[2:] in COLOURS and field.startswith("up")]
    lower = [field[4:] for field in fields if field[4:] in COLOURS and field.startswith("down")]
    female = chance(0.45)
    return Look(
        female=female,
        age=int(rng.choice(4, p=(0.10, 0.35, 0.42, 0.13))) + 1,
        long_hair=chance(0.75 if female else 0.08),
        hat=chance(0.2),
        backpack=chance(0.28),
        bag=chance(0.25),
        handbag=chance(0.18),
        short_sleeves=chance(0.5),
        short_lower=chance(0.35),
        dress=female and chance(0.4),
        long_top=chance(0.25),
        boots=chance(0.2),
        light_shoes=chance(0.4),
        upper=str(rng.choice(_NAMELESS)) if chance(0.1) else str(rng.choice(sorted(upper))),
        lower=str(rng.choice(_NAMELESS)) if chance(0.04) else str(rng.choice(sorted(lower))),
    )


# ------------------------------------------------------------------------------------------------------------ clothes

# A pattern says where the second colour goes: (angle around the body, 0 in front; height; density) -> bool.
_TAU = 2 * math.pi
PATTERNS = {
    "hoops": lambda a, h, f: (h * f * 2.2) % 1 < 0.45,
    "pinstripes": lambda a, h, f: (a * f / _TAU + 0.25) % 1 < 0.4,
    "checks": lambda a, h, f: ((h * f * 1.6) % 1 < 0.5) ^ ((a * f * 0.8 / _TAU) % 1 < 0.5),
    "dots": lambda a, h, f: ((h * f * 1.6) % 1 - 0.5) ** 2 + ((a * f * 0.8 / _TAU) % 1 - 0.5) ** 2 < 0.1,
    "diagonal": lambda a, h, f: (h * f * 1.8 + a * f * 0.4 / math.pi) % 1 < 0.4,
    "diamonds": lambda a, h, f: abs((h * f * 1.4) % 1 - 0.5) + abs((a * f * 0.8 / _TAU) % 1 - 0.5) < 0.36,
    "band": lambda a, h, f: abs(h - 0.70 + 0.003 * f) < 0.035,
    "yoke": lambda a, h, f: h > 0.66 + 0.006 * f,
    "open": lambda a, h, f: (abs(a) < 0.45) | (h < 0.5),
    "halves": lambda a, h, f: a * (1 if f > 9 else -1) > 0,
    "sides": lambda a, h, f: abs(abs(a) - math.pi / 2) < 0.42,
    "cuffs": lambda a, h, f: h < 0.16,
}  # fmt: skip
_UPPER_PATTERNS = ("hoops", "pinstripes", "checks", "dots", "diagonal", "diamonds", "band", "yoke", "open", "halves", "sides")
_LOWER_PATTERNS = ("sides", "cuffs", "pinstripes", "checks", "hoops")

# A print is a shape in a unit square: (left-right, up) -> bool.
PRINTS = {
    "disc": lambda x, y: x * x + y * y < 1,
    "ring": lambda x, y: abs(x * x + y * y - 0.65) < 0.35,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.85,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1),
    "triangle": lambda x, y: (abs(y) < 0.9) & (abs(x) < (0.9 - y) * 0.6),
    "chevron": lambda x, y: (abs(y + 0.7 * abs(x)) < 0.45) & (abs(x) < 1.2),
    "lines": lambda x, y: (abs(x) < 1.2) & (abs(y) < 1) & ((y * 1.3 + 0.1) % 1 < 0.5),
}  # fmt: skip


class Print(NamedTuple):
    shape: str
    colour: Colour
    angle: float  # 0 on the chest, pi on the back
    height: float
    size: float


@dataclass(frozen=True)
class Cloth:
    base: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    density: float = 8.0
    prints: tuple[Print, ...] = ()

    def paint(self, angle: Array, height: Array, half_width: float) -> Array:
        """Colours (h, w, 3) at angles in (-pi, pi] around a solid and heights along it."""
        colours = np.empty((*angle.shape, 3), np.float32)
        colours[:] = self.base
        if self.pattern != "plain":
            colours[PATTERNS[self.pattern](angle, height, self.density)] = self.second
        for mark in self.prints:
            sideways = (angle - mark.angle + math.pi) % _TAU - math.pi
            where = PRINTS[mark.shape](sideways * half_width / mark.size, (height - mark.height) / mark.size)
            colours[where & (abs(sideways) < math.pi / 2)] = mark.colour
        return colours


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255.0, max(0.0, value * factor)) for value in colour)
    return red, green, blue


def _jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    red, green, blue = (float(min(250.0, max(8.0, value + rng.normal(0, amount)))) for value in colour)
    return red, green, blue


@dataclass(frozen=True)
class Person:
    """An identity: its look, and what tells it from others of the same look."""

    look: Look
    girth: float
    shoulders: float
    hips: float
    legs: float  # their share of the height, relative to the average
    head: float
    stoop: float
    stride: float
    hand: int  # the side on which a bag is carried: -1 or 1
    hair_style: str
    hat_style: str
    bag_size: float
    skirt: float  # how far it flares
    scarf: bool
    upper: Cloth
    sleeves: Cloth
    lower: Cloth
    skin: Cloth
    hair: Cloth
    shoes: Cloth
    hat: Cloth
    backpack: Cloth
    bag: Cloth
    extra: Cloth  # scarf and handbag


def _draw_person(rng: np.random.Generator, look: Look) -> Person:
    def tone(colour: Colour) -> Colour:  # the second colour of a cloth is mostly a lighter or darker one of the first
        light = sum(colour) / 3
        if rng.random() < 0.3:
            return _jitter(rng, COLOURS[str(rng.choice(("white", "black", "gray")))], 6)
        return _shade(colour, 0.45) if light > 120 else _shade(tuple(value + 40 for value in colour), 1.5)  # type: ignore[arg-type]

    def cloth(colour: Colour, patterns: tuple[str, ...], plain: float, prints: bool = False) -> Cloth:
        base = _jitter(rng, colour, 7)
        second = tone(base)
        marks = tuple(
            Print(str(rng.choice(list(PRINTS))), tone(base), angle, float(rng.uniform(0.64, 0.74)), float(rng.uniform(0.035, 0.07)))
            for angle, probability in ((0.0, 0.5), (math.pi, 0.45))
            if prints and rng.random() < probability
        )
        pattern = "plain" if rng.random() < plain else str(rng.choice(patterns))
        return Cloth(base, second, pattern, float(rng.choice((6.0, 9.0, 13.0))), marks)

    child, old = look.age == 1, look.age == 4
    upper = cloth(COLOURS[look.upper], _UPPER_PATTERNS, 0.3, prints=True)
    if upper.pattern != "plain" and rng.random() < 0.6:
        upper = replace(upper, prints=())
    sleeves = upper if rng.random() < 0.6 else Cloth(upper.second)
    anything = [COLOURS[name] for name in COLOURS]

    def accessory() -> Cloth:
        return cloth(anything[int(rng.integers(len(anything)))], ("hoops", "checks", "dots", "sides"), 0.5)

    hair = (150.0, 148.0, 146.0) if old else _HAIR[int(rng.integers(len(_HAIR)))]
    shoe = COLOURS["white"] if look.light_shoes else _shade(COLOURS[str(rng.choice(("black", "brown", "blue")))], 0.75)
    return Person(
        look=look,
        girth=float(rng.uniform(0.82, 1.32)) * (1.08 if old else 1.0),
        shoulders=float(rng.uniform(0.88, 1.14)) * (0.92 if look.female else 1.04),
        hips=float(rng.uniform(0.9, 1.15)) * (1.1 if look.female else 0.98),
        legs=float(rng.uniform(0.93, 1.07)) * (0.92 if child else 1.0),
        head=float(rng.uniform(0.92, 1.1)) * (1.3 if child else 1.0),
        stoop=float(rng.uniform(0.0, 0.03)) + (0.05 if old else 0.0),
        stride=float(rng.uniform(0.3, 0.55)) * (0.6 if old else 1.0),
        hand=int(rng.choice((-1, 1))),
        hair_style=str(rng.choice(("straight", "pony", "wide") if look.long_hair else ("crop", "tall", "bald", "bun"))),
        hat_style=str(rng.choice(("cap", "beanie", "brim"))),
        bag_size=float(rng.uniform(0.8, 1.3)),
        skirt=float(rng.uniform(1.1, 1.8)),
        scarf=bool(rng.random() < 0.15),
        upper=upper,
        sleeves=sleeves,
        lower=cloth(COLOURS[look.lower], _LOWER_PATTERNS, 0.6),
        skin=Cloth(_jitter(rng, _SKIN[int(rng.integers(len(_SKIN)))], 5)),
        hair=Cloth(_jitter(rng, hair, 6)),
        shoes=Cloth(_jitter(rng, shoe, 8)),
        hat=accessory(),
        backpack=accessory(),
        bag=accessory(),
        extra=accessory(),
    )


# --------------------------------------------------------------------------------------------------------- the body


class Solid(NamedTuple):
    """A solid of revolution about the axis from `start` to `end`, its cross-section flattened to `depth` x its width."""

    part: str
    cloth: Cloth
    start: Point
    end: Point
    half_widths: tuple[float, ...]  # at equal steps along the axis
    bias: float = 0.0  # added to the depth by which solids are ordered from back to front
    depth: float = 1.0
    flat: bool = False  # cut at its ends instead of rounded


def body(person: Person, phase: float) -> list[Solid]:
    """The solids of a person at a phase (radians) of the walking cycle."""
    p, look, solids = person, person.look, []
    add = solids.append
    g, hip_y = math.sqrt(p.girth), 0.5 * p.legs
    shoulder_x, shoulder_y, lean = 0.118 * p.shoulders * g, 0.815, p.stoop
    hip_x = 0.052 * p.hips * g

    for side in (-1, 1):
        swing = p.stride * math.sin(phase) * side
        bend = 0.1 + 0.7 * p.stride * max(0.0, math.cos(phase) * side)
        hip = (side * hip_x, hip_y, 0.0)
        knee = (side * hip_x, hip_y - hip_y * 0.46 * math.cos(swing), hip_y * 0.46 * math.sin(swing))
        shin = swing - bend
        ankle = (side * hip_x, knee[1] - hip_y * 0.46 * math.cos(shin), knee[2] + hip_y * 0.46 * math.sin(shin))
        toe = (ankle[0] + side * 0.012, ankle[1] - 0.022, ankle[2] + 0.085)
        bare = look.dress or look.short_lower
        leg, part = (p.skin, "legs") if bare else (p.lower, "lower")
        wide = 1.0 if bare else p.skirt * 0.8  # trousers are narrow or wide
        add(Solid(part, leg, hip, knee, (0.062 * p.hips * g, 0.056 * g, 0.045 * g), -0.15))
        add(Solid(part, leg, knee, ankle, (0.044 * g, 0.041 * g * wide, 0.028 * g * wide), -0.149))
        if look.short_lower and not look.dress:
            hem = tuple(a + 0.85 * (b - a) for a, b in zip(hip, knee, strict=True))
            add(Solid("lower", p.lower, hip, hem, (0.066 * p.hips * g, 0.064 * g, 0.06 * g), -0.148, flat=True))  # type: ignore[arg-type]
        add(Solid("shoes", p.shoes, (ankle[0], ankle[1] - 0.015, ankle[2]), toe, (0.03, 0.031, 0.024), -0.151))
        if look.boots:
            top = tuple(a + 0.5 * (b - a) for a, b in zip(ankle, knee, strict=True))
            add(Solid("shoes", p.shoes, ankle, top, (0.034, 0.042 * g, 0.047 * g), -0.147, flat=True))  # type: ignore[arg-type]

        reach = -swing * 0.9
        shoulder = (side * (shoulder_x - 0.008), shoulder_y - 0.022, lean)
        elbow = (side * (shoulder_x + 0.02), shoulder_y - 0.18 * math.cos(reach), lean + 0.17 * math.sin(reach))
        hand = (elbow[0], elbow[1] - 0.155 * math.cos(reach + 0.3), elbow[2] + 0.155 * math.sin(reach + 0.3))
        arms = [Solid("arms", p.skin, shoulder, elbow, (0.034 * g, 0.028 * g), 0.13),
                Solid("arms", p.skin, elbow, hand, (0.027 * g, 0.022), 0.131)]  # fmt: skip
        end = tuple(a + (0.75 if look.short_sleeves else 1.0) * (b - a) for a, b in zip(shoulder, elbow, strict=True))
        arms.append(Solid("sleeves", p.sleeves, shoulder, end, (0.038 * g, 0.036 * g), 0.132))  # type: ignore[arg-type]
        if not look.short_sleeves:
            cuff = tuple(a + 0.85 * (b - a) for a, b in zip(elbow, hand, strict=True))
            arms.append(Solid("sleeves", p.sleeves, elbow, cuff, (0.039 * g, 0.032 * g), 0.133))  # type: ignore[arg-type]
        solids.extend(arms)
        if look.handbag and side == p.hand:
            low = hand[1] - 0.05
            strap = (hand[0], low, hand[2])
            add(Solid("handbag", p.extra, hand, strap, (0.02, 0.03), 0.135, flat=True))
            box = (0.062 * p.bag_size, 0.072 * p.bag_size)
            add(Solid("handbag", p.extra, strap, (hand[0], low - 0.11 * p.bag_size, hand[2]), box, 0.136, 0.8, True))

    hem = hip_y - (0.13 if look.long_top else 0.02)
    if look.dress:
        bottom = hip_y - (0.2 if look.short_lower else 0.36)
        waist, flare = 0.1 * p.hips * g, 0.1 * p.hips * g * p.skirt
        add(Solid("lower", p.lower, (0, hip_y + 0.1, 0), (0, bottom, 0), (waist, (waist + flare) / 2, flare), 0.095, 0.8, True))
    chest, waist = 0.112 * p.shoulders * g, 0.088 * p.girth
    trunk = (0.045, 0.1 * p.shoulders * g, chest, 0.98 * chest, (chest + waist) / 2, waist, waist, 0.1 * p.hips * g, 0.1 * p.hips * g)
    add(Solid("upper", p.upper, (0, 0.86, lean), (0, hem, 0), trunk, 0.1, 0.62 * g, True))

    radius, eye = 0.05 * p.head, 0.885 + 0.045 * p.head
    add(Solid("head", p.skin, (0, 0.84, lean), (0, 0.88, lean), (0.034, 0.032), 0.09))
    add(Solid("head", p.skin, (0, 0.89, lean + 0.01), (0, eye, lean + 0.01), (radius * 0.82, radius), 0.12))
    top = eye + radius * (0.55 if p.hair_style == "tall" else 0.25)
    if p.hair_style != "bald":
        add(Solid("hair", p.hair, (0, 0.9, lean - 0.012), (0, top, lean - 0.012), (radius * 0.7, radius * 1.1), 0.122))
        add(Solid("hair", p.hair, (0, eye + radius * 0.55, lean), (0, top + radius * 0.4, lean), (radius, radius * 0.9), 0.3))
    if p.hair_style == "bun":
        add(Solid("hair", p.hair, (0, top, lean - 0.05), (0, top + 0.02, lean - 0.06), (0.026, 0.022), 0.31))
    if look.long_hair:
        width = radius * {"straight": 1.15, "pony": 0.5, "wide": 1.6}[p.hair_style]
        add(Solid("hair", p.hair, (0, eye, lean - 0.035), (0, 0.77, lean - 0.05), (width, width, width * 0.8), 0.118, 0.7))
    if look.hat:
        low, crown = eye + radius * 0.55, eye + radius * 1.5
        add(Solid("hat", p.hat, (0, low, lean), (0, crown, lean), (radius * 1.15, radius * 1.12, radius * 0.7), 0.5))
        if p.hat_style == "cap":
            add(Solid("hat", p.hat, (0, low, lean + 0.03), (0, low - 0.008, lean + 0.115), (0.03, 0.012), 0.51))
        if p.hat_style == "brim":
            add(Solid("hat", p.hat, (0, low + 0.006, lean), (0, low - 0.01, lean), (radius * 1.9, radius * 2), 0.51, 1, True))
    if p.scarf:
        add(Solid("upper", p.extra, (0, 0.875, lean), (0, 0.835, lean), (0.055, 0.075), 0.13, 0.9))

    if look.backpack:
        back, size = -0.085 * g - 0.04, p.bag_size
        pack = (0.06 * size, 0.085 * size, 0.09 * size, 0.088 * size)
        add(Solid("backpack", p.backpack, (0, 0.83, back), (0, 0.83 - 0.24 * size, back), pack, 0.06, 0.65))
        for x in (-0.07, 0.07):
            add(Solid("backpack", Cloth(p.backpack.base), (x, 0.84, 0.05), (x * 1.25, 0.66, 0.075), (0.013, 0.013), 0.07))
    if look.bag:
        far, near, size = -p.hand * 0.07, p.hand * 0.13 * g, p.bag_size
        for z in (0.07, -0.07):
            add(Solid("bag", Cloth(p.bag.base), (far, 0.84, z), (near, 0.56, z), (0.011, 0.011), 0.075))
        add(Solid("bag", p.bag, (near, 0.57, 0), (near, 0.57 - 0.13 * size, 0), (0.06 * size, 0.068 * size), 0.12, 1.2, True))
    return solids


@dataclass(frozen=True)
class View:
    """From where a body is seen: angles in radians, lengths in pixels of the supersampled canvas."""

    yaw: float  # 0: the person faces the camera; positive turns towards the viewer's right
    pitch: float  # how far the camera looks down
    scale: float  # of a person's height
    stretch: float  # of widths
    x: float  # of the point between the feet
    y: float
    light: float  # -1 from the left, 1 from the right

    def project(self, point: Point) -> tuple[float, float, float]:
        left, up, forward = point
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        nearness = forward * cos - left * sin
        x = self.x + (left * cos + forward * sin) * self.scale * self.stretch
        y = self.y - (up * math.cos(self.pitch) - nearness * math.sin(self.pitch)) * self.scale
        return x, y, nearness


def draw(canvas: Array, labels: NDArray[np.uint8], solids: list[Solid], view: View, part: str | None = None) -> None:
    """Draw solids, back to front, on a canvas (H, W, 3) and its label map (H, W); `part` overrides their own part."""
    ends = [(view.project(solid.start), view.project(solid.end)) for solid in solids]
    order = sorted(range(len(solids)), key=lambda i: ends[i][0][2] + ends[i][1][2] + 2 * solids[i].bias)
    for i in order:
        _draw_solid(canvas, labels, solids[i], *ends[i], view, PARTS[part or solids[i].part])


def _draw_solid(
    canvas: Array, labels: NDArray[np.uint8], solid: Solid, start: Point, end: Point, view: View, label: int
) -> None:
    (x0, y0, _), (x1, y1, _) = start, end
    flattening = math.hypot(math.cos(view.yaw), solid.depth * math.sin(view.yaw))
    radii = np.array(solid.half_widths, np.float32) * (view.scale * view.stretch * flattening)
    margin = float(radii.max()) + 1
    top, bottom = max(0, int(min(y0, y1) - margin)), min(canvas.shape[0], int(max(y0, y1) + margin) + 2)
    left, right = max(0, int(min(x0, x1) - margin)), min(canvas.shape[1], int(max(x0, x1) + margin) + 2)
    if top >= bottom or left >= right:
        return
    y, x = np.ogrid[top:bottom, left:right]
    dy, dx = (y - y0).astype(np.float32), (x - x0).astype(np.float32)
    length = max(math.hypot(x1 - x0, y1 - y0), 1e-3)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    along, across = dx * ux + dy * uy, dx * uy - dy * ux
    share = np.clip(along / length, 0, 1)
    radius = np.interp(share, np.linspace(0, 1, len(radii)), radii).astype(np.float32)
    beyond = np.maximum(-along, along - length)
    distance = np.minimum(radius - abs(across), -beyond) if solid.flat else radius - np.hypot(across, np.maximum(beyond, 0))
    alpha = np.clip(distance + 0.5, 0, 1)[..., None]
    sine = np.clip(across / np.maximum(radius, 0.5), -1, 1)
    shade = 0.74 + 0.26 * np.sqrt(1 - sine * sine) + 0.16 * view.light * sine
    angle = (np.arcsin(sine) - view.yaw + math.pi) % _TAU - math.pi
    height = solid.start[1] - share * math.dist(solid.start, solid.end)
    if solid.end[1] > solid.start[1]:
        height = solid.start[1] + share * math.dist(solid.start, solid.end)
    colours = solid.cloth.paint(angle, height, max(solid.half_widths)) * shade[..., None]
    region = canvas[top:bottom, left:right]
    region += alpha * (colours - region)
    labels[top:bottom, left:right][alpha[..., 0] > 0.5] = label


# ------------------------------------------------------------------------------------------------- cameras and scenes


@dataclass(frozen=True)
class Camera:
    scene: Array  # (H, W, 3) panorama on the supersampled canvas; an image sees a window of it
    yaw: float
    pitch: float
    mix: Array  # (3, 3) colour response
    lift: float
    gamma: float
    blur: float
    shrink: float  # resolution relative to the image's
    noise: float
    light: float


@lru_cache(maxsize=32)
def camera(seed: int, number: int) -> Camera:
    """Camera `number` (from 1) of the data set rendered with `seed`."""
    rng = np.random.default_rng((seed, 1, number))
    saturation = rng.uniform(0.55, 0.95)
    mix = saturation * np.eye(3) + (1 - saturation) * np.full((3, 3), 1 / 3) + rng.normal(0, 0.02, (3, 3))
    gains = np.exp(rng.normal(0, 0.07, 3)) * np.exp(rng.normal(0, 0.12))
    quarter = (number - 1) % 4  # neighbouring cameras look from the front, from behind, from either side
    return Camera(
        scene=_scene(rng),
        yaw=float((0, math.pi, math.pi / 2, -math.pi / 2)[quarter] + rng.normal(0, 0.35)),
        pitch=float(rng.uniform(0.05, 0.35)),
        mix=(mix * gains[:, None]).astype(np.float32),
        lift=float(rng.uniform(0, 30)),
        gamma=float(np.exp(rng.normal(0, 0.2))),
        blur=float(rng.uniform(0.2, 0.9)),
        shrink=float(rng.uniform(0.55, 1.0)),
        noise=float(rng.uniform(2, 7)),
        light=float(rng.uniform(-1, 1)),
    )


def _scene(rng: np.random.Generator) -> Array:
    """A street: a wall, a hedge or shop fronts behind a ground of tiles or asphalt."""
    height, width = HEIGHT * SUPERSAMPLING + 64, 800
    horizon = int(height * rng.uniform(0.3, 0.55))

    def colour(low: int, high: int, spread: float = 12) -> tuple[int, ...]:
        return tuple(np.clip(rng.uniform(low, high) + rng.normal(0, spread, 3), 0, 255).astype(int).tolist())

    grey = int(rng.uniform(90, 170))
    image = Image.new("RGB", (width, height), colour(grey, grey, 7))
    pen = ImageDraw.Draw(image)
    wall = colour(70, 200)
    pen.rectangle((0, 0, width, horizon), wall)
    kind = rng.choice(("bricks", "windows", "hedge", "shops"))
    if kind == "bricks":
        dark = tuple(int(value * 0.8) for value in wall)
        for row, y in enumerate(range(0, horizon, 12)):
            pen.line((0, y, width, y), dark, 2)
            for x in range((row % 2) * 14, width, 28):
                pen.line((x, y, x, y + 12), dark, 2)
    elif kind == "windows":
        step, glass = int(rng.integers(50, 90)), colour(40, 120)
        for x in range(0, width, step):
            pen.rectangle((x + 12, 10, x + step - 10, horizon - 30), glass, colour(150, 220), 3)
    elif kind == "hedge":
        for _ in range(700):
            x, y, r = rng.uniform(0, width), rng.uniform(0, horizon), rng.uniform(4, 14)
            green = rng.uniform(50, 130)
            pen.ellipse((x - r, y - r, x + r, y + r), (int(green * 0.6), int(green), int(green * 0.45)))
    else:
        x = 0
        while x < width:
            step = int(rng.integers(60, 160))
            pen.rectangle((x, 0, x + step, horizon), colour(50, 210, 25))
            pen.rectangle((x + 8, horizon // 3, x + step - 8, horizon - 6), colour(30, 110))
            pen.rectangle((x, horizon // 5, x + step, horizon // 3), colour(80, 220, 40))
            x += step
    if rng.random() < 0.6:  # tiles, their rows closer together towards the horizon
        dark = tuple(int(value) for value in np.array(image.getpixel((0, height - 1))) * 0.86)
        for row in range(1, 14):
            y = horizon + (height - horizon) * (row / 13) ** 1.6
            pen.line((0, y, width, y), dark, 2)
        for x in range(-width, 2 * width, 70):
            pen.line((width / 2 + (x - width / 2) * 0.6, horizon, x, height), dark, 2)
    pen.rectangle((0, horizon, width, horizon + 6), colour(90, 160))  # kerb
    for _ in range(int(rng.integers(3, 8))):  # lamp posts, bollards, parked things
        x, tall = rng.uniform(0, width), rng.uniform(20, 160)
        if rng.random() < 0.5:
            pen.rectangle((x, horizon + 20 - tall, x + rng.uniform(4, 10), horizon + 20), colour(30, 110))
        else:
            pen.rounded_rectangle((x, horizon - 25, x + rng.uniform(40, 110), horizon + 25), 10, colour(40, 200, 30))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.0))))
    grain = sum(
        amount * np.asarray(Image.fromarray(rng.normal(size=size).astype(np.float32)).resize((width, height)))
        for size, amount in (((10, 25), 8.0), ((height // 3, width // 3), 5.0))
    )
    return np.clip(np.asarray(image, np.float32) + np.asarray(grain, np.float32)[..., None], 0, 255)


# ---------------------------------------------------------------------------------------------------------- an image


class Shot(NamedTuple):
    """One image to be taken."""

    split: str  # the folder it goes to
    identity: int  # as the file name says it: -1 junk, 0 distractor
    person: int  # who is drawn; distractors and junk are people of their own
    camera: int
    sequence: int
    frame: int
    index: int  # within the person's walk past this camera

    @property
    def stem(self) -> str:
        name = "-1" if self.identity < 0 else f"{self.identity:04d}"
        return f"{name}_c{self.camera}s{self.sequence}_{self.frame:06d}_{self.index + 1:02d}"


def take(shot: Shot, people: "Cast") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The image (128, 64, 3) uint8 of a shot and its part map (128, 64) uint8."""
    seed, scale = people.seed, SUPERSAMPLING
    eye = camera(seed, shot.camera)
    walk = np.random.default_rng((seed, 2, shot.person, shot.camera))  # what all images of one walk share
    heading = eye.yaw + walk.normal(0, 0.3) + (math.pi if walk.random() < 0.2 else 0)
    phase = walk.uniform(0, _TAU)
    weather = np.random.default_rng((seed, 3, shot.camera, shot.sequence))  # the hour of the day at that camera
    exposure = math.exp(weather.normal(0, 0.13))
    tint = np.exp(weather.normal(0, 0.04, 3)).astype(np.float32)
    rng = np.random.default_rng((seed, 4, shot.person, shot.camera, shot.index))

    height, width = HEIGHT * scale, WIDTH * scale
    across, down = int(rng.integers(0, eye.scene.shape[1] - width)), int(rng.integers(0, eye.scene.shape[0] - height))
    canvas = eye.scene[down : down + height, across : across + width].copy()
    labels = np.zeros((height, width), np.uint8)

    junk = shot.identity < 0
    tall = height * rng.uniform(0.84, 1.0)
    x, feet = width * (0.5 + rng.normal(0, 0.05)), height * (0.5 + rng.normal(0, 0.02)) + tall * 0.5
    if rng.random() < 0.12:  # the detector's box is off: too large, too small or to one side
        tall *= rng.uniform(0.75, 1.3)
        x, feet = x + rng.normal(0, 0.12) * width, feet + rng.normal(0, 0.08) * height
    if junk:
        tall, x, feet = tall * rng.uniform(0.6, 2.2), width * rng.uniform(-0.1, 1.1), height * rng.uniform(0.7, 2.0)
    view = View(
        yaw=heading + rng.normal(0, 0.12), pitch=eye.pitch, scale=tall, stretch=rng.uniform(0.92, 1.1), x=x, y=feet, light=eye.light
    )
    rows, columns = np.ogrid[:height, :width]
    shadow = np.clip(1.3 - np.hypot((columns - x - 12 * eye.light) / (tall * 0.17), (rows - feet) / (tall * 0.035)), 0, 0.5)
    canvas *= 1 - shadow[..., None].astype(np.float32)
    draw(canvas, labels, body(people.person(shot.person), phase + 1.1 * shot.index), view)
    if rng.random() < 0.1:
        _occlude(canvas, labels, rng, people, view)

    image = canvas.reshape(HEIGHT, scale, WIDTH, scale, 3).mean(axis=(1, 3))
    image = 255 * (np.clip(image, 0, 255) / 255) ** eye.gamma
    image = image @ eye.mix.T * (tint * np.float32(exposure * math.exp(rng.normal(0, 0.1)))) + eye.lift
    image = np.where(image < 170, image, 170 + 80 * np.tanh((image - 170) / 110))  # highlights roll off
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    small = (round(WIDTH * eye.shrink), round(HEIGHT * eye.shrink))
    picture = picture.resize(small, Image.Resampling.BOX).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    picture = picture.filter(ImageFilter.GaussianBlur(eye.blur * rng.uniform(0.6, 1.4)))
    noisy = np.asarray(picture, np.float32) + rng.standard_normal((HEIGHT, WIDTH, 3), np.float32) * eye.noise
    return np.clip(noisy, 0, 255).astype(np.uint8), np.ascontiguousarray(labels[scale // 2 :: scale, scale // 2 :: scale])


def _occlude(canvas: Array, labels: NDArray[np.uint8], rng: np.random.Generator, people: "Cast", view: View) -> None:
    """Put something between the person and the camera: a post, a hedge, or someone walking by."""
    height, width = labels.shape
    kind = rng.choice(("post", "hedge", "passer-by"))
    if kind == "passer-by":
        other = people.person(int(rng.integers(1 << 20)))
        side = float(rng.choice((-1.0, 1.0)))
        at = replace(view, yaw=view.yaw + rng.uniform(1, 5), x=view.x + side * width * rng.uniform(0.28, 0.42), y=view.y + 8)
        draw(canvas, labels, body(other, rng.uniform(0, _TAU)), at, "occluder")
        return
    grey = rng.uniform(40, 160)
    if kind == "post":
        left = int(rng.uniform(0.1, 0.8) * width)
        where = np.s_[:, left : left + int(rng.integers(10, 22))]
        colour = np.array((grey, grey, grey), np.float32)
    else:
        where = np.s_[int(rng.uniform(0.65, 0.85) * height) :, :]
        colour = np.array((0.5 * grey, 0.9 * grey, 0.4 * grey), np.float32)
    canvas[where] = colour + rng.normal(0, 12, (*labels[where].shape, 1))
    labels[where] = PARTS["occluder"]


# ----------------------------------------------------------------------------------------------------------- data set


@dataclass(frozen=True)
class Preset:
    """The size and kind of a data set. `cameras_per_identity` and `images_per_identity` are inclusive ranges and a mean."""

    cameras: int
    attributes: str  # whose attribute file: a key of MAT_FIELDS
    train_identities: int = 100
    test_identities: int = 60
    images_per_identity: int = 14
    distractors: int = 100
    junk: int = 60
    cameras_per_identity: tuple[int, int] = (4, 6)
    people_per_look: int = 4  # how many share all their attributes


PRESETS: dict[str, Preset] = {
    "market-like": Preset(cameras=6, attributes="market_attribute"),
    "duke-like": Preset(cameras=8, attributes="duke_attribute", cameras_per_identity=(2, 5)),
    "msmt-like": Preset(cameras=15, attributes="market_attribute", train_identities=160, test_identities=120),
}

_SEQUENCES = 6


class Cast:
    """Everyone who can be drawn. Person n wears look n modulo the number of looks."""

    def __init__(self, preset: Preset, seed: int) -> None:
        self.seed = seed
        fields = MAT_FIELDS[preset.attributes]["train"]
        count = max(2, (preset.train_identities + preset.test_identities) // preset.people_per_look)
        self.looks = [_draw_look(np.random.default_rng((seed, 5, index)), fields) for index in range(count)]
        self.person = lru_cache(maxsize=256)(self._person)

    def look(self, number: int) -> Look:
        return self.looks[number % len(self.looks)]

    def _person(self, number: int) -> Person:
        return _draw_person(np.random.default_rng((self.seed, 6, number)), self.look(number))


def plan(preset: Preset, seed: int) -> list[Shot]:
    """Every image of the data set: who walks past which camera, and to which split it goes."""
    identities = preset.train_identities + preset.test_identities
    chosen = np.random.default_rng((seed, 7)).permutation(identities) + 1
    train = set(chosen[: preset.train_identities].tolist())
    shots: list[Shot] = []
    for identity in range(1, identities + 1):
        rng = np.random.default_rng((seed, 8, identity))
        low, high = (min(bound, preset.cameras) for bound in preset.cameras_per_identity)
        seen_by = sorted(rng.permutation(preset.cameras)[: rng.integers(low, high + 1)] + 1)
        counts = 2 + rng.multinomial(max(0, preset.images_per_identity - 2 * len(seen_by)), [1 / len(seen_by)] * len(seen_by))
        for number, count in zip(seen_by, counts, strict=True):
            sequence, frame = int(rng.integers(1, _SEQUENCES + 1)), int(rng.integers(1, 60_000))
            for index in range(count):
                test = "query" if index == 0 else "bounding_box_test"  # one query per identity and camera, as in Market
                split = "bounding_box_train" if identity in train else test
                shots.append(Shot(split, identity, identity, int(number), sequence, frame + 25 * index, index))
    for extra in range(preset.distractors + preset.junk):
        rng = np.random.default_rng((seed, 9, extra))
        identity = 0 if extra < preset.distractors else -1
        number, sequence = int(rng.integers(1, preset.cameras + 1)), int(rng.integers(1, _SEQUENCES + 1))
        shots.append(Shot("bounding_box_test", identity, identities + 1 + extra, number, sequence, 60_000 + extra, 0))
    return shots


def _attribute_file(preset: Preset, people: Cast, shots: list[Shot]) -> bytes:
    """A .mat laid out as the original: struct of splits, struct of fields, (1, I) uint8 and a cell of id strings."""
    splits: dict[str, dict[str, NDArray[np.generic]]] = {}
    for split, fields in MAT_FIELDS[preset.attributes].items():
        ids = sorted({s.identity for s in shots if s.identity > 0 and (s.split == "bounding_box_train") == (split == "train")})
        cells = np.empty((1, len(ids)), object)
        cells[0] = [f"{identity:04d}" for identity in ids]
        splits[split] = {
            field: cells if field == "image_index" else np.array([[people.look(i).code(field) for i in ids]], np.uint8)
            for field in fields
        }
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {preset.attributes: splits})
    content = buffer.getvalue()
    return b"MATLAB 5.0 MAT-file, SynthPed".ljust(116) + content[116:]  # scipy's header holds the time of writing


def _write(task: tuple[Shot, Path, Preset, int]) -> None:
    shot, root, preset, seed = task
    image, labels = take(shot, _cast(preset, seed))
    Image.fromarray(image).save(root / shot.split / f"{shot.stem}.jpg", quality=92)
    Image.fromarray(labels).save(root / "parts" / shot.split / f"{shot.stem}.png", compress_level=1)


@lru_cache(maxsize=4)
def _cast(preset: Preset, seed: int) -> Cast:  # once per process
    return Cast(preset, seed)


def _images(tasks: list[tuple[Shot, Path, Preset, int]], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_write, tasks)
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    with ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        yield from pool.map(_write, tasks, chunksize=16)


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
    """Render SynthPed into `root` and return it; do nothing if the same render is already there.

    The data set appears whole or not at all: it is written beside `root` and renamed. An older render with other
    parameters is replaced; a folder that is not a render is never touched.

    Raises:
        ValueError: for an unknown preset, or a count out of range.
        FileExistsError: if `root` exists and holds something other than a render.
    """
    root = Path(root)
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown SynthPed preset {preset!r}; did you mean {near!r}? There are: {', '.join(PRESETS)}")
    wanted = {"train_identities": train_identities, "test_identities": test_identities,
              "images_per_identity": images_per_identity, "distractors": distractors, "junk": junk}  # fmt: skip
    for name, value in wanted.items():
        least = 0 if name in ("distractors", "junk") else 1
        if value is not None and value < least:
            raise ValueError(f"SynthPed's {name} is {value}; it must be at least {least}")
    size = replace(PRESETS[preset], **{name: value for name, value in wanted.items() if value is not None})  # type: ignore[arg-type]
    parameters = {"preset": preset, "seed": seed, "renderer": _renderer(), **asdict(size)}
    if _parameters_of(root) == json.loads(json.dumps(parameters)):
        return root
    if root.exists() and (not root.is_dir() or (any(root.iterdir()) and _parameters_of(root) is None)):
        raise FileExistsError(f"{root} is not a SynthPed render (it has no synthped.json): name an empty or new folder")

    shots, people = plan(size, seed), Cast(size, seed)
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        for split in ("bounding_box_train", "query", "bounding_box_test"):
            (partial / split).mkdir()
            (partial / "parts" / split).mkdir(parents=True)
        tasks = [(shot, partial, size, seed) for shot in shots]
        for _ in tqdm(_images(tasks, workers), "SynthPed", len(tasks), unit="image", disable=not progress):
            pass
        (partial / "attribute").mkdir()
        (partial / "attribute" / f"{size.attributes}.mat").write_bytes(_attribute_file(size, people, shots))
        (partial / "synthped.json").write_text(json.dumps(parameters, indent=1) + "\n")
        partial.chmod(0o755)
        if root.exists():
            shutil.rmtree(root)
        os.replace(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _renderer() -> str:
    """A digest of this file: a render by other code is another render."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _parameters_of(root: Path) -> Mapping[str, object] | None:
    try:
        found = json.loads((root / "synthped.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

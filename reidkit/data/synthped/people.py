"""Who walks through SynthPed: looks, which several people share, and what tells those people apart."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Colour = tuple[float, float, float]  # RGB, 0 to 255

COLOURS: dict[str, Colour] = {
    "black": (42, 42, 46), "white": (214, 214, 208), "red": (168, 48, 52), "purple": (110, 62, 128),
    "yellow": (200, 176, 70), "gray": (124, 124, 126), "blue": (54, 80, 146), "green": (60, 116, 72),
    "pink": (210, 140, 162), "brown": (112, 82, 58), "orange": (206, 120, 58), "teal": (50, 130, 134),
}  # fmt: skip
NAMELESS = ("orange", "teal")  # worn by those whose colour attributes all say no: 78 of Market's 751 training ids
SKIN: tuple[Colour, ...] = ((226, 188, 160), (204, 160, 126), (168, 122, 90), (120, 84, 62), (86, 60, 46))
HAIR: tuple[Colour, ...] = ((30, 26, 26), (58, 42, 34), (96, 66, 44), (156, 122, 76), (120, 56, 36))
GREY_HAIR: Colour = (150, 148, 146)
THINGS = 4  # sets of colours of what is not upper or lower clothes


@dataclass(frozen=True)
class Look:
    """What an attribute file can say of a person."""

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
    upper: str  # a colour's name
    lower: str

    def code(self, field: str) -> int:
        """The number that the attribute file holds in a field: 1 or 2, and 1 to 4 for the age."""
        switches = {
            "gender": self.female, "hair": self.long_hair, "up": self.short_sleeves, "down": self.short_lower,
            "clothes": not self.dress, "top": self.long_top, "shoes": self.light_shoes, "boots": self.boots,
            "hat": self.hat, "backpack": self.backpack, "bag": self.bag, "handbag": self.handbag,
            "up" + self.upper: True, "down" + self.lower: True,
        }  # fmt: skip
        return self.age if field == "age" else 1 + switches.get(field, False)


class Palette(NamedTuple):
    """The colours of a person's things. Many people share one, so that a histogram of colours finds too many."""

    upper_name: str
    lower_name: str
    upper: Colour
    upper_second: Colour
    lower: Colour
    lower_second: Colour
    things: Colour  # hat, bags, scarf
    things_second: Colour
    dark_shoes: Colour
    skin: Colour
    hair: Colour


def _about(rng: np.random.Generator, colour: Colour, spread: float = 7) -> Colour:
    red, green, blue = np.clip(rng.normal(colour, spread), 8, 250).tolist()
    return red, green, blue


def _beside(colour: Colour) -> Colour:
    """The second colour of a cloth: a lighter or a darker one of the first."""
    red, green, blue = (value * 0.35 if sum(colour) > 360 else value * 1.5 + 90 for value in colour)
    return red, green, blue


def draw_palettes(
    rng: np.random.Generator, count: int, upper_colours: list[str], lower_colours: list[str]
) -> list[Palette]:
    """Palettes that show every colour about as often as any other, an upper one beside another lower one each time.

    So neither colour tells the other, which would make one attribute of two. Things, skin and hair come in a few sets.
    """
    uppers, lowers = rng.permutation([*upper_colours, NAMELESS[0]]), rng.permutation([*lower_colours, NAMELESS[1]])
    things = [_draw_things(rng) for _ in range(THINGS)]
    palettes = []
    for n in range(count):
        upper_name, lower_name = str(uppers[n % len(uppers)]), str(lowers[(n + 3 * (n // len(uppers))) % len(lowers)])
        upper, lower = _about(rng, COLOURS[upper_name]), _about(rng, COLOURS[lower_name])
        colours = (upper, _beside(upper), lower, _beside(lower), *things[n % THINGS])
        palettes.append(Palette(upper_name, lower_name, *colours))
    return palettes


def _draw_things(rng: np.random.Generator) -> tuple[Colour, Colour, Colour, Colour, Colour]:
    """The last five colours of a palette."""
    things = _about(rng, COLOURS[str(rng.choice(list(COLOURS)))])
    shoes = _about(rng, COLOURS[str(rng.choice(("black", "brown", "blue")))])
    skin, hair = _about(rng, SKIN[rng.integers(len(SKIN))], 5), _about(rng, HAIR[rng.integers(len(HAIR))], 5)
    return things, _beside(things), shoes, skin, hair


def draw_look(rng: np.random.Generator, palette: Palette) -> Look:
    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

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
        upper=palette.upper_name,
        lower=palette.lower_name,
    )


# ------------------------------------------------------------------------------------------------------------ clothes

TAU = 2 * math.pi

# A pattern says where the second colour goes: (angle around the body, 0 in front; height; density) -> bool.
PATTERNS: dict[str, Callable[[Array, Array, float], Mask]] = {
    "hoops": lambda a, h, f: (h * f * 2.2) % 1 < 0.45,
    "pinstripes": lambda a, h, f: (a * f / TAU + 0.25) % 1 < 0.4,
    "checks": lambda a, h, f: ((h * f * 1.6) % 1 < 0.5) ^ ((a * f * 0.8 / TAU) % 1 < 0.5),
    "dots": lambda a, h, f: ((h * f * 1.6) % 1 - 0.5) ** 2 + ((a * f * 0.8 / TAU) % 1 - 0.5) ** 2 < 0.1,
    "diagonal": lambda a, h, f: (h * f * 1.8 + a * f * 0.4 / math.pi) % 1 < 0.4,
    "diamonds": lambda a, h, f: abs((h * f * 1.4) % 1 - 0.5) + abs((a * f * 0.8 / TAU) % 1 - 0.5) < 0.36,
    "band": lambda a, h, f: abs(h - 0.70 + 0.003 * f) < 0.035,
    "yoke": lambda a, h, f: h > 0.66 + 0.006 * f,
    "open": lambda a, h, f: (abs(a) < 0.45) | (h < 0.5),
    "halves": lambda a, h, f: a * (1 if f > 6 else -1) > 0,
    "sides": lambda a, h, f: abs(abs(a) - math.pi / 2) < 0.42,
    "cuffs": lambda a, h, f: h < 0.16,
}
DENSITIES = (4.0, 6.0, 9.0)
UPPER_PATTERNS = [name for name in PATTERNS if name != "cuffs"]
LOWER_PATTERNS = ["sides", "cuffs", "pinstripes", "checks", "hoops"]
BAG_PATTERNS = ["hoops", "checks", "dots", "sides"]

# A print is a shape within the square from -1 to 1: (left to right, up) -> bool.
PRINTS: dict[str, Callable[[Array, Array], Mask]] = {
    "disc": lambda x, y: x * x + y * y < 1,
    "ring": lambda x, y: abs(x * x + y * y - 0.65) < 0.35,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.85,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1),
    "triangle": lambda x, y: (abs(y) < 0.9) & (abs(x) < (0.9 - y) * 0.6),
    "chevron": lambda x, y: (abs(y + 0.7 * abs(x)) < 0.45) & (abs(x) < 1.2),
    "lines": lambda x, y: (abs(x) < 1.2) & (abs(y) < 1) & ((y * 1.3 + 0.1) % 1 < 0.5),
}


class Print(NamedTuple):
    shape: str
    colour: Colour
    angle: float  # 0 on the chest, pi on the back
    height: float
    size: float


class Cloth(NamedTuple):
    base: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: str | None = None
    density: float = DENSITIES[0]
    prints: tuple[Print, ...] = ()

    def paint(self, angle: Array, height: Array, half_width: float) -> Array:
        """Colours (h, w, 3) at the angles (h, w), -pi to pi, around a solid and the heights (h, w) along it."""
        colours = np.empty((*angle.shape, 3), np.float32)
        colours[:] = self.base
        if self.pattern:
            colours[PATTERNS[self.pattern](angle, height, self.density)] = self.second
        for mark in self.prints:
            sideways = (angle - mark.angle + math.pi) % TAU - math.pi
            shape = PRINTS[mark.shape](sideways * half_width / mark.size, (height - mark.height) / mark.size)
            colours[shape & (abs(sideways) < math.pi / 2)] = mark.colour
        return colours


@dataclass(frozen=True)
class Person:
    """An identity: its look, and the build and clothes that tell it from others of the same look."""

    look: Look
    girth: float  # this and the next five relative to the average
    shoulders: float
    hips: float
    legs: float
    head: float
    bag_size: float
    stoop: float  # how far the shoulders are in front of the hips, in heights
    stride: float  # swing of a leg, radians
    hand: int  # the side on which a bag is carried: -1 or 1
    hair_style: str
    hat_style: str
    flare: float  # of a skirt, or width of trousers
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


def draw_person(rng: np.random.Generator, look: Look, palette: Palette) -> Person:
    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def one_of(*options: str) -> str:
        return str(rng.choice(options))

    def cloth(base: Colour, second: Colour, patterns: list[str], patterned: float) -> Cloth:
        pattern = one_of(*patterns) if rng.random() < patterned else None
        return Cloth(base, second, pattern, float(rng.choice(DENSITIES)))

    def thing(patterns: list[str], patterned: float) -> Cloth:
        return cloth(palette.things, palette.things_second, patterns, patterned)

    child, old = look.age == 1, look.age == 4
    upper = cloth(palette.upper, palette.upper_second, UPPER_PATTERNS, 1.0)
    if rng.random() < 0.25:
        places = [angle for angle in (0.0, math.pi) if rng.random() < 0.6]
        marks = [Print(one_of(*PRINTS), upper.second, a, between(0.64, 0.74), between(0.045, 0.08)) for a in places]
        upper = upper._replace(prints=tuple(marks))
    hair = ("straight", "pony", "wide") if look.long_hair else ("crop", "tall", "bald", "bun")
    return Person(
        look=look,
        girth=between(0.82, 1.3) * (1.08 if old else 1.0),
        shoulders=between(0.88, 1.12) * (0.92 if look.female else 1.04),
        hips=between(0.9, 1.12) * (1.1 if look.female else 0.98),
        legs=between(0.93, 1.07) * (0.92 if child else 1.0),
        head=between(0.95, 1.1) * (1.3 if child else 1.0),
        bag_size=between(0.8, 1.3),
        stoop=between(0.0, 0.03) + (0.05 if old else 0.0),
        stride=between(0.3, 0.55) * (0.6 if old else 1.0),
        hand=int(rng.choice((-1, 1))),
        hair_style=one_of(*hair),
        hat_style=one_of("cap", "beanie", "brim"),
        flare=between(0.9, 1.5),
        scarf=bool(rng.random() < 0.15),
        upper=upper,
        sleeves=upper._replace(prints=()) if rng.random() < 0.6 else Cloth(upper.second),
        lower=cloth(palette.lower, palette.lower_second, LOWER_PATTERNS, 0.8),
        skin=Cloth(palette.skin),
        hair=Cloth(GREY_HAIR if old else palette.hair),
        shoes=Cloth(COLOURS["white"] if look.light_shoes else palette.dark_shoes),
        hat=thing(["hoops", "halves"], 0.4),
        backpack=thing(BAG_PATTERNS, 0.5),
        bag=thing(BAG_PATTERNS, 0.5),
        extra=thing(BAG_PATTERNS, 0.5),
    )

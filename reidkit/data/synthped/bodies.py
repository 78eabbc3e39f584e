"""How a person is drawn: solids of revolution, seen by an orthographic camera that turns around them."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reidkit.data.synthped.people import TAU, Array, Cloth, Person

Point = tuple[float, float, float]  # to the person's left, up, forward; the person is 1 tall and stands at the origin
Labels = NDArray[np.uint8]

PARTS = {
    "background": 0, "hat": 1, "hair": 2, "head": 3, "upper": 4, "sleeves": 5, "arms": 6, "lower": 7, "legs": 8,
    "shoes": 9, "backpack": 10, "bag": 11, "handbag": 12, "occluder": 13,
}  # fmt: skip
"""The label of every part in a part map. `head`, `arms` and `legs` are bare skin, `sleeves` cloth on the arms."""


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])


class Solid(NamedTuple):
    """A solid of revolution about the axis from `start` to `end`, its cross-section `depth` times as deep as wide."""

    part: str
    cloth: Cloth
    start: Point
    end: Point
    half_widths: tuple[float, ...]  # at equal steps along the axis
    bias: float = 0.0  # added to its nearness when solids are ordered from back to front
    depth: float = 1.0
    flat: bool = False  # cut off at its ends instead of rounded
    worn_on: tuple[Point, Point] | None = None  # the limb's ends, where it is cloth on a part of one

    @property
    def middle(self) -> Point:
        """The point whose nearness orders it: cloth takes the limb's, or it would sink into a limb that swings."""
        return _between(*(self.worn_on or (self.start, self.end)), 0.5)


def _swung(start: Point, length: float, angle: float, outward: float = 0.0) -> Point:
    """The lower end of a limb that hangs from `start`, swung forward by `angle`."""
    return start[0] + outward, start[1] - length * math.cos(angle), start[2] + length * math.sin(angle)


def body(person: Person, phase: float) -> list[Solid]:
    """The solids of a person at a phase (radians) of the walking cycle."""
    solids = _trunk(person) + _head(person) + _luggage(person)
    for side in (-1, 1):
        swing = person.stride * math.sin(phase) * side
        bend = 0.1 + 0.7 * person.stride * max(0.0, math.cos(phase) * side)  # the knee of the leg that moves forward
        solids += _leg(person, side, swing, bend) + _arm(person, side, -0.9 * swing)
    return solids


def sole(solids: list[Solid]) -> float:
    """The height of the lowest shoe: a swinging leg lifts both."""
    return min(min(solid.start[1], solid.end[1]) for solid in solids if solid.part == "shoes") - 0.025


def _thickness(person: Person) -> float:
    return math.sqrt(person.girth)


def _hip_height(person: Person) -> float:
    return 0.5 * person.legs


def _trunk(p: Person) -> list[Solid]:
    g, hip = _thickness(p), _hip_height(p)
    chest, waist, hips = 0.112 * p.shoulders * g, 0.088 * p.girth, 0.1 * p.hips * g
    widths = (0.045, 0.9 * chest, chest, 0.98 * chest, (chest + waist) / 2, waist, waist, hips, hips)
    hem = hip - (0.13 if p.look.long_top else 0.02)
    solids = [Solid("upper", p.upper, (0, 0.86, p.stoop), (0, hem, 0), widths, 0.1, 0.62 * g, flat=True)]
    if p.look.dress:
        hem, wide = hip - (0.2 if p.look.short_lower else 0.36), hips * 1.2 * p.flare
        skirt = (waist, hips, (hips + wide) / 2, wide)
        solids.append(Solid("lower", p.lower, (0, hip + 0.1, 0), (0, hem, 0), skirt, 0.095, 0.8, flat=True))
    if p.scarf:
        solids.append(Solid("upper", p.extra, (0, 0.875, p.stoop), (0, 0.835, p.stoop), (0.055, 0.075), 0.13, 0.9))
    return solids


def _head(p: Person) -> list[Solid]:
    z, radius, eye = p.stoop, 0.05 * p.head, 0.885 + 0.045 * p.head
    top = eye + radius * (0.55 if p.hair_style == "tall" else 0.25)
    solids = [
        Solid("head", p.skin, (0, 0.84, z), (0, 0.88, z), (0.034, 0.032), 0.09),
        Solid("head", p.skin, (0, 0.89, z + 0.01), (0, eye, z + 0.01), (radius * 0.82, radius), 0.12),
    ]
    if p.hair_style != "bald":
        crown, back = (radius, radius * 0.9), (radius * 0.7, radius * 1.1)
        solids.append(Solid("hair", p.hair, (0, 0.9, z - 0.012), (0, top, z - 0.012), back, 0.122))
        solids.append(Solid("hair", p.hair, (0, eye + radius * 0.55, z), (0, top + radius * 0.4, z), crown, 0.3))
    if p.hair_style == "bun":
        solids.append(Solid("hair", p.hair, (0, top, z - 0.05), (0, top + 0.02, z - 0.06), (0.026, 0.022), 0.31))
    if p.look.long_hair:
        width = radius * {"straight": 1.15, "pony": 0.5, "wide": 1.4}[p.hair_style]
        tress = (width, width, width * 0.8)
        solids.append(Solid("hair", p.hair, (0, eye, z - 0.035), (0, 0.77, z - 0.05), tress, 0.118, 0.7))
    if p.look.hat:
        low, dome = eye + radius * 0.55, (radius * 1.15, radius * 1.12, radius * 0.7)
        solids.append(Solid("hat", p.hat, (0, low, z), (0, eye + radius * 1.5, z), dome, 0.5))
        if p.hat_style == "cap":
            peak = (0, low - 0.008, z + 0.115)
            solids.append(Solid("hat", p.hat, (0, low, z + 0.03), peak, (0.03, 0.012), 0.51))
        if p.hat_style == "brim":
            brim, plain = (radius * 1.9, radius * 2), Cloth(p.hat.base)
            solids.append(Solid("hat", plain, (0, low + 0.006, z), (0, low - 0.01, z), brim, 0.51, flat=True))
    return solids


def _leg(p: Person, side: int, swing: float, bend: float) -> list[Solid]:
    g, length = _thickness(p), 0.46 * _hip_height(p)
    hip = (side * 0.052 * p.hips * g, _hip_height(p), 0.0)
    knee = _swung(hip, length, swing)
    ankle = _swung(knee, length, swing - bend)
    heel, toe = (ankle[0], ankle[1] - 0.015, ankle[2]), (ankle[0] + side * 0.012, ankle[1] - 0.022, ankle[2] + 0.085)
    bare = p.look.dress or p.look.short_lower
    part, cloth, wide = ("legs", p.skin, 1.0) if bare else ("lower", p.lower, p.flare)
    solids = [
        Solid("shoes", p.shoes, heel, toe, (0.03, 0.031, 0.024), -0.151),
        Solid(part, cloth, hip, knee, (0.062 * p.hips * g, 0.056 * g, 0.045 * g), -0.15),
        Solid(part, cloth, knee, ankle, (0.044 * g, 0.041 * g * wide, 0.028 * g * wide), -0.149),
    ]
    if p.look.short_lower and not p.look.dress:
        widths = (0.066 * p.hips * g, 0.064 * g, 0.06 * g)
        end = _between(hip, knee, 0.85)
        solids.append(Solid("lower", p.lower, hip, end, widths, -0.148, flat=True, worn_on=(hip, knee)))
    if p.look.boots:
        widths = (0.034, 0.042 * g, 0.047 * g)
        top = _between(ankle, knee, 0.5)
        solids.append(Solid("shoes", p.shoes, ankle, top, widths, -0.147, flat=True, worn_on=(knee, ankle)))
    return solids


def _arm(p: Person, side: int, swing: float) -> list[Solid]:
    g = _thickness(p)
    shoulder = (side * (0.118 * p.shoulders * g - 0.008), 0.793, p.stoop)
    elbow = _swung(shoulder, 0.18, swing, side * 0.02)
    hand = _swung(elbow, 0.155, swing + 0.3)
    solids = [
        Solid("arms", p.skin, shoulder, elbow, (0.034 * g, 0.028 * g), 0.13),
        Solid("arms", p.skin, elbow, hand, (0.027 * g, 0.022), 0.131),
    ]
    sleeve = _between(shoulder, elbow, 0.75 if p.look.short_sleeves else 1.0)
    widths = (0.038 * g, 0.036 * g)
    solids.append(Solid("sleeves", p.sleeves, shoulder, sleeve, widths, 0.132, worn_on=(shoulder, elbow)))
    if not p.look.short_sleeves:
        widths, cuff = (0.037 * g, 0.031 * g), _between(elbow, hand, 0.85)
        solids.append(Solid("sleeves", p.sleeves, elbow, cuff, widths, 0.133, worn_on=(elbow, hand)))
    if p.look.handbag and side == p.hand:
        top = (hand[0], hand[1] - 0.05, hand[2])
        bottom = (hand[0], top[1] - 0.11 * p.bag_size, hand[2])
        box = (0.062 * p.bag_size, 0.072 * p.bag_size)
        solids.append(Solid("handbag", p.extra, hand, top, (0.02, 0.03), 0.135, flat=True))
        solids.append(Solid("handbag", p.extra, top, bottom, box, 0.136, 0.8, flat=True))
    return solids


def _luggage(p: Person) -> list[Solid]:
    """Backpack and shoulder bag; their straps lie in front of the trunk and behind it, where the trunk hides them."""
    g, size, solids = _thickness(p), p.bag_size, []
    if p.look.backpack:
        z, strap = -0.085 * g - 0.04, Cloth(p.backpack.base)
        widths = (0.06 * size, 0.085 * size, 0.09 * size, 0.088 * size)
        solids.append(Solid("backpack", p.backpack, (0, 0.83, z), (0, 0.83 - 0.24 * size, z), widths, 0.06, 0.65))
        for x in (-0.07, 0.07):
            solids.append(Solid("backpack", strap, (x, 0.84, 0.05), (x * 1.25, 0.66, 0.075), (0.013, 0.013), 0.07))
    if p.look.bag:
        far, near, strap = -p.hand * 0.07, p.hand * 0.13 * g, Cloth(p.bag.base)
        top, bottom, box = (near, 0.57, 0.0), (near, 0.57 - 0.13 * size, 0.0), (0.06 * size, 0.068 * size)
        solids.append(Solid("bag", p.bag, top, bottom, box, 0.12, 1.2, flat=True))
        for z in (-0.07, 0.07):
            solids.append(Solid("bag", strap, (far, 0.84, z), (near, 0.56, z), (0.011, 0.011), 0.075))
    return solids


# ------------------------------------------------------------------------------------------------------------ drawing


@dataclass(frozen=True)
class View:
    """From where a body is seen; lengths in pixels, angles in radians."""

    yaw: float  # 0: the person faces the camera; positive: turned towards the right of the image
    pitch: float  # how far the camera looks down
    scale: float  # of a person's height
    stretch: float  # of widths
    x: float  # of the point between the feet
    y: float
    light: float  # -1 from the left, 1 from the right

    def project(self, point: Point) -> tuple[float, float, float]:
        """(x, y) on the canvas and the nearness to the camera, in heights."""
        left, up, forward = point
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        nearness = forward * cos - left * sin
        x = self.x + (left * cos + forward * sin) * self.scale * self.stretch
        y = self.y - (up * math.cos(self.pitch) - nearness * math.sin(self.pitch)) * self.scale
        return x, y, nearness


def draw(canvas: Array, labels: Labels, solids: list[Solid], view: View, part: str | None = None) -> None:
    """Draw solids, back to front, on a canvas (H, W, 3) and its part map (H, W); `part` overrides their own part."""
    for solid in sorted(solids, key=lambda solid: view.project(solid.middle)[2] + solid.bias):
        start, end = view.project(solid.start), view.project(solid.end)
        _draw_solid(canvas, labels, solid, start[:2], end[:2], view, PARTS[part or solid.part])


def _draw_solid(
    canvas: Array,
    labels: Labels,
    solid: Solid,
    start: tuple[float, float],
    end: tuple[float, float],
    view: View,
    label: int,
) -> None:
    (x0, y0), (x1, y1) = start, end
    flattening = math.hypot(math.cos(view.yaw), solid.depth * math.sin(view.yaw))
    radii = np.array(solid.half_widths) * (view.scale * view.stretch * flattening)
    margin = max(solid.half_widths) * view.scale * view.stretch * flattening + 1
    top, bottom = max(0, int(min(y0, y1) - margin)), min(canvas.shape[0], int(max(y0, y1) + margin) + 2)
    left, right = max(0, int(min(x0, x1) - margin)), min(canvas.shape[1], int(max(x0, x1) + margin) + 2)
    if top >= bottom or left >= right:
        return

    # Coordinates along the axis and across it give the share of the axis, the radius there and what lies inside.
    dy = np.arange(top - y0, bottom - y0, dtype=np.float32)[: bottom - top, None]
    dx = np.arange(left - x0, right - x0, dtype=np.float32)[None, : right - left]
    length = max(math.hypot(x1 - x0, y1 - y0), 1e-3)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    along, across = dx * ux + dy * uy, dx * uy - dy * ux
    share = np.minimum(np.maximum(along * (1 / length), 0), 1)
    radius = np.interp(share, _steps(len(radii)), radii).astype(np.float32)
    beyond = np.maximum(-along, along - length)
    if solid.flat:
        inside = np.minimum(radius - abs(across), -beyond)
    else:
        inside = radius - np.hypot(across, np.maximum(beyond, 0))
    alpha = np.minimum(np.maximum(inside + 0.5, 0), 1)

    sine = np.minimum(np.maximum(across / np.maximum(radius, 0.5), -1), 1)
    shade = 0.74 + 0.26 * np.sqrt(1 - sine * sine) + 0.16 * view.light * sine
    colours: Array = np.array(solid.cloth.base, np.float32)
    if solid.cloth.pattern or solid.cloth.prints:
        around = np.arcsin(sine.astype(np.float64)).astype(np.float32)  # its last bit in single differs by the CPU
        angle = (around - (view.yaw - math.pi)) % TAU - math.pi
        direction = 1 if solid.end[1] > solid.start[1] else -1
        height = solid.start[1] + direction * math.dist(solid.start, solid.end) * share
        colours = solid.cloth.paint(angle, height, max(solid.half_widths))
    region = canvas[top:bottom, left:right]
    region += alpha[..., None] * (shade[..., None] * colours - region)
    labels[top:bottom, left:right][alpha > 0.5] = label


@lru_cache
def _steps(count: int) -> NDArray[Any]:
    return np.linspace(0, 1, count)

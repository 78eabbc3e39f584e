"""What SynthPed's cameras look at, and what each does to the light."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reidkit.data.synthped.people import Array

HEIGHT, WIDTH = 128, 64  # of an image, as in Market-1501
SUPERSAMPLING = 2  # images are drawn this much larger and box-filtered, so that edges and prints do not alias


@dataclass(frozen=True, eq=False)
class Camera:
    scene: Array  # (H, W, 3) panorama on the supersampled canvas; an image sees a window of it
    yaw: float  # of a person who walks the usual way
    pitch: float
    light: float  # as in View
    response: Array  # (3, 3) from the scene's colours to the image's
    gamma: float
    lift: float  # of black
    blur: float  # pixels
    resolution: float  # of what is seen, relative to the image's
    noise: float

    def expose(
        self, canvas: Array, gains: Array, rng: np.random.Generator
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """The image (128, 64, 3) of a canvas (256, 128, 3) under the light of the hour, `gains` (3,)."""
        size = round(WIDTH * self.resolution), round(HEIGHT * self.resolution)
        picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
        picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        picture = picture.filter(ImageFilter.GaussianBlur(self.blur * rng.uniform(0.6, 1.4)))
        # In double precision, since a power's last bit in single differs from CPU to CPU, and pictures with it
        light = (np.asarray(picture, np.float32) / 255).astype(np.float64) ** float(np.float32(self.gamma))
        image = 255 * light.astype(np.float32) @ self.response.T * gains + self.lift
        image = np.where(image < 170, image, 170 + 80 * np.tanh((image - 170) / 110))  # highlights roll off
        image += rng.standard_normal((HEIGHT, WIDTH, 3), np.float32) * self.noise
        return np.clip(image, 0, 255).astype(np.uint8)


def light(rng: np.random.Generator, warmth: float, brightness: float) -> Array:
    """Factors (3,) on red, green and blue, as daylight varies: from warm to cool, hardly from green to purple."""
    colour = rng.normal(0, warmth) * np.array((1, 0.1, -1)) + rng.normal(0, 0.01, 3)
    factors: Array = np.exp(colour + rng.normal(0, brightness)).astype(np.float32)
    return factors


@lru_cache(maxsize=32)
def camera(seed: int, number: int) -> Camera:
    """Camera `number` (from 1) of the data set rendered with `seed`."""
    rng = np.random.default_rng((seed, 1, number))
    saturation = rng.uniform(0.75, 1.0)
    mix = saturation * np.eye(3) + (1 - saturation) / 3 + rng.normal(0, 0.01, (3, 3))
    gains = light(rng, 0.07, 0.06)[:, None]
    usual = (0.3, 2.7, 1.2, -1.2)[(number - 1) % 4]  # from the front, from behind, from either side
    return Camera(
        scene=_scene(rng),
        yaw=usual + float(rng.normal(0, 0.3)),
        pitch=float(rng.uniform(0.05, 0.35)),
        light=float(rng.uniform(-1, 1)),
        response=(mix * gains).astype(np.float32),
        gamma=float(np.exp(rng.normal(0, 0.1))),
        lift=float(rng.uniform(0, 18)),
        blur=float(rng.uniform(0.2, 0.6)),
        resolution=float(rng.uniform(0.75, 1.0)),
        noise=float(rng.uniform(2, 4)),
    )


Shade = tuple[int, int, int]


def _scene(rng: np.random.Generator) -> Array:
    """A street: bricks, windows, a hedge or shop fronts behind a ground of tiles or asphalt."""
    height, width = HEIGHT * SUPERSAMPLING + 64, 1600
    horizon = int(height * rng.uniform(0.3, 0.55))

    def shade(low: float, high: float, spread: float = 12) -> Shade:
        tint = spread * (rng.normal() * np.array((1, 0.2, -1)) + 0.3 * rng.normal(0, 1, 3))
        red, green, blue = np.clip(rng.uniform(low, high) + tint, 0, 255).astype(int).tolist()
        return red, green, blue

    def darker(colour: Shade) -> Shade:
        return int(colour[0] * 0.84), int(colour[1] * 0.84), int(colour[2] * 0.84)

    ground, wall = shade(105, 150, 6), shade(90, 170, 8)
    image = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, width, horizon), wall)
    kind = rng.choice(("bricks", "windows", "hedge", "shops"))
    if kind == "bricks":
        for row, y in enumerate(range(0, horizon, 12)):
            pen.line((0, y, width, y), darker(wall), 2)
            for x in range((row % 2) * 14, width, 28):
                pen.line((x, y, x, y + 12), darker(wall), 2)
    elif kind == "windows":
        step, glass, frame = int(rng.integers(50, 90)), shade(60, 110), shade(130, 180)
        for x in range(0, width, step):
            pen.rectangle((x + 12, 10, x + step - 10, horizon - 30), glass, frame, 3)
    elif kind == "hedge":
        for _ in range(1400):
            (u, v), r, leaf = rng.uniform(0, (width, horizon)), rng.uniform(4, 14), int(rng.uniform(50, 130))
            pen.ellipse((u - r, v - r, u + r, v + r), (leaf * 6 // 10, leaf, leaf * 4 // 10))
    else:
        left = 0
        while left < width:
            right = left + int(rng.integers(60, 160))
            pen.rectangle((left, 0, right, horizon), shade(70, 180, 15))
            pen.rectangle((left, horizon // 5, right, horizon // 3), shade(80, 190, 25))  # the sign
            pen.rectangle((left + 8, horizon // 3, right - 8, horizon - 6), shade(50, 110))
            left = right
    if rng.random() < 0.6:  # tiles, their rows closer together towards the horizon
        for row in range(1, 14):
            y = horizon + (height - horizon) * (row / 13) ** 1.6
            pen.line((0, y, width, y), darker(ground), 2)
        for x in range(-width, 2 * width, 70):
            pen.line((width / 2 + (x - width / 2) * 0.8, horizon, x, height), darker(ground), 2)
    pen.rectangle((0, horizon, width, horizon + 6), shade(90, 160))  # the kerb
    for _ in range(rng.integers(8, 20)):  # posts, and parked things
        foot, tall, colour = rng.uniform(0, width), rng.uniform(20, 160), shade(40, 170, 20)
        if rng.random() < 0.5:
            pen.rectangle((foot, horizon + 20 - tall, foot + rng.uniform(4, 10), horizon + 20), colour)
        else:
            pen.rounded_rectangle((foot, horizon - 25, foot + rng.uniform(40, 110), horizon + 25), 10, colour)

    scene = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(1, 3))), np.float32)
    for rows, columns, amount in ((10, 50, 8), (height // 3, width // 3, 5)):  # stains, and grain
        grain = Image.fromarray(rng.normal(0, amount, (rows, columns)).astype(np.float32)).resize((width, height))
        scene = scene + np.asarray(grain)[..., None]
    return np.clip(scene, 0, 255)

"""What makes a query of SynthPed hard: things that its renderer knows, and that no real data set tells."""

import math
from dataclasses import fields

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidkit.data.decoding import read_image
from reidkit.data.errors import DatasetError
from reidkit.data.layouts import Dataset
from reidkit.data.part_maps import PERSON, read_part_maps, showing
from reidkit.data.synthped import Preset, Shot, plan
from reidkit.data.synthped.cameras import camera
from reidkit.data.synthped.dataset import rendered_with

CONDITIONS = {
    "occluded": "something stands in front",
    "dark": "among the darkest fifth",
    "badly framed": "small in the picture, or out of its middle",
    "from behind": "the back is seen",
}
"""What can be the matter with a query, and what is meant."""

SMALL = 0.8  # of the picture's height, below which a person is small in it
ASIDE, ABOVE = 0.15, 0.07  # of its width and height, beyond which a person is out of its middle
BEHIND = -0.5  # cosine of the angle to the camera, below which the back is seen: 120° and more


def conditions(dataset: Dataset) -> pd.DataFrame:
    """Of every query, by its file name, whether each of CONDITIONS holds.

    Raises DatasetError for a data set that was not rendered.
    """
    paths = dataset.query.paths
    parts = read_part_maps(paths)  # (N, H, W)
    brightness = np.array([float(read_image(path).float().mean()) for path in paths])
    person = showing(parts, PERSON)
    shots, seed = _shots(dataset)
    angles = np.array([yaw(shots[path.stem], seed) for path in paths])
    return pd.DataFrame(
        {
            "occluded": showing(parts, ["occluder"]).flatten(1).any(1).numpy(),
            "dark": brightness < np.quantile(brightness, 0.2),
            "badly framed": (person.any(2).float().mean(1) < SMALL).numpy() | _aside(person),
            "from behind": np.cos(angles) < BEHIND,
        },
        index=pd.Index([path.name for path in paths], name="query"),
    )


def _aside(person: Tensor) -> NDArray[np.bool_]:
    """Whether the mean place of a person's pixels (N, H, W) is far from the middle; so is nobody."""
    shares = person.float() / person.sum((1, 2), keepdim=True)
    down, right = ((shares.sum(axis) * _from_middle(person.shape[3 - axis])).sum(1) for axis in (2, 1))
    return ~((down.abs() <= ABOVE) & (right.abs() <= ASIDE)).numpy()


def _from_middle(length: int) -> Tensor:
    """Of each of so many pixels, how far it is from the middle, in lengths."""
    return (torch.arange(length) + 0.5) / length - 0.5


def yaw(shot: Shot, seed: int) -> float:
    """How far the person of a shot is turned from the camera on that walk, in radians; pictures differ a little.

    The draws are those of `reidkit.data.synthped.take`, which a test compares it with.
    """
    walk = np.random.default_rng((seed, 8, shot.person, shot.camera))
    return camera(seed, shot.camera).yaw + walk.normal(0, 0.3) + (math.pi if walk.random() < 0.15 else 0.0)


def _shots(dataset: Dataset) -> tuple[dict[str, Shot], int]:
    """The shots of a rendered data set by their files' stems, and its seed."""
    told = rendered_with(dataset.root)
    if told is None:
        raise DatasetError(f"{dataset.root}: not rendered by this package, so nobody knows what its pictures show")
    preset = Preset(**{field.name: told[field.name] for field in fields(Preset)})
    return {shot.stem: shot for shot in plan(preset, told["seed"])}, told["seed"]

"""Attention in person re-identification, re-created: models, losses, Grad-CAM, evaluation and the runs behind the book.

Ten words, one thing each:

    profile   a file of `parameters/`: data, size and training time, and which rows of which systems are run
    system    a method that is trained and measured, one file of `reidkit/systems/`
    row       a named configuration of a system, as a table prints it
    reading   a choice where a paper's text is open
    control   a row that tells what something else would explain as well
    run       a row with a seed on a data set
    record    what a finished run leaves, the only source of a number
    split     train, query, gallery, or the validation split made of training identities
    material  what a run works with: images, and the labels and maps that it needs beside them
    chapter   a text notebook of `book/`
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reidkit.data import load_dataset as load_dataset
    from reidkit.embedding import embed as embed
    from reidkit.embedding import search as search
    from reidkit.evaluation import evaluate_ranking as evaluate_ranking
    from reidkit.evaluation import top_matches as top_matches
    from reidkit.gradcam import attribute_heat_maps as attribute_heat_maps
    from reidkit.losses import BatchHardTripletLoss as BatchHardTripletLoss
    from reidkit.losses import CircleLoss as CircleLoss
    from reidkit.losses import JointLoss as JointLoss
    from reidkit.models import ATTENTION as ATTENTION
    from reidkit.models import CircleSoftmax as CircleSoftmax
    from reidkit.profile import Profile as Profile
    from reidkit.runs import run as run
    from reidkit.systems import ROWS as ROWS
    from reidkit.systems import build_network as build_network
    from reidkit.systems.joint_loss import GRID as GRID
    from reidkit.systems.joint_loss import RunConfig as RunConfig

# What a person wants first, by where it lies: brought on use, as torch takes seconds to import.
_OFFERED = {
    "ATTENTION": "reidkit.models",
    "BatchHardTripletLoss": "reidkit.losses",
    "CircleLoss": "reidkit.losses",
    "CircleSoftmax": "reidkit.models",
    "GRID": "reidkit.systems.joint_loss",
    "JointLoss": "reidkit.losses",
    "Profile": "reidkit.profile",
    "ROWS": "reidkit.systems",
    "RunConfig": "reidkit.systems.joint_loss",
    "attribute_heat_maps": "reidkit.gradcam",
    "build_network": "reidkit.systems",
    "embed": "reidkit.embedding",
    "evaluate_ranking": "reidkit.evaluation",
    "load_dataset": "reidkit.data",
    "run": "reidkit.runs",
    "search": "reidkit.embedding",
    "top_matches": "reidkit.evaluation",
}
__all__ = list(_OFFERED)


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module 'reidkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OFFERED])

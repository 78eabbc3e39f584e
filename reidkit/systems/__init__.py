"""The systems: methods that are trained and measured, one file each. A new one is a file here and a line below."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from reidkit.data import AttributeGroup
from reidkit.errors import nearest
from reidkit.systems.system import Classes, Model, System

_FILES = (
    "joint_loss",
    "attributes",
    "san_gal",
    "pcb",
    "bfe",
    "ianet",
    "circle",
    "osnet",
    "svdnet",
    "pan",
    "vpm",
    "aligned_reid",
    "aanet",
    "spreid",
    "dare",
    "dpfl",
    "gp_reid",
    "duatm",
)
SYSTEMS: dict[str, System] = {
    system.name: system for system in (import_module(f"{__name__}.{file}").SYSTEM for file in _FILES)
}
"""Every system by its name."""

ROWS: dict[str, System] = {row: system for system in SYSTEMS.values() for row in system.rows}
"""Which system each row is of."""


def build_network(row: str, identities: int, groups: Sequence[AttributeGroup] = (), **settings: Any) -> Model:
    """The network of a row of any system, freshly initialised, for so many people to tell apart.

    groups: of attributes, for rows that learn them. settings: of the row's system, where they are not its defaults.

    >>> import torch
    >>> network = build_network("cbam/ce+tri+cir", identities=751, width_multiplier=0.125).eval()
    >>> network(torch.zeros(2, 3, 64, 32)).shape  # an embedding of each image
    torch.Size([2, 256])

    Raises ValueError for a row that no system has, and pydantic's ValidationError for settings that do not fit it.
    """
    if row not in ROWS:
        raise ValueError(f"{row!r} is no row of any system{nearest(row, ROWS)}")
    system = ROWS[row]
    config = system.configuration.model_validate({**system.rows[row], **settings})
    return system.build(config, Classes(identities, tuple(groups)))

"""A small map as a cell of a record's table: two hexadecimal digits for each place."""

from typing import Any

import torch
from torch import Tensor


def to_cells(map_: Tensor) -> dict[str, Any]:
    """A map (h, w), not negative, as its `peak`, its `height`, and its `cells` row by row, of which 255 is the peak."""
    map_ = map_.float().cpu()
    peak = float(map_.max())
    cells = (map_ * (255 / peak if peak else 0)).round().to(torch.uint8)
    return {"peak": peak, "height": len(map_), "cells": cells.numpy().tobytes().hex()}


def from_cells(cells: str, height: int, peak: float) -> Tensor:
    """The map (h, w) float32 of `to_cells`.

    >>> from_cells(**to_cells(torch.tensor([[0.0, 0.5], [0.25, 1.0]])))
    tensor([[0.0000, 0.5020],
            [0.2510, 1.0000]])
    """
    return torch.frombuffer(bytearray.fromhex(cells), dtype=torch.uint8).view(height, -1) * (peak / 255)

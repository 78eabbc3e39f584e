"""Counting, which is all that a rank takes: how many values of a long row lie above each of a few thresholds.

The plain form is in `count_above`; the rest is how a CPU does it several times as fast.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FEW = 40  # thresholds of a row up to which comparing all with all is faster than placing in bins
_PLACED_AT_ONCE = 2**15  # values; their bins then stay in the cache

Array = NDArray[Any]


def count_above(values: Tensor, thresholds: Tensor) -> Tensor:
    """How many of a row's values (R, W) are above each of its thresholds (R, M): (R, M) int64.

    The plain form is `(values[:, None] > thresholds[:, :, None]).sum(2)`, as it is on a GPU, a threshold at a time.
    Thresholds descend, and -inf fills them up (what is counted there is of no use).
    """
    if values.device.type != "cpu":
        return torch.stack([(values > column[:, None]).sum(1) for column in thresholds.T], dim=1)
    # On a CPU, numpy compares four times as fast as torch, and a row with its comparisons stays in the cache.
    counts = np.zeros(thresholds.shape, np.int64)
    scratch = np.zeros((min(_FEW, thresholds.shape[1]), -(-values.shape[1] // 1024) * 1024), np.bool_)
    for row, limits, count in zip(values.numpy(), thresholds.numpy(), counts, strict=True):
        limits = limits[limits > -np.inf]
        if len(limits) <= _FEW:
            count[: len(limits)] = _compare(row, limits, scratch[: len(limits)])
        else:
            count[: len(limits)] = _place(row, limits)
    return torch.from_numpy(counts)


def _compare(row: Array, limits: Array, scratch: Array) -> Array:
    """Count by comparing all with all: for few limits. scratch (limits, the row's length made a multiple of 1024)."""
    np.greater(row, limits[:, None], out=scratch[:, : len(row)])  # the rest stays False
    # Add bools as 8-byte words, 128 at a time: no byte exceeds 128, so none carries into the next.
    words = scratch.view(np.uint64).reshape(len(limits), scratch.shape[1] // 1024, 128)
    counts: Array = words.sum(2).view(np.uint8).sum(1)
    return counts


def _place(row: Array, limits: Array) -> Array:
    """Count by placing all in bins, comparing only within the bins of the limits: its time does not grow with them."""
    low, bins = limits[-1], 2**12
    scale = bins / max(float(limits[0]) - float(low), 1e-30)

    def bin_of(values: Array) -> Array:  # never falls as the value rises, so that different bins are in order
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((values - low) * scale + 1, 0, bins + 1), np.int64)

    at = bin_of(limits)
    shared = np.zeros(bins + 2, np.bool_)
    shared[at] = True
    total, near = np.zeros(bins + 2, np.int64), []
    for part in np.split(row, range(_PLACED_AT_ONCE, len(row), _PLACED_AT_ONCE)):
        where = bin_of(part)
        total += np.bincount(where, minlength=bins + 2)
        near.append(part[shared[where]])
    total[shared] = 0
    compared = np.sort(np.concatenate(near))
    counts: Array = total[::-1].cumsum()[::-1][at] + len(compared) - np.searchsorted(compared, limits, side="right")
    return counts

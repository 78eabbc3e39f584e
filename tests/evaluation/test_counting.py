import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reidkit.evaluation.counting import count_above


def plain(values: Tensor, thresholds: Tensor) -> Tensor:
    return (values[:, None] > thresholds[:, :, None]).sum(2)


@settings(deadline=None)
@given(
    rows=st.integers(1, 3),
    width=st.sampled_from([1, 7, 1024, 1025, 40_000]),  # less, as many and more than is taken at once
    most=st.sampled_from([1, 39, 40, 41, 300]),  # few thresholds are compared, many placed in bins
    levels=st.sampled_from([1, 3, 10_000]),  # equal values are not above one another
    seed=st.integers(0, 2**31),
)
def test_counts_are_those_of_the_plain_form(rows: int, width: int, most: int, levels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = torch.from_numpy(generator.integers(levels, size=(rows, width)).astype(np.float32) / levels)
    values[generator.random((rows, width)) < 0.1] = -torch.inf
    thresholds = torch.from_numpy(generator.integers(levels, size=(rows, most)).astype(np.float32) / levels)
    thresholds = thresholds.sort(1, descending=True).values
    kept = int(generator.integers(most + 1))
    thresholds[:, kept:] = -torch.inf
    assert torch.equal(count_above(values, thresholds)[:, :kept], plain(values, thresholds)[:, :kept])


@pytest.mark.parametrize(
    "limits",
    [
        [0.0] * 50,  # all in one place
        [1e30, *torch.linspace(-1, 1, 60).tolist()],  # one far away: the rest share a bin with nearly everything
        [1e-40, 0.0, *[-1e-40] * 45],  # apart by less than a normal number
        [3e38, *[-3e38] * 45],  # apart by more than the largest number
    ],
)
def test_bins_count_exactly(limits: list[float]) -> None:
    thresholds = torch.tensor([limits]).sort(descending=True).values
    values = torch.cat([torch.randn(1, 2000), thresholds, torch.tensor([[-torch.inf, 1e-45, -3e38]])], dim=1)
    assert torch.equal(count_above(values, thresholds), plain(values, thresholds))

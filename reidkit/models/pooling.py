"""Averages over the axes of a map whose backward pass writes nothing of the map's size."""

import math
from typing import Any

import torch
from torch import Tensor


class Average(torch.autograd.Function):
    """`x.mean(dims, keepdim=True)`, several times faster backward on a CPU.

    The gradient is one number per average. PyTorch expands it to the shape of x and divides there; here it is divided
    first and then expanded, which is only a view.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dims: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return x.mean(dims, keepdim=True, dtype=dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...], torch.dtype], output: Tensor) -> None:
        x, dims, _ = inputs
        ctx.shape, ctx.dtype, ctx.count = x.shape, x.dtype, math.prod(x.shape[dim] for dim in dims)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return (gradient / ctx.count).to(ctx.dtype).expand(ctx.shape), None, None


def average(x: Tensor, *dims: int, dtype: torch.dtype | None = None) -> Tensor:
    """The mean of x over `dims`, which stay with length 1; computed and returned in `dtype`, by default x's own."""
    result: Tensor = Average.apply(x, dims, dtype or x.dtype)
    return result

"""Averages and maxima over the axes of a map, with backward passes that cost less than PyTorch's own.

A compiler writes its own backward passes, and cannot look into these: to it they are the plain `mean` and `max`.
"""

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
    if torch.compiler.is_compiling():
        return x.mean(dims, keepdim=True, dtype=dtype)
    result: Tensor = Average.apply(x, dims, dtype or x.dtype)
    return result


def pool(maps: Tensor) -> Tensor:
    """The mean over all places: (N, C, H, W) -> (N, C), float32 also under autocast."""
    return average(maps, 2, 3, dtype=torch.float32).flatten(1)


class Maximum(torch.autograd.Function):
    """`x.max(dim, keepdim=True)`, whose deterministic backward pass on a GPU sorts nothing.

    PyTorch scatters the gradient to where the maxima are, and for determinism a GPU sorts these places first, though no
    two of them coincide. On a CPU the scatter is the faster way and stays.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        values, places = x.max(dim, keepdim=True)
        return values, places

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        x, dim = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.dim, ctx.length = dim, x.shape[dim]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        spread = spread_by_scatter if gradient.device.type == "cpu" else spread_by_comparison
        return spread(gradient, places, ctx.dim, ctx.length), None


def spread_by_scatter(gradient: Tensor, places: Tensor, dim: int, length: int) -> Tensor:
    """Zeros with the gradient, of length 1 along `dim`, at its place among `length` of them."""
    shape = [*gradient.shape]
    shape[dim] = length
    return gradient.new_zeros(shape).scatter(dim, places, gradient)


def spread_by_comparison(gradient: Tensor, places: Tensor, dim: int, length: int) -> Tensor:
    """The same, by a look at every place."""
    along = [1] * gradient.ndim
    along[dim] = length
    return torch.where(torch.arange(length, device=gradient.device).view(along) == places, gradient, 0)


def maximum(x: Tensor, dim: int) -> Tensor:
    """The maximum of x along `dim`, which stays with length 1; of equal ones, the gradient is that of `x.max`."""
    if torch.compiler.is_compiling():
        return x.max(dim, keepdim=True).values
    result: Tensor = Maximum.apply(x, dim)[0]
    return result


def stripes(maps: Tensor, count: int) -> Tensor:
    """The mean of each of `count` horizontal stripes: (N, C, H, W) -> float32 (N, C, count).

    Stripe i goes from row floor(i H / count) to before ceil((i + 1) H / count): where H is no multiple of `count`,
    neighbours share a row, as in PyTorch's adaptive pooling, whose backward pass on a GPU is not deterministic.
    """
    rows = average(maps, 3, dtype=torch.float32).squeeze(3)  # (N, C, H)
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ stripe_shares(rows.shape[2], count, maps.device).T


def stripe_shares(height: int, count: int, device: torch.device | None = None) -> Tensor:
    """How much each of `height` rows counts in each of `stripes`, float32 (count, height) of sum 1 in each stripe."""
    stripe, row = torch.arange(count, device=device)[:, None], torch.arange(height, device=device)
    inside = (row >= stripe * height // count) & (row < -((stripe + 1) * -height // count))  # (count, height)
    return inside / inside.sum(1, keepdim=True)

"""Averages and maxima against PyTorch's own."""

import pytest
import torch

from reidkit.models.pooling import average, maximum, spread_by_comparison, spread_by_scatter


@pytest.mark.parametrize("dims", [(2, 3), (1,), (0, 2)])
def test_average_is_mean_with_the_same_gradient(dims: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(average(x, *dims), x.mean(dims, keepdim=True))
    assert torch.autograd.gradcheck(lambda t: average(t, *dims), x)
    assert torch.autograd.gradgradcheck(lambda t: average(t, *dims).square(), x)
    y = average(x, *dims)
    several = torch.randn(7, *y.shape, dtype=y.dtype)
    batched = torch.autograd.grad(y, x, several, is_grads_batched=True, retain_graph=True)[0]
    single = torch.stack([torch.autograd.grad(y, x, g, retain_graph=True)[0] for g in several])
    torch.testing.assert_close(batched, single)


def test_average_sums_in_the_type_it_is_asked_for() -> None:
    x = torch.full((1, 1, 64, 64), 100.0, dtype=torch.float16, requires_grad=True)  # the sum exceeds float16
    assert average(x, 2, 3).item() == 100
    y = average(x, 2, 3, dtype=torch.float32)
    y.backward()
    assert (y.dtype, y.item()) == (torch.float32, 100)
    assert x.grad is not None
    assert x.grad.dtype == torch.float16


@pytest.mark.parametrize("dim", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maximum_is_max_to_the_last_bit(dim: int, dtype: torch.dtype) -> None:
    x = torch.randint(-2, 3, (3, 4, 5, 6)).to(dtype).requires_grad_()  # many maxima are there more than once
    ours, theirs = maximum(x, dim), x.max(dim, keepdim=True).values
    assert torch.equal(ours, theirs)
    weights = torch.randn(ours.shape).to(dtype)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    assert torch.equal(*gradients)
    assert (gradients[0] != 0).sum() == ours.numel()


def test_gradient_of_the_maximum() -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: maximum(t, 1), x)
    assert torch.autograd.gradgradcheck(lambda t: maximum(t, 2).square(), x)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_a_gpu_and_a_cpu_spread_the_gradient_alike(dim: int) -> None:
    values, places = torch.randn(4, 5, 6).max(dim, keepdim=True)
    expected = torch.zeros(4, 5, 6).scatter(dim, places, values)
    for spread in (spread_by_scatter, spread_by_comparison):
        assert torch.equal(spread(values, places, dim, (4, 5, 6)[dim]), expected)

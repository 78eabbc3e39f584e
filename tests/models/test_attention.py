"""Attention modules against timm where it agrees with the authors, and against loops where it does not."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import EcaModule, NonLocalAttn, SEModule
from timm.layers.cbam import CbamModule
from torch import Tensor, nn

from reidkit.models.attention import (
    ATTENTION,
    CBAM,
    ChannelAttention,
    DanetChannelAttention,
    DualAttention,
    EfficientChannelAttention,
    NonLocal,
    PositionAttention,
    SpatialAttention,
    SqueezeExcitation,
)

MODULES = [SqueezeExcitation, EfficientChannelAttention, CBAM, DualAttention, NonLocal]


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters everywhere, so that neither a zero gamma nor a zero batch norm hides anything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """In order; a linear layer's (out, in) weight becomes a 1x1 convolution's (out, in, 1, 1)."""
    pairs = list(zip(source.parameters(), target.parameters(), strict=True))
    with torch.no_grad():
        for ours, theirs in pairs:
            assert ours.numel() == theirs.numel()
            theirs.copy_(ours.view(theirs.shape))


def outputs_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    (y * weights).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad.flatten() for p in module.parameters() if p.grad is not None)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SqueezeExcitation(128), SEModule(128)),
        (EfficientChannelAttention(128), EcaModule(128)),
        (EfficientChannelAttention(2048), EcaModule(2048)),
        (CBAM(128), CbamModule(128)),
    ],
    ids=["se", "eca", "eca-2048", "cbam"],
)
def test_same_as_timm(ours: nn.Module, theirs: nn.Module, training: bool) -> None:
    ours, theirs = randomised(copy.deepcopy(ours)).train(training), copy.deepcopy(theirs).train(training)
    copy_parameters(ours, theirs)
    x = torch.randn(3, 2048 if getattr(ours, "kernel_size", 0) == 7 else 128, 6, 5)
    for mine, reference in zip(outputs_and_gradients(ours, x), outputs_and_gradients(theirs, x), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4)


def test_non_local_is_timms_with_the_scale_of_the_inner_channels() -> None:
    """timm scales by the outer channels and adds a bias that its batch norm removes; the authors do neither."""
    ours = randomised(NonLocal(64))
    theirs = NonLocalAttn(64, rd_ratio=1 / 2)
    theirs.scale = 32**-0.5
    names = {"t": "theta", "p": "phi", "g": "g", "z": "out", "norm": "bn"}
    theirs.load_state_dict(
        {key: ours.state_dict().get(f"{names[key.split('.')[0]]}.{key.split('.', 1)[1]}", torch.zeros(64))
         for key in theirs.state_dict()}
    )  # fmt: skip
    x = torch.randn(2, 64, 5, 4)
    for module in (ours, theirs):
        module.train()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_position_attention_is_the_loop_over_places() -> None:
    module = randomised(PositionAttention(16)).double()
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)
    query, key, value = (conv(x).flatten(2) for conv in (module.query, module.key, module.value))
    expected = x.clone().flatten(2)
    for n in range(2):
        for j in range(12):  # Eq. 1 and 2: place j sees the places i
            energy = torch.stack([query[n, :, j] @ key[n, :, i] for i in range(12)]).exp()
            seen = sum(energy[i] / energy.sum() * value[n, :, i] for i in range(12))
            expected[n, :, j] += module.gamma[0] * seen
    torch.testing.assert_close(module(x), expected.view(x.shape))


def test_danet_channel_attention_is_the_loop_over_channels() -> None:
    module = randomised(DanetChannelAttention()).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    flat = x.flatten(2)
    expected = flat.clone()
    for n in range(2):
        for j in range(6):
            energy = torch.stack([flat[n, j] @ flat[n, i] for i in range(6)])
            weight = (energy.max() - energy).exp()
            expected[n, j] += module.gamma[0] * sum(weight[i] / weight.sum() * flat[n, i] for i in range(6))
    torch.testing.assert_close(module(x), expected.view(x.shape))
    assert torch.autograd.gradcheck(module, x[:1, :3].clone().requires_grad_())


def test_cbam_is_equation_7() -> None:
    module, x = randomised(CBAM(32)).eval(), torch.randn(2, 32, 6, 5)
    refined = module.channel.weights(x) * x  # F' = M_C(F) * F
    torch.testing.assert_close(module(x), module.spatial.weights(refined) * refined)  # F'' = M_S(F') * F'
    assert module.channel.weights(x).shape == (2, 32, 1, 1)
    assert module.spatial.weights(x).shape == (2, 1, 6, 5)


@pytest.mark.parametrize(("channels", "size"), [(256, 5), (512, 5), (1024, 5), (2048, 7), (64, 3), (8, 3), (1, 1)])
def test_eca_kernel_follows_the_channels(channels: int, size: int) -> None:
    assert EfficientChannelAttention(channels).conv.weight.shape == (1, 1, size)


def test_untrained_dual_attention_doubles_and_non_local_is_the_identity() -> None:
    x = torch.randn(2, 32, 4, 2)
    torch.testing.assert_close(DualAttention(32)(x), 2 * x)
    module = NonLocal(32)
    torch.testing.assert_close(module(x), x)
    assert module.bn.weight.shape == (32,)  # and not one channel
    module(x).square().sum().backward()
    assert module.bn.weight.grad is not None
    assert module.bn.weight.grad.abs().min() > 0  # each channel can leave zero


@pytest.mark.parametrize("module", MODULES)
@settings(max_examples=15, deadline=None)
@given(
    channels=st.sampled_from([1, 2, 3, 8, 20, 64]),
    n=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 5),
)
def test_keeps_shape_at_any_width_and_leaves_its_input_alone(
    module: type[nn.Module], channels: int, n: int, height: int, width: int
) -> None:
    network, x = randomised(module(channels)).eval(), torch.randn(n, channels, height, width)
    before = x.clone()
    y = network(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert torch.equal(x, before)


@pytest.mark.parametrize("module", MODULES)
def test_memory_format_and_precision_change_nothing_but_digits(module: type[nn.Module]) -> None:
    network, x = randomised(module(64)).eval(), torch.randn(4, 64, 8, 4)
    expected = network(x)
    channels_last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(channels_last), expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(channels_last.bfloat16())
    assert (half.float() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("module", [SpatialAttention, lambda: ChannelAttention(16), lambda: SqueezeExcitation(16)])
def test_gates_only_attenuate(module: type[nn.Module]) -> None:
    x = torch.randn(2, 16, 5, 3)
    ratio = randomised(module())(x) / x
    assert ((ratio > 0) & (ratio < 1)).all()


def test_table_begins_with_the_six_of_the_paper_and_the_controls() -> None:
    assert list(ATTENTION)[:8] == ["none", "se", "eca", "cbam", "danet", "nonlocal", "half", "quarter"]

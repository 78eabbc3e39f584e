"""SAN-GAL: the attention against loops written from Eq. 3 and 4, and the networks that it stands in."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reidkit.losses import JointLoss, attribute_loss
from reidkit.models import load_imagenet_weights
from reidkit.models.backbone import STAGES
from reidkit.models.heads import Attribute
from reidkit.systems.attributes import AttributeNetwork
from reidkit.systems.joint_loss import Output, ReIDNetwork
from reidkit.systems.san_gal import AttributeSpatialAttention, SanGalNetwork, SanGalOutput

LABELS = torch.arange(3).repeat_interleave(2)
READINGS: list[dict[str, Any]] = [{}, {"sigmoids": 1}, {"scaling": "minmax"}, {"attended": "first"}]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def attention_by_loops(maps: Tensor, channels: int, sigmoids: int = 2, scaling: str = "raw") -> Tensor:
    """Eq. 3 and 4 for maps (N, K, H, W) that have the size of the features -> (N, channels, H, W)."""
    n, k, height, width = maps.shape
    attention = torch.empty(n, channels, height, width)
    for image in range(n):
        scaled = []
        for one in maps[image].tolist():
            values = [value for row in one for value in row]
            low, high = (min(values), max(values)) if scaling == "minmax" else (0.0, 1.0)
            scaled.append([[(value - low) / (high - low) if high > low else 0.0 for value in row] for row in one])
        for c in range(channels):
            first, end = c * k // channels, math.ceil((c + 1) * k / channels)
            block = scaled[first : first + 1] if k < channels else scaled[first:end]
            at = [
                [sum(one[i][j] for one in block) / len(block) for j in range(width)]  # L_c
                for i in range(height)
            ]
            beta = sigmoid(sum(sum(row) for row in at) / (height * width))  # Eq. 3
            for i in range(height):
                for j in range(width):
                    alpha = sigmoid(beta * at[i][j])  # Eq. 4
                    attention[image, c, i, j] = alpha if sigmoids == 1 else sigmoid(alpha)
    return attention


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    ("channels", "maps"), [(16, 1), (16, 3), (16, 4), (16, 8), (16, 11), (16, 16), (6, 7), (2, 5), (54, 27)]
)
def test_attention_is_the_loop(channels: int, maps: int, reading: dict[str, Any]) -> None:
    features, heat_maps = torch.randn(2, channels, 4, 3), torch.randn(2, maps, 4, 3).mul(2).relu()
    module = AttributeSpatialAttention(**reading)
    arguments = {name: value for name, value in reading.items() if name != "attended"}
    weights = attention_by_loops(heat_maps, channels // 2, **arguments)
    torch.testing.assert_close(module.attention(features, heat_maps), weights)
    first, last = features.chunk(2, 1)
    halves = [first * weights, last] if "attended" in reading else [first, last * weights]
    torch.testing.assert_close(module(features, heat_maps), torch.cat(halves, 1))


def test_values_by_hand() -> None:
    """One map of mean 2 with a 4 in it, on the second of two channels."""
    features, heat_maps = torch.tensor([[[[5.0, 5.0]], [[3.0, 3.0]]]]), torch.tensor([[[[0.0, 4.0]]]])
    beta = 1 / (1 + math.exp(-2))
    attended = 3 * torch.tensor([0.5, 1 / (1 + math.exp(-4 * beta))]).sigmoid()
    torch.testing.assert_close(
        AttributeSpatialAttention()(features, heat_maps)[0, :, 0], torch.stack([features[0, 0, 0], attended])
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e3, 1e30]), st.integers(0, 99))
def test_two_sigmoids_leave_attention_little_room(maps: int, half: int, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 2 * half, 3, 2, generator=generator)
    heat_maps = torch.rand(2, maps, 6, 4, generator=generator) * size
    for scaling in ("raw", "minmax"):
        two = AttributeSpatialAttention(2, scaling).attention(features, heat_maps)
        one = AttributeSpatialAttention(1, scaling).attention(features, heat_maps)
        assert two.shape == (2, half, 3, 2)
        assert two.min() >= sigmoid(0.5) - 1e-6
        assert two.max() <= sigmoid(1) + 1e-6
        assert one.min() >= 0.5
        assert one.max() <= 1
        torch.testing.assert_close(two, one.sigmoid())


def test_faint_heat_is_not_rounded_away_in_bf16() -> None:
    features = 0.5 + torch.rand(8, 256, 32, 16)
    module = AttributeSpatialAttention()
    sums = {
        dtype: [module(features.to(dtype), torch.full((8, 2, 32, 16), heat)).double().sum() for heat in (0.0, 0.01)]
        for dtype in (torch.float32, torch.bfloat16)
    }
    exact, rounded = (float(warm - cold) for cold, warm in sums.values())
    assert exact > 0
    assert rounded == pytest.approx(exact, rel=0.3)  # on the average of many values; the weights alone would give 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("attended", ["last", "first"])
def test_the_other_half_is_kept_to_the_bit(attended: Any, dtype: torch.dtype) -> None:
    features = torch.randn(3, 12, 4, 2).to(dtype)
    features[0, [0, -1]] = torch.inf
    out = AttributeSpatialAttention(attended=attended)(features, torch.rand(3, 5, 4, 2) * 9)
    assert out.dtype == dtype
    kept = slice(0, 6) if attended == "last" else slice(6, 12)
    changed = slice(6, 12) if attended == "last" else slice(0, 6)
    assert torch.equal(out[:, kept], features[:, kept])
    finite = features[:, changed].isfinite()
    assert (out[:, changed] != features[:, changed])[finite].all()


@pytest.mark.parametrize("maps", [3, 12])
def test_maps_of_another_size_are_averaged_over_areas(maps: int) -> None:
    features, heat_maps = torch.randn(2, 12, 4, 2), torch.rand(2, maps, 4, 2)
    module = AttributeSpatialAttention()
    expected = module.attention(features, heat_maps)
    larger = heat_maps.repeat_interleave(3, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(module.attention(features, larger), expected)
    smaller = heat_maps[:, :, :2]
    torch.testing.assert_close(
        module.attention(features, smaller), module.attention(features, smaller.repeat_interleave(2, 2))
    )
    assert module.attention(features, torch.rand(2, maps, 5, 3)).shape == (2, 6, 4, 2)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1e6, width=32), st.floats(0.5, 100, width=32), st.integers(2, 7), st.integers(2, 7))
def test_minmax_forgets_scale_and_offset_and_sees_nothing_in_constant_maps(
    offset: float, scale: float, height: int, width: int
) -> None:
    features = torch.randn(1, 8, 4, 2)
    pattern = torch.randint(0, 8, (1, 2, height, width), generator=torch.Generator().manual_seed(0)).float()
    module = AttributeSpatialAttention(scaling="minmax")
    torch.testing.assert_close(module.attention(features, pattern * scale), module.attention(features, pattern))
    constant = module.attention(features, torch.full((1, 3, height, width), offset))
    torch.testing.assert_close(constant, torch.full_like(constant, sigmoid(0.5)))


def test_gradients_of_features_and_maps_are_the_numerical_ones() -> None:
    features = torch.randn(2, 6, 3, 2, dtype=torch.float64, requires_grad=True)
    for maps, size in ((2, (3, 2)), (5, (3, 2)), (2, (6, 2))):
        heat_maps = torch.rand(2, maps, *size, dtype=torch.float64, requires_grad=True)
        for reading in READINGS:
            assert torch.autograd.gradcheck(AttributeSpatialAttention(**reading), (features, heat_maps))


def test_maps_without_gradient_get_none_and_stay_as_they_are() -> None:
    features, heat_maps = torch.randn(2, 6, 3, 2, requires_grad=True), torch.rand(2, 4, 3, 2)
    before = heat_maps.clone()
    AttributeSpatialAttention(scaling="minmax")(features, heat_maps).sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad[:, :3], torch.ones(2, 3, 3, 2))
    assert torch.equal(heat_maps, before)


def test_no_images_no_attention() -> None:
    assert AttributeSpatialAttention()(torch.randn(0, 6, 3, 2), torch.rand(0, 4, 3, 2)).shape == (0, 6, 3, 2)


@pytest.mark.parametrize(
    ("features", "maps", "message"),
    [
        ((2, 5, 3, 2), (2, 4, 3, 2), r"features have shape \(2, 5, 3, 2\): .* an even C"),
        ((2, 6, 3), (2, 4, 3, 2), r"features have shape \(2, 6, 3\)"),
        ((2, 6, 3, 2), (3, 4, 3, 2), r"heat maps have shape \(3, 4, 3, 2\): expected \(2, K, h, w\)"),
        ((2, 6, 3, 2), (2, 3, 2), r"heat maps have shape \(2, 3, 2\)"),
        ((2, 6, 3, 2), (2, 0, 3, 2), "K of at least 1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(features: tuple[int, ...], maps: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttributeSpatialAttention()(torch.zeros(features), torch.zeros(maps))


@pytest.mark.parametrize(("name", "value"), [("sigmoids", 3), ("scaling", "softmax"), ("attended", "both")])
def test_a_reading_that_does_not_exist_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value!r}: expected"):
        AttributeSpatialAttention(**{name: value})


def batch() -> Tensor:
    return torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def maps_of(network: SanGalNetwork, count: int = 27) -> dict[str, Tensor]:
    """Random heat maps of the sizes that images of `batch` have at the stages."""
    generator = torch.Generator().manual_seed(1)
    sizes = {"layer2": (8, 4), "layer3": (4, 2), "layer4": (4, 2)}
    return {stage: torch.rand(6, count, *sizes[stage], generator=generator) * 3 for stage in network.attention}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("attention", "class_counts"), [(False, ()), (False, (2, 4)), (True, ()), (True, (2, 4))])
def test_every_row_learns(attention: bool, class_counts: tuple[int, ...], precision: torch.dtype) -> None:
    network = SanGalNetwork(3, attention, class_counts, width_multiplier=0.125).to(memory_format=torch.channels_last)
    images = batch().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        output = network(images, maps_of(network))
        loss = JointLoss()(output, LABELS)["total"]
        if class_counts:
            loss = loss + attribute_loss(output.attributes, torch.stack([LABELS % 2, LABELS], 1))
    assert isinstance(output, SanGalOutput)
    assert output.features.shape == output.embedding.shape == (6, 256)
    assert output.features.dtype == output.embedding.dtype == torch.float32
    assert output.logits.shape == (6, 3)
    assert [tuple(group.shape) for group in output.attributes] == [(6, n) for n in class_counts]
    loss.backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    gradient = network.backbone.conv1.weight.grad
    assert gradient is not None
    assert gradient.any()


def test_attention_keeps_precision_and_memory_format_of_the_features() -> None:
    network = SanGalNetwork(3, width_multiplier=0.125).to(memory_format=torch.channels_last)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for stage in STAGES:
        network.attention[stage].register_forward_hook(
            lambda _, inputs, output, stage=stage: seen.update({stage: (inputs[0], output)})
        )
    with torch.autocast("cpu", torch.bfloat16):
        network(batch().to(memory_format=torch.channels_last), maps_of(network))
    for features, output in seen.values():
        assert output.dtype == features.dtype == torch.bfloat16
        assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("class_counts", [(), (2, 9)])
def test_without_attention_it_is_the_baseline(class_counts: tuple[int, ...]) -> None:
    baseline, network = ReIDNetwork(3, width_multiplier=0.125), SanGalNetwork(3, False, class_counts, 0.125)
    missing, unexpected = network.load_state_dict(baseline.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("heads.") for name in missing)
    assert bool(missing) == bool(class_counts)
    theirs, ours = baseline(batch()), network(batch())
    assert isinstance(theirs, Output)
    for name in ("features", "embedding", "logits"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(baseline.eval()(batch()), network.eval()(batch()))


def test_the_rows_start_from_the_same_parameters() -> None:
    states = []
    for row in ({"attention": False}, {"attention": False, "class_counts": (2, 4)}, {"class_counts": (2, 4)}):
        torch.manual_seed(7)
        states.append(SanGalNetwork(3, width_multiplier=0.125, **row).state_dict())
    torch.manual_seed(7)
    for name, parameter in ReIDNetwork(3, width_multiplier=0.125).state_dict().items():
        assert all(torch.equal(state[name], parameter) for state in states), name


def test_attention_follows_each_stage_and_is_seen_by_the_next() -> None:
    network = SanGalNetwork(3, width_multiplier=0.125).eval()
    calls: dict[str, tuple[tuple[Tensor, ...], Tensor]] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, inputs, output, name=name: calls.update({name: (inputs, output)}))
    heat_maps = maps_of(network)
    embedding = network(batch(), heat_maps)
    for stage, following in zip(STAGES, ("backbone.layer3", "backbone.layer4", None), strict=True):
        (features, maps), attended = calls[f"attention.{stage}"]
        assert torch.equal(features, calls[f"backbone.{stage}"][1])
        assert maps is heat_maps[stage]
        torch.testing.assert_close(attended, AttributeSpatialAttention()(features, maps))
        if following:
            assert torch.equal(calls[following][0][0], attended)
    torch.testing.assert_close(calls["neck"][0][0], attended.mean((2, 3)))
    assert torch.equal(embedding, calls["neck"][1])


@pytest.mark.parametrize("reading", READINGS[1:])
def test_readings_reach_the_modules_and_change_the_embedding(reading: dict[str, Any]) -> None:
    torch.manual_seed(0)
    literal = SanGalNetwork(3, width_multiplier=0.125).eval()
    other = SanGalNetwork(3, width_multiplier=0.125, **reading).eval()
    other.load_state_dict(literal.state_dict())
    heat_maps = maps_of(literal)
    assert not torch.allclose(literal(batch(), heat_maps), other(batch(), heat_maps), rtol=1e-3)


def test_missing_heat_maps_are_named() -> None:
    network = SanGalNetwork(3, width_multiplier=0.125)
    with pytest.raises(ValueError, match="no heat maps for layer2, layer3, layer4"):
        network(batch())
    heat_maps = maps_of(network)
    del heat_maps["layer3"]
    with pytest.raises(ValueError, match="no heat maps for layer3: "):
        network(batch(), heat_maps)


def test_maps_of_the_attribute_network_fit_whatever_its_last_stride() -> None:
    network = SanGalNetwork(3, width_multiplier=0.125).eval()
    heat_maps = maps_of(network) | {"layer4": torch.rand(6, 27, 2, 1)}
    assert network(batch(), heat_maps).shape == (6, 256)


def test_imagenet_weights_load(tmp_path: Path) -> None:
    donor, network = ReIDNetwork(3), SanGalNetwork(3, class_counts=(2,))
    torch.save(donor.backbone.state_dict(), tmp_path / "weights.pth")
    load_imagenet_weights(network.backbone, tmp_path / "weights.pth")
    loaded = network.backbone.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in donor.backbone.state_dict().items())


def test_attributes_stand_for_fields_or_classes() -> None:
    network = AttributeNetwork((2, 4, 4), (1, 1, 3), width_multiplier=0.125)
    colours = [Attribute(2, class_) for class_ in (1, 2, 3)]
    assert network.attributes == (Attribute(0, None), Attribute(1, None), *colours)
    assert AttributeNetwork((2, 4), width_multiplier=0.125).attributes == (Attribute(0, None), Attribute(1, None))
    with pytest.raises(ValueError, match="group 1 has 4 classes and 2 fields: expected 1 or 3"):
        AttributeNetwork((2, 4), (1, 2), width_multiplier=0.125)


def test_attribute_network_is_bn_and_fc_on_pooled_features() -> None:
    network = AttributeNetwork((2, 4), width_multiplier=0.125)
    pooled = network.backbone(batch()).mean((2, 3))
    for logits, head in zip(network(batch()), network.heads, strict=True):
        assert isinstance(head, nn.Sequential)
        norm = F.batch_norm(pooled, None, None, training=True)
        torch.testing.assert_close(logits, head[1](norm), rtol=1e-4, atol=1e-4)
    attribute_loss(network(batch()), torch.stack([LABELS % 2, LABELS], 1)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize(("attention", "class_counts"), [(False, ()), (False, (2, 4)), (True, ()), (True, (2, 4))])
def test_a_compiler_sees_one_graph(attention: bool, class_counts: tuple[int, ...]) -> None:
    torch.compiler.reset()
    network = SanGalNetwork(3, attention, class_counts, width_multiplier=0.125)
    heat_maps = maps_of(network) if attention else None
    *expected, attributes = network(batch(), heat_maps)
    compiled = torch.compile(network, fullgraph=True, backend="eager")(batch(), heat_maps)  # raises at a break
    for ours, theirs in zip([*compiled[:-1], *compiled[-1]], [*expected, *attributes], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("one_block_a_stage")
def test_a_compiler_sees_one_graph_of_the_attribute_network() -> None:
    torch.compiler.reset()
    network = AttributeNetwork((2, 4), width_multiplier=0.125)
    expected = network(batch())
    compiled = torch.compile(network, fullgraph=True, backend="eager")(batch())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(compiled, expected, strict=True))

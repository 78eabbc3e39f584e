"""Heat maps against Eq. 1 and 2 written out with autograd, against pytorch-grad-cam, and what must not matter.

No BN here is fresh: with statistics of 0 and 1, scale 1 and shift 0, a mistake in folding them would not show.
In float32, networks that sum in another order (of another batch size, say) decide some ReLU otherwise; comparisons of
such use float64.
"""

import copy
import functools
import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAM  # type: ignore[import-untyped]
from pytorch_grad_cam.utils.image import scale_cam_image  # type: ignore[import-untyped]
from torch import Tensor, nn

from reidkit.gradcam import attribute_heat_maps, probability_gradient
from reidkit.models.backbone import STAGES
from reidkit.systems.attributes import AttributeNetwork
from tests.benchmarks.gradcam import OneGroup

CLASSES, FIELDS = [2, 4, 3], [1, 1, 2]  # as Market-1501's hat, age and colours: 4 attributes
GROUPS, FIXED = [0, 1, 2, 2], [None, None, 1, 2]  # the group of each attribute, and its class if it has one of its own


def attribute_network(last_stride: int = 1, dtype: torch.dtype = torch.float32) -> AttributeNetwork:
    return copy.deepcopy(prepared_network(last_stride)).to(dtype)


@functools.cache
def prepared_network(last_stride: int) -> AttributeNetwork:
    """Of random BN parameters, and the statistics of a few images, so that it is neither blind nor sure."""
    torch.manual_seed(0)
    network = AttributeNetwork(CLASSES, FIELDS, width_multiplier=0.125, last_stride=last_stride)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = 0.7
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
    for _ in range(3):
        network(batch(6))
    return network.eval()


def batch(count: int = 3, height: int = 64, width: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(count)).to(dtype)


def naive(network: AttributeNetwork, images: Tensor, classes: Tensor | None = None) -> dict[str, Tensor]:
    """Eq. 1 and 2, one image, attribute and layer after the other."""
    network = copy.deepcopy(network).eval()
    outputs: dict[str, Tensor] = {}
    for layer in STAGES:
        getattr(network.backbone, layer).register_forward_hook(
            lambda _m, _i, a, layer=layer: outputs.update({layer: a})
        )
    features = network.backbone(images).mean((2, 3))
    maps: dict[str, list[Tensor]] = {layer: [] for layer in STAGES}
    for index in range(len(images)):
        for group, fixed in zip(GROUPS, FIXED, strict=True):
            probabilities = network.heads[group](features)[index].softmax(0)
            k = -1 if classes is None else int(classes[index, group])
            k = int(probabilities.argmax()) if k == -1 else k
            k = k if fixed is None else fixed
            for layer in STAGES:
                (gradient,) = torch.autograd.grad(probabilities[k], outputs[layer], retain_graph=True)  # Eq. 1
                weights = gradient[index].mean((1, 2))
                total = sum(a * weight for a, weight in zip(outputs[layer][index], weights, strict=True))
                assert isinstance(total, Tensor)
                maps[layer].append(total.clamp(min=0).detach())  # Eq. 2
    return {layer: torch.stack(x).unflatten(0, (len(images), len(GROUPS))) for layer, x in maps.items()}


def assert_maps_close(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to a part of the layer's peak in each image."""
    assert list(ours) == list(expected)
    for layer, maps in ours.items():
        assert maps.shape == expected[layer].shape
        assert maps.dtype == expected[layer].dtype
        assert ((maps - expected[layer]).abs() <= tolerance * expected[layer].amax((1, 2, 3), keepdim=True)).all(), (
            layer
        )


def assert_maps_equal(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert_maps_close(ours, expected, 0)


@pytest.mark.parametrize(
    "classes",
    [None, [[0, 3, 2], [1, 0, 1], [1, 2, 0]], [[-1, -1, -1], [0, -1, 0], [-1, 1, 2]]],
    ids=["predicted", "given", "partly given"],
)
@pytest.mark.parametrize("last_stride", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_equations(dtype: torch.dtype, tolerance: float, last_stride: int, classes: list[list[int]] | None) -> None:
    network, images = attribute_network(last_stride, dtype), batch(dtype=dtype)
    given = None if classes is None else torch.tensor(classes)
    maps = attribute_heat_maps(network, images, given)
    assert_maps_close(maps, naive(network, images, given), tolerance)
    last = (4, 2) if last_stride == 1 else (2, 1)
    assert [tuple(x.shape) for x in maps.values()] == [(3, 4, 8, 4), (3, 4, 4, 2), (3, 4, *last)]
    for x in maps.values():
        assert (x >= 0).all()
        assert (x == 0).any(), "the ReLU has cut nothing"
        assert (x > 0).any()


@pytest.mark.parametrize("size", [(77, 45), (71, 30), (33, 33)])
@pytest.mark.parametrize("last_stride", [1, 2])
def test_images_of_odd_size(last_stride: int, size: tuple[int, int]) -> None:
    network, images = attribute_network(last_stride), batch(2, *size)
    assert_maps_close(attribute_heat_maps(network, images), naive(network, images), 1e-5)


@pytest.mark.parametrize("layer", STAGES)
def test_pytorch_grad_cam(layer: str) -> None:
    """Its maps are scaled to 0–1 and enlarged to the image; ours are here, by its own function."""
    network, images = attribute_network(), batch()
    classes = torch.tensor([[0, 3, 0], [1, 2, 0], [1, 1, 0]])
    ours = attribute_heat_maps(network, images, classes, [layer])[layer].numpy()
    for attribute, (group, fixed) in enumerate(zip(GROUPS, FIXED, strict=True)):
        chosen = classes[:, group].tolist() if fixed is None else [fixed] * 3
        targets = [lambda logits, k=k: logits.softmax(-1)[k] for k in chosen]
        with GradCAM(OneGroup(network, group), [getattr(network.backbone, layer)]) as cam:
            theirs = cam(images, targets)
        # Twice, as it does: each layer, and then the mean of the layers, here of one.
        scaled = scale_cam_image(scale_cam_image(ours[:, attribute], (32, 64)))
        assert scaled.max() > 0.9
        np.testing.assert_allclose(scaled, theirs, atol=1e-4)


def test_last_stage_in_closed_form_is_what_autograd_gives() -> None:
    network, features = attribute_network(), torch.randn(5, 256, requires_grad=True)
    for head, classes in zip(network.heads, CLASSES, strict=True):
        logits = head(features)
        for k in range(classes):
            (expected,) = torch.autograd.grad(logits.softmax(1)[:, k].sum(), features, retain_graph=True)
            ours = probability_gradient(head, logits.detach(), torch.full((5,), k))
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-7)


def test_the_two_classes_of_a_switch_exclude_each_other() -> None:
    """Their probabilities' gradients are opposite, so that the ReLU leaves a position to one of them at most."""
    network = attribute_network()
    maps = [
        attribute_heat_maps(network, batch(), torch.full((3, 3), k), STAGES[:2] if k else STAGES[::-1]) for k in (0, 1)
    ]
    for layer in STAGES[:2]:
        no, yes = (x[layer][:, 0] for x in maps)
        assert (no.minimum(yes) <= 1e-4 * no.maximum(yes).amax()).all()
        assert no.amax() > 0
        assert yes.amax() > 0


def test_attributes_of_a_class_of_their_own_ignore_the_class_at_hand() -> None:
    network = attribute_network()
    none = attribute_heat_maps(network, batch(), torch.tensor([[0, 0, 0]] * 3))
    other = attribute_heat_maps(network, batch(), torch.tensor([[1, 0, 2]] * 3))
    for layer in STAGES:
        assert torch.equal(none[layer][:, 1:], other[layer][:, 1:])
        assert not torch.equal(none[layer][:, 0], other[layer][:, 0])


@pytest.mark.parametrize("layers", [("layer4", "layer2"), ("layer3",), ["layer4"], ()])
def test_some_layers_in_the_order_asked_for(layers: tuple[str, ...]) -> None:
    network = attribute_network()
    every, some = attribute_heat_maps(network, batch()), attribute_heat_maps(network, batch(), layers=layers)
    assert_maps_equal(some, {layer: every[layer] for layer in layers})


def test_one_forward_pass_and_a_backward_pass_per_attribute_at_most() -> None:
    network, forwards = attribute_network(), []
    network.backbone.conv1.register_forward_hook(lambda *_: forwards.append(1))
    with patch("torch.nn.functional.conv_transpose2d", wraps=F.conv_transpose2d) as adjoint:
        attribute_heat_maps(network, batch(), layers=["layer4"])
        assert (len(forwards), adjoint.call_count) == (1, 0), "the last stage needs no backward pass"
        attribute_heat_maps(network, batch(), layers=["layer3"])
        assert (len(forwards), adjoint.call_count) == (2, 4 * 10), "4 attributes, the 10 convolutions of layer4"
        attribute_heat_maps(network, batch())
        assert (len(forwards), adjoint.call_count) == (3, 4 * 10 + 4 * (10 + 19))


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_network_is_left_as_it_was(training: bool, trainable: bool) -> None:
    network = attribute_network()
    expected = attribute_heat_maps(network, batch())
    network.train(training).requires_grad_(trainable)
    network.heads.eval()  # a mode of its own must come back too
    network.backbone.conv1.weight.grad = torch.ones_like(network.backbone.conv1.weight)
    state, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    images = batch().requires_grad_()
    random_state = torch.get_rng_state()
    maps = attribute_heat_maps(network, images)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert_maps_equal(maps, expected)
    assert not any(x.requires_grad for x in maps.values())
    assert all(torch.equal(x, state[name]) for name, x in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad == trainable for parameter in network.parameters())
    gradients = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert gradients == {"backbone.conv1.weight"}
    assert (network.backbone.conv1.weight.grad == 1).all()
    assert images.grad is None


def test_nothing_is_kept_of_a_batch() -> None:
    """Not even until the garbage collector comes by: a GPU would be full by then."""
    network, kept = attribute_network(), []
    network.backbone.layer2.register_forward_hook(lambda *given: kept.append(weakref.ref(given[2])))
    gc.disable()
    try:
        attribute_heat_maps(network, batch())
        assert [output() for output in kept] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, functools.partial(torch.autocast, "cpu", torch.bfloat16)]
)
def test_callers_mode_does_not_matter(context: type[AbstractContextManager[None]]) -> None:
    network = attribute_network()
    expected = attribute_heat_maps(network, batch())
    with context():
        maps = attribute_heat_maps(network, batch())  # images made within, too
    assert all(x.dtype == torch.float32 for x in maps.values())
    assert_maps_equal(maps, expected)


def test_precision_of_the_input_does_not_matter() -> None:
    network, images = attribute_network(), batch().bfloat16()
    expected = attribute_heat_maps(network, images.float())
    assert_maps_equal(attribute_heat_maps(network, images), expected)
    assert_maps_equal(attribute_heat_maps(network, images.double()), expected)
    network.bfloat16()
    assert_maps_equal(attribute_heat_maps(network, images), attribute_heat_maps(copy.deepcopy(network).float(), images))


def test_layout_of_the_input_does_not_matter() -> None:
    network, images = attribute_network(dtype=torch.float64), batch(dtype=torch.float64)
    expected = attribute_heat_maps(network, images)
    images = images.to(memory_format=torch.channels_last)
    assert_maps_close(attribute_heat_maps(network, images), expected, 1e-10)
    network.to(memory_format=torch.channels_last)
    assert_maps_close(attribute_heat_maps(network, images), expected, 1e-10)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.booleans())
@settings(max_examples=15, deadline=None)
def test_maps_of_an_image_do_not_depend_on_the_others(chosen: list[int], training: bool) -> None:
    network, images = attribute_network(dtype=torch.float64).train(training), batch(5, dtype=torch.float64)
    classes = torch.tensor([[0, 3, 0], [1, -1, 0], [-1, 1, -1], [0, 0, 2], [1, 2, 1]])
    together = attribute_heat_maps(network, images, classes)
    some = attribute_heat_maps(network, images[chosen], classes[chosen])
    assert_maps_close(some, {layer: x[chosen] for layer, x in together.items()}, 1e-10)
    assert all((x >= 0).all() and x.isfinite().all() for x in some.values())


def test_no_images() -> None:
    for classes in (None, torch.empty(0, 3, dtype=torch.int64)):
        maps = attribute_heat_maps(attribute_network(), torch.empty(0, 3, 64, 32), classes)
        assert [tuple(x.shape) for x in maps.values()] == [(0, 4, 8, 4), (0, 4, 4, 2), (0, 4, 4, 2)]


@pytest.mark.parametrize(
    ("images", "classes", "layers", "message"),
    [
        (batch(), None, ["layer_3"], "layer 'layer_3' is unknown: did you mean 'layer3'"),
        (batch(), None, "layer4", r"layers is 'layer4': expected a list of them, such as \['layer4'\]"),
        (batch(), None, [nn.Identity()], "a layer is given as Identity: expected its name, of layer2, layer3, layer4"),
        (batch()[:, :1], None, STAGES, r"images have shape \(3, 1, 64, 32\): expected \(N, 3, H, W\)"),
        (batch()[0], None, STAGES, r"images have shape \(3, 64, 32\): expected \(N, 3, H, W\)"),
        (["a.jpg"], None, STAGES, "images is a list of str; expected numbers"),
        (batch(), [["hat"] * 3] * 3, STAGES, "classes is a list of list; expected numbers"),
        (batch().byte(), None, STAGES, "images are torch.uint8"),
        (batch(), torch.zeros(3, 4, dtype=torch.int64), STAGES, r"shape \(3, 4\).*3 images × 3 attribute groups"),
        (batch(), torch.zeros(2, 3, dtype=torch.int64), STAGES, r"shape \(2, 3\).*3 images × 3 attribute groups"),
        (batch(), torch.zeros(3, 3), STAGES, "classes is torch.float32; expected integers"),
        (batch(), torch.tensor([[0, 0, 0], [0, 4, 0], [0, 0, 0]]), STAGES, "class 4 in group 1: expected -1 to 3"),
        (batch(), torch.tensor([[0, 0, 0], [0, 0, -2], [0, 0, 0]]), STAGES, "class -2 in group 2: expected -1 to 2"),
    ],
)
def test_bad_input(images: Any, classes: Any, layers: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        attribute_heat_maps(attribute_network(), images, classes, layers)


@pytest.mark.parametrize("hand", [Tensor.numpy, Tensor.tolist, lambda x: x if x.dtype.is_floating_point else x.int()])
def test_arrays_and_lists_do_as_tensors(hand: Callable[[Tensor], Any]) -> None:
    network, images, classes = attribute_network(), batch(), torch.tensor([[0, 3, 0], [1, -1, 0], [-1, 1, -1]])
    expected = attribute_heat_maps(network, images, classes)
    held = torch.tensor(hand(images)) if hand is Tensor.tolist else hand(images)  # a list of floats is float64
    assert_maps_equal(attribute_heat_maps(network, held, hand(classes)), expected)


def test_a_network_that_is_wrapped_is_named() -> None:
    with pytest.raises(TypeError, match="network is DataParallel: expected an AttributeNetwork; give its .module"):
        attribute_heat_maps(nn.DataParallel(attribute_network()), batch())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="network is Identity: expected an AttributeNetwork$"):
        attribute_heat_maps(nn.Identity(), batch())  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["attention", "output"])
def test_no_gradient_is_taken_through_attention(place: str) -> None:
    network = attribute_network()
    setattr(network.backbone.layer3[1], place, nn.Sigmoid())
    for layers in (STAGES, ["layer2"], ["layer4", "layer2"]):
        with pytest.raises(ValueError, match="network has attention in layer3, through which no gradient is taken"):
            attribute_heat_maps(network, batch(), layers=layers)
    for layers in (["layer3"], ["layer4"], []):
        assert list(attribute_heat_maps(network, batch(), layers=layers)) == layers

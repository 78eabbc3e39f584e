"""Attribute heat maps: Grad-CAM (Selvaraju et al., ICCV 2017) of the attribute network, SAN-GAL's Sect. 3.2.

pytorch-grad-cam runs a forward and a full backward pass per attribute, and per stage if the maps are to be kept apart.
Here one forward pass serves all. What is left is linear in evaluation mode, but for the ReLUs, and those the forward
pass has decided: the gradient at the last stage has a closed form, and transposed convolutions take it to the others.
"""

import copy
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.models.backbone import STAGES, Bottleneck, ResNet50
from reidkit.models.heads import Attribute, AttributeHeads
from reidkit.tensors import Values, as_tensor, integers

Adjoint = Callable[[Tensor], Tensor]
"""Of a function: from the gradient with respect to its output to that with respect to its input."""


class Classifier(Protocol):
    """What is explained: ResNet-50, its last maps averaged, and a BN–FC per attribute group."""

    backbone: ResNet50
    heads: AttributeHeads
    attributes: tuple[Attribute, ...]


def attribute_heat_maps(
    network: Classifier, images: Values, classes: Values | None = None, layers: Sequence[str] = STAGES
) -> dict[str, Tensor]:
    """Where each of the K attributes is seen in each image, Eq. 1 and 2: {layer: (N, K, h, w)}, not negative.

    `images` (N, 3, H, W) floating, on the network's device. `layers` are some of `STAGES`; h, w are those of their
    outputs. Maps are raw: not scaled to 0–1, not resized. They follow the slope of the probability, which is small
    where the network is sure; where the probability rounds to 1, little is left of it but rounding, as with autograd.

    `classes` (N, G) integer is the class of each attribute group whose probability is explained; -1 anywhere, or None
    for all, is the class that the network predicts. Attributes that stand for a class of their own, such as the
    colours, are always explained by that class.

    Maps are float32, computed so under autocast and for half-precision networks too (float64 for a float64 network).
    Batch normalisation uses its running statistics, also if the network is in training mode: no image's maps depend on
    the others. The network, its mode and its gradients are left as they are. NumPy arrays and lists are taken too.

    >>> from reidkit.systems.attributes import AttributeNetwork
    >>> network = AttributeNetwork(class_counts=[2, 4], width_multiplier=0.125)  # two attributes
    >>> maps = attribute_heat_maps(network, torch.zeros(1, 3, 64, 32), layers=["layer3", "layer4"])
    >>> {layer: tuple(values.shape) for layer, values in maps.items()}
    {'layer3': (1, 2, 4, 2), 'layer4': (1, 2, 4, 2)}

    Raises ValueError or TypeError for an unknown layer, images of another shape or integer ones, classes that do not
    fit, a network that is wrapped, and one with attention behind the first layer asked for: its adjoint is not known.
    """
    images = as_tensor("images", images)
    check_arguments(network, images, layers)
    if not layers:
        return {}
    first = min(STAGES.index(layer) for layer in layers)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        # A copy of the modules, so as to change their mode and to listen to them; of their tensors only where they are
        # to become wider. It computes what the network would, to the last bit: summed in another order, some value
        # near 0 would fall on the other side of its ReLU, and the gradient jump.
        assert isinstance(network, nn.Module)
        dtype = torch.promote_types(network.backbone.conv1.weight.dtype, torch.float32)
        tensors = (*network.parameters(), *network.buffers())
        shared = {id(tensor): tensor for tensor in tensors if not tensor.is_floating_point() or tensor.dtype == dtype}
        network = copy.deepcopy(network, dict(shared)).eval()
        if len(shared) < len(tensors):
            network.to(dtype)
        stages = {name: getattr(network.backbone, name) for name in STAGES[first:]}
        kept: dict[nn.Module, Tensor] = {}  # what a stage or a block gives, and what a convolution takes
        for name, stage in stages.items():
            stage.register_forward_hook(lambda module, _, output: kept.update({module: output}))
            for module in stage.modules() if name != STAGES[first] else ():
                if isinstance(module, Bottleneck):
                    module.register_forward_hook(lambda module, _, output: kept.update({module: output}))
                elif isinstance(module, nn.Conv2d):
                    module.register_forward_pre_hook(lambda module, inputs: kept.update({module: inputs[0]}))
        top: Tensor = network.backbone(images.to(dtype))  # (N, C, h, w)
        logits = network.heads(top.mean((2, 3)))
        chosen = explained_classes(logits, classes)
        adjoints = {
            name: [block_adjoint(block, kept) for block in reversed(stages[name])] for name in STAGES[first + 1 :]
        }

        weights: dict[str, list[Tensor]] = {name: [] for name in stages}  # of the channels: (N, C) per attribute
        for group, class_ in network.attributes:
            k = chosen[group] if class_ is None else torch.full_like(chosen[group], class_)
            gradient = probability_gradient(network.heads[group], logits[group], k) / (top.shape[2] * top.shape[3])
            gradient = gradient[:, :, None, None].expand_as(top)  # Eq. 1, at the last stage the same everywhere
            for name in reversed(STAGES[first:]):
                weights[name].append(gradient.mean((2, 3)))
                for adjoint in adjoints.get(name, ()):
                    gradient = adjoint(gradient)
        maps = {
            name: F.relu(torch.einsum("nchw,knc->nkhw", kept[stages[name]], torch.stack(weights[name])))  # Eq. 2
            for name in layers
        }
        kept.clear()  # modules, hooks and this dict refer to one another: a GPU would stay full until their collection
        return maps


def check_arguments(network: Any, images: Tensor, layers: Sequence[str]) -> None:
    """Raises ValueError or TypeError for what `attribute_heat_maps` cannot work on."""
    if isinstance(layers, str):
        raise TypeError(f"layers is {layers!r}: expected a list of them, such as [{layers!r}]")
    for layer in layers:
        if layer not in STAGES:
            if not isinstance(layer, str):
                raise TypeError(
                    f"a layer is given as {type(layer).__name__}: expected its name, of {', '.join(STAGES)}"
                )
            near = get_close_matches(layer, STAGES, n=1, cutoff=0)[0]
            raise ValueError(f"layer {layer!r} is unknown: did you mean {near!r}? Choices: {', '.join(STAGES)}")
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: expected floating-point ones, normalised as in training")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {tuple(images.shape)}: expected (N, 3, H, W)")
    if not hasattr(network, "backbone") or not hasattr(network, "heads"):
        wrapped = "; give its .module" if hasattr(network, "module") else ""
        raise TypeError(f"network is {type(network).__name__}: expected an AttributeNetwork{wrapped}")
    for stage in STAGES[min((STAGES.index(layer) + 1 for layer in layers), default=len(STAGES)) :]:
        for block in getattr(network.backbone, stage):
            if not isinstance(block.attention, nn.Identity) or not isinstance(block.output, nn.Identity):
                raise ValueError(f"network has attention in {stage}, through which no gradient is taken to {layers[0]}")


def explained_classes(logits: Sequence[Tensor], classes: Values | None) -> list[Tensor]:
    """The class at hand of each group, (N,) int64 each: the one given, or where that is -1 the predicted one."""
    predicted = [group.argmax(1) for group in logits]
    if classes is None:
        return predicted
    expected = (len(logits[0]), len(logits))
    classes = integers("classes", classes)
    if classes.shape != expected:
        shape = f"{expected[0]} images × {expected[1]} attribute groups"
        raise ValueError(f"classes have shape {tuple(classes.shape)}: expected {shape}")
    for group, (given, scores) in enumerate(zip(classes.cpu().T, logits, strict=True)):  # one wait for all groups
        wrong = given[(given < -1) | (given >= scores.shape[1])]
        if len(wrong):
            raise ValueError(f"class {int(wrong[0])} in group {group}: expected -1 to {scores.shape[1] - 1}")
    given = classes.to(logits[0].device, torch.int64)
    return [torch.where(g < 0, p, g) for g, p in zip(given.T, predicted, strict=True)]


def probability_gradient(head: nn.Module, logits: Tensor, classes: Tensor) -> Tensor:
    """∂ softmax(head(f))_k / ∂f in evaluation mode: (N, C), for head(f) = logits (N, classes) and k of each image (N,).

    The head is BN–FC. With its weight W and scale γ/σ that is γ/σ · Wᵀ p_k (e_k - p).
    """
    norm, linear = head.children()
    assert isinstance(linear, nn.Linear)
    p, k = logits.softmax(1), classes[:, None]
    e_k = torch.zeros_like(p).scatter(1, k, 1.0)
    return (p.gather(1, k) * (e_k - p)) @ linear.weight * scale(norm)


def block_adjoint(block: Bottleneck, kept: dict[nn.Module, Tensor]) -> Adjoint:
    """Of a residual block without attention in evaluation mode, where `kept` says what it has computed."""
    conv1, conv2, conv3 = (
        convolution_adjoint(conv, norm, kept[conv])
        for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2), (block.conv3, block.bn3))
    )
    # A ReLU passes the gradient where it has passed the value.
    relu1, relu2, relu3 = (
        (x > 0).to(x.dtype, memory_format=torch.channels_last)
        for x in (kept[block.conv2], kept[block.conv3], kept[block])
    )
    shortcut: Adjoint | None = None
    if len(block.downsample):
        conv, norm = block.downsample
        shortcut = convolution_adjoint(conv, norm, kept[conv])

    def adjoint(gradient: Tensor) -> Tensor:
        gradient = gradient * relu3
        branch = conv1(conv2(conv3(gradient).mul_(relu2)).mul_(relu1))
        return branch.add_(gradient if shortcut is None else shortcut(gradient))

    return adjoint


def convolution_adjoint(conv: nn.Module, norm: nn.Module, x: Tensor) -> Adjoint:
    """Of norm(conv(x)): the transposed convolution, with the normalisation folded into the weight.

    In channels_last, which a CPU convolves fastest.
    """
    assert isinstance(conv, nn.Conv2d)
    weight = (conv.weight * scale(norm)[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    stride, padding = conv.stride[0], conv.kernel_size[0] // 2
    # What the stride has left over at the lower and the right edge, where the size is not a multiple of it.
    left_over = [(length + 2 * padding - conv.kernel_size[0]) % stride for length in x.shape[2:]]
    return partial(F.conv_transpose2d, weight=weight, stride=stride, padding=padding, output_padding=left_over)


def scale(norm: nn.Module) -> Tensor:
    """γ/σ of each channel: all that a gradient sees of a batch normalisation in evaluation mode."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_var is not None
    return norm.weight * (norm.running_var + norm.eps).rsqrt()

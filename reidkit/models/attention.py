"""The attention modules of the joint-loss paper's Table 1, and where each one sits in ResNet-50.

Every module is `Module(channels)` and keeps the shape of its input, (N, C, H, W). Each follows the code of its own
authors; where their article and their code differ, the docstring says which one is taken. To add a module, write its
class here and give it a line in `ATTENTION`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.models.pooling import average, maximum


def reduced(channels: int, reduction: int) -> int:
    """Width of a bottleneck: `channels / reduction`, at least one, so that narrow networks work too."""
    return max(1, channels // reduction)


class Attention(nn.Module, ABC):
    """What weighs a map (N, C, H, W) by what it sees in it.

    The weights and what is done with them are apart, so that a trained network can be asked what it looks at
    (`reidkit.attending`).
    """

    weighs: ClassVar[Literal["channels", "places"]]

    @abstractmethod
    def weights(self, x: Tensor) -> Tensor:
        """What the map is weighed by.

        A gate has (N, C, 1, 1) or (N, 1, H, W), a factor for each channel or place. What mixes has (N, HW, HW) or
        (N, C, C), how much each place or channel takes of each, in rows that add up to one.
        """

    @abstractmethod
    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        """The map (N, C, H, W), weighed."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weigh(x, self.weights(x))


class Gate(Attention):
    """Attention that multiplies."""

    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        return x * weights


class SqueezeExcitation(Gate):
    """Channel weights from the globally averaged map (Hu et al., CVPR 2018, Eq. 2-4; with biases, as in their code).

    >>> SqueezeExcitation(64)(torch.zeros(2, 64, 16, 8)).shape  # as every module here: (N, C, H, W) -> (N, C, H, W)
    torch.Size([2, 64, 16, 8])
    """

    weighs = "channels"

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, reduced(channels, reduction))
        self.fc2 = nn.Linear(reduced(channels, reduction), channels)

    def weights(self, x: Tensor) -> Tensor:
        squeezed = average(x, 2, 3).flatten(1)  # (N, C)
        weights: Tensor = self.fc2(F.relu(self.fc1(squeezed))).sigmoid()  # (N, C)
        return weights[:, :, None, None]


class EfficientChannelAttention(Gate):
    """Channel weights from a 1-D convolution across neighbouring channels (Wang et al., CVPR 2020, Eq. 9 and 12).

    The kernel grows with the number of channels: the odd number at, or next above, floor((log2 C + b) / gamma).

    >>> [EfficientChannelAttention(channels).kernel_size for channels in (256, 512, 1024, 2048)]
    [5, 5, 5, 7]
    """

    weighs = "channels"

    def __init__(self, channels: int, gamma: int = 2, b: int = 1) -> None:
        super().__init__()
        t = int(abs(math.log2(channels) + b) / gamma)
        self.kernel_size = t if t % 2 else t + 1
        self.conv = nn.Conv1d(1, 1, self.kernel_size, padding=self.kernel_size // 2, bias=False)

    def weights(self, x: Tensor) -> Tensor:
        averaged = average(x, 2, 3).flatten(1)  # (N, C)
        weights: Tensor = self.conv(averaged.unsqueeze(1)).squeeze(1).sigmoid()  # (N, C)
        return weights[:, :, None, None]


class ChannelAttention(Gate):
    """M_C of the paper's Eq. 7 and Fig. 4: one MLP, shared by the average- and the max-pooled map."""

    weighs = "channels"

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, reduced(channels, reduction), bias=False)
        self.fc2 = nn.Linear(reduced(channels, reduction), channels, bias=False)

    def weights(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> M_C in (0, 1), (N, C, 1, 1)."""
        mean, maximum = average(x, 2, 3).flatten(1), F.max_pool2d(x, x.shape[2:]).flatten(1)  # (N, C)
        # fc2 is linear, so one product with the sum stands for the sum of two products.
        weights: Tensor = self.fc2(F.relu(self.fc1(mean)) + F.relu(self.fc1(maximum))).sigmoid()  # (N, C)
        return weights[:, :, None, None]


class SpatialAttention(Gate):
    """M_S of the paper's Eq. 7 and Fig. 5: a convolution over the mean and the maximum across channels."""

    weighs = "places"

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def weights(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> M_S in (0, 1), (N, 1, H, W)."""
        # Channels last: in this order the CPU reads and writes a channels_last map, and its gradient, without copies.
        rows = x.permute(0, 2, 3, 1)  # (N, H, W, C)
        pooled = torch.cat([average(rows, 3), maximum(rows, 3)], 3)  # (N, H, W, 2)
        weights: Tensor = self.bn(self.conv(pooled.permute(0, 3, 1, 2))).sigmoid()
        return weights


class CBAM(nn.Module):
    """Channel, then spatial attention: the paper's Eq. 7 (Woo et al., ECCV 2018).

    As in the authors' article the MLP has no biases; as in their code a batch norm follows the spatial convolution.

    >>> x = torch.ones(1, 64, 16, 8)
    >>> bool((CBAM(64)(x).abs() <= x).all())  # two gates, each a sigmoid
    True
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.spatial(self.channel(x))
        return attended


def look(query: Tensor, key: Tensor, scale: float = 1.0) -> Tensor:
    """How much each place looks at each: maps (N, ., H, W) -> softmax(scale * query . key), (N, HW, HW)."""
    query, key = query.flatten(2), key.flatten(2)  # (N, c, HW)
    return (scale * query.transpose(1, 2) @ key).softmax(2)


def gather(weights: Tensor, value: Tensor) -> Tensor:
    """What each place takes of each: weights (N, HW, HW), map (N, C, H, W) -> (N, C, H, W).

    After `look` a second product, rather than PyTorch's fused attention, which is slower on a CPU for the few places of
    a person's map and does not give the weights.
    """
    gathered = weights @ value.flatten(2).transpose(1, 2)  # (N, HW, C)
    return gathered.transpose(1, 2).view(value.shape)


class PositionAttention(Attention):
    """DANet's position branch: every place sees every place (Fu et al., CVPR 2019, Eq. 1 and 2).

    As in the authors' code query and key have C/8 channels; in their article they have all C.
    """

    weighs = "places"

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, reduced(channels, reduction), 1)
        self.key = nn.Conv2d(channels, reduced(channels, reduction), 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def weights(self, x: Tensor) -> Tensor:
        return look(self.query(x), self.key(x))

    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        return x + self.gamma * gather(weights, self.value(x))


class DanetChannelAttention(Attention):
    """DANet's channel branch: every channel sees every channel (Fu et al., CVPR 2019, Eq. 3 and 4).

    As in the authors' code the softmax runs over (largest energy - energy): a channel looks at what it is least like.
    """

    weighs = "channels"

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def weights(self, x: Tensor) -> Tensor:
        channels = x.flatten(2)  # (N, C, HW)
        return (-channels @ channels.transpose(1, 2)).softmax(2)

    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        return x + self.gamma * (weights @ x.flatten(2)).reshape(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.flatten(2).contiguous().unsqueeze(1)  # (N, 1, C, HW)
        # softmax(-x x^T) x: a softmax ignores the constant "largest energy". Fused, since the (N, C, C) attention of
        # a batch of 64 takes a gigabyte at 2048 channels.
        attended = F.scaled_dot_product_attention(-channels, channels, channels, scale=1.0)
        return x + self.gamma * attended.reshape(x.shape)


class DualAttention(nn.Module):
    """DANet: the sum of its position and channel branches (Fu et al., CVPR 2019).

    Each branch has its own skip connection and a weight gamma that starts at 0, so an untrained module returns 2x.
    A reading: the authors' segmentation head has 3x3 convolutions around each branch, one to C/4 channels before it and
    one behind. Here the branches stand on the map itself, so that a row with them adds attention and no other layers.

    >>> DualAttention(16)(torch.ones(1, 16, 4, 2)).unique()
    tensor([2.], grad_fn=<Unique2Backward0>)
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.position = PositionAttention(channels, reduction)
        self.channel = DanetChannelAttention()

    def forward(self, x: Tensor) -> Tensor:
        position: Tensor = self.position(x)
        channel: Tensor = self.channel(x)
        return position + channel


class NonLocal(Attention):
    """Embedded-Gaussian non-local block (Wang et al., CVPR 2018, Eq. 4 and 6), scaled by 1/sqrt(C/2) as in their code.

    The batch norm at the end has all C channels and zero weights, so an untrained block returns its input.

    >>> x = torch.randn(2, 16, 4, 2)
    >>> torch.equal(NonLocal(16)(x), x)
    True
    """

    weighs = "places"

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        inner = reduced(channels, reduction)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn.weight)
        self.scale = inner**-0.5

    def weights(self, x: Tensor) -> Tensor:
        return look(self.theta(x), self.phi(x), self.scale)

    def weigh(self, x: Tensor, weights: Tensor) -> Tensor:
        seen: Tensor = self.bn(self.out(gather(weights, self.g(x))))
        return x + seen


class ConstantGate(nn.Module):
    """A fixed part of the input: a gate that attends to nothing. A control, not a module of anybody's.

    A gate of a sigmoid starts near 1/2 and so halves the residual branch whatever it sees, CBAM's two in a row near
    1/4; what a network gains from that alone, it gains from this.

    >>> ConstantGate(3)(torch.ones(3))
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, channels: int, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@dataclass(frozen=True)
class Placement:
    """Which module goes where: in the last `blocks[i]` residual blocks of stage i + 1. Figures call it by its title."""

    title: str
    module: Callable[[int], nn.Module]
    place: Literal["attention", "output"]  # before the residual addition (Fig. 3), or after the block's final ReLU
    blocks: tuple[int, int, int, int]
    control: bool = False  # nobody's attention, but what tells it from something else


EVERY_BLOCK = (3, 4, 6, 3)

ATTENTION: dict[str, Placement] = {
    "none": Placement("none", lambda channels: nn.Identity(), "attention", (0, 0, 0, 0)),
    "se": Placement("SE", SqueezeExcitation, "attention", EVERY_BLOCK),
    "eca": Placement("ECA", EfficientChannelAttention, "attention", EVERY_BLOCK),
    "cbam": Placement("CBAM", CBAM, "attention", EVERY_BLOCK),
    "danet": Placement("DANet", DualAttention, "output", (0, 0, 0, 1)),
    "nonlocal": Placement("Non-local", NonLocal, "output", (0, 2, 3, 0)),
    "half": Placement("constant ½", ConstantGate, "attention", EVERY_BLOCK, control=True),
    "quarter": Placement("constant ¼", partial(ConstantGate, factor=0.25), "attention", EVERY_BLOCK, control=True),
}
"""The attention modules by the names that settings and rows call them."""

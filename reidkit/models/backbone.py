"""ResNet-50 (He et al., CVPR 2016) with room for attention, and ImageNet weights for it."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.errors import UserError
from reidkit.models.attention import ATTENTION, EVERY_BLOCK

STAGES = ("layer2", "layer3", "layer4")
"""The stages after which a map's scale has changed (SAN-GAL, Sect. 3.1): where heat maps are taken and used."""


def scaled(channels: int, multiplier: float) -> int:
    """A channel count times a width multiplier, kept at multiples of 8."""
    return max(8, round(channels * multiplier / 8) * 8)


def scaled_dropout(rate: float, multiplier: float) -> float:
    """The rate of a dropout of narrower features: as many of them are kept as at full width, all of them at the most.

    >>> scaled_dropout(0.9, 0.5), scaled_dropout(0.5, 0.25)  # 205 of 1024 features as of 2048, and all 512
    (0.8, 0.0)
    """
    return max(0.0, round(1 - (1 - rate) / multiplier, 6))


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, "same" padding, initialised for ReLU (He et al., ICCV 2015)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class Bottleneck(nn.Module):
    """The residual block x + F(x) of the paper's Eq. 6, with attention where its Fig. 3 puts it.

    The stride is in the 3x3 convolution, as in torchvision ("ResNet v1.5").
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, attention: nn.Module, output: nn.Module) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1, self.bn1 = convolution(in_channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = convolution(width, out_channels, 1), nn.BatchNorm2d(out_channels)
        self.attention = attention
        self.output = output
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample.append(convolution(in_channels, out_channels, 1, stride))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x)), inplace=True)
        branch = F.relu(self.bn2(self.conv2(branch)), inplace=True)
        branch = self.attention(self.bn3(self.conv3(branch)))
        out: Tensor = self.output(F.relu(branch + self.downsample(x), inplace=True))
        return out


class ResNet50(nn.Module):
    """ResNet-50 without its classifier: images (N, 3, H, W) -> maps (N, out_channels, h, w).

    h, w are H/16, W/16 with `last_stride=1`, the choice of re-ID baselines, or H/32, W/32 with torchvision's 2.
    `attention` is a key of `ATTENTION`; `width_multiplier` scales every width, kept at multiples of 8.
    `residual_scale` is the weight gamma with which the last batch norm of every residual branch starts: 1 as in
    torchvision, 0 as in Goyal et al., "Accurate, Large Minibatch SGD", 2017, Sect. 5.1, so that every block starts as
    its skip connection. A gate behind that batch norm scales the branch too (SE and ECA by about 1/2, CBAM by 1/4).
    Parameters are named as torchvision's, so that its weights load directly. The maps that change scale are the
    outputs of `layer2`, `layer3` and `layer4`.

    >>> network = ResNet50("se", width_multiplier=0.125)
    >>> network(torch.zeros(2, 3, 64, 32)).shape
    torch.Size([2, 256, 4, 2])
    """

    def __init__(
        self,
        attention: str = "none",
        last_stride: int = 1,
        width_multiplier: float = 1.0,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if attention not in ATTENTION:
            raise ValueError(f"attention is {attention!r}: expected one of {', '.join(ATTENTION)}")
        if last_stride not in (1, 2):
            raise ValueError(f"last_stride is {last_stride!r}: expected 1 or 2")
        if not 0 < width_multiplier <= 4:
            raise ValueError(f"width_multiplier is {width_multiplier!r}: expected a number in (0, 4]")
        self.width_multiplier = width_multiplier
        widths = [scaled(width, width_multiplier) for width in (64, 128, 256, 512)]
        placement = ATTENTION[attention]

        self.conv1, self.bn1 = convolution(3, widths[0], 7, stride=2), nn.BatchNorm2d(widths[0])
        channels = widths[0]
        stages = []
        for width, stride, depth, attended in zip(
            widths, (1, 2, 2, last_stride), EVERY_BLOCK, placement.blocks, strict=True
        ):
            blocks = []
            for index in range(depth):
                module = placement.module(width * Bottleneck.expansion) if index >= depth - attended else nn.Identity()
                places = {"attention": nn.Identity(), "output": nn.Identity(), placement.place: module}
                blocks.append(Bottleneck(channels, width, stride if index == 0 else 1, **places))
                nn.init.constant_(blocks[-1].bn3.weight, residual_scale)
                channels = width * Bottleneck.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = channels

    def attention_modules(self) -> list[nn.Module]:
        """What stands in the places for attention of its blocks."""
        blocks = [module for module in self.modules() if isinstance(module, Bottleneck)]
        return [module for block in blocks for module in (block.attention, block.output)]

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.stem(images)  # (N, 64, H/4, W/4)
        x = self.layer1(x)  # (N, 256, H/4, W/4)
        x = self.layer2(x)  # (N, 512, H/8, W/8)
        x = self.layer3(x)  # (N, 1024, H/16, W/16)
        x = self.layer4(x)  # (N, 2048, H/16, W/16), or half of that with last_stride=2
        return x

    def stem(self, images: Tensor) -> Tensor:
        """What comes before `layer1`: images (N, 3, H, W) -> maps (N, 64, H/4, W/4)."""
        x: Tensor = F.relu(self.bn1(self.conv1(images)), inplace=True)  # (N, 64, H/2, W/2)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class WeightsError(UserError):
    """Weights that are missing, unreadable, or made for another network."""


def load_initial_weights(network: ResNet50, source: str | None) -> None:
    """What a network starts from beside random numbers: None for nothing else, or as of `load_imagenet_weights`."""
    if source is not None:
        load_imagenet_weights(network, source if source == "imagenet" else Path(source).expanduser())


def load_imagenet_weights(network: ResNet50, source: str | Path = "imagenet") -> None:
    """Load ImageNet weights into a full-width `network`; attention modules keep their initial parameters.

    `source` is "imagenet" (torchvision's `ResNet50_Weights.IMAGENET1K_V1`, downloaded once to torch's hub folder) or
    the path of a ResNet-50 state dict, as safetensors or as a `.pth` that holds tensors only.
    Raises `WeightsError`, and leaves the network as it was, if they cannot be read or do not fit.
    """
    if network.width_multiplier != 1:
        raise WeightsError(
            f"ImageNet weights are for width_multiplier 1, but the network has {network.width_multiplier}: "
            "train it without them, or set width_multiplier to 1"
        )
    weights = {name: tensor for name, tensor in read_weights(source).items() if not name.startswith("fc.")}
    own = network.state_dict()
    # Counters of batches are absent from older files; they play no part while the momentum is fixed.
    missing = [
        name
        for name in own.keys() - weights.keys()
        if ".attention." not in name and ".output." not in name and not name.endswith("num_batches_tracked")
    ]
    unknown = weights.keys() - own.keys()
    misshapen = [name for name in weights.keys() & own.keys() if weights[name].shape != own[name].shape]
    for names, problem in ((missing, "lacks"), (unknown, "has the unknown"), (misshapen, "has another shape for")):
        if names:
            raise WeightsError(
                f"{source} {problem} {sorted(names)[0]} ({len(names)} such entries): "
                "expected the state dict of torchvision's resnet50"
            )
    network.load_state_dict({**own, **weights})


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """Read a state dict; nothing that a file holds is executed."""
    if source == "imagenet":
        from torchvision.models import ResNet50_Weights

        try:
            return dict(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"could not download {ResNet50_Weights.IMAGENET1K_V1.url} ({error}): fetch it on another machine "
                "and give its path instead of 'imagenet'"
            ) from error
    path = Path(source)
    if not path.is_file():
        raise WeightsError(f"no weights at {path.absolute()}: expected 'imagenet' or a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} is not a readable state dict ({type(error).__name__}: {error})") from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise WeightsError(f"{path} holds something other than a flat state dict (name -> tensor)")
    return weights

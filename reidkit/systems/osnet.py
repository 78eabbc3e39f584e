"""OSNet: Zhou et al. 2019, "Omni-Scale Feature Learning for Person Re-Identification", ICCV.

A small network of its own. Each block sees its input at four scales, by one to four light 3×3 convolutions in a row,
and one gate that all scales share decides per channel and image how much of each comes out.

`width_multiplier` 1, 0.75, 0.5 and 0.25 are the article's variants; the embedding keeps 512 numbers. Published rows are
of 256×128 pixels and ImageNet weights with random erasing and a cosine schedule; the article also trains it from random
weights, for 350 epochs. `residual_scale` is read as for a ResNet: γ of the last batch norm of each block's branch.

Other people's code: torchreid's is the authors' own, with which this network agrees to rounding once weights are
copied. It ranks by Euclidean distance; we rank by cosine, as the article's tables do.
"""

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.models.attention import Gate
from reidkit.models.backbone import convolution, scaled
from reidkit.models.pooling import average, pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, initialised


class OSNetConfig(Configuration):
    """One run of OSNet."""

    system = "osnet"

    weights: None = Field(None, description="null: there are none to start from")


def convolve(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = convolution(in_channels, out_channels, kernel_size, stride)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def project(in_channels: int, out_channels: int, scale: float = 1.0) -> nn.Sequential:
    """1×1 convolution and batch norm, whose weight γ starts at `scale`."""
    norm = nn.BatchNorm2d(out_channels)
    nn.init.constant_(norm.weight, scale)
    return nn.Sequential(convolution(in_channels, out_channels, 1), norm)


def lite(channels: int) -> nn.Sequential:
    """Lite 3×3: channels are mixed at each place, then each channel's places by themselves."""
    point, depth = convolution(channels, channels, 1), convolution(channels, channels, 3, groups=channels)
    return nn.Sequential(point, depth, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class AggregationGate(Gate):
    """A weight in (0, 1) per image and channel, times the input."""

    weighs = "channels"

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(1, channels // 16)
        self.squeeze, self.excite = nn.Conv2d(channels, few, 1), nn.Conv2d(few, channels, 1)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    def weights(self, x: Tensor) -> Tensor:
        pooled = average(x, 2, 3)  # (N, C, 1, 1)
        gate: Tensor = self.excite(F.relu(self.squeeze(pooled))).sigmoid()
        return gate


class OSBlock(nn.Module):
    """The residual block: reduced to a quarter, seen at four scales, gated, added up and expanded."""

    def __init__(self, in_channels: int, out_channels: int, residual_scale: float) -> None:
        super().__init__()
        middle = out_channels // 4
        self.reduce = convolve(in_channels, middle)
        self.scales = nn.ModuleList(nn.Sequential(*(lite(middle) for _ in range(depth))) for depth in (1, 2, 3, 4))
        self.gate = AggregationGate(middle)  # one for all scales
        self.expand = project(middle, out_channels, residual_scale)
        self.downsample = project(in_channels, out_channels) if in_channels != out_channels else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        gathered = torch.stack([self.gate(scale(reduced)) for scale in self.scales]).sum(0)
        return F.relu(self.expand(gathered) + self.downsample(x), inplace=True)


class OSNet(Model):
    """In training mode a call returns logits (N, identities), in evaluation mode the embedding (N, 512), float32."""

    def __init__(self, identities: int, config: OSNetConfig) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing
        widths = [scaled(channels, config.width_multiplier) for channels in (64, 256, 384, 512)]
        self.stem = nn.Sequential(convolve(3, widths[0], 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
        stages = []
        for into, out in itertools.pairwise(widths):
            blocks = [OSBlock(into, out, config.residual_scale), OSBlock(out, out, config.residual_scale)]
            stages.append(nn.Sequential(*blocks, convolve(out, out), nn.AvgPool2d(2)))
        self.stage1, self.stage2, self.stage3 = *stages[:2], stages[2][:3]  # the last one keeps its size
        linear, self.classifier = nn.Linear(widths[3], 512), nn.Linear(512, identities)
        self.embed = nn.Sequential(linear, nn.BatchNorm1d(512), nn.ReLU())
        for layer in (linear, self.classifier):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)  # (N, 64, H/4, W/4)
        x = self.stage1(x)  # (N, 256, H/8, W/8)
        x = self.stage2(x)  # (N, 384, H/16, W/16)
        x = self.stage3(x)  # (N, 512, H/16, W/16)
        embedding: Tensor = self.embed(pool(x))  # (N, 512)
        return self.classifier(embedding) if self.training else embedding.float()

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return {"total": loss, "accuracy": accuracy(logits, batch.labels)}


SYSTEM = System(
    name="osnet",
    title="OSNet",
    article="zhou2019osnet",
    configuration=OSNetConfig,
    rows={"osnet": {}},
    build=initialised(OSNet),
)

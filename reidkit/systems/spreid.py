"""SPReID: Kalayeh et al. 2018, "Human Semantic Parsing for Person Re-identification", CVPR.

The map is pooled under the masks of head, upper body, lower body, shoes and the whole foreground, which a parsing
network draws, so that no background goes into a part's feature.

The row that SAN-GAL quotes is of Inception-V3 at 512×170 and then 778×255 pixels, trained on ten data sets, with a
parsing network trained on LIP, and puts two models' features side by side. Readings: ResNet-50, one data set, one
model. Luggage is foreground of no part; an occluder is background. The features are not enlarged to the masks' size;
the masks are averaged down to theirs.

No person is parsed in a re-identification data set, but SynthPed's are. In `spreid` an oracle stands in the parsing
network's place, SynthPed's own part maps, of test images too: what parsing could bring at most. In `spreid/predicted`
a small parsing network learns from those of the training images first, in a quarter of the epochs, and then draws the
masks of all images. Both need SynthPed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.data.part_maps import BODY, PERSON
from reidkit.data.synthped import PARTS
from reidkit.models.backbone import scaled
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised
from reidkit.training import Stage

MASKS: dict[str, tuple[str, ...]] = {"foreground": PERSON, **BODY}
"""The parts of SynthPed that each mask is made of."""


class SPReIDConfig(Configuration):
    """One run of SPReID."""

    system = "spreid"
    takes = frozenset({"parts"})

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    masks: Literal["true", "predicted"] = Field("true", description="who draws them: an oracle or a parsing network")

    @property
    def row_name(self) -> str:
        return "spreid" if self.masks == "true" else f"spreid/{self.masks}"


def pool_masks(maps: Tensor, masks: Tensor) -> Tensor:
    """Maps (N, C, h, w), masks (N, M, H, W) in 0…1 -> (N, M, C): the mean under each mask, 0 where it is empty."""
    masks = F.interpolate(masks, maps.shape[2:], mode="area").flatten(2)  # (N, M, hw)
    with torch.autocast(maps.device.type, enabled=False):
        return masks @ maps.flatten(2).float().mT / masks.sum(2, keepdim=True).clamp_min(1e-6)


class SPReID(Model):
    """In training mode a call returns logits (N, identities), in evaluation mode the embedding (N, 3 C), float32."""

    def __init__(self, identities: int, config: SPReIDConfig) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing
        self.backbone = backbone(config)
        members = torch.tensor([[float(part in mask) for part in PARTS] for mask in MASKS.values()])
        self.register_buffer("members", members, persistent=False)  # (masks, P)
        self.classifier = LinearClassifier(3 * self.backbone.out_channels, identities, bias=True)

    def forward(self, images: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        """Images (N, 3, H, W), and by the name "parts" the shares (N, P, h, w) of SynthPed's parts."""
        features = self.backbone(images)  # (N, C, h, w)
        foreground, *parts = pool_masks(features, self.masks(maps["parts"])).unbind(1)  # each (N, C)
        whole = pool(features)
        embedding = torch.cat([foreground, torch.stack(parts).amax(0), whole], 1)  # (N, 3 C)
        return self.classifier(embedding) if self.training else embedding

    def masks(self, shares: Tensor) -> Tensor:
        """Those of MASKS, (N, masks, h, w), from the shares (N, P, h, w) of the parts."""
        return (self.get_buffer("members")[:, :, None, None] * shares.unsqueeze(1)).sum(2)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        logits = self(batch.images, batch.maps)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return {"total": loss, "accuracy": accuracy(logits, batch.labels)}


class Parser(nn.Module):
    """Images (N, 3, H, W) -> logits of SynthPed's parts (N, P, H/8, W/8), float32: two stages of a ResNet-50."""

    def __init__(self, config: SPReIDConfig) -> None:
        super().__init__()
        self.trunk = backbone(config)
        del self.trunk.layer3, self.trunk.layer4
        self.classify = nn.Conv2d(scaled(512, config.width_multiplier), len(PARTS), 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk.layer2(self.trunk.layer1(self.trunk.stem(images)))  # (N, 512, H/8, W/8)
        return self.classify(maps).float()  # type: ignore[no-any-return]


class ParsingSPReID(SPReID):
    """SPReID with a parsing network of its own, which is trained first and then fixed."""

    def __init__(self, identities: int, config: SPReIDConfig) -> None:
        super().__init__(identities, config)
        self.parser = Parser(config)
        self.parsing = False  # whether it is the parser that learns

    def forward(self, images: Tensor, maps: Mapping[str, Tensor] | None = None) -> Tensor:
        """Images (N, 3, H, W); part maps, if there are any, play no part."""
        return super().forward(images, {"parts": self.parser(images).softmax(1)})

    def focus(self, images: Tensor) -> Tensor:
        """The masks as the parser draws them, (N, masks, H/8, W/8)."""
        return self.masks(self.parser(images).softmax(1))

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        if not self.parsing:
            return super().losses(batch)
        logits = self.parser(batch.images)
        shares = F.interpolate(batch.maps["parts"], logits.shape[2:], mode="area")
        right = logits.detach().argmax(1) == shares.argmax(1)  # (N, H/8, W/8)
        return {"total": F.cross_entropy(logits, shares), "accuracy": right.float().mean()}

    def stages(self) -> Sequence[Stage]:
        return (
            Stage(0.25, {self.parser: 1.0}, enter=lambda: self.parse(True)),
            Stage(0.75, {self.backbone: 1.0, self.classifier: 1.0}, enter=lambda: self.parse(False)),
        )

    def parse(self, parsing: bool) -> None:
        self.parsing = parsing


def spreid(identities: int, config: SPReIDConfig) -> SPReID:
    """The network of a row."""
    return SPReID(identities, config) if config.masks == "true" else ParsingSPReID(identities, config)


SYSTEM = System(
    name="spreid",
    title="SPReID",
    article="kalayeh2018spreid",
    configuration=SPReIDConfig,
    rows={"spreid": {}, "spreid/predicted": {"masks": "predicted"}},
    called={"spreid/predicted": "SPReID with its own parser"},
    build=initialised(spreid),
)

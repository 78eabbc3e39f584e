"""SPReID: Kalayeh et al. 2018, "Human Semantic Parsing for Person Re-identification", CVPR.

The map is pooled under the masks of head, upper body, lower body, shoes and the whole foreground, which a parsing
network draws, so that no background goes into a part's feature.

The row that SAN-GAL quotes is of Inception-V3 at 512×170 and then 778×255 pixels, trained on ten data sets, with a
parsing network trained on LIP, and puts two models' features side by side. Readings: ResNet-50, one data set, one
model, and an oracle in the parsing network's place: SynthPed's own part maps, in training and of test images too. So
this is what parsing could bring at most, and runs on SynthPed only. Luggage is foreground of no part; an occluder is
background. The features are not enlarged to the masks' size; the masks are averaged down to theirs.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from reidkit.data.part_maps import BODY, PERSON
from reidkit.data.synthped import PARTS
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised

MASKS: dict[str, tuple[str, ...]] = {"foreground": PERSON, **BODY}
"""The parts of SynthPed that each mask is made of."""


class SPReIDConfig(Configuration):
    """One run of SPReID."""

    system = "spreid"
    takes = frozenset({"parts"})

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")


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
        masks = (self.get_buffer("members")[:, :, None, None] * maps["parts"].unsqueeze(1)).sum(2)  # (N, masks, …)
        foreground, *parts = pool_masks(features, masks).unbind(1)  # each (N, C)
        whole = pool(features)
        embedding = torch.cat([foreground, torch.stack(parts).amax(0), whole], 1)  # (N, 3 C)
        return self.classifier(embedding) if self.training else embedding

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        logits = self(batch.images, batch.maps)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return {"total": loss, "accuracy": accuracy(logits, batch.labels)}


SYSTEM = System(
    name="spreid",
    title="SPReID",
    article="kalayeh2018spreid",
    configuration=SPReIDConfig,
    rows={"spreid": {}},
    build=initialised(SPReID),
)

"""PAN: Zheng et al. 2019, "Pedestrian Alignment Network for Large-scale Person Re-Identification", TCSVT.

A detector's box may cut a person off or leave too much room. A base network learns to tell people apart; from its maps
a grid network then learns an affine transformation, under which an early map is sampled anew, and an alignment branch
tells people apart by the result. Both branches' features are the embedding.

Published rows are of 224×224 pixels, last stride 2 and ImageNet weights, with batches and rates of their own. Readings:
from random weights the grid network and the alignment branch start as copies of the base's trained stages, where the
authors' start from ImageNet; the stages have 40 and 60 % of the epochs. The rate of the transformation's own layer is
1e-5 of the others' with their SGD; a step of Adam is as long as the rate however small the gradient, and here it is a
tenth. Their test adds each picture's mirror image, which no other system here is given: left out.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reidkit.models.backbone import scaled, scaled_dropout
from reidkit.models.heads import LinearClassifier
from reidkit.models.pooling import pool
from reidkit.settings import Configuration
from reidkit.systems.system import Batch, Model, System, accuracy, backbone, initialised
from reidkit.training import Stage


class PANConfig(Configuration):
    """One run of PAN."""

    system = "pan"

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    grid_factor: float = Field(0.1, gt=0, description="on the learning rate of the transformation's own layer")


class PAN(Model):
    """In training mode a call returns logits (N, identities) of the branch that is being trained.

    In evaluation mode it returns the embedding (N, 2 · 2048), float32.
    """

    def __init__(self, identities: int, config: PANConfig) -> None:
        super().__init__()
        self.label_smoothing, self.grid_factor = config.label_smoothing, config.grid_factor
        self.dropout, self.dropout_aligned = (scaled_dropout(rate, config.width_multiplier) for rate in (0.75, 0.9))
        base, other = backbone(config), backbone(config)
        channels = base.out_channels
        self.backbone = base
        self.classifier = LinearClassifier(channels, identities, bias=True)

        last = backbone(config).layer4
        few = scaled(128, config.width_multiplier)
        self.locate, self.reduce, self.transform = last, nn.Linear(channels, few), nn.Linear(few, 6)
        nn.init.zeros_(self.transform.weight)
        with torch.no_grad():  # the middle of the map, 0.8 of its height and width
            self.transform.bias.copy_(torch.tensor([0.8, 0, 0, 0, 0.8, 0]))

        self.align = nn.Sequential(other.layer2, other.layer3, other.layer4)
        self.classify_aligned = LinearClassifier(channels, identities, bias=True)
        self.aligning = True

    def forward(self, images: Tensor) -> Tensor:
        early = self.backbone.layer1(self.backbone.stem(images))  # (N, 256, H/4, W/4)
        middle = self.backbone.layer3(self.backbone.layer2(early))  # (N, 1024, H/16, W/16)
        base = pool(self.backbone.layer4(middle))  # (N, 2048)
        if not self.aligning:
            return self.classifier(F.dropout(base, self.dropout)) if self.training else F.normalize(base)
        aligned = pool(self.align(sample(early, self.theta(middle))))  # (N, 2048)
        if self.training:
            logits: Tensor = self.classify_aligned(F.dropout(aligned, self.dropout_aligned))
            return logits
        return torch.cat([F.normalize(base), F.normalize(aligned)], 1)  # so that both cosines count alike

    def focus(self, images: Tensor) -> Tensor:
        """What the alignment branch is shown, (N, 1, H/4, W/4): 1 within its window, 0 outside."""
        middle = self.backbone.layer3(self.backbone.layer2(self.backbone.layer1(self.backbone.stem(images))))
        return window(self.theta(middle), images.shape[2] // 4, images.shape[3] // 4)

    def theta(self, middle: Tensor) -> Tensor:
        """The affine transformation (N, 2, 3) float32 of each image, from its maps of layer3."""
        return self.transform(self.reduce(pool(self.locate(middle)))).float().view(-1, 2, 3)  # type: ignore[no-any-return]

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return {"total": loss, "accuracy": accuracy(logits, batch.labels)}

    def undecayed(self) -> Sequence[nn.Module]:
        return (self.reduce, self.transform)  # the one starts behind the other's zeros, which a decay would keep

    def stages(self) -> Sequence[Stage]:
        aligned = {self.locate: 1.0, self.reduce: 1.0, self.transform: self.grid_factor}
        aligned |= {self.align: 1.0, self.classify_aligned: 1.0}
        return (
            Stage(0.4, {self.backbone: 1.0, self.classifier: 1.0}, enter=self.start_base),
            Stage(0.6, aligned, enter=self.start_alignment),
        )

    def start_base(self) -> None:
        self.aligning = False

    def start_alignment(self) -> None:
        self.aligning = True
        trained = (self.backbone.layer2, self.backbone.layer3, self.backbone.layer4)
        self.locate.load_state_dict(trained[2].state_dict())
        for stage, source in zip(self.align, trained, strict=True):
            stage.load_state_dict(source.state_dict())


def sample(maps: Tensor, theta: Tensor) -> Tensor:
    """Maps (N, C, h, w) as seen through affine transformations (N, 2, 3) of coordinates from -1 to 1, bilinear."""
    grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
    return F.grid_sample(maps.float(), grid, align_corners=False).to(maps.dtype)


def window(theta: Tensor, height: int, width: int) -> Tensor:
    """The places that an affine transformation (N, 2, 3) samples from, 1 or 0, float32 (N, 1, height, width)."""
    square = theta.new_tensor([[0, 0, 1]]).expand(len(theta), 1, 3)
    back = torch.linalg.inv(torch.cat([theta, square], 1))[:, :2]
    grid = F.affine_grid(back, [len(theta), 1, height, width], align_corners=False)  # of each place, where it goes
    return (grid.abs() <= 1).all(3)[:, None].float()


SYSTEM = System(
    name="pan",
    title="PAN",
    article="zheng2019pan",
    configuration=PANConfig,
    rows={"pan": {}},
    build=initialised(PAN),
)

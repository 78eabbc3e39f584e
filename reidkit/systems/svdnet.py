"""SVDNet: Sun et al. 2017, "SVDNet for Pedestrian Retrieval", ICCV.

The weight vectors of the last layer before the classifier, the "Eigenlayer", are correlated, so that some directions of
the embedding count many times over. Restraint and relaxation iterations (RRI) undo that: the layer's weights W = U S Vᵀ
become U S, orthogonal and with the same distances between all embeddings; the rest is trained with the layer fixed, and
then everything.

Published rows are of 224×224 pixels, last stride 2 and ImageNet weights, with batch norm's statistics frozen, and seven
RRIs after the first training, five times its length. Readings: from random weights batch norm must learn, and under one
budget the first training has 40 % of the epochs and each of three restraints and relaxations 10 %. The embedding is the
Eigenlayer's output, as the authors' README says; others take the pooled feature.

Other people's code: as the authors' does, each column of U S takes the place, and the sign, of the old column that it
is most alike; without, the classifier no longer fits, and their Rank-1 stays near 80.
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


class SVDNetConfig(Configuration):
    """One run of SVDNet."""

    system = "svdnet"
    ranked_by = "euclidean"

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    iterations: int = Field(3, ge=0, description="of restraint and relaxation after the first training")


def decorrelated(weight: Tensor) -> Tensor:
    """Weight vectors (D, C) -> orthogonal ones (D, C), with the same distance between the images of any two inputs.

    With W = weightᵀ = U S Vᵀ they are the columns of U S. One after another, each old vector is replaced by the one
    with the largest |cosine| to it that is left, in the direction that makes the cosine positive. D ≤ C.
    """
    u, s, _ = torch.linalg.svd(weight.detach().double().cpu().T, full_matrices=False)  # (C, D), (D,)
    columns: Tensor = (u * s).T  # (D, C)
    cosines = F.normalize(weight.detach().double().cpu()) @ u  # (D, D) of old vectors and new ones
    order = []
    left = torch.ones(len(columns), dtype=torch.bool)
    for old in cosines:
        order.append(int(torch.where(left, old.abs(), -1).argmax()))
        left[order[-1]] = False
    signs = torch.where(cosines[torch.arange(len(order)), order] < 0, -1, 1)
    return (columns[order] * signs[:, None]).to(weight)


def orthogonality(weight: Tensor) -> Tensor:
    """S(W) of the article: 1 where all weight vectors (D, C) are orthogonal, 1/D where all are one."""
    products = (weight @ weight.T).abs()
    share: Tensor = products.diagonal().sum() / products.sum()
    return share


class SVDNet(Model):
    """In training mode a call returns logits (N, identities), in evaluation mode the embedding (N, 1024), float32."""

    def __init__(self, identities: int, config: SVDNetConfig) -> None:
        super().__init__()
        self.iterations, self.label_smoothing = config.iterations, config.label_smoothing
        self.backbone = backbone(config)
        self.dropout = scaled_dropout(0.5, config.width_multiplier)
        length = scaled(1024, config.width_multiplier)
        self.eigenlayer = nn.Linear(self.backbone.out_channels, length, bias=False)
        nn.init.normal_(self.eigenlayer.weight, std=0.01)
        self.classifier = LinearClassifier(length, identities, bias=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.backbone(images)  # (N, 2048, h, w)
        embedding: Tensor = self.eigenlayer(pool(maps)).float()  # (N, 1024)
        return self.classifier(F.dropout(embedding, self.dropout)) if self.training else embedding

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        s = orthogonality(self.eigenlayer.weight.detach())
        return {"total": loss, "accuracy": accuracy(logits, batch.labels), "orthogonality": s}

    def stages(self) -> Sequence[Stage]:
        restraint = Stage(0.1, {self.backbone: 1.0, self.classifier: 1.0}, enter=self.decorrelate)
        return (Stage(0.4), *(restraint, Stage(0.1)) * self.iterations)

    @torch.no_grad()
    def decorrelate(self) -> None:
        self.eigenlayer.weight.copy_(decorrelated(self.eigenlayer.weight))


SYSTEM = System(
    name="svdnet",
    title="SVDNet",
    article="sun2017svdnet",
    configuration=SVDNetConfig,
    rows={"svdnet": {}},
    build=initialised(SVDNet),
)

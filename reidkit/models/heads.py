"""What stands on the pooled features: BNNeck, the linear and the circle classifier, and attribute heads."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.tensors import Values, as_tensor, check_range, integers


class BNNeck(nn.BatchNorm1d):
    """Batch norm without a trainable shift between the metric and the classification loss (Luo et al., CVPRW 2019).

    >>> BNNeck(2)(torch.tensor([[1.0, 5.0], [3.0, 9.0]])).round().tolist()  # (N, C) -> (N, C)
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.bias.requires_grad_(False)  # zero, and it stays so


class LinearClassifier(nn.Linear):
    """Logits (N, num_classes) of embeddings (N, in_features), as BNNeck's authors initialise it: weights near 0.

    Without bias behind a BNNeck; one that is asked for starts at 0.

    >>> LinearClassifier(256, 751)(torch.zeros(4, 256)).shape
    torch.Size([4, 751])
    """

    def __init__(self, in_features: int, num_classes: int, bias: bool = False) -> None:
        super().__init__(in_features, num_classes, bias=bias)
        nn.init.normal_(self.weight, std=0.001)
        if bias:
            nn.init.zeros_(self.bias)

    def scores(self, embedding: Tensor) -> Tensor:
        """Embeddings (N, in_features) -> what a class is predicted by (N, num_classes): here the logits themselves."""
        return super().forward(embedding)

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """`labels` are accepted and not needed, so that both classifiers are called alike."""
        return self.scores(embedding)


class CircleSoftmax(nn.Module):
    """The circle loss with class-level labels (Sun et al., CVPR 2020, Sect. 2 and 3): logits for a cross-entropy.

    The similarities s in [-1, 1] are the cosines between embeddings and class weights (their Sect. 2, before Eq. 2);
    with one within-class similarity, Eq. 6 is the cross-entropy of these logits. With scale gamma and relaxation
    margin m (alpha of Eq. 5, without gradient; optima and margins as set in Sect. 3.2, before Eq. 8):

        target class   gamma * alpha_p * (s - (1 - m)),  alpha_p = max(0, 1 + m - s)
        other classes  gamma * alpha_n * (s - m),        alpha_n = max(0, s + m)

    It always computes in at least float32, also under autocast.

    >>> logits = CircleSoftmax(256, 3, margin=0.35).logits([[0.65, 0.35, -0.5]], [0])  # all where it wants them
    >>> logits.abs().max() < 1e-12
    tensor(True)
    """

    def __init__(self, in_features: int, num_classes: int, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, embedding: Tensor, labels: Values | None = None) -> Tensor:
        """Embeddings (N, in_features), labels (N,) in [0, num_classes) -> logits (N, num_classes).

        In evaluation, or without labels, there is no target and the logits are gamma * s.
        """
        cosines = self.cosines(embedding)
        return self.scale * cosines if labels is None or not self.training else self.logits(cosines, labels)

    def scores(self, embedding: Tensor) -> Tensor:
        """What a class is predicted by: the cosines, before the margin."""
        return self.cosines(embedding)

    def cosines(self, embedding: Tensor) -> Tensor:
        """Embeddings (N, in_features) -> cosines to every class weight (N, num_classes); 0 for a zero vector."""
        with torch.autocast(embedding.device.type, enabled=False):
            weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
            norms = torch.linalg.vector_norm(weight, dim=1).clamp_min(1e-12)  # (K,)
            product = F.linear(F.normalize(embedding.to(weight.dtype)), weight)
            cosines: Tensor = product / norms  # (N, K): fewer numbers than the weights are
            return cosines

    def logits(self, cosines: Values, labels: Values) -> Tensor:
        """Cosines (N, K), labels (N,) integer in [0, K) -> logits (N, K), float32 or wider; changes neither argument.

        Tensors, NumPy arrays or lists. A label outside of [0, K) is an IndexError on the CPU and a device-side
        assertion on a GPU; labels that are no integers are a TypeError, shapes that do not fit a ValueError.
        """
        cosines = as_tensor("cosines", cosines)
        labels = integers("labels", labels, cosines.device)
        if cosines.ndim != 2 or labels.shape != cosines.shape[:1]:
            raise ValueError(f"cosines are {tuple(cosines.shape)}, labels {tuple(labels.shape)}: expected (N, K), (N,)")
        cosines = cosines.to(torch.promote_types(cosines.dtype, torch.float32))
        try:
            is_target = torch.zeros_like(cosines, dtype=torch.bool).scatter_(1, labels.long().unsqueeze(1), True)
        except RuntimeError:  # of scatter: looking at the labels beforehand would cost time in every step
            check_range(labels, cosines.shape[1])
            raise
        weight_p = (1 + self.margin - cosines.detach()).clamp_min(0)  # alpha_p and alpha_n, without gradient
        weight_n = (cosines.detach() + self.margin).clamp_min(0)
        target = self.scale * weight_p * (cosines - (1 - self.margin))
        others = self.scale * weight_n * (cosines - self.margin)
        return torch.where(is_target, target, others)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, scale={self.scale}, margin={self.margin}"


class Attribute(NamedTuple):
    """One attribute of the attribute file: a heat map each."""

    group: int  # the softmax that decides it
    class_: int | None  # the class of that softmax that it stands for; None: the one at hand, labelled or predicted


class AttributeHeads(nn.ModuleList):
    """One BN–FC per attribute group on pooled features (SAN-GAL, Sect. 3.1); the softmax is left to the loss.

    >>> [tuple(logits.shape) for logits in AttributeHeads(256, class_counts=(2, 4))(torch.zeros(8, 256))]
    [(8, 2), (8, 4)]
    """

    def __init__(self, channels: int, class_counts: Sequence[int]) -> None:
        super().__init__(nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, n)) for n in class_counts)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (N, C) -> logits (N, classes) of each group."""
        return [head(features) for head in self]

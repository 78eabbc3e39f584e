"""What stands on the pooled features: BNNeck, the linear and the circle classifier, and attribute heads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
    """Logits (N, num_classes) of embeddings (N, in_features), without bias, as BNNeck's authors initialise it.

    >>> LinearClassifier(256, 751)(torch.zeros(4, 256)).shape
    torch.Size([4, 751])
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes, bias=False)
        nn.init.normal_(self.weight, std=0.001)

    def scores(self, embedding: Tensor) -> Tensor:
        """Embeddings (N, in_features) -> what a class is predicted by (N, num_classes): here the logits themselves."""
        return super().forward(embedding)

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """`labels` are accepted and not needed, so that both classifiers are called alike."""
        return self.scores(embedding)


class CosinesToWeights(torch.autograd.Function):
    """Cosines between unit vectors (N, C) and class weights (K, C), by their product divided by the weights' norms.

    Dividing the (N, K) product is cheaper than dividing the weights, and so is one gradient for them: autograd would
    write (K, C) numbers for the product, as many for the norms, and add; here one is accumulated onto the other.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, weight: Tensor) -> Tensor:
        inverse: Tensor = torch.linalg.vector_norm(weight, dim=1).clamp_min(1e-12).reciprocal()  # (K,)
        cosines = (unit @ weight.T).mul_(inverse)
        ctx.save_for_backward(unit, weight, inverse, cosines)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        unit, weight, inverse, cosines = ctx.saved_tensors
        radial = (gradient * cosines).sum(0) * inverse.square()  # (K,)
        gradient = gradient * inverse
        with torch.autocast(unit.device.type, enabled=False):
            return gradient @ weight, (weight * -radial.unsqueeze(1)).addmm_(gradient.T, unit)


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
            cosines: Tensor = CosinesToWeights.apply(F.normalize(embedding.to(weight.dtype)), weight)
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
        target = labels.long().unsqueeze(1)  # (N, 1)
        with torch.no_grad():
            # logits = slope * cosines + offset: gradients flow through the cosines only, so both are plain numbers.
            slope = (cosines + self.margin).clamp_min_(0).mul_(self.scale)
            try:
                of_target = cosines.gather(1, target)
            except RuntimeError:  # of gather: looking at the labels beforehand would cost time in every step
                check_range(labels, cosines.shape[1])
                raise
            target_slope = (1 + self.margin - of_target).clamp_min_(0).mul_(self.scale)
            offset = (slope * -self.margin).scatter_(1, target, target_slope * (self.margin - 1))
            slope.scatter_(1, target, target_slope)
        return torch.addcmul(offset, slope, cosines)

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

"""The losses of the joint-loss paper, Eq. 1 to 5: as they are meant and, where the paper prints another, as printed.

SAN-GAL's attribute loss stands at the end.

Metric losses are `(features, labels) -> scalar`, features (N, C) of any floating type and labels (N,) of any integer
type. They compute in at least float32, also under autocast. A positive of an anchor is another sample with its label, a
negative one with another label. An anchor that lacks either is left out of the mean; without any anchor the loss is 0
and backward gives zeros: `complete_anchors` tells so of labels, before there are features.

NumPy arrays and lists are taken where tensors are. TypeError: labels that are not integers, or what is no numbers;
ValueError: shapes that do not fit.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reidkit.tensors import Values, as_tensor, check_range, integers


class BatchHardTripletLoss(nn.Module):
    """Mean over anchors of max(0, m + D(a, p) - D(a, n)) with the farthest positive and the nearest negative.

    The paper's Eq. 2 and 3 with the hinge it leaves out; mined as Hermans et al., "In Defense of the Triplet Loss",
    2017, Eq. 5. D is the Euclidean distance. `margin=None` is their soft margin, log(1 + exp(D(a, p) - D(a, n))).

    >>> loss = BatchHardTripletLoss(margin=0.3)
    >>> loss([[0.0], [1.0], [3.0], [3.5]], [1, 1, 2, 2])  # the others are further than one's own, by more than 0.3
    tensor(0., dtype=torch.float64)
    >>> loss([[0.0], [1.0], [1.0], [0.0]], [1, 1, 2, 2])  # one's own is at 1, another at 0
    tensor(1.3000, dtype=torch.float64)
    """

    def __init__(self, margin: float | None = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, features: Values, labels: Values) -> Tensor:
        to_positive, to_negative, valid = hardest_distances(features, labels)
        difference = to_positive - to_negative
        losses = F.softplus(difference) if self.margin is None else F.relu(difference + self.margin)
        return mean_over(valid, losses)

    def extra_repr(self) -> str:
        return f"margin={self.margin}"


def triplet_loss_without_hinge(features: Values, labels: Values, margin: float = 0.3) -> Tensor:
    """Eq. 3 as printed, over batch-hard triplets: the *sum* of m + D(a, p) - D(a, n), which has no lower bound."""
    to_positive, to_negative, valid = hardest_distances(features, labels)
    return ((margin + to_positive - to_negative) * valid).sum()


def hardest_distances(features: Values, labels: Values) -> tuple[Tensor, Tensor, Tensor]:
    """Distance of each anchor to its farthest positive and its nearest negative, and whether it has both; each (N,).

    The choice of a pair has no gradient, so it is made from one matrix product; the chosen distances are then
    computed from differences, exact where features nearly coincide, with gradient 0 where they do.
    """
    features, labels = batch(features, labels)
    features = at_least_float32(features)
    farthest, nearest, valid = hardest_pairs(features, labels)
    to_positive = torch.linalg.vector_norm(features - features.index_select(0, farthest), dim=1)
    to_negative = torch.linalg.vector_norm(features - features.index_select(0, nearest), dim=1)
    return to_positive, to_negative, valid


def hardest_pairs(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which sample is the farthest positive and which the nearest negative of each, and whether it has both; (N,)."""
    positive, negative = pair_masks(labels)
    if len(features) == 0:
        return labels, labels, positive.any(1)
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        # |b|^2 - 2ab orders the candidates b of an anchor a as |a - b|^2 does.
        order = torch.addmm(features.square().sum(1), features, features.T, alpha=-2)  # (N, N)
        farthest = torch.where(positive, order, -torch.inf).argmax(1)
        nearest = torch.where(negative, order, torch.inf).argmin(1)
    return farthest, nearest, positive.any(1) & negative.any(1)


def batch_hard(distances: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean over anchors of max(0, m + D(a, p) - D(a, n)), the hardest pairs of distances that a system has of its own.

    Distances (N, N) of anchors and others, and which pairs are positive and negative, both (N, N) booleans.
    """
    farthest = torch.where(positive, distances, -torch.inf).amax(1)
    nearest = torch.where(negative, distances, torch.inf).amin(1)
    valid = positive.any(1) & negative.any(1)
    difference = torch.where(valid, farthest - nearest, 0)
    return mean_over(valid, F.relu(difference + margin))


class CircleLoss(nn.Module):
    """The pairwise circle loss (Sun et al., CVPR 2020, Eq. 5 and 6) on cosine similarities, mean over anchors.

        log[1 + sum_n exp(gamma alpha_n (s_n - m)) sum_p exp(-gamma alpha_p (s_p - (1 - m)))]

    with alpha_p = max(0, 1 + m - s_p), alpha_n = max(0, s_n + m), both without gradient: what Eq. 4 leaves out.

    >>> apart, mixed = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]] * 2
    >>> CircleLoss()(apart, [1, 1, 2, 2]) < 1e-6 < 50 < CircleLoss()(mixed, [1, 1, 2, 2])
    tensor(True)
    """

    def __init__(self, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin

    def forward(self, features: Values, labels: Values) -> Tensor:
        features, labels = batch(features, labels)
        positive, negative = pair_masks(labels)
        similarities = cosine_similarities(features)
        with torch.no_grad():  # -alpha_p, which needs no maximum as s_p <= 1, and alpha_n
            alpha = torch.where(positive, similarities - (1 + self.margin), F.relu(similarities + self.margin))
            optimum = torch.where(positive, 1 - self.margin, similarities.new_tensor(self.margin))
        exponents = (self.scale * alpha) * (similarities - optimum)
        return log_one_plus_pairs(exponents, positive, negative)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, margin={self.margin}"


class UnifiedLoss(nn.Module):
    """Eq. 4 as printed: log[1 + sum_n sum_p exp(gamma (s_n - s_p + m))] on cosine similarities, mean over anchors.

    >>> UnifiedLoss(scale=1.0, margin=0.0)([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [1, 1, 2, 2])
    tensor(0.5514, dtype=torch.float64)
    """

    def __init__(self, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin

    def forward(self, features: Values, labels: Values) -> Tensor:
        features, labels = batch(features, labels)
        positive, negative = pair_masks(labels)
        similarities = cosine_similarities(features)
        exponents = self.scale * torch.where(positive, -similarities, similarities + self.margin)
        return log_one_plus_pairs(exponents, positive, negative)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, margin={self.margin}"


def binary_cross_entropy_eq1(logits: Values, labels: Values) -> Tensor:
    """Eq. 1 as printed: -sum_i [y_i log p_i + (1 - y_i) log(1 - p_i)] with p = softmax(logits), mean over the batch.

    Logits (N, K), labels (N,) in [0, K), or IndexError. The second term, a binary cross-entropy against the other
    classes, is absent from the cross-entropy that everyone trains with.

    >>> binary_cross_entropy_eq1([[0.0, 0.0]], [0])  # log 2, twice
    tensor(1.3863, dtype=torch.float64)
    """
    logits, labels = batch(logits, labels, "logits")
    check_range(labels, logits.shape[1])
    logits = at_least_float32(logits)
    log_p = logits.log_softmax(1)  # (N, K)
    # log(1 - p) loses all digits only where p > 1/2: the largest class, summed there from the others instead.
    largest = logits.argmax(1, keepdim=True)
    others = log_p.scatter(1, largest, -torch.inf).logsumexp(1, keepdim=True)
    log_not_p = torch.log1p(-log_p.exp().scatter(1, largest, 0.0)).scatter(1, largest, others)
    target = F.one_hot(labels, logits.shape[1]).bool()
    return -torch.where(target, log_p, log_not_p).sum(1).mean()


class HasLogits(Protocol):
    """What a network returns in training: `features` (N, C) for the metric loss, `logits` (N, K) for classification."""

    @property
    def features(self) -> Tensor: ...
    @property
    def logits(self) -> Tensor: ...


class JointLoss(nn.Module):
    """L = L_CE + L_Tri, the paper's Eq. 5, with label smoothing (Szegedy et al., CVPR 2016).

    (network output, labels (N,)) -> {"cross-entropy": ..., "triplet": ..., "total": their sum}, and with the triplet
    what tells whether it has left the margin: "hardest positive" and "hardest negative", mean distances, and "active
    triplets", the share of anchors with a loss above 0. All of that is absent with `use_triplet=False`, the paper's
    "Baseline". A circle classifier's logits bring the circle loss. `metric` is another loss of (features, labels) to be
    added, as "metric".

    >>> from types import SimpleNamespace
    >>> output = SimpleNamespace(features=torch.eye(4), logits=torch.zeros(4, 2))  # of a network that knows nothing
    >>> [f"{name} {value:.2f}" for name, value in JointLoss()(output, [0, 0, 1, 1]).items()][:3]
    ['cross-entropy 0.69', 'triplet 0.30', 'total 0.99']
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        triplet_margin: float = 0.3,
        use_triplet: bool = True,
        metric: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.triplet = BatchHardTripletLoss(triplet_margin) if use_triplet else None
        self.metric = metric

    def forward(self, output: HasLogits, labels: Values) -> dict[str, Tensor]:
        logits, labels = batch(output.logits, labels, "logits")
        logits = at_least_float32(logits)
        terms = {"cross-entropy": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}
        if self.triplet is not None:
            terms["triplet"] = self.triplet(output.features, labels)
        if self.metric is not None:
            terms["metric"] = self.metric(output.features, labels)
        terms["total"] = torch.stack(list(terms.values())).sum()
        if self.triplet is None:
            return terms
        return terms | self._mined(output.features.detach(), labels, self.triplet.margin or 0.0)

    def _mined(self, features: Tensor, labels: Tensor, margin: float) -> dict[str, Tensor]:
        to_positive, to_negative, valid = hardest_distances(features, labels)
        active = (to_positive - to_negative + margin > 0).to(to_positive.dtype)
        means = {"hardest positive": to_positive, "hardest negative": to_negative, "active triplets": active}
        return {name: mean_over(valid, values) for name, values in means.items()}


def at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class CosineSimilarities(torch.autograd.Function):
    """Cosines between all rows of x: (N, C) -> (N, N), with a backward pass of one matrix product instead of two.

    With G the gradient of the cosines S and r the inverse norms, that of x_a is
    sum_b (G + G^T)_ab (r_a r_b x_b - S_ab r_a^2 x_a), one symmetric matrix times x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inverse: Tensor = torch.linalg.vector_norm(x, dim=1).clamp_min(1e-12).reciprocal()  # (N,)
        similarities = (x @ x.T).mul_(inverse).mul_(inverse.unsqueeze(1))
        ctx.save_for_backward(x, inverse, similarities)
        return similarities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, inverse, similarities = ctx.saved_tensors
        both = gradient + gradient.T
        radial = (both * similarities).sum(1) * inverse
        matrix = (both * inverse - torch.diag(radial)) * inverse.unsqueeze(1)
        with torch.autocast(x.device.type, enabled=False):
            product: Tensor = matrix @ x
        return product


def cosine_similarities(features: Tensor) -> Tensor:
    """(N, C) -> (N, N), 0 for a zero vector."""
    with torch.autocast(features.device.type, enabled=False):
        similarities: Tensor = CosineSimilarities.apply(at_least_float32(features))
        return similarities


def batch(features: Values, labels: Values, name: str = "features") -> tuple[Tensor, Tensor]:
    """Features or logits (N, C) and their labels (N,) int64, as tensors that fit."""
    features = as_tensor(name, features)
    labels = integers("labels", labels, features.device).long()
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"{name} are {tuple(features.shape)}, labels {tuple(labels.shape)}: expected (N, C), (N,)")
    return features, labels


def complete_anchors(labels: Values) -> Tensor:
    """Which samples of a batch have a positive and a negative: labels (..., N) -> booleans (..., N), batch by batch.

    Where none has, as with one identity in a batch or one image of each, every metric loss is 0 whatever the features.
    """
    labels = integers("labels", labels).long()
    alike = (labels.unsqueeze(-1) == labels.unsqueeze(-2)).sum(-1)  # with itself
    return (alike > 1) & (alike < labels.shape[-1])


def pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs are positive (a sample is not its own) and which negative: two (N, N) booleans."""
    same = labels.unsqueeze(1) == labels  # (N, N)
    return same.clone().fill_diagonal_(False), ~same


def log_one_plus_pairs(exponents: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mean over anchors of log[1 + sum_n exp(.) sum_p exp(.)], without overflow; exponents and masks are (N, N)."""
    if len(exponents) == 0:
        return exponents.sum()
    masks = torch.stack([positive, negative])  # (2, N, N)
    with torch.no_grad():
        # Where there is no pair, a number 80 below the row's largest: it adds nothing, and a lower one would slow exp.
        # Finite also in a row without pairs, since the gradient at minus infinity is NaN.
        lowest = torch.finfo(exponents.dtype).min
        absent = torch.where(masks, exponents, lowest).amax(2, keepdim=True) - 80
    log_sums = torch.where(masks, exponents, absent).logsumexp(2)  # (2, N)
    return mean_over(masks.any(2).all(0), F.softplus(log_sums.sum(0)))


def mean_over(valid: Tensor, losses: Tensor) -> Tensor:
    """Mean of the valid losses, 0 without any; never waits for a GPU."""
    return (losses * valid).sum() / valid.sum().clamp_min(1)


def attribute_loss(logits: Sequence[Values], labels: Values) -> Tensor:
    """SAN-GAL's attribute loss (Sect. 4.1.2): the cross-entropy of each attribute group, mean over the groups.

    Logits (N, classes) of each of G groups, labels (N, G) integer, -1 where missing. A group's cross-entropy is the
    mean over the images whose label is known; without any it is 0, with gradient 0.

    >>> attribute_loss([[[0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]], [[1, -1]])  # log 2 of the one, 0 of the other
    tensor(0.3466, dtype=torch.float64)
    """
    groups = [as_tensor(f"logits of group {index}", group) for index, group in enumerate(logits)]
    labels = integers("labels", labels, groups[0].device if groups else None).long()
    shapes = [tuple(group.shape) for group in groups]
    if not groups or any(labels.shape != (len(group), len(groups)) for group in groups):
        raise ValueError(f"logits are {shapes}, labels {tuple(labels.shape)}: expected (N, classes) per group, (N, G)")
    losses = []
    for group, of_group in zip(groups, labels.unbind(1), strict=True):
        total = F.cross_entropy(at_least_float32(group), of_group, ignore_index=-1, reduction="sum")
        losses.append(total / (of_group != -1).sum().clamp_min(1))
    return torch.stack(losses).mean()

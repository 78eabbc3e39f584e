"""How well person attributes are predicted, beside what always saying the most frequent class would give.

Attributes are unbalanced, so that an accuracy says little alone: nearly everybody goes without a hat. Balanced accuracy
is the mean of the classes' recalls (Brodersen et al., ICPR 2010): no constant answer exceeds one over their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reidkit.tensors import Values, as_tensor, integers

MISSING = -1  # a label that is not known


@dataclass(frozen=True)
class AttributeScores:
    """Fractions per attribute group, (G,) float64; nan where no label of the group is known.

    accuracy, balanced_accuracy: of the predictions; the latter is the mean recall over the classes that occur.
    majority_accuracy, majority_balanced_accuracy: of the majority class, predicted throughout.
    count: (G,) int64, how many labels they stand on.
    """

    accuracy: Tensor
    balanced_accuracy: Tensor
    majority_accuracy: Tensor
    majority_balanced_accuracy: Tensor
    count: Tensor

    def means(self) -> dict[str, float]:
        """The means over the groups that have a known label, by the names above; nan if none has."""
        names = ("accuracy", "balanced_accuracy", "majority_accuracy", "majority_balanced_accuracy")
        return {name: getattr(self, name).nanmean().item() for name in names}


@dataclass(frozen=True)
class AttributeEvaluation:
    """Every image counts once in `images`, every identity once in `identities`."""

    images: AttributeScores
    identities: AttributeScores


@torch.no_grad()
def evaluate_attributes(
    probabilities: Sequence[Values], labels: Values, ids: Values, train_labels: Values | None = None
) -> AttributeEvaluation:
    """Compare the likeliest class with the label: of images, and of identities by their images' mean probabilities.

    probabilities: (N, classes) floating, of each of G groups. labels: (N, G) int64, -1 where missing, the same for all
    images of an identity. ids: (N,) integer; below 1 (distractors, junk) an image is left out.
    train_labels: (M, G), one row per training identity. The majority class is the most frequent one of these or, unless
    they are given, of the labels under evaluation, counted as they are evaluated, per image or per identity.

    A missing label never counts, neither as right nor as wrong. The lowest of equally likely or frequent classes is
    taken. Tensors, NumPy arrays or lists are taken; results are on the CPU.

    >>> hat = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]  # of three images, two of them of the same person
    >>> found = evaluate_attributes([hat], labels=[[0], [0], [1]], ids=[1, 1, 2])
    >>> found.images.accuracy.tolist(), found.identities.accuracy.tolist()
    ([0.6666666666666666], [1.0])

    Raises ValueError: a shape, a label out of range, a probability that is not finite, or an identity with two labels;
    TypeError: labels or ids that are not integers, or what is no numbers.
    """
    ids, labels = integers("ids", ids).cpu().long(), integers("labels", labels).cpu().long()
    train_labels = None if train_labels is None else integers("train_labels", train_labels).cpu().long()
    groups = [as_tensor(f"probabilities of group {index}", group).cpu() for index, group in enumerate(probabilities)]
    _check(groups, labels, ids, train_labels)
    people = ids > 0
    labels = labels[people]  # (N', G)
    scores = [group[people].double() for group in groups]
    identities, identity = ids[people].unique(return_inverse=True)  # (I,), (N',)
    labels_of_identity = labels.new_empty(len(identities), len(scores)).index_copy_(0, identity, labels)  # (I, G)
    if len(odd := (labels_of_identity[identity] != labels).nonzero()):
        raise ValueError(f"identity {identities[identity[odd[0, 0]]]} has two labels in group {odd[0, 1]}")
    # The class of the largest sum is that of the largest mean.
    sums = [group.new_zeros(len(identities), group.shape[1]).index_add_(0, identity, group) for group in scores]
    return AttributeEvaluation(_scores(scores, labels, train_labels), _scores(sums, labels_of_identity, train_labels))


def _scores(scores: Sequence[Tensor], labels: Tensor, train_labels: Tensor | None) -> AttributeScores:
    """Scores (N, classes) per group, labels (N, G)."""
    known_from = labels if train_labels is None else train_labels
    rows = []
    for group, label, examples in zip(scores, labels.unbind(1), known_from.unbind(1), strict=True):
        known = label != MISSING
        majority = examples[examples != MISSING].bincount(minlength=group.shape[1]).argmax()
        predicted, label = group.argmax(1)[known], label[known]
        rows.append((*_accuracies(predicted, label), *_accuracies(majority.expand_as(label), label), len(label)))
    accuracy, balanced, majority_accuracy, majority_balanced, count = torch.tensor(rows, dtype=torch.float64).T
    return AttributeScores(accuracy, balanced, majority_accuracy, majority_balanced, count.long())


def _accuracies(predicted: Tensor, label: Tensor) -> tuple[float, float]:
    """Accuracy and balanced accuracy of classes (N,); nan without any."""
    right = predicted == label
    occurring = label.bincount()
    recall = label[right].bincount(minlength=len(occurring)).double() / occurring  # nan where a class does not occur
    return right.double().mean().item(), recall.nanmean().item()


def _check(probabilities: Sequence[Tensor], labels: Tensor, ids: Tensor, train_labels: Tensor | None) -> None:
    size, groups = len(ids), len(probabilities)
    if ids.ndim != 1 or labels.shape != (size, groups) or groups == 0:
        shapes = f"ids {tuple(ids.shape)}, labels {tuple(labels.shape)} and {groups} groups of probabilities"
        raise ValueError(f"{shapes} do not fit: expected (N,), (N, G) and G of at least 1")
    if train_labels is not None and (train_labels.ndim != 2 or train_labels.shape[1] != groups):
        raise ValueError(f"train_labels have shape {tuple(train_labels.shape)}: expected (M, {groups})")
    for index, group in enumerate(probabilities):
        if group.ndim != 2 or len(group) != size or group.shape[1] == 0:
            raise ValueError(
                f"probabilities of group {index} have shape {tuple(group.shape)}: expected ({size}, classes)"
            )
        if not group.isfinite().all():
            raise ValueError(f"probabilities of group {index} are not all finite")
        for name, table in (("labels", labels), ("train_labels", train_labels)):
            if table is not None and ((table[:, index] < MISSING) | (table[:, index] >= group.shape[1])).any():
                raise ValueError(f"{name} of group {index} are out of range: expected -1 to {group.shape[1] - 1}")

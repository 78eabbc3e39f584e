"""Attribute accuracies against loops, scikit-learn, and an example small enough to count by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch import Tensor

from reidkit.evaluation import AttributeScores, evaluate_attributes

NAMES = ("accuracy", "balanced_accuracy", "majority_accuracy", "majority_balanced_accuracy")


def certain(classes: list[int], count: int) -> Tensor:
    """Probabilities (N, count) that leave no doubt."""
    return torch.eye(count)[torch.tensor(classes, dtype=torch.int64)]


def values(scores: AttributeScores, group: int = 0) -> list[float]:
    return [getattr(scores, name)[group].item() for name in NAMES]


def test_counted_by_hand() -> None:
    """Identity 1 has three images and is a "yes", mostly seen as one; 2 and 3 have one image each and are "no"."""
    ids = torch.tensor([1, 1, 1, 2, 3])
    yes = torch.tensor([0.1, 0.9, 0.8, 0.6, 0.2])  # right: wrong, right, right, wrong, right
    labels = torch.tensor([1, 1, 1, 0, 0])
    result = evaluate_attributes([torch.stack([1 - yes, yes], 1)], labels[:, None], ids)
    # Images: 3 of 5; recalls 1/2 and 2/3; "yes" is the most frequent.
    assert values(result.images) == pytest.approx([3 / 5, (1 / 2 + 2 / 3) / 2, 3 / 5, 1 / 2])
    # Identities: the first has 0.6 on average and is right, the second is wrong, the third right; "no" is frequent.
    assert values(result.identities) == pytest.approx([2 / 3, (1 / 2 + 1) / 2, 2 / 3, 1 / 2])
    assert (result.images.count.tolist(), result.identities.count.tolist()) == ([5], [3])


def test_identity_votes_by_probabilities_not_by_heads() -> None:
    yes = torch.tensor([0.4, 0.4, 0.95])
    result = evaluate_attributes([torch.stack([1 - yes, yes], 1)], torch.ones(3, 1).long(), torch.tensor([7, 7, 7]))
    assert result.images.accuracy.item() == pytest.approx(1 / 3)
    assert result.identities.accuracy.item() == 1


def test_majority_of_training_labels_or_else_of_the_evaluated_ones() -> None:
    labels = torch.tensor([[0], [0], [0], [1], [2]])
    predictions, ids = [certain([0, 1, 0, 1, 0], 3)], torch.arange(1, 6)
    train_labels = torch.tensor([[1], [-1], [-1], [-1], [2], [1]])
    own = evaluate_attributes(predictions, labels, ids)
    theirs = evaluate_attributes(predictions, labels, ids, train_labels)
    for level in ("images", "identities"):
        assert values(getattr(own, level)) == pytest.approx([3 / 5, (2 / 3 + 1 + 0) / 3, 3 / 5, 1 / 3])
        assert values(getattr(theirs, level)) == pytest.approx([3 / 5, (2 / 3 + 1 + 0) / 3, 1 / 5, 1 / 3])


def test_majority_that_never_occurs_is_always_wrong() -> None:
    result = evaluate_attributes(
        [certain([0, 1], 3)], torch.tensor([[0], [1]]), torch.tensor([1, 2]), torch.tensor([[2]])
    )
    assert values(result.images) == [1, 1, 0, 0]


def scores_by_loops(probabilities: list[Tensor], labels: Tensor, train: Tensor | None) -> list[list[float]]:
    rows = []
    for g, group in enumerate(probabilities):
        known = [i for i in range(len(labels)) if labels[i, g] >= 0]
        truth = [int(labels[i, g]) for i in known]
        examples = truth if train is None else [int(label) for label in train[:, g] if label >= 0]
        majority = max(range(group.shape[1]), key=examples.count)
        row = []
        for predicted in ([int(group[i].argmax()) for i in known], [majority] * len(known)):
            row += (
                [accuracy_score(truth, predicted), balanced_accuracy_score(truth, predicted)]
                if truth
                else [math.nan] * 2
            )
        rows.append([*row, len(known)])
    return rows


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 8), st.booleans(), st.integers(0, 999))
def test_both_levels_are_the_loops(images: int, identities: int, with_train: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = (2, 4, 3)
    ids = torch.randint(-1, identities, (images,), generator=generator)
    table = torch.stack([torch.randint(-1, n, (identities,), generator=generator) for n in counts], 1)
    labels = torch.where(ids[:, None] > 0, table[ids.clamp(min=0)], -1)
    probabilities = [torch.rand(images, n, generator=generator, dtype=torch.float64) for n in counts]
    train = torch.stack([torch.randint(-1, n, (9,), generator=generator) for n in counts], 1) if with_train else None
    result = evaluate_attributes(probabilities, labels, ids, train)

    people = [identity for identity in range(1, identities) if identity in ids]
    of_identity = [
        torch.stack([group[ids == i].mean(0) for i in people] or [group[:0].sum(0)])[: len(people)]
        for group in probabilities
    ]
    levels = (
        (result.images, scores_by_loops([group[ids > 0] for group in probabilities], labels[ids > 0], train)),
        (result.identities, scores_by_loops(of_identity, table[people], train)),
    )
    for scores, rows in levels:
        expected = torch.tensor(rows, dtype=torch.float64)
        ours = torch.stack([*(getattr(scores, name) for name in NAMES), scores.count.double()], 1)
        torch.testing.assert_close(ours, expected, equal_nan=True)
        for index, name in enumerate(NAMES):
            torch.testing.assert_close(scores.means()[name], expected[:, index].nanmean().item(), equal_nan=True)


def test_missing_labels_distractors_and_junk_never_count() -> None:
    labels, ids = torch.tensor([[0, 1], [1, -1], [0, 0], [0, 0]]), torch.tensor([3, 5, 0, -1])
    groups = [certain([0, 1, 1, 1], 2), certain([1, 0, 1, 1], 2)]
    result = evaluate_attributes(groups, labels, ids)
    for scores in (result.images, result.identities):
        assert scores.count.tolist() == [2, 1]
        assert scores.accuracy.tolist() == [1, 1]


@pytest.mark.parametrize("ids", [[], [0, -1, 0]], ids=["no images", "distractors only"])
def test_nobody_to_judge_is_nan(ids: list[int]) -> None:
    size = len(ids)
    result = evaluate_attributes([torch.rand(size, 2)], torch.zeros(size, 1).long(), torch.tensor(ids).long())
    for scores in (result.images, result.identities):
        assert all(math.isnan(value) for value in values(scores))
        assert all(math.isnan(value) for value in scores.means().values())
        assert scores.count.tolist() == [0]


def test_a_group_without_labels_is_nan_and_left_out_of_the_means() -> None:
    result = evaluate_attributes(
        [certain([0, 1], 2), certain([0, 1], 2)], torch.tensor([[0, -1], [0, -1]]), torch.tensor([1, 2])
    )
    assert result.images.accuracy[0] == result.images.means()["accuracy"] == 0.5
    assert result.images.accuracy[1].isnan()


def test_with_one_class_the_constant_answer_is_perfect() -> None:
    result = evaluate_attributes([certain([1, 1, 0], 2)], torch.ones(3, 1).long(), torch.tensor([1, 2, 3]))
    assert values(result.identities) == pytest.approx([2 / 3, 2 / 3, 1, 1])
    only = evaluate_attributes([torch.ones(2, 1)], torch.zeros(2, 1).long(), torch.tensor([1, 2]))
    assert values(only.images) == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["arrays", "lists", "narrow"])
def test_arrays_lists_and_narrow_integers_do_as_tensors(kind: str) -> None:
    ids, labels = torch.tensor([1, 1, 2, 3]), torch.tensor([[1, 2], [1, 2], [0, -1], [0, 0]])
    groups = [certain([1, 0, 0, 1], 2), certain([2, 1, 0, 0], 3)]
    hand = {"arrays": lambda x: x.numpy(), "lists": lambda x: x.tolist(), "narrow": lambda x: x.to(torch.int8)}[kind]
    held = [group if kind == "narrow" else hand(group) for group in groups]
    result = evaluate_attributes(held, hand(labels), hand(ids), hand(labels))
    expected = evaluate_attributes(groups, labels, ids, labels)
    for level in ("images", "identities"):
        for group in (0, 1):
            assert values(getattr(result, level), group) == values(getattr(expected, level), group)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": torch.tensor([1.0, 2.0])}, "ids is torch.float32; expected integers"),
        ({"labels": [["yes"], ["no"]]}, "labels is a list of list; expected numbers"),
        ({"train_labels": [[0.5]]}, "train_labels is torch.float64; expected integers"),
        ({"probabilities": [None]}, "probabilities of group 0 is None; expected numbers"),
    ],
)
def test_what_is_not_numbers_is_named(change: dict[str, Any], message: str) -> None:
    fine: dict[str, Any] = {"probabilities": [torch.rand(2, 2)], "labels": [[0], [1]], "ids": [1, 2]}
    evaluate_attributes(**fine)
    with pytest.raises(TypeError, match=message):
        evaluate_attributes(**(fine | change))


def test_sums_of_half_precision_are_exact() -> None:
    """Above 4096, float16 counts in steps of 4."""
    probabilities = certain([0] * 4097 + [1] * 4098, 2).half()
    result = evaluate_attributes([probabilities], torch.ones(8195, 1).long(), torch.ones(8195).long())
    assert result.identities.accuracy.item() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(3, 1).long()}, r"ids \(2,\), labels \(3, 1\) and 1 groups"),
        ({"probabilities": []}, "0 groups of probabilities do not fit"),
        ({"probabilities": [torch.rand(3, 2)]}, r"group 0 have shape \(3, 2\): expected \(2, classes\)"),
        ({"probabilities": [torch.full((2, 2), torch.nan)]}, "probabilities of group 0 are not all finite"),
        ({"labels": torch.tensor([[0], [2]])}, "labels of group 0 are out of range: expected -1 to 1"),
        ({"labels": torch.tensor([[0], [-2]])}, "out of range"),
        ({"train_labels": torch.tensor([[5]])}, "train_labels of group 0 are out of range"),
        ({"train_labels": torch.tensor([0])}, r"train_labels have shape \(1,\): expected \(M, 1\)"),
        ({"ids": torch.tensor([4, 4])}, "identity 4 has two labels in group 0"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    fine: dict[str, Any] = {
        "probabilities": [torch.rand(2, 2)],
        "labels": torch.tensor([[0], [1]]),
        "ids": torch.tensor([1, 2]),
    }
    with pytest.raises(ValueError, match=message):
        evaluate_attributes(**(fine | change))

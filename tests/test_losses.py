"""Each loss against a loop over samples, golden values by hand, its edges, and pytorch-metric-learning."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import CircleLoss as PeerCircleLoss
from torch import Tensor

from reidkit.losses import (
    BatchHardTripletLoss,
    CircleLoss,
    JointLoss,
    UnifiedLoss,
    attribute_loss,
    batch_hard,
    binary_cross_entropy_eq1,
    complete_anchors,
    hardest_distances,
    pair_masks,
    triplet_loss_without_hinge,
)

Loss = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


METRIC_LOSSES: list[Loss] = [
    BatchHardTripletLoss(0.3),
    BatchHardTripletLoss(None),
    CircleLoss(32.0, 0.25),
    UnifiedLoss(8.0, 0.25),
    triplet_loss_without_hinge,
]
PK_LABELS = torch.arange(4).repeat_interleave(3)


def triplets_by_loops(features: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(farthest positive, nearest negative) of every anchor that has both."""
    pairs = []
    for a in range(len(features)):
        others = [b for b in range(len(features)) if b != a]
        positives = [(features[a] - features[b]).norm() for b in others if labels[a] == labels[b]]
        negatives = [(features[a] - features[b]).norm() for b in others if labels[a] != labels[b]]
        if positives and negatives:
            pairs.append((max(positives, key=Tensor.item), min(negatives, key=Tensor.item)))
    return pairs


def mean(values: list[Tensor], features: Tensor) -> Tensor:
    return torch.stack(values).mean() if values else features.sum() * 0


def triplet_by_loops(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    return mean([F.relu(margin + p - n) for p, n in triplets_by_loops(features, labels)], features)


def pairwise_by_loops(features: Tensor, labels: Tensor, scale: float, margin: float, circle: bool) -> Tensor:
    """log[1 + sum over every pair], the double sum written out; with circle's weights or, as in Eq. 4, without."""
    losses = []
    for a in range(len(features)):
        s = [F.cosine_similarity(features[a], other, dim=0) for other in features]
        positives = [s[b] for b in range(len(s)) if b != a and labels[a] == labels[b]]
        negatives = [s[b] for b in range(len(s)) if labels[a] != labels[b]]
        terms = []
        for s_p in positives:
            for s_n in negatives:
                alpha_p = max(0.0, 1 + margin - s_p.item())
                alpha_n = max(0.0, s_n.item() + margin)
                exponent = alpha_n * (s_n - margin) - alpha_p * (s_p - (1 - margin)) if circle else s_n - s_p + margin
                terms.append((scale * exponent).exp())
        if terms:
            losses.append((1 + torch.stack(terms).sum()).log())
    return mean(losses, features)


def gradient(loss: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(loss, features)[0]


batches = st.tuples(st.integers(1, 10), st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))


def draw(batch: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """n samples of c features with k labels, some of which may be alone or the only one."""
    n, c, k, seed = batch
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, c, generator=generator, dtype=torch.float64)
    return features.requires_grad_(), torch.randint(k, (n,), generator=generator)


@settings(max_examples=40, deadline=None)
@given(batches, st.floats(0, 2))
def test_batch_hard_triplet_is_the_loop(batch: tuple[int, int, int, int], margin: float) -> None:
    features, labels = draw(batch)
    ours, loops = BatchHardTripletLoss(margin)(features, labels), triplet_by_loops(features, labels, margin)
    torch.testing.assert_close(ours, loops)
    torch.testing.assert_close(gradient(ours, features), gradient(loops, features))


@settings(max_examples=20, deadline=None)
@given(batches, st.floats(0, 2))
def test_of_euclidean_distances_batch_hard_is_the_triplet_loss(batch: tuple[int, int, int, int], margin: float) -> None:
    features, labels = draw(batch)
    distances = torch.linalg.vector_norm(features[:, None] - features, dim=2)
    ours, expected = batch_hard(distances, *pair_masks(labels), margin), BatchHardTripletLoss(margin)(features, labels)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(gradient(ours, features), gradient(expected, features))


@settings(max_examples=20, deadline=None)
@given(batches)
def test_soft_margin_and_equation_3_are_the_loop(batch: tuple[int, int, int, int]) -> None:
    features, labels = draw(batch)
    pairs = triplets_by_loops(features, labels)
    soft = mean([(1 + (p - n).exp()).log() for p, n in pairs], features)
    torch.testing.assert_close(BatchHardTripletLoss(None)(features, labels), soft)
    printed = sum((0.3 + p - n for p, n in pairs), start=torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(triplet_loss_without_hinge(features, labels, 0.3), printed)


@settings(max_examples=40, deadline=None)
@given(batches, st.floats(1, 64), st.floats(0, 0.5), st.booleans())
def test_pairwise_losses_are_the_loops(
    batch: tuple[int, int, int, int], scale: float, margin: float, circle: bool
) -> None:
    features, labels = draw(batch)
    loss = CircleLoss(scale, margin) if circle else UnifiedLoss(scale, margin)
    ours, loops = loss(features, labels), pairwise_by_loops(features, labels, scale, margin, circle)
    torch.testing.assert_close(ours, loops)
    torch.testing.assert_close(gradient(ours, features), gradient(loops, features), rtol=1e-5, atol=1e-7)


def test_triplet_by_hand() -> None:
    # On a line: identity 0 at 0 and 3, identity 1 at 1 and 7. Farthest positive, nearest negative of each:
    # 0: 3, 1; 3: 3, 2; 1: 6, 1; 7: 6, 4. With margin 0.5: 2.5, 1.5, 5.5, 2.5.
    features, labels = torch.tensor([[0.0], [3.0], [1.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    assert BatchHardTripletLoss(0.5)(features, labels).item() == pytest.approx(3.0)
    assert triplet_loss_without_hinge(features, labels, 0.5).item() == pytest.approx(12.0)
    assert triplet_loss_without_hinge(features, labels, -4.0).item() == pytest.approx(-6.0)  # no hinge, no lower bound


def test_circle_and_unified_by_hand() -> None:
    # Three directions at 0, 90 and 180 degrees; the first two share a label. Only they have both kinds of pair:
    # anchor 0: s_p = 0, s_n = -1; anchor 1: s_p = 0, s_n = 0. gamma = 2, m = 0.25.
    features, labels = torch.tensor([[1.0, 0.0], [0.0, 5.0], [-2.0, 0.0]]), torch.tensor([0, 0, 1])
    positive = 2 * 1.25 * 0.75  # -gamma * alpha_p * (0 - 0.75), alpha_p = 1.25
    anchor_0 = math.log(1 + math.exp(positive + 0))  # alpha_n = max(0, -1 + 0.25) = 0
    anchor_1 = math.log(1 + math.exp(positive + 2 * 0.25 * -0.25))
    assert CircleLoss(2.0, 0.25)(features, labels).item() == pytest.approx((anchor_0 + anchor_1) / 2)
    unified = [math.log(1 + math.exp(2 * (s_n - 0 + 0.25))) for s_n in (-1, 0)]
    assert UnifiedLoss(2.0, 0.25)(features, labels).item() == pytest.approx(sum(unified) / 2)


@pytest.mark.parametrize(("scale", "margin"), [(80.0, 0.4), (64.0, 0.35), (256.0, 0.25)])
def test_circle_is_pytorch_metric_learnings(scale: float, margin: float) -> None:
    features = torch.randn(32, 16, requires_grad=True)
    labels = torch.arange(8).repeat_interleave(4)
    ours, peer = CircleLoss(scale, margin)(features, labels), PeerCircleLoss(m=margin, gamma=scale)(features, labels)
    torch.testing.assert_close(ours, peer)
    torch.testing.assert_close(gradient(ours, features), gradient(peer, features), rtol=1e-3, atol=1e-5)


# Not circle: its alpha is held constant, so that its gradient is not the slope of its value.
@pytest.mark.parametrize("loss", [loss for loss in METRIC_LOSSES if not isinstance(loss, CircleLoss)])
def test_gradient_is_the_numerical_one(loss: Loss) -> None:
    features = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: loss(f, PK_LABELS), features)


@pytest.mark.parametrize("loss", METRIC_LOSSES)
@pytest.mark.parametrize(
    "labels",
    [torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.zeros(0).long()],
    ids=["one image per identity", "one identity", "one image", "no image"],
)
def test_without_a_complete_anchor_the_loss_is_zero_with_gradient_zero(loss: Loss, labels: Tensor) -> None:
    features = torch.randn(len(labels), 5, requires_grad=True)
    value = loss(features, labels)
    assert value.shape == ()
    assert value.item() == 0
    value.backward()
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize("loss", METRIC_LOSSES)
def test_a_lonely_sample_is_no_anchor_but_a_negative(loss: Loss) -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    values = []
    for lonely in (250.0, 10.0):  # degrees: far from everyone, then between the two of identity 0
        angles = torch.tensor([0.0, 20.0, 90.0, 110.0, lonely], dtype=torch.float64).deg2rad()
        values.append(loss(torch.stack([angles.cos(), angles.sin()], 1), labels))
    assert values[0] < values[1]


@pytest.mark.parametrize("loss", METRIC_LOSSES)
@pytest.mark.parametrize("features", [torch.zeros(12, 4), torch.ones(12, 4), torch.eye(4).repeat(3, 1)])
def test_coinciding_features_have_finite_gradients(loss: Loss, features: Tensor) -> None:
    features = features.clone().requires_grad_()
    value = loss(features, PK_LABELS)
    value.backward()
    assert value.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("loss", METRIC_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1e-3, 1.0, 100.0])
def test_half_precision_is_computed_in_single(loss: Loss, dtype: torch.dtype, size: float) -> None:
    features = (torch.randn(12, 512) * size).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(features, PK_LABELS)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(features.detach().double(), PK_LABELS), rtol=1e-4, atol=1e-5)
    value.backward()
    assert features.grad is not None
    assert features.grad.dtype == dtype
    assert features.grad.isfinite().all()


def test_distances_are_exact_where_a_product_loses_all_digits() -> None:
    """|a|^2 + |b|^2 - 2ab of these is noise of the size 10; their distance is 0.001."""
    features = torch.full((4, 64), 1000.0, dtype=torch.float32)
    features[1, 0] += 0.0078125  # one step of float32 at 1000 is 6e-5
    features[2:] *= -1
    to_positive, to_negative, valid = hardest_distances(features, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(to_positive, torch.tensor([0.0078125, 0.0078125, 0, 0]))
    torch.testing.assert_close(to_negative, torch.full((4,), 16000.0))
    assert valid.all()


@pytest.mark.parametrize("scale", [1.0, 512.0, 1e6])
@pytest.mark.parametrize("loss", [CircleLoss, UnifiedLoss])
def test_pairwise_losses_do_not_overflow(loss: type[CircleLoss], scale: float) -> None:
    features = torch.randn(12, 4, requires_grad=True)
    value = loss(scale, 0.5)(features, PK_LABELS)
    value.backward()
    assert value.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)), st.floats(0.1, 10))
def test_order_labels_and_where_invariant_scale_do_not_matter(order: list[int], size: float) -> None:
    features = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for loss in METRIC_LOSSES:
        value = loss(features, PK_LABELS)
        torch.testing.assert_close(loss(features[order], 1000 - 7 * PK_LABELS[order]), value)
        if isinstance(loss, CircleLoss | UnifiedLoss):
            torch.testing.assert_close(loss(features * size, PK_LABELS), value)


@pytest.mark.parametrize("loss", METRIC_LOSSES)
def test_descending_the_loss_gathers_identities(loss: Loss) -> None:
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss(F.normalize(features), PK_LABELS).backward()
        optimizer.step()
    to_positive, to_negative, _ = hardest_distances(F.normalize(features), PK_LABELS)
    assert (to_positive < to_negative).all()


@pytest.mark.parametrize("loss", METRIC_LOSSES)
def test_nan_features_give_a_nan_loss(loss: Loss) -> None:
    features = torch.randn(12, 4)
    features[3, 1] = torch.nan
    assert loss(features, PK_LABELS).isnan()


@pytest.mark.parametrize("loss", METRIC_LOSSES)
def test_refuses_labels_of_another_batch(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"features are \(12, 4\), labels \(11,\)"):
        loss(torch.randn(12, 4), PK_LABELS[1:])


HANDS: list[Callable[[Tensor], Any]] = [
    Tensor.numpy,
    Tensor.tolist,
    *(
        lambda x, dtype=dtype: x.to(dtype)
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16)
    ),
]


def joint(features: Any, labels: Any) -> Tensor:
    return JointLoss()(SimpleNamespace(features=features, logits=features[:, :4]), labels)["total"]


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("loss", [*METRIC_LOSSES, binary_cross_entropy_eq1, joint])
def test_labels_and_features_as_people_hold_them(loss: Loss, hand: Callable[[Tensor], Any]) -> None:
    features = torch.randn(12, 4)
    expected = loss(features, PK_LABELS)
    held = hand(PK_LABELS)
    assert loss(features, held) == expected
    if not isinstance(held, Tensor) and loss is not joint:
        torch.testing.assert_close(loss(hand(features), held).float(), expected)


@pytest.mark.parametrize("hand", HANDS)
def test_attribute_labels_as_people_hold_them(hand: Callable[[Tensor], Any]) -> None:
    logits, labels = [torch.randn(4, 2), torch.randn(4, 3)], torch.tensor([[0, 1], [1, 2], [1, 0], [0, 0]])
    assert attribute_loss(logits, hand(labels)) == attribute_loss(logits, labels)


@pytest.mark.parametrize("loss", [*METRIC_LOSSES, binary_cross_entropy_eq1, joint])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (PK_LABELS.float(), "labels is torch.float32; expected integers"),
        ([None] * 12, "labels is a list of NoneType; expected numbers"),
    ],
)
def test_labels_that_are_no_integers_are_named(loss: Loss, labels: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        loss(torch.randn(12, 4), labels)


@pytest.mark.parametrize("label", [-1, 4])
def test_class_labels_out_of_bounds(label: int) -> None:
    for loss in (binary_cross_entropy_eq1, joint):
        with pytest.raises(IndexError, match=f"{label} is out of bounds"):
            loss(torch.randn(2, 4), torch.tensor([0, label]))


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4))
def test_complete_anchors_are_those_that_a_loss_counts(batches: list[list[int]]) -> None:
    told = complete_anchors(batches)
    assert told.dtype == torch.bool
    for labels, row in zip(batches, told, strict=True):
        counted = hardest_distances(torch.eye(5), labels)[2]
        assert torch.equal(row, counted)
        assert torch.equal(complete_anchors(labels), counted)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 999))
def test_equation_1_is_the_loop(n: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(classes, (n,), generator=generator)
    losses = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        p = row.exp() / row.exp().sum()
        losses.append(-sum((p[i].log() if i == label else (1 - p[i]).log() for i in range(classes)), start=0 * p[0]))
    ours, loops = binary_cross_entropy_eq1(logits, labels), torch.stack(losses).mean()
    torch.testing.assert_close(ours, loops)
    torch.testing.assert_close(gradient(ours, logits), gradient(loops, logits))


@pytest.mark.parametrize("size", [1.0, 50.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_equation_1_keeps_its_digits_where_one_class_is_certain(size: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[size, 0.0, 0.0], [size, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    value = binary_cross_entropy_eq1(logits, torch.tensor([0, 1]))
    value.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    p = torch.tensor([size, 0.0, 0.0], dtype=torch.float64).softmax(0)
    log_rest = math.log(2) - size - math.log1p(2 * math.exp(-size))  # log(1 - p_0), and log p_1 less log 2
    right = -(p[0].log() + 2 * torch.log1p(-p[1]))
    wrong = -(log_rest - math.log(2) + log_rest + torch.log1p(-p[2]))
    assert value.item() == pytest.approx((right + wrong).item() / 2, rel=1e-4, abs=1e-6)


def test_joint_loss_is_the_sum_of_its_named_terms() -> None:
    features, logits = torch.randn(12, 8, requires_grad=True), torch.randn(12, 4, requires_grad=True)
    terms = JointLoss(0.1, 0.3)(SimpleNamespace(features=features, logits=logits), PK_LABELS)
    mined = ["hardest positive", "hardest negative", "active triplets"]
    assert list(terms) == ["cross-entropy", "triplet", "total", *mined]
    distances = torch.cdist(features, features)
    same = PK_LABELS[:, None] == PK_LABELS
    farthest, nearest = (distances * same).amax(1), distances.masked_fill(same, torch.inf).amin(1)
    torch.testing.assert_close(terms["hardest positive"], farthest.mean())
    torch.testing.assert_close(terms["hardest negative"], nearest.mean())
    torch.testing.assert_close(terms["active triplets"], (farthest - nearest + 0.3 > 0).float().mean())
    torch.testing.assert_close(terms["total"], terms["cross-entropy"] + terms["triplet"])
    torch.testing.assert_close(terms["cross-entropy"], F.cross_entropy(logits, PK_LABELS, label_smoothing=0.1))
    torch.testing.assert_close(terms["triplet"], BatchHardTripletLoss(0.3)(features, PK_LABELS))
    terms["total"].backward()
    assert features.grad is not None
    assert features.grad.any()


def test_joint_loss_without_triplet_never_looks_at_the_features() -> None:
    logits = torch.randn(12, 4, dtype=torch.bfloat16)
    output = SimpleNamespace(features=torch.full((12, 8), torch.nan), logits=logits)
    terms = JointLoss(0.0, use_triplet=False)(output, PK_LABELS)
    assert list(terms) == ["cross-entropy", "total"]
    torch.testing.assert_close(terms["total"], F.cross_entropy(logits.float(), PK_LABELS))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6), st.integers(0, 999))
def test_attribute_loss_is_the_loop(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(n, c, generator=generator, dtype=torch.float64).requires_grad_() for c in (2, 4, 3)]
    labels = torch.stack([torch.randint(-1, c, (n,), generator=generator) for c in (2, 4, 3)], 1)
    groups = []
    for g, group in enumerate(logits):
        known = [i for i in range(n) if labels[i, g] >= 0]
        groups.append(mean([-group[i].softmax(0)[labels[i, g]].log() for i in known], group))
    ours, loops = attribute_loss(logits, labels), torch.stack(groups).mean()
    torch.testing.assert_close(ours, loops)
    for group in logits:
        torch.testing.assert_close(gradient(ours, group), gradient(loops, group))


@pytest.mark.parametrize(
    "labels", [torch.full((4, 2), -1), torch.tensor([[0, -1]] * 4)], ids=["no label", "no group 1"]
)
def test_attributes_without_labels_have_loss_and_gradient_zero(labels: Tensor) -> None:
    logits = [torch.full((4, 2), 1e4, requires_grad=True), torch.randn(4, 3, requires_grad=True)]
    value = attribute_loss(logits, labels)
    value.backward()
    assert value.item() == pytest.approx(math.log(2) / 2 if (labels >= 0).any() else 0)
    assert logits[0].grad is not None
    assert logits[1].grad is not None
    assert logits[0].grad.any() == (labels >= 0).any()
    assert not logits[1].grad.any()


def test_attribute_loss_of_half_precision_is_computed_in_single() -> None:
    logits = [(torch.randn(5, 3) * 30).bfloat16().requires_grad_()]
    labels = torch.tensor([0, 1, 2, -1, 0])[:, None]
    value = attribute_loss(logits, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), attribute_loss([logits[0].double()], labels), rtol=1e-5, atol=1e-5)


def test_attribute_loss_refuses_what_does_not_fit() -> None:
    logits = [torch.randn(4, 2), torch.randn(4, 3)]
    for labels in (torch.zeros(4).long(), torch.zeros(4, 3).long(), torch.zeros(5, 2).long()):
        with pytest.raises(ValueError, match=r"logits are \[\(4, 2\), \(4, 3\)\], labels"):
            attribute_loss(logits, labels)
    with pytest.raises(ValueError, match=r"logits are \[\], labels"):
        attribute_loss([], torch.zeros(4, 0).long())
    with pytest.raises(IndexError):
        attribute_loss(logits, torch.full((4, 2), 3))

"""BNNeck, and the two classifiers; the circle softmax against a loop and at its edges."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reidkit.models.heads import BNNeck, CircleSoftmax, LinearClassifier


def circle_logits_by_loops(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """Sun et al., Eq. 5-8, one number at a time; alphas are numbers, not part of the graph."""
    rows = []
    for s_row, label in zip(cosines, labels.tolist(), strict=True):
        row = []
        for k, s in enumerate(s_row):
            if k == label:
                row.append(scale * max(0.0, 1 + margin - s.item()) * (s - (1 - margin)))
            else:
                row.append(scale * max(0.0, s.item() + margin) * (s - margin))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def gradient(y: Tensor, x: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return torch.autograd.grad((y * weights).sum(), x, retain_graph=True)[0]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 6),
    classes=st.integers(1, 7),
    scale=st.floats(1, 256),
    margin=st.floats(0, 0.5),
    seed=st.integers(0, 999),
)
def test_circle_logits_are_the_loops(n: int, classes: int, scale: float, margin: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cosines = (torch.rand(n, classes, generator=generator, dtype=torch.float64) * 2 - 1).requires_grad_()
    labels = torch.randint(classes, (n,), generator=generator)
    ours = CircleSoftmax(4, classes, scale, margin).logits(cosines, labels)
    loops = circle_logits_by_loops(cosines, labels, scale, margin)
    torch.testing.assert_close(ours, loops)
    torch.testing.assert_close(gradient(ours, cosines), gradient(loops, cosines))


def test_circle_logits_by_hand() -> None:
    # scale 10, margin 0.25: target 10 * (1.25 - 0.5) * (0.5 - 0.75); others 10 * (s + 0.25) * (s - 0.25), 0 below -0.25
    logits = CircleSoftmax(2, 4, 10.0, 0.25).logits(torch.tensor([[0.5, 0.5, -0.25, -1.0]]), torch.tensor([0]))
    torch.testing.assert_close(logits, torch.tensor([[-1.875, 1.875, 0.0, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_circle_survives_the_ends_of_the_scale(dtype: torch.dtype) -> None:
    cosines = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]], dtype=dtype, requires_grad=True)
    before = cosines.detach().clone()
    logits = CircleSoftmax(2, 3, scale=512.0, margin=0.35).logits(cosines, torch.tensor([0, 0]))
    assert logits.dtype == torch.promote_types(dtype, torch.float32)
    F.cross_entropy(logits, torch.tensor([0, 0])).backward()
    assert logits.isfinite().all()
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()
    assert cosines.grad.dtype == dtype
    assert torch.equal(cosines, before)


def test_circle_cosines_are_cosines_and_their_gradients() -> None:
    head = CircleSoftmax(5, 3).double()
    embedding = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    expected = F.linear(F.normalize(embedding), F.normalize(head.weight))
    torch.testing.assert_close(head.cosines(embedding), expected)
    for x in (embedding, head.weight):
        torch.testing.assert_close(gradient(head.cosines(embedding), x), gradient(expected, x))
    assert torch.autograd.gradcheck(head.cosines, embedding)


def test_circle_cosines_reach_one_in_half_precision_under_autocast() -> None:
    """A bfloat16 product would be off by 0.004, at scale 64 and margin 0.35 a fifth of a logit and more."""
    head = CircleSoftmax(512, 8)
    with torch.autocast("cpu", torch.bfloat16):
        cosines = head.cosines(head.weight.detach() * 3)
    assert cosines.dtype == torch.float32
    torch.testing.assert_close(cosines.diagonal(), torch.ones(8), atol=1e-5, rtol=0)


def test_circle_of_a_zero_vector_is_finite() -> None:
    head = CircleSoftmax(4, 3)
    embedding = torch.zeros(2, 4, requires_grad=True)
    F.cross_entropy(head(embedding, torch.tensor([0, 2])), torch.tensor([0, 2])).backward()
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()
    assert head.weight.grad is not None
    assert head.weight.grad.isfinite().all()


def test_circle_without_a_target_is_the_scaled_cosine() -> None:
    head, embedding, labels = CircleSoftmax(4, 3, scale=32.0), torch.randn(2, 4), torch.tensor([0, 2])
    cosines = head.cosines(embedding)
    torch.testing.assert_close(head(embedding), 32 * cosines)
    torch.testing.assert_close(head(embedding, labels), head.logits(cosines, labels))
    torch.testing.assert_close(head.eval()(embedding, labels), 32 * cosines)


def test_circle_asks_more_of_the_target_than_a_plain_softmax() -> None:
    head, cosines, labels = CircleSoftmax(4, 3), torch.tensor([[0.6, 0.1, -0.2]]), torch.tensor([0])
    assert F.cross_entropy(head.logits(cosines, labels), labels) > F.cross_entropy(64 * cosines, labels)


@pytest.mark.parametrize("labels", [torch.tensor([0, 3]), torch.tensor([-1, 0])])
def test_circle_refuses_labels_out_of_range(labels: Tensor) -> None:
    wrong = 3 if 3 in labels else -1
    with pytest.raises(IndexError, match=f"label {wrong} is out of bounds; expected 0 to 2"):
        CircleSoftmax(4, 3)(torch.randn(2, 4), labels)


HANDS: list[Callable[[Tensor], Any]] = [
    Tensor.numpy,
    Tensor.tolist,
    *(
        lambda x, dtype=dtype: x.to(dtype)
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16)
    ),
]


@pytest.mark.parametrize("hand", HANDS)
def test_circle_takes_labels_as_people_hold_them(hand: Callable[[Tensor], Any]) -> None:
    head, labels = CircleSoftmax(4, 3), torch.tensor([0, 2])
    cosines = torch.tensor([[0.5, -0.1, 0.2], [0.3, 0.0, -1.0]])
    expected = head.logits(cosines, labels)
    assert torch.equal(head.logits(cosines, hand(labels)), expected)
    embedding = torch.randn(2, 4)
    assert torch.equal(head(embedding, hand(labels)), head(embedding, labels))
    if not isinstance(hand(labels), Tensor):
        torch.testing.assert_close(head.logits(hand(cosines), hand(labels)).float(), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0.0, 1.0]), "labels is torch.float32; expected integers"),
        (["a", "b"], "labels is a list of str; expected numbers"),
    ],
)
def test_circle_names_labels_that_are_no_integers(labels: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        CircleSoftmax(4, 3)(torch.randn(2, 4), labels)


def test_circle_refuses_cosines_of_one_image_without_a_batch() -> None:
    with pytest.raises(ValueError, match=r"cosines are \(3,\), labels \(3,\): expected \(N, K\), \(N,\)"):
        CircleSoftmax(4, 3).logits(torch.zeros(3), torch.tensor([0, 1, 2]))


def test_circle_refuses_labels_of_another_batch() -> None:
    with pytest.raises(ValueError, match=r"cosines are \(2, 3\), labels \(3,\)"):
        CircleSoftmax(4, 3)(torch.randn(2, 4), torch.tensor([0, 1, 2]))


def test_bnneck_scales_but_does_not_shift() -> None:
    neck = BNNeck(6)
    y = neck(torch.randn(50, 6) * 3 + 2)
    assert not neck.bias.requires_grad
    torch.testing.assert_close(y.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    (y * torch.randn_like(y)).sum().backward()
    assert neck.weight.grad is not None
    assert neck.bias.grad is None
    assert not neck.bias.any()


def test_linear_classifier_has_no_bias_and_starts_small() -> None:
    torch.manual_seed(0)
    head = LinearClassifier(100, 200)
    assert head.bias is None
    assert head.weight.shape == (200, 100)
    assert head.weight.std().item() == pytest.approx(0.001, rel=0.05)
    x = torch.randn(2, 100)
    torch.testing.assert_close(head(x, torch.tensor([0, 1])), x @ head.weight.T)

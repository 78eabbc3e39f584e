"""Ranking against a naive sorted list, worked examples, torchreid, and everything that can be odd about an input."""

import math
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reidkit.evaluation import Ranking, TiesWarning, counting, evaluate_ranking, ranking, top_matches

Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def naive(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
    metric: str,
    average_precision: str,
    max_rank: int,
) -> Ranking:
    """Sort the whole gallery, matches first where similarities tie, and walk down the list."""
    query, gallery = query.double(), gallery.double()
    if metric == "cosine":
        query, gallery = (x / x.norm(dim=1, keepdim=True) for x in (query, gallery))
        distances = -(query @ gallery.T)
    else:
        distances = torch.stack([(q - gallery).square().sum(1) for q in query]) if len(query) else query
    aps, inps, firsts = [], [], []
    for row, person, camera in zip(distances.tolist(), query_ids.tolist(), query_cameras.tolist(), strict=True):
        listed = []
        for distance, other, other_camera in zip(row, gallery_ids.tolist(), gallery_cameras.tolist(), strict=True):
            if other != -1 and not (other == person and other_camera == camera):
                listed.append((distance, other != person))
        hits = [not wrong for _, wrong in sorted(listed)]
        ap, found, old_precision, last, first = 0.0, 0, 1.0, 0, 0
        for position, hit in enumerate(hits, 1):
            found += hit
            precision = found / position
            if hit:
                height = precision if average_precision == "rectangular" else (old_precision + precision) / 2
                ap += height / sum(hits)
                first, last = first or position, position
            old_precision = precision
        aps.append(ap if found else math.nan)
        inps.append(found / last if found else math.nan)
        firsts.append(first)
    matched = [first for first in firsts if first]
    cmc = [
        sum(first <= rank for first in matched) / len(matched) if matched else math.nan
        for rank in range(1, max_rank + 1)
    ]
    means = [float(np.nanmean(x)) if matched else math.nan for x in (aps, inps)]
    return Ranking(
        torch.tensor(cmc, dtype=torch.float64), *means, torch.tensor(aps, dtype=torch.float64), torch.tensor(firsts),
        {average_precision: means[0]},
    )  # fmt: skip


def assert_same(ours: Ranking, theirs: Ranking, tolerance: float = 1e-12) -> None:
    for name in ("cmc", "average_precision", "first_match_rank"):
        torch.testing.assert_close(
            getattr(ours, name), getattr(theirs, name), rtol=0, atol=tolerance, equal_nan=True, check_dtype=False
        )
    assert ours.mAP == pytest.approx(theirs.mAP, abs=tolerance, nan_ok=True)
    assert ours.mINP == pytest.approx(theirs.mINP, abs=tolerance, nan_ok=True)
    for convention in ours.mAP_by.keys() & theirs.mAP_by.keys():
        assert ours.mAP_by[convention] == pytest.approx(theirs.mAP_by[convention], abs=tolerance, nan_ok=True)


@st.composite
def problems(draw: st.DrawFn) -> Arguments:
    """Features of ±1, ±2 or ±4: their similarities are exact in any precision, and most of them tie."""
    queries, items = draw(st.integers(0, 6)), draw(st.integers(0, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    people, cameras = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    query, gallery = (
        (whole(0, 1, count, 4) * 2 - 1) * 2 ** whole(0, 2, count, 1).float() for count in (queries, items)
    )
    return (
        query,
        gallery,
        whole(-1, people, queries),
        whole(-1, people, items),
        whole(1, cameras, queries),
        whole(1, cameras, items),
    )


ties_are_meant = pytest.mark.filterwarnings("ignore::reidkit.evaluation.TiesWarning")


@ties_are_meant
@settings(max_examples=200, deadline=None)
@given(
    problems(),
    st.sampled_from(["cosine", "euclidean"]),
    st.sampled_from(["rectangular", "trapezoid"]),
    st.integers(1, 60),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.integers(1, 7),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_agrees_with_a_sorted_list_whatever_ties_and_wherever_blocks_end(
    arguments: Arguments, metric: str, ap: str, max_rank: int, dtype: torch.dtype, block: int, slab: int, few: int
) -> None:
    query, gallery, *labels = arguments
    row_bytes = 4 * (len(gallery) // 16 * 16 + 16)
    sizes = {"_BLOCK_QUERIES": block, "_SLAB_BYTES": slab * row_bytes, "_RAISED_BYTES": 16 * block}
    with patch.multiple(ranking, **sizes), patch.object(counting, "_FEW", few):
        ours = evaluate_ranking(query.to(dtype), gallery.to(dtype), *labels, metric, ap, max_rank)
    assert_same(ours, naive(query, gallery, *labels, metric, ap, max_rank))
    other = "trapezoid" if ap == "rectangular" else "rectangular"
    theirs = naive(query, gallery, *labels, metric, other, max_rank)
    assert ours.mAP_by[other] == pytest.approx(theirs.mAP, abs=1e-12, nan_ok=True)


def line(places: list[float], ids: list[int], cameras: list[int]) -> Arguments:
    """A query of person 1 and camera 1 in the origin, and a gallery on a line: the distances are the places."""
    one = torch.ones(1, dtype=torch.int64)
    return (
        torch.zeros(1, 1),
        torch.tensor(places, dtype=torch.float32)[:, None],
        one,
        torch.tensor(ids),
        one,
        torch.tensor(cameras),
    )


def test_worked_example() -> None:
    # Out of order on purpose. By distance: 1 wrong, 2 match, 3 same camera (left out), 4 match, 5 junk (left out),
    # 6 distractor (wrong). The list that counts: wrong, match, match, wrong.
    arguments = line([4, 1, 6, 2, 5, 3], [1, 2, 0, 1, -1, 1], [3, 1, 2, 2, 2, 1])
    rectangular = evaluate_ranking(*arguments, metric="euclidean", max_rank=3)
    # Precision is 1/2 at the first match and 2/3 at the second.
    assert rectangular.mAP == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Trapezoids: (0/1 + 1/2) / 2 at the first, (1/2 + 2/3) / 2 at the second.
    assert evaluate_ranking(*arguments, "euclidean", "trapezoid").mAP == pytest.approx((1 / 4 + 7 / 12) / 2)
    assert rectangular.mINP == pytest.approx(2 / 3)  # the last of 2 matches is at rank 3
    assert rectangular.first_match_rank.tolist() == [2]
    assert rectangular.cmc.tolist() == [0, 1, 1]
    assert top_matches(*arguments, metric="euclidean", k=5).tolist() == [[1, 3, 0, 2, -1]]


@ties_are_meant
@pytest.mark.parametrize(
    ("places", "ids", "ap", "inp"),
    [
        ([1, 1, 1], [2, 1, 3], 1, 1),  # a match stands before the wrong items that are as near
        ([1, 2, 2, 2], [2, 1, 1, 3], (1 / 2 + 2 / 3) / 2, 2 / 3),  # tied matches take consecutive ranks: 2 and 3
        ([1, 1, 2, 2], [1, 2, 3, 1], (1 / 1 + 2 / 3) / 2, 2 / 3),  # a wrong item tied above does count below
    ],
)
def test_ties(places: list[float], ids: list[int], ap: float, inp: float) -> None:
    for order in (slice(None), slice(None, None, -1)):
        result = evaluate_ranking(*line(places[order], ids[order], [2] * len(ids)), metric="euclidean")
        assert result.mAP == pytest.approx(ap)
        assert result.mINP == pytest.approx(inp)


def test_perfect_and_hopeless() -> None:
    best = evaluate_ranking(*line([1, 2, 3, 4], [1, 1, 2, 3], [2] * 4), metric="euclidean")
    assert (best.mAP, best.mINP, best.cmc[0]) == (1, 1, 1)
    last = line([1, 2, 3, 4], [2, 3, 4, 1], [2] * 4)
    assert evaluate_ranking(*last, "euclidean").mAP == pytest.approx(1 / 4)
    assert evaluate_ranking(*last, "euclidean", "trapezoid").mAP == pytest.approx((0 + 1 / 4) / 2)


def some(queries: int = 60, items: int = 500, people: int = 25, cameras: int = 4, length: int = 32) -> Arguments:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(people + 1, length, generator=generator)
    labels = []
    for count, low in ((queries, 1), (items, 0)):
        ids = torch.randint(low, people + 1, (count,), generator=generator)
        features = centres[ids] + 2 * torch.randn(count, length, generator=generator)
        labels.append((features, ids, torch.randint(1, cameras + 1, (count,), generator=generator)))
    (query, query_ids, query_cameras), (gallery, gallery_ids, gallery_cameras) = labels
    return query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_agrees_with_torchreid(metric: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its Cython is not there
        from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank
    query, gallery, *labels = some()
    distances = compute_distance_matrix(query.double(), gallery.double(), metric).numpy()
    cmc, mean = evaluate_rank(distances, *(x.numpy() for x in labels), max_rank=50, use_cython=False)
    ours = evaluate_ranking(query.double(), gallery.double(), *labels, metric)
    assert 0.05 < ours.mAP < 0.95
    assert ours.mAP == pytest.approx(mean, abs=1e-9)
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_many_matches_of_one_query(metric: str) -> None:
    arguments = some(queries=4, items=3000, people=3)  # about 560 matches each: the way of counting that uses bins
    wide = tuple(x.double() if x.is_floating_point() else x for x in arguments)
    assert_same(evaluate_ranking(*wide, metric), naive(*arguments, metric, "rectangular", 50))


@ties_are_meant
@pytest.mark.parametrize("average_precision", ["rectangular", "trapezoid"])
def test_order_of_the_gallery_does_not_matter(average_precision: str) -> None:
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = some()
    query, gallery = query.round(), gallery.round()  # exact, and with ties
    there = evaluate_ranking(
        query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, "euclidean", average_precision
    )
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(2))
    moved = (query, gallery[order], query_ids, gallery_ids[order], query_cameras, gallery_cameras[order])
    assert_same(evaluate_ranking(*moved, "euclidean", average_precision), there, tolerance=0)


def test_arguments_are_left_as_they_are() -> None:
    arguments = some()
    arguments[0].requires_grad_()
    before = [x.detach().clone() for x in arguments]
    result = evaluate_ranking(*arguments)
    top_matches(*arguments)
    assert not result.average_precision.requires_grad
    assert all(torch.equal(x, y) for x, y in zip(arguments, before, strict=True))


def test_features_need_not_be_contiguous_nor_labels_int64() -> None:
    query, gallery, *labels = some()
    narrow = [
        x.to(dtype) for x, dtype in zip(labels, (torch.int16, torch.int32, torch.uint8, torch.int64), strict=True)
    ]
    strided = evaluate_ranking(query.T.contiguous().T, torch.cat([gallery, gallery], 1)[:, : gallery.shape[1]], *narrow)
    assert_same(strided, evaluate_ranking(query, gallery, *labels), tolerance=1e-6)


HANDS = {
    "arrays": lambda x: x.numpy(),
    "lists": lambda x: x.tolist(),
    "read-only": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "backwards": lambda x: x.flip(0).numpy()[::-1],
    "big-endian": lambda x: x.numpy().astype(x.numpy().dtype.newbyteorder(">")),
    "float64 and uint32": lambda x: x.numpy().astype(np.float64 if x.is_floating_point() else np.uint32),
    "table columns": lambda x: pd.DataFrame(x.numpy()) if x.ndim > 1 else pd.Series(x.numpy()),
    "lists of tensors": lambda x: list(x),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("hand", HANDS)
def test_arrays_and_lists_do_as_tensors(hand: str) -> None:
    arguments = some()
    held = [HANDS[hand](x) for x in arguments]
    assert_same(evaluate_ranking(*held), evaluate_ranking(*arguments), tolerance=1e-6)
    assert torch.equal(top_matches(*held, k=2), top_matches(*arguments, k=2))


def test_nothing_in_lists_and_arrays() -> None:
    for empty in ([], np.empty(0, np.int64)):
        result = evaluate_ranking(np.empty((0, 4), np.float32), np.empty((0, 4), np.float32), *[empty] * 4)
        assert math.isnan(result.mAP)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_not_rounded_any_further(dtype: torch.dtype) -> None:
    query, gallery, *labels = some()
    half = evaluate_ranking(query.to(dtype), gallery.to(dtype), *labels)
    raised = evaluate_ranking(query.to(dtype).float(), gallery.to(dtype).float(), *labels)
    assert_same(half, raised, tolerance=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_length_matters_to_one_metric_only(metric: str) -> None:
    query, gallery, *labels = some()
    longer = gallery * torch.linspace(0.5, 8, len(gallery))[:, None]
    same = evaluate_ranking(query, longer, *labels, metric).mAP == pytest.approx(
        evaluate_ranking(query, gallery, *labels, metric).mAP, abs=1e-4
    )
    assert same == (metric == "cosine")


def test_a_metric_of_ones_own_ranks_by_its_distances() -> None:
    """In blocks that end anywhere, and of features that are more than vectors to be multiplied."""
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(300, 8, generator=generator), torch.randn(700, 8, generator=generator)
    labels = [torch.randint(high, (count,), generator=generator) for high in (20, 4) for count in (300, 700)]
    rest = labels[0], labels[1], labels[2], labels[3]
    own = evaluate_ranking(query, gallery, *rest, metric=torch.cdist)
    known = evaluate_ranking(query, gallery, *rest, metric="euclidean")
    torch.testing.assert_close(own.average_precision, known.average_precision, equal_nan=True)
    assert torch.equal(own.cmc, known.cmc)
    top = top_matches(query, gallery, *rest, torch.cdist, 5)
    assert torch.equal(top, top_matches(query, gallery, *rest, "euclidean", 5))


def test_query_without_a_match_is_left_out_of_the_means() -> None:
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = some()
    query_ids[3], query_ids[7] = 999, -1  # a stranger, and junk, whose like is not looked for
    gallery_ids[:5] = -1
    result = evaluate_ranking(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras)
    keep = torch.ones(len(query), dtype=torch.bool)
    keep[[3, 7]] = False
    rest = evaluate_ranking(query[keep], gallery, query_ids[keep], gallery_ids, query_cameras[keep], gallery_cameras)
    assert result.average_precision.isnan().nonzero()[:, 0].tolist() == [3, 7]
    assert result.first_match_rank[[3, 7]].tolist() == [0, 0]
    assert result.mAP == pytest.approx(rest.mAP)
    assert result.mINP == pytest.approx(rest.mINP)
    torch.testing.assert_close(result.cmc, rest.cmc)


@pytest.mark.parametrize("case", ["no query", "no gallery", "neither", "one camera"])
def test_nothing_to_find_is_nan_not_an_error(case: str) -> None:
    query, gallery, *labels = some(
        0 if case in ("no query", "neither") else 60,
        0 if case in ("no gallery", "neither") else 500,
        cameras=1 if case == "one camera" else 4,
    )
    result = evaluate_ranking(query, gallery, *labels, max_rank=7)
    assert math.isnan(result.mAP)
    assert math.isnan(result.mINP)
    assert result.cmc.shape == (7,)
    assert result.cmc.isnan().all()
    assert result.average_precision.shape == result.first_match_rank.shape == (len(query),)
    assert result.average_precision.isnan().all()
    assert not result.first_match_rank.any()
    top = top_matches(query, gallery, *labels, k=3)
    assert top.shape == (len(query), 3)
    assert (top == -1).all() == (case != "one camera")


def test_max_rank_beyond_the_gallery_repeats_the_last_value() -> None:
    result = evaluate_ranking(*line([2, 1, 3], [1, 2, 2], [2] * 3), metric="euclidean", max_rank=10)
    assert result.cmc.tolist() == [0, *[1] * 9]


def test_feature_of_zeros_is_like_everything_and_nothing() -> None:
    one = torch.ones(1, dtype=torch.int64)
    gallery = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])  # cosines 1, 0 and -1
    arguments = (torch.tensor([[2.0, 0.0]]), gallery, one, torch.tensor([2, 1, 2]), one, torch.tensor([2, 2, 2]))
    assert evaluate_ranking(*arguments).first_match_rank.tolist() == [2]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 10, 600])
def test_top_matches(metric: str, k: int) -> None:
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = some(people=3)
    gallery_ids[::9] = -1
    labels = (query_ids, gallery_ids, query_cameras, gallery_cameras)
    with patch.multiple(ranking, _BLOCK_QUERIES=13, _SLAB_BYTES=3 * 4 * 512):
        top = top_matches(query.double(), gallery.double(), *labels, metric, k)
    assert top.shape == (60, k)
    assert top.dtype == torch.int64
    for row, indexes in enumerate(top):
        out = (gallery_ids == -1) | ((gallery_ids == query_ids[row]) & (gallery_cameras == query_cameras[row]))
        if metric == "cosine":
            distances = -torch.nn.functional.cosine_similarity(query[row].double(), gallery.double())
        else:
            distances = (query[row].double() - gallery.double()).norm(dim=1)
        expected = distances.masked_fill(out, torch.inf).argsort()[: int((~out).sum())][:k].tolist()
        assert indexes.tolist() == expected + [-1] * (k - len(expected))


def replaced(arguments: Arguments, place: int, value: Tensor) -> Arguments:
    changed = list(arguments)
    changed[place] = value
    return changed[0], changed[1], changed[2], changed[3], changed[4], changed[5]


@pytest.mark.parametrize(
    ("place", "change", "error", "message"),
    [
        (0, lambda x: x.index_fill(0, torch.tensor([5, 9]), torch.nan), ValueError, r"query has 2 .* row 5"),
        (1, lambda x: x.index_fill(0, torch.tensor([8]), torch.inf), ValueError, r"gallery has 1 .* row 8"),
        (1, lambda x: x * 1e30, ValueError, "too large to square"),
        (0, lambda x: x[0], ValueError, r"query has shape \(32,\); expected \(images, feature length\)"),
        (1, lambda x: x[:, :31], ValueError, "32 and 31 numbers long"),
        (0, lambda x: x.long(), TypeError, "query is torch.int64"),
        (3, lambda x: x[:-1], ValueError, r"gallery_ids has shape \(499,\); expected \(500,\)"),
        (4, lambda x: x[:, None], ValueError, "query_cameras has shape"),
        (2, lambda x: x.float(), TypeError, "query_ids is torch.float32; expected integers"),
        (1, lambda x: x.to("meta"), ValueError, "query is on cpu, gallery on meta"),
        (0, lambda x: x.to(torch.float8_e4m3fn), TypeError, "query is torch.float8_e4m3fn; .* 16 bits or more"),
        (0, lambda x: x.long().tolist(), TypeError, "query is torch.int64; expected floating-point"),
        (1, lambda x: [[1.0], [2.0, 3.0]], TypeError, "gallery is a list of list; expected numbers"),
        (3, lambda x: None, TypeError, "gallery_ids is None; expected numbers, in a tensor, a NumPy array or a list"),
        (4, lambda x: ["c1"] * len(x), TypeError, "query_cameras is a list of str; expected numbers"),
        (5, lambda x: np.array(["c1"] * len(x)), TypeError, "gallery_cameras is an array of <U2; expected numbers"),
        (2, lambda x: x.double().numpy(), TypeError, "query_ids is torch.float64; expected integers"),
        (5, lambda x: x.tolist()[1:], ValueError, r"gallery_cameras has shape \(499,\); expected \(500,\)"),
    ],
)
def test_bad_features_and_labels_are_named(place: int, change, error: type[Exception], message: str) -> None:
    arguments = some()
    arguments = replaced(arguments, place, change(arguments[place]))
    for function in (evaluate_ranking, top_matches):
        with pytest.raises(error, match=message):
            function(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cosin"}, 'metric is "cosin".*did you mean "cosine"'),
        ({"metric": "L2 euclid"}, 'did you mean "euclidean"'),
        ({"average_precision": "trapezoidal"}, 'did you mean "trapezoid"'),
        ({"max_rank": 0}, "max_rank is 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, str | int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(*some(), **options)


def test_a_metric_that_is_neither_named_nor_called_is_an_error() -> None:
    with pytest.raises(TypeError, match="metric is None; expected 'cosine', 'euclidean' or a function"):
        evaluate_ranking(*some(), metric=None)  # type: ignore[arg-type]


def collapsed(arguments: Arguments, share: float) -> Arguments:
    """With so many of the gallery's features one and the same."""
    gallery = arguments[1].clone()
    gallery[: int(share * len(gallery))] = gallery[0].clone()
    return replaced(arguments, 1, gallery)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("share", [0.6, 1.0])
def test_features_that_collapse_are_warned_of(metric: str, share: float) -> None:
    with pytest.warns(TiesWarning, match=r"\d+% of the similarities .* mAP, mINP and CMC are too high") as caught:
        evaluate_ranking(*collapsed(some(items=5000), share), metric)
    assert [Path(warning.filename) for warning in caught] == [Path(__file__)]  # once, and where it was called
    assert int(str(caught[0].message).split("%")[0]) == pytest.approx(100 * share, abs=3)


@pytest.mark.filterwarnings("error")
def test_a_few_ties_are_not_warned_of() -> None:
    evaluate_ranking(*collapsed(some(), 0.4))
    arguments = some()
    evaluate_ranking(*replaced(arguments, 1, arguments[1].repeat_interleave(2, 0)[: len(arguments[1])]))  # copies
    evaluate_ranking(*line([1, 1], [1, -1], [2, 2]), metric="euclidean")  # junk has no similarity
    evaluate_ranking(*line([1], [1], [2]), metric="euclidean")


def test_distances_that_are_rounded_alike_are_warned_of() -> None:
    query, gallery, *labels = some()
    with pytest.warns(TiesWarning, match="so far from 0"):
        evaluate_ranking(query + 1e5, gallery + 1e5, *labels, "euclidean")


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        top_matches(*some(), k=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_agrees_with_cpu(dtype: torch.dtype) -> None:
    query, gallery, *labels = some()
    query, gallery = query.round().to(dtype), gallery.round().to(dtype)
    here = evaluate_ranking(query, gallery, *labels, "euclidean")
    there = evaluate_ranking(query.cuda(), gallery.cuda(), *labels, "euclidean")  # labels may stay on the CPU
    assert_same(there, here, tolerance=0)
    assert top_matches(query.cuda(), gallery.cuda(), *labels).device.type == "cpu"

"""CMC, mAP and mINP of a re-identification ranking: exact, and without the distance matrix.

Protocol: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (Market-1501). For each query, the
gallery items of the same identity and the same camera are left out, and so are those of identity -1 (junk); what has
the query's identity and is left is a *match*, everything else is *wrong*. Distractors need no rule: no query has their
identity (0 in Market-1501; in MSMT17, 0 is a person), so that they are always wrong.

Only the matches need a rank, and a rank is a count. Hence per block of queries one matrix product into a reused
buffer, and per match one count of the wrong items that are more similar: no sort of the gallery.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from reidkit.evaluation.counting import count_above
from reidkit.tensors import Values, as_tensor, integers

AVERAGES = ("rectangular", "trapezoid")  # the conventions of average precision
JUNK = -1  # the identity of gallery items that are ignored

# A block of queries is multiplied with the whole gallery: more queries multiply faster, fewer take less memory.
_BLOCK_QUERIES, _BLOCK_BYTES = 1024, 224 * 2**20
_SLAB_BYTES = 4 * 2**20  # the part of a block that is worked on while it lies in the CPU's cache
_OWN_AT_ONCE = 256  # queries and gallery items that a metric of one's own is asked of
_RAISED_BYTES = 16 * 2**20  # half-precision features are raised so much at a time
_TIES_AMONG = 2048  # gallery items of a query that are looked at for ties
_TIES_WARNED = 0.5  # the share of them from which on ties are warned of

Metric = str | Callable[[Tensor, Tensor], Tensor]
"""What features are compared by: "cosine", "euclidean", or the distances (q, g) of features (q, D) and (g, D)."""


class TiesWarning(UserWarning):
    """More than half of the similarities repeat another of the same query: the ranking means little."""


@dataclass(frozen=True)
class Ranking:
    """What a ranking is worth. Fractions, not per cent; means are over the queries that have a match, nan if none has.

    cmc: (max_rank,) float64, `cmc[k - 1]` is the fraction of queries with a match among the first k ("rank-k").
    mAP: mean average precision, by the convention that was asked for.
    mINP: mean inverse negative penalty, matches over the rank of the last one (Ye et al., "Deep Learning for Person
        Re-identification: A Survey and Outlook", 2021, Eq. 9).
    average_precision: (Q,) float64, nan where a query has no match.
    first_match_rank: (Q,) int64, from 1; 0 where a query has no match.
    mAP_by: mAP in both conventions, "rectangular" and "trapezoid".
    """

    cmc: Tensor
    mAP: float
    mINP: float
    average_precision: Tensor
    first_match_rank: Tensor
    mAP_by: dict[str, float]


@torch.no_grad()
def evaluate_ranking(
    query: Values,
    gallery: Values,
    query_ids: Values,
    gallery_ids: Values,
    query_cameras: Values,
    gallery_cameras: Values,
    metric: Metric = "cosine",
    average_precision: str = "rectangular",
    max_rank: int = 50,
) -> Ranking:
    """Rank the gallery for each query by Market-1501's protocol and say how well it went.

    query (Q, D), gallery (G, D): features, floating, any one device. ids and cameras: integers of any type, (Q,) and
        (G,). All may be tensors, NumPy arrays or lists.
    metric: "cosine", "euclidean", or a function of some features of both, (q, D) and (g, D), at least float32, to their
        distances (q, g).
    average_precision: "rectangular", the mean of the precisions at the matches (scikit-learn, torchreid, fast-reid), or
        "trapezoid", the area under straight lines between them, from precision 1 at recall 0 (Market-1501's own code,
        after Philbin et al., CVPR 2007). They differ by up to a point of mAP: never compare one with the other.

    Ties: a match's rank is one plus the number of valid gallery items that are strictly more similar, so that it stands
    before the wrong items that are as similar; matches as similar as one another take consecutive ranks. The order of
    the gallery therefore does not matter. But a network that maps every image to one point ties everything, and gets 1:
    a TiesWarning tells where more than half of the similarities repeat another, by a sample of queries and items.

    >>> gallery = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]  # somebody else, then the person of the query twice
    >>> ranking = evaluate_ranking([[1.0, 0.0]], gallery, [1], [2, 1, 1], query_cameras=[1], gallery_cameras=[2, 2, 3])
    >>> ranking.cmc[:3].tolist(), round(ranking.mAP, 4)  # found at ranks 2 and 3: (1/2 + 2/3) / 2
    ([0.0, 1.0, 1.0], 0.5833)

    Half precision is raised to float32 before the product; float64 is kept. An all-zero feature has cosine 0 with all.
    Without a query, a gallery or a match, means are nan. Results are on the CPU.

    Raises ValueError (a shape, a name, a feature that is not finite) and TypeError (a dtype, or what is no numbers).
    """
    _choose("average_precision", average_precision, AVERAGES)
    if max_rank < 1:
        raise ValueError(f"max_rank is {max_rank}; expected at least 1")
    problem = _Problem(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, metric)
    ap = torch.full((len(problem.query), len(AVERAGES)), torch.nan, dtype=torch.float64)
    inp = ap[:, 0].clone()
    first = torch.zeros(len(problem.query), dtype=torch.int64)
    ties: list[tuple[int, int]] = []
    for rows, similarity, same, match in problem.slabs():
        ties.append(_ties(similarity[0]))
        matches = match.sum(1, keepdim=True)  # (R, 1)
        most = int(matches.max())
        if most == 0:
            continue
        own = similarity.gather(1, same).masked_fill(~match, -torch.inf).sort(1, descending=True).values[:, :most]
        similarity.scatter_(1, same, -torch.inf)  # leaves the wrong items
        wrong_before = count_above(similarity, own)  # (R, M)
        found = torch.arange(1, most + 1, device=own.device, dtype=torch.float64)  # matches up to this one
        rank = found + wrong_before
        precision = found / rank
        before = torch.where(rank > 1, (found - 1) / (rank - 1), 1.0)  # just before the match; 1 before anything
        sums = [(p * (found <= matches)).sum(1, keepdim=True) for p in (precision, (precision + before) / 2)]
        ap[rows] = (torch.cat(sums, 1) / matches).cpu()  # 0 / 0 is nan
        inp[rows] = (matches / rank.gather(1, (matches - 1).clamp(min=0)))[:, 0].cpu()
        first[rows] = rank[:, 0].long().cpu()
    _warn_of_ties(ties)
    unmatched = ap[:, 0].isnan()
    inp[unmatched], first[unmatched] = torch.nan, 0
    ranks = torch.arange(1, max_rank + 1)
    cmc = (first[first > 0, None] <= ranks).double().mean(0)
    by_convention = dict(zip(AVERAGES, ap.T.contiguous(), strict=True))
    means = {name: values.nanmean().item() for name, values in by_convention.items()}
    chosen = by_convention[average_precision]
    return Ranking(cmc, means[average_precision], inp.nanmean().item(), chosen, first, means)


@torch.no_grad()
def top_matches(
    query: Values,
    gallery: Values,
    query_ids: Values,
    gallery_ids: Values,
    query_cameras: Values,
    gallery_cameras: Values,
    metric: Metric = "cosine",
    k: int = 10,
) -> Tensor:
    """The k most similar gallery items of each query, as indexes (Q, k) int64, best first, on the CPU.

    Items that the protocol leaves out (see `evaluate_ranking`, whose arguments these are) are not listed; -1 fills up
    where fewer than k are left. Items that are equally similar come in no particular order.

    >>> top_matches([[1.0, 0.0]], [[0.0, 1.0], [0.9, 0.1]], [1], [1, 2], query_cameras=[1], gallery_cameras=[2, 2], k=3)
    tensor([[ 1,  0, -1]])
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    problem = _Problem(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, metric)
    top = torch.full((len(problem.query), k), -1)
    for rows, similarity, same, match in problem.slabs():
        similarity.scatter_(1, same.masked_fill(match, len(problem.gallery)), -torch.inf)
        best = similarity.topk(min(k, similarity.shape[1]), dim=1)
        top[rows, : best.indices.shape[1]] = best.indices.masked_fill(best.values == -torch.inf, -1).cpu()
    return top


class _Problem:
    """Checked arguments, and the similarities they make, a slab of queries at a time."""

    def __init__(
        self,
        query: Values,
        gallery: Values,
        query_ids: Values,
        gallery_ids: Values,
        query_cameras: Values,
        gallery_cameras: Values,
        metric: Metric,
    ) -> None:
        if isinstance(metric, str):
            _choose("metric", metric, ("cosine", "euclidean"))
        elif not callable(metric):
            raise TypeError(f"metric is {metric!r}; expected 'cosine', 'euclidean' or a function of two batches")
        query, gallery = as_tensor("query", query), as_tensor("gallery", gallery)
        for name, features in (("query", query), ("gallery", gallery)):
            if features.ndim != 2:
                raise ValueError(f"{name} has shape {tuple(features.shape)}; expected (images, feature length)")
            if not features.is_floating_point() or features.itemsize < 2:
                raise TypeError(f"{name} is {features.dtype}; expected floating-point features, of 16 bits or more")
        if query.shape[1] != gallery.shape[1]:
            lengths = f"{query.shape[1]} and {gallery.shape[1]}"
            raise ValueError(f"features of query and gallery are {lengths} numbers long; expected one length")
        if query.device != gallery.device:
            raise ValueError(f"query is on {query.device}, gallery on {gallery.device}; expected one device")
        self.query, self.gallery = query, gallery
        self.distance = None if isinstance(metric, str) else metric
        self.query_ids, self.gallery_ids, self.query_cameras, self.gallery_cameras = (
            _labels(name, labels, features)
            for name, labels, features in (
                ("query_ids", query_ids, query),
                ("gallery_ids", gallery_ids, gallery),
                ("query_cameras", query_cameras, query),
                ("gallery_cameras", gallery_cameras, gallery),
            )
        )
        self.dtype = torch.promote_types(torch.promote_types(query.dtype, gallery.dtype), torch.float32)
        self._squares("query", query)
        squares = self._squares("gallery", gallery)
        self.scale = squares.sqrt().clamp(min=1e-12) if metric == "cosine" else None
        self.shift = squares / 2 if metric == "euclidean" else None

    def slabs(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield (rows, similarity, same, match).

        rows (R,): which queries, on the CPU. similarity (R, W): with the whole gallery, and at least one column more
        that is -inf; junk is -inf too; yours to overwrite. same (R, S): the gallery items of the query's identity,
        filled up with the index of the first column of -inf. match (R, S): which of them are matches.
        """
        size = len(self.gallery)
        if size == 0 or len(self.query) == 0:
            return
        device = self.gallery.device
        sorted_ids, by_id = self.gallery_ids.sort(stable=True)
        start = torch.searchsorted(sorted_ids, self.query_ids)
        same_count = torch.searchsorted(sorted_ids, self.query_ids, right=True) - start
        same_count = same_count.masked_fill(self.query_ids == JUNK, 0)
        by_id = torch.cat([by_id, by_id.new_tensor([size])])
        cameras = torch.cat([self.gallery_cameras, self.gallery_cameras.new_zeros(1)])
        junk = (self.gallery_ids == JUNK).nonzero()[:, 0]

        width = size // 16 * 16 + 16  # rows that start on a cache line multiply faster
        row_bytes = width * self.dtype.itemsize
        slab = (_SLAB_BYTES if device.type == "cpu" else _BLOCK_BYTES) // row_bytes
        # Queries with as many gallery items of their identity go together, so that little is filled up.
        blocks = _parts(same_count.argsort(stable=True), min(_BLOCK_QUERIES, _BLOCK_BYTES // row_bytes))
        buffer = torch.empty(len(blocks[0]), width, dtype=self.dtype, device=device)
        buffer[:, size:] = -torch.inf
        for block in blocks:
            self._product(block, buffer[: len(block), :size])
            for rows, similarity in zip(_parts(block, slab), _parts(buffer[: len(block)], slab), strict=True):
                if self.scale is not None:  # the query's own length does not change its order
                    similarity[:, :size] /= self.scale
                if self.shift is not None:  # |q - g|² = |q|² - 2 (q·g - |g|²/2): the nearest has the largest bracket
                    similarity[:, :size] -= self.shift
                similarity.index_fill_(1, junk, -torch.inf)
                offset = torch.arange(int(same_count[rows].max()), device=device)
                inside = offset < same_count[rows, None]
                same = by_id[torch.where(inside, start[rows, None] + offset, size)]  # (R, S)
                match = inside & (cameras[same] != self.query_cameras[rows, None])
                yield rows.cpu(), similarity, same, match

    def _product(self, rows: Tensor, out: Tensor) -> None:
        query = self.query[rows].to(self.dtype)
        if self.distance is not None:
            for few, of_few in zip(_parts(query, _OWN_AT_ONCE), _parts(out, _OWN_AT_ONCE), strict=True):
                for low in range(0, len(self.gallery), _OWN_AT_ONCE):
                    part = self.gallery[low : low + _OWN_AT_ONCE].to(self.dtype)
                    of_few[:, low : low + _OWN_AT_ONCE] = -self.distance(few, part)
            return
        step = len(self.gallery)
        if self.gallery.dtype != self.dtype:
            step = max(1, _RAISED_BYTES // (query.shape[1] * query.itemsize or 1))
        for low in range(0, len(self.gallery), step):
            part = self.gallery[low : low + step].to(self.dtype)
            torch.mm(query, part.T, out=out[:, low : low + step])

    def _squares(self, name: str, features: Tensor) -> Tensor:
        """Squared lengths (N,) of the features, rounded once; an error if one is not finite."""
        parts = _parts(features, 512)
        raised = torch.empty(parts[0].shape, dtype=torch.float64, device=features.device)
        norms = torch.cat([torch.linalg.vector_norm(raised[: len(part)].copy_(part), dim=1) for part in parts])
        squares = norms.square().to(self.dtype)
        bad = (~squares.isfinite()).nonzero()[:, 0].tolist()
        if bad:
            raise ValueError(
                f"{name} has {len(bad)} features that are not finite (nan, infinite, or too large to square), "
                f"the first in row {bad[0]}; expected finite numbers: look at the network that made them"
            )
        return squares


def _labels(name: str, values: Values, features: Tensor) -> Tensor:
    """Identities or cameras, int64 (N,), on the device of the features (N, D)."""
    labels = integers(name, values)
    if labels.shape != (len(features),):
        raise ValueError(f"{name} has shape {tuple(labels.shape)}; expected ({len(features)},), one per image")
    return labels.to(features.device, torch.int64)


def _ties(similarity: Tensor) -> tuple[int, int]:
    """Of a row's similarities (W,): how many of some that are spread over it repeat another, and of how many."""
    some = similarity[:: -(-len(similarity) // _TIES_AMONG)]
    some = some[some > -torch.inf].sort().values
    return int((some[1:] == some[:-1]).sum()), len(some)


def _warn_of_ties(ties: list[tuple[int, int]]) -> None:
    repeated, seen = (sum(counts) for counts in zip(*ties, strict=True)) if ties else (0, 0)
    if repeated > _TIES_WARNED * seen:
        warnings.warn(
            f"{repeated / seen:.0%} of the similarities looked at repeat another of the same query exactly, and "
            "matches stand before what is as similar: mAP, mINP and CMC are too high. Have the features collapsed to "
            "a few points, do they hold a few values only, or lie so far from 0 that distances are rounded alike?",
            TiesWarning,
            stacklevel=4,  # whoever called evaluate_ranking, past torch.no_grad
        )


def _parts(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """Split into even parts of at most so many rows (at least one)."""
    return torch.chunk(rows, -(-len(rows) // max(1, most)) or 1)


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = get_close_matches(str(value), choices, n=1, cutoff=0)[0]
        raise ValueError(f'{name} is "{value}"; expected one of {", ".join(choices)}; did you mean "{near}"?')

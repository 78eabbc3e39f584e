"""CMC, mAP and mINP of a re-identification ranking: exact, and without the distance matrix.

Protocol: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (Market-1501). For each query, the
gallery items of the same identity and the same camera are left out, and so are those of identity -1 (junk); what has
the query's identity and is left is a *match*, everything else is *wrong*. Distractors need no rule: their identity
(0 in Market-1501) is nobody's, so that they are always wrong.

Only the matches need a rank, and a rank is a count. Hence per block of queries one matrix product into a reused
buffer, and per match one count of the wrong items that are more similar: no sort of the gallery.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

JUNK = -1  # the identity of gallery items that are ignored

_BLOCK_BYTES = 192 * 2**20  # similarities of one block of queries with the whole gallery
_SLAB_BYTES = 4 * 2**20  # the part of a block that is worked on while it lies in the cache


@dataclass(frozen=True)
class Ranking:
    """What a ranking is worth. Fractions, not per cent; means are over the queries that have a match, nan if none has.

    cmc: (max_rank,) float64, `cmc[k - 1]` is the fraction of queries with a match among the first k ("rank-k").
    mAP: mean average precision.
    mINP: mean inverse negative penalty, matches over the rank of the last one (Ye et al., "Deep Learning for Person
        Re-identification: A Survey and Outlook", 2021, Eq. 9).
    average_precision: (Q,) float64, nan where a query has no match.
    first_match_rank: (Q,) int64, from 1; 0 where a query has no match.
    """

    cmc: Tensor
    mAP: float
    mINP: float
    average_precision: Tensor
    first_match_rank: Tensor


@torch.no_grad()
def evaluate_ranking(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
    metric: str = "cosine",
    average_precision: str = "rectangular",
    max_rank: int = 50,
) -> Ranking:
    """Rank the gallery for each query by Market-1501's protocol and say how well it went.

    query (Q, D), gallery (G, D): features, any floating type, any one device. ids and cameras: integers, (Q,) and (G,).
    average_precision: "rectangular", the mean of the precisions at the matches (scikit-learn, torchreid, fast-reid), or
        "trapezoid", the area under straight lines between them, from precision 1 at recall 0 (Market-1501's own code,
        after Philbin et al., CVPR 2007). They differ by up to a point of mAP: never compare one with the other.

    Ties: a match's rank is one plus the number of valid gallery items that are strictly more similar, so that it stands
    before the wrong items that are as similar; matches as similar as one another take consecutive ranks. The order of
    the gallery therefore does not matter. (A network that maps every image to one point ties everything, and gets 1.)

    Half precision is raised to float32 before the product; float64 is kept. An all-zero feature has cosine 0 with all.
    Results are on the CPU. Raises ValueError (a shape, a name, a feature that is not finite) and TypeError (a dtype).
    """
    _choose("average_precision", average_precision, ("rectangular", "trapezoid"))
    if max_rank < 1:
        raise ValueError(f"max_rank is {max_rank}; expected at least 1")
    problem = _Problem(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, metric)
    count = len(query)
    ap = torch.full((count,), torch.nan, dtype=torch.float64)
    inp = ap.clone()
    first = torch.zeros(count, dtype=torch.int64)
    for rows, similarity, same, match in problem.slabs():
        own = similarity.gather(1, same).masked_fill(~match, -torch.inf).sort(1, descending=True).values  # (R, S)
        similarity.scatter_(1, same, -torch.inf)  # leaves the wrong items
        own = own[:, : int(match.sum(1).max())]  # (R, M), best match first
        wrong_before = _count_above(similarity, own)  # (R, M)
        matches = match.sum(1, keepdim=True)  # (R, 1)
        found = torch.arange(1, own.shape[1] + 1, device=own.device, dtype=torch.float64)  # matches so far
        rank = found + wrong_before
        precision = found / rank
        if average_precision == "trapezoid":  # precision just before the match; 1 before anything was seen
            before = torch.where(rank > 1, (found - 1) / (rank - 1).clamp(min=1), 1.0)
            precision = (precision + before) / 2
        precision = precision * (found <= matches)
        last = rank.gather(1, matches - 1)
        ap[rows] = (precision.sum(1) / matches[:, 0]).cpu()
        inp[rows] = (matches / last)[:, 0].cpu()
        first[rows] = rank[:, 0].long().cpu()
    ranks = torch.arange(1, max_rank + 1)
    cmc = (first[first > 0, None] <= ranks).double().mean(0)
    return Ranking(cmc, ap.nanmean().item(), inp.nanmean().item(), ap, first)


@torch.no_grad()
def top_matches(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor,
    gallery_cameras: Tensor,
    metric: str = "cosine",
    k: int = 10,
) -> Tensor:
    """The k most similar gallery items of each query, as indexes (Q, k) int64, best first, on the CPU.

    Items that the protocol leaves out (see `evaluate_ranking`, whose arguments these are) are not listed; -1 fills up
    where fewer than k are left. Items that are equally similar come in no particular order.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    problem = _Problem(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, metric)
    top = torch.full((len(query), k), -1)
    for rows, similarity, same, match in problem.slabs(matchless=True):
        similarity.scatter_(1, same.masked_fill(match, len(gallery)), -torch.inf)
        best = similarity.topk(min(k, similarity.shape[1]), dim=1)
        top[rows, : best.indices.shape[1]] = best.indices.masked_fill(best.values == -torch.inf, -1).cpu()
    return top


class _Problem:
    """Checked arguments, and the similarities they make, a slab of queries at a time."""

    def __init__(
        self,
        query: Tensor,
        gallery: Tensor,
        query_ids: Tensor,
        gallery_ids: Tensor,
        query_cameras: Tensor,
        gallery_cameras: Tensor,
        metric: str,
    ) -> None:
        _choose("metric", metric, ("cosine", "euclidean"))
        for name, features in (("query", query), ("gallery", gallery)):
            if features.ndim != 2:
                raise ValueError(f"{name} has shape {tuple(features.shape)}; expected (images, feature length)")
            if not features.is_floating_point():
                raise TypeError(f"{name} is {features.dtype}; expected floating-point features")
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(f"query features are {query.shape[1]} long, gallery features {gallery.shape[1]}; expected one length")
        if query.device != gallery.device:
            raise ValueError(f"query is on {query.device}, gallery on {gallery.device}; expected one device")
        for name, labels, features in (
            ("query_ids", query_ids, query),
            ("query_cameras", query_cameras, query),
            ("gallery_ids", gallery_ids, gallery),
            ("gallery_cameras", gallery_cameras, gallery),
        ):
            if labels.shape != (len(features),):
                raise ValueError(f"{name} has shape {tuple(labels.shape)}; expected ({len(features)},), one per image")
            if labels.is_floating_point() or labels.is_complex():
                raise TypeError(f"{name} is {labels.dtype}; expected integers")
        device = gallery.device
        self.query, self.gallery, self.metric = query, gallery, metric
        self.query_ids, self.query_cameras = query_ids.to(device), query_cameras.to(device)
        self.gallery_ids, self.gallery_cameras = gallery_ids.to(device), gallery_cameras.to(device)
        self.dtype = torch.promote_types(torch.promote_types(query.dtype, gallery.dtype), torch.float32)
        _norms("query", query, self.dtype)
        self.gallery_norms = _norms("gallery", gallery, self.dtype)

    def slabs(self, matchless: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield (rows, similarity, same, match), queries without a match only if asked for.

        rows (R,): which queries, on the CPU. similarity (R, W): with the whole gallery, then at least one column of -inf;
        junk is -inf too; yours to overwrite. same (R, S): the gallery items of the query's identity, filled up with the
        index of the column of -inf. match (R, S): which of them are matches.
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
        junk = (self.gallery_ids == JUNK).nonzero()[:, 0]
        cameras = torch.cat([self.gallery_cameras, self.gallery_cameras.new_zeros(1)])

        # Similar numbers of matches side by side, so that little is filled up.
        order = same_count.argsort(stable=True)
        width = size // 16 * 16 + 16  # rows that start on a cache line multiply faster; always leaves a column over
        itemsize = self.dtype.itemsize
        block = max(1, min(len(order), _BLOCK_BYTES // (width * itemsize)))
        buffer = torch.full((block, width), -torch.inf, dtype=self.dtype, device=device)
        slab = max(1, _SLAB_BYTES // (width * itemsize))
        for rows in order.split(block):
            self._product(rows, buffer[: len(rows), :size])
            for part, similarity in zip(rows.split(slab), buffer[: len(rows)].split(slab), strict=True):
                if self.metric == "cosine":  # the query's own norm does not change its order
                    similarity[:, :size] /= self.gallery_norms
                else:  # |q - g|² = |q|² - 2 (q·g - |g|²/2): the nearest has the largest bracket
                    similarity[:, :size] -= self.gallery_norms.square() / 2
                similarity.index_fill_(1, junk, -torch.inf)
                offset = torch.arange(int(same_count[part].max()), device=device)
                inside = offset < same_count[part, None]
                same = by_id[torch.where(inside, start[part, None] + offset, size)]  # (R, S)
                match = inside & (cameras[same] != self.query_cameras[part, None])
                if not matchless:
                    keep = match.any(1)
                    if not keep.any():
                        continue
                    part, similarity, same, match = part[keep], similarity[keep], same[keep], match[keep]
                yield part.cpu(), similarity, same, match

    def _product(self, rows: Tensor, out: Tensor) -> None:
        query = self.query[rows].to(self.dtype)
        if self.gallery.dtype == self.dtype:
            torch.mm(query, self.gallery.T, out=out)
            return
        for columns in torch.arange(len(self.gallery)).split(4096):
            low, high = int(columns[0]), int(columns[-1]) + 1
            torch.mm(query, self.gallery[low:high].to(self.dtype).T, out=out[:, low:high])


def _norms(name: str, features: Tensor, dtype: torch.dtype) -> Tensor:
    """Lengths (N,) of the features, never zero; an error if one is not finite."""
    parts = [torch.linalg.vector_norm(part.to(dtype), dim=1) for part in features.split(4096)]
    norms = torch.cat(parts)
    bad = (~norms.isfinite()).nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(
            f"{name} has {len(bad)} features that are not finite (nan, infinite, or too large to square), "
            f"the first in row {bad[0]}; expected finite numbers: check the network's output"
        )
    return norms.clamp(min=1e-12)


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = get_close_matches(str(value), choices, n=1, cutoff=0)[0]
        raise ValueError(f'{name} is "{value}"; expected one of {", ".join(choices)}; did you mean "{near}"?')


def _count_above(values: Tensor, thresholds: Tensor) -> Tensor:
    """How many of a row's values (R, W) are above each of its thresholds (R, M): (R, M) int64."""
    return torch.stack([(values > column[:, None]).sum(1) for column in thresholds.T], 1)

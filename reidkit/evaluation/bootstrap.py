"""The one bootstrap: how far a mean would be off with other people (queries, images, attributes) and other seeds."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
Values = NDArray[np.float64]
Clusters = Sequence[str] | NDArray[np.int64] | None  # what each score belongs to; None: each to itself alone


def bootstrap(
    scores: Values,
    error: Values | float = 0.0,
    freedom: int = 1,
    *,
    clusters: Clusters = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Values, Values]:
    """Bounds (M,) of the 95 % percentile interval of the means of scores (Q, M): M means over the same Q queries.

    Queries are drawn anew, the same ones for the same Q and seed: of two rows that ranked the same queries, the
    differences query by query get their paired interval. Queries of one person are alike: `clusters` (Q,) names the
    person of each, and people are drawn with all of their queries (Davison and Hinkley, "Bootstrap Methods and their
    Application", 1997, section 3.8). Of seeds there are too few to be drawn anew (two seeds drawn from two lie between
    the two, and would cover six times in ten), so that each resample draws what the choice of seeds adds from
    Student's t distribution: `error` is the standard error of the means by the seeds, (M,) or one for all, known with
    so many degrees of `freedom`; 0 where the interval is to cover the choice of queries alone.

    Raises ValueError for Q = 0.
    """
    return bounds(resampled_means(scores, clusters=clusters, resamples=resamples, seed=seed), error, freedom, seed)


def resampled_means(scores: Values, *, clusters: Clusters = None, resamples: int = RESAMPLES, seed: int = 0) -> Values:
    """The means (resamples, M) of scores (Q, M) over queries drawn anew, or over clusters of them.

    A mean leaves out what is nan in its column: two columns can be means over two groups of the same people, and the
    mean of a resample that drew nobody of a group is nan. Of many rows that ranked the same queries they are taken
    once, and their differences are those of their means. Raises ValueError for Q = 0.
    """
    if not len(scores):
        raise ValueError("no query has a match in the gallery: there is nothing to take an interval of")
    counted = ~np.isnan(scores)
    sums, counts = np.where(counted, scores, 0.0), counted.astype(np.float64)
    if clusters is not None:
        found, of = np.unique(np.asarray(clusters), return_inverse=True)
        member = (np.arange(len(found))[:, None] == of).astype(np.float64)  # (clusters, Q)
        sums, counts = member @ sums, member @ counts
    means = np.empty((resamples, scores.shape[1]))
    with np.errstate(invalid="ignore"):
        for part in np.array_split(np.arange(resamples), 16):
            times = _times(len(sums), resamples, seed)[part]
            means[part] = (times @ sums) / (times @ counts)
    return means


def bounds(means: Values, error: Values | float = 0.0, freedom: int = 1, seed: int = 0) -> tuple[Values, Values]:
    """The bounds (M,) of `bootstrap`, of means (resamples, M) over queries drawn anew; those that are nan left out."""
    if np.any(error):
        drawn = np.random.default_rng((seed, freedom)).standard_t(freedom, len(means))
        means = means + drawn[:, None] * np.broadcast_to(error, means.shape[1:])
    percentile = np.nanpercentile if np.isnan(means).any() else np.percentile
    low, high = percentile(means, (2.5, 97.5), axis=0)
    return low, high


@functools.lru_cache(maxsize=4)
def _times(count: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each of so many is drawn in each resample, (resamples, count); asked for again and again."""
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(count, size=count) for _ in range(resamples))
    return np.array([np.bincount(picks, minlength=count) for picks in drawn], np.uint16)

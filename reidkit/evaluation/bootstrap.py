"""The one bootstrap: how far a mean would be off with other queries (images, attributes) and with other seeds."""

import functools

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
Values = NDArray[np.float64]


def bootstrap(
    scores: Values, error: Values | float = 0.0, freedom: int = 1, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Values, Values]:
    """Bounds (M,) of the 95 % percentile interval of the means of scores (Q, M): M means over the same Q queries.

    Queries are drawn anew, the same ones for the same Q and seed: of two rows that ranked the same queries, the
    differences query by query get their paired interval. Of seeds there are too few to be drawn anew (two seeds drawn
    from two lie between the two, and would cover six times in ten), so that each resample draws what the choice of
    seeds adds from Student's t distribution: `error` is the standard error of the means by the seeds, (M,) or one for
    all, known with so many degrees of `freedom`; 0 where the interval is to cover the queries alone.

    Raises ValueError for Q = 0.
    """
    return bounds(resampled_means(scores, resamples, seed), error, freedom, seed)


def resampled_means(scores: Values, resamples: int = RESAMPLES, seed: int = 0) -> Values:
    """The means (resamples, M) of scores (Q, M) over queries drawn anew.

    Of many rows that ranked the same queries they are taken once, and their differences are those of their means.
    Raises ValueError for Q = 0.
    """
    if not len(scores):
        raise ValueError("no query has a match in the gallery: there is nothing to take an interval of")
    means = np.concatenate([times @ scores for times in np.array_split(_times(len(scores), resamples, seed), 16)])
    return np.asarray(means / len(scores))


def bounds(means: Values, error: Values | float = 0.0, freedom: int = 1, seed: int = 0) -> tuple[Values, Values]:
    """The bounds (M,) of `bootstrap`, of means (resamples, M) over queries drawn anew."""
    if np.any(error):
        drawn = np.random.default_rng((seed, freedom)).standard_t(freedom, len(means))
        means = means + drawn[:, None] * np.broadcast_to(error, means.shape[1:])
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return low, high


@functools.lru_cache(maxsize=4)
def _times(count: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each of so many queries is drawn in each resample, (resamples, count); asked for again and again."""
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(count, size=count) for _ in range(resamples))
    return np.array([np.bincount(picks, minlength=count) for picks in drawn], np.uint16)

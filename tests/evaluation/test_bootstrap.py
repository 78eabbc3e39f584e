"""The bootstrap against a naive loop, and how often its intervals hold what they should."""

import numpy as np
import pytest

from reidkit.evaluation.bootstrap import bootstrap


def test_bootstrap_interval_against_a_naive_loop() -> None:
    scores = np.random.default_rng(1).random((37, 3))
    low, high = bootstrap(scores, resamples=200, seed=5)
    generator = np.random.default_rng(5)
    means: list[list[float]] = []
    for _ in range(200):
        drawn = [int(i) for i in generator.integers(37, size=37)]
        means.append([sum(scores[i, m] for i in drawn) / 37 for m in range(3)])
    for m in range(3):
        column = sorted(row[m] for row in means)
        for bound, share in ((low[m], 0.025), (high[m], 0.975)):
            place = share * 199
            below = int(place)
            expected = column[below] + (place - below) * (column[below + 1] - column[below])
            assert bound == pytest.approx(expected, abs=1e-12)


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    samples = generator.beta(2, 1, (300, 60))
    bounds = [bootstrap(sample[:, None]) for sample in samples]
    covered = np.mean([low[0] <= 2 / 3 <= high[0] for low, high in bounds])
    assert 0.90 <= covered <= 0.98


def test_bootstrap_interval_of_equal_scores_is_a_point_and_of_none_an_error() -> None:
    low, high = bootstrap(np.full((5, 1), 0.25))
    assert (low[0], high[0]) == (0.25, 0.25)
    with pytest.raises(ValueError, match="no query has a match"):
        bootstrap(np.empty((0, 2)))


def test_the_error_of_seeds_widens_every_mean_by_its_own() -> None:
    scores = np.random.default_rng(0).random((50, 2))
    plain = bootstrap(scores)
    assert np.array_equal(bootstrap(scores, np.zeros(2), 3), plain)
    low, high = bootstrap(scores, np.array([0.0, 1.0]), 3)
    assert (low[0], high[0]) == (plain[0][0], plain[1][0])
    assert high[1] - low[1] == pytest.approx(2 * 3.18, rel=0.15)  # Student's t with three degrees of freedom

"""The bootstrap against a naive loop, and how often its intervals hold what they should."""

import numpy as np
import pytest

from reidkit.evaluation.bootstrap import bootstrap, resampled_means


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


def test_people_are_drawn_with_all_of_their_queries() -> None:
    generator = np.random.default_rng(3)
    scores, people = generator.random((23, 2)), generator.choice(["a", "b", "c", "d", "e"], 23)
    scores[4, 1] = np.nan  # does not count there
    means = resampled_means(scores, clusters=people, resamples=50, seed=5)
    generator, names = np.random.default_rng(5), sorted(set(people.tolist()))
    for found in means:
        drawn = [names[i] for i in generator.integers(len(names), size=len(names))]
        for m in range(2):
            counted = [scores[q, m] for name in drawn for q in np.flatnonzero(people == name)]
            assert found[m] == pytest.approx(np.nanmean(counted), abs=1e-12)
    assert np.array_equal(resampled_means(scores[:, :1], clusters=range(23)), resampled_means(scores[:, :1]))


def test_where_queries_of_a_person_are_alike_only_an_interval_over_people_covers_as_often_as_it_says() -> None:
    generator, people = np.random.default_rng(0), np.repeat(np.arange(60), 5)
    over_people, over_queries = [], []
    for _ in range(300):
        scores = (generator.normal(0, 1, 60)[people] + generator.normal(0, 1, 300))[:, None]
        for covered, clusters in ((over_people, people), (over_queries, None)):
            (low,), (high,) = bootstrap(scores, clusters=clusters, resamples=500)
            covered.append(low <= 0 <= high)
    assert 0.90 <= np.mean(over_people) <= 0.98
    assert np.mean(over_queries) < 0.85


def test_a_resample_that_drew_nobody_of_a_group_is_left_out() -> None:
    scores = np.full((4, 2), np.nan)
    scores[:3, 0], scores[3, 1] = 0.5, 0.25
    low, high = bootstrap(scores)
    assert (low.tolist(), high.tolist()) == ([0.5, 0.25], [0.5, 0.25])


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

"""Localisation against naive loops, by hand, and under what must not change it."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reidkit.evaluation.localisation import Localisation, Measure, evaluate_localisation

NAMES = ("pointing", "energy", "iou")


def measures(result: Localisation) -> list[Measure]:
    return [getattr(result, name) for name in NAMES]


def scores(result: Localisation) -> Tensor:
    """(N, 3 measures, 3 maps)."""
    return torch.stack([measure.scores for measure in measures(result)], dim=1)


def drawn(picture: str) -> Tensor:
    """A region (1, H, W) from lines of # and dots."""
    return torch.tensor([[[mark == "#" for mark in line] for line in picture.split()]])


def naive(heat: list[list[float]], region: list[list[bool]], tolerance: float, threshold: float) -> list[float]:
    """Pointing, energy and IoU of one map, pixel by pixel."""
    h, w, H, W = len(heat), len(heat[0]), len(region), len(region[0])

    def sample(y: float, x: float) -> float:
        """The map at a point in cells, whose centres are at whole numbers; edge cells reach to the border."""
        y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
        top, left = min(int(y), max(h - 2, 0)), min(int(x), max(w - 2, 0))
        total = 0.0
        for i in {top, min(top + 1, h - 1)}:
            for j in {left, min(left + 1, w - 1)}:
                total += heat[i][j] * (1 - abs(y - i)) * (1 - abs(x - j))
        return total

    pixels = [(i, j) for i in range(H) for j in range(W)]
    value = {(i, j): sample((i + 0.5) * h / H - 0.5, (j + 0.5) * w / W - 0.5) for i, j in pixels}
    inside = [p for p in pixels if region[p[0]][p[1]]]
    peak = max(value.values())
    if not inside:
        return [math.nan] * 3
    if peak == 0:
        return [0.0] * 3
    tied = [p for p in pixels if value[p] >= peak * (1 - 1e-5)]
    hits = [p for p in tied if min(math.dist(p, q) for q in inside) <= tolerance]
    high = {p for p in pixels if value[p] >= threshold * peak * (1 - 1e-5)}
    energy = sum(value[p] for p in inside) / sum(value.values())
    return [len(hits) / len(tied), energy, len(high & set(inside)) / len(high | set(inside))]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Maps of few values, so that maxima tie and some are blank, with regions of which some are empty."""
    h, w, n = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 4))
    H, W = h * draw(st.integers(1, 4)), w * draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    maps = torch.randint(0, 4, (n, h, w), generator=generator) * torch.randint(0, 2, (n, 1, 1), generator=generator)
    share = draw(st.sampled_from([0.05, 0.5]))
    return maps.float(), torch.rand(n, H, W, generator=generator) < share


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from([0.0, 1.0, 1.5, 3.0]), st.sampled_from([0.2, 0.45, 1.0]))
def test_the_measures_are_those_of_naive_loops(
    problem: tuple[Tensor, Tensor], tolerance: float, threshold: float
) -> None:
    maps, regions = problem
    H, W = regions.shape[1:]
    result = evaluate_localisation(maps, regions, tolerance=tolerance, threshold=threshold, resamples=10)
    centre = [
        [math.exp(-8 * (((i + 0.5) / H - 0.5) ** 2 + ((j + 0.5) / W - 0.5) ** 2)) for j in range(W)] for i in range(H)
    ]
    for kind, shown in enumerate([maps.tolist(), [[[1.0]]] * len(maps), [centre] * len(maps)]):
        reference = [naive(*pair, tolerance, threshold) for pair in zip(shown, regions.tolist(), strict=True)]
        expected = torch.tensor(reference, dtype=torch.float64).view(-1, 3)
        torch.testing.assert_close(scores(result)[:, :, kind], expected, atol=2e-6, rtol=0, equal_nan=True)
    sighted = regions.flatten(1).any(1)
    assert result.images == sighted.sum()
    assert result.blank == (sighted & (maps.flatten(1).sum(1) == 0)).sum()


def test_by_hand() -> None:
    region = drawn("""....
                      .##.
                      .##.
                      ....""")
    corner = torch.zeros(1, 4, 4)
    corner[0, 0, 0], corner[0, 1, 1] = 3, 1
    result = evaluate_localisation(corner, region, threshold=0.3)
    assert scores(result)[0, :, 0].tolist() == pytest.approx([0, 1 / 4, 1 / 5])
    assert scores(result)[0, :, 1].tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 4])  # the region's share of the area
    assert scores(result)[0, 0, 2] == 1  # the centre's four pixels are tied, and all inside
    diagonal = evaluate_localisation(corner, region, tolerance=1.4)
    assert diagonal.pointing.map.mean == 0  # the region is √2 away
    assert evaluate_localisation(corner, region, tolerance=1.5).pointing.map.mean == 1


def test_a_maximum_between_two_regions_counts_by_its_share() -> None:
    heat = torch.tensor([[[0.0, 5, 5, 0]]])
    assert evaluate_localisation(heat, drawn("##..")).pointing.map.mean == 0.5


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(1e-30, 1e30), st.sampled_from([0.0, 2.0]))
def test_neither_mirroring_nor_scale_matters(problem: tuple[Tensor, Tensor], factor: float, tolerance: float) -> None:
    maps, regions = problem
    result = scores(evaluate_localisation(maps, regions, tolerance=tolerance, resamples=1))
    mirrored = scores(evaluate_localisation(maps.flip(2), regions.flip(2), tolerance=tolerance, resamples=1))
    scaled = scores(evaluate_localisation(maps * factor, regions, tolerance=tolerance, resamples=1))
    torch.testing.assert_close(mirrored, result, atol=1e-5, rtol=0, equal_nan=True)
    torch.testing.assert_close(scaled, result, atol=1e-5, rtol=0, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(problems())
def test_a_map_that_is_its_region_is_perfect(problem: tuple[Tensor, Tensor]) -> None:
    _, regions = problem
    result = evaluate_localisation(regions.float() * 7, regions)
    kept = scores(result)[regions.flatten(1).any(1)]
    torch.testing.assert_close(kept[:, :, 0], torch.ones(len(kept), 3, dtype=torch.float64))


def test_a_constant_map_is_the_random_baseline_at_any_size() -> None:
    regions = torch.rand(5, 21, 14, generator=torch.Generator().manual_seed(0)) < 0.3
    result = evaluate_localisation(torch.full((5, 7, 2), 0.1), regions, tolerance=1)
    for measure in measures(result):
        torch.testing.assert_close(measure.scores[:, 0], measure.scores[:, 1])
        assert measure.over_random == pytest.approx((0, 0, 0), abs=1e-6)


def test_a_blank_map_points_nowhere_and_counts() -> None:
    regions = torch.ones(2, 4, 2, dtype=torch.bool)
    maps = torch.ones(2, 2, 1)
    maps[1] = 0
    result = evaluate_localisation(maps, regions)
    assert (result.images, result.blank) == (2, 1)
    assert [measure.map.mean for measure in measures(result)] == [0.5, 0.5, 0.5]


def test_images_without_the_attribute_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, regions = torch.rand(8, 4, 2, generator=generator), torch.rand(8, 8, 4, generator=generator) < 0.3
    regions[::2] = False
    result, alone = evaluate_localisation(maps, regions), evaluate_localisation(maps[1::2], regions[1::2])
    assert scores(result)[::2].isnan().all()
    assert torch.equal(scores(result)[1::2], scores(alone))
    assert [measure.map for measure in measures(result)] == [measure.map for measure in measures(alone)]


@pytest.mark.parametrize("count", [0, 3])
def test_without_a_region_the_means_are_nan(count: int) -> None:
    result = evaluate_localisation(torch.rand(count, 4, 2), torch.zeros(count, 8, 4, dtype=torch.bool))
    assert result.images == 0
    assert all(np.isnan(measure.map).all() and np.isnan(measure.over_centre).all() for measure in measures(result))


def test_intervals_are_those_of_resampled_means() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, regions = torch.rand(60, 4, 2, generator=generator), torch.rand(60, 8, 4, generator=generator) < 0.3
    result = evaluate_localisation(maps, regions, resamples=4000, seed=3)
    again = evaluate_localisation(maps, regions, resamples=4000, seed=4)
    numbers = np.random.default_rng(0)
    for measure in measures(result):
        values = measure.scores.numpy()
        step = 0.017 if measure is result.pointing else 0.005  # a hit more or less of sixty
        for interval, column in (
            (measure.map, values[:, 0]),
            (measure.centre, values[:, 2]),
            (measure.over_random, values[:, 0] - values[:, 1]),
            (measure.over_centre, values[:, 0] - values[:, 2]),
        ):
            means = [numbers.choice(column, len(column)).mean() for _ in range(4000)]
            assert interval.mean == pytest.approx(column.mean())
            assert (interval.low, interval.high) == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=step)
    assert result.energy.map != again.energy.map  # other images drawn
    assert result.energy.map == evaluate_localisation(maps, regions, resamples=4000, seed=3).energy.map


def test_people_are_drawn_with_all_their_images() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, regions = torch.rand(20, 4, 2, generator=generator), torch.rand(20, 8, 4, generator=generator) < 0.3
    regions[7] = False  # does not count, and its person is drawn without it
    three = [images.repeat_interleave(3, dim=0) for images in (maps, regions)]  # as alike as can be
    people = np.arange(20).repeat(3)
    found, once = evaluate_localisation(*three, clusters=people), evaluate_localisation(maps, regions)
    assert (found.images, found.clusters, once.clusters) == (57, 19, 19)
    for measure, single in zip(measures(found), measures(once), strict=True):
        for of in ("map", "random", "centre", "over_random", "over_centre"):
            assert getattr(measure, of) == pytest.approx(getattr(single, of))
    apart = evaluate_localisation(*three)
    assert apart.energy.map.high - apart.energy.map.low < 0.7 * (once.energy.map.high - once.energy.map.low)
    with pytest.raises(ValueError, match="one for each of 20 images, got 3"):
        evaluate_localisation(maps, regions, clusters=["a", "b", "c"])


def test_a_map_on_the_region_beats_both_baselines() -> None:
    """Blobs in a corner of the image, and maps that see them blurred."""
    regions = torch.zeros(40, 64, 32, dtype=torch.bool)
    regions[:, 4:16, 2:12] = True
    maps = torch.nn.functional.avg_pool2d(regions.float(), 8) + 0.05
    for measure in measures(evaluate_localisation(maps, regions)):
        assert min(measure.over_random.low, measure.over_centre.low) > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type_is_measured(dtype: torch.dtype) -> None:
    maps = torch.randint(0, 9, (6, 4, 2), generator=torch.Generator().manual_seed(0))
    regions = torch.rand(6, 16, 8, generator=torch.Generator().manual_seed(1)) < 0.4
    expected = scores(evaluate_localisation(maps.float(), regions))
    torch.testing.assert_close(scores(evaluate_localisation(maps.to(dtype), regions)), expected, atol=0.02, rtol=0)


def test_batches_do_not_show() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, regions = torch.rand(150, 4, 2, generator=generator), torch.rand(150, 8, 4, generator=generator) < 0.3
    one_by_one = [scores(evaluate_localisation(maps[i : i + 1], regions[i : i + 1], resamples=1)) for i in range(150)]
    torch.testing.assert_close(scores(evaluate_localisation(maps, regions)), torch.cat(one_by_one), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"maps": torch.ones(2, 4, 2)}, ValueError, r"\(2, 4, 2\) and \(3, 8, 4\)"),
        ({"maps": torch.ones(3, 2, 4, 2)}, ValueError, "expected \\(N, h, w\\)"),
        ({"maps": torch.ones(3, 0, 2)}, ValueError, "expected some pixels"),
        ({"maps": torch.ones(3, 4, 2).long()}, TypeError, "int64"),
        ({"maps": torch.tensor([1.0, math.nan, -1]).view(3, 1, 1)}, ValueError, "2 maps .* image 1"),
        ({"maps": torch.tensor([1.0, 1, math.inf]).view(3, 1, 1)}, ValueError, "image 2"),
        ({"regions": torch.ones(3, 8, 4)}, TypeError, "float32; expected bool"),
        ({"tolerance": -1.0}, ValueError, "tolerance is -1.0"),
        ({"tolerance": math.nan}, ValueError, "tolerance is nan"),
        ({"threshold": 0.0}, ValueError, "threshold is 0.0"),
        ({"threshold": 1.1}, ValueError, "threshold is 1.1"),
        ({"resamples": 0}, ValueError, "resamples is 0"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"maps": torch.ones(3, 4, 2), "regions": torch.ones(3, 8, 4, dtype=torch.bool)}
    with pytest.raises(error, match=message):
        evaluate_localisation(**(arguments | change))


def test_arrays_and_lists_do_as_tensors() -> None:
    maps, regions = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0)), torch.ones(3, 8, 4).bool()
    regions[:, :3] = False
    expected = scores(evaluate_localisation(maps, regions, resamples=1))
    assert torch.equal(scores(evaluate_localisation(maps.numpy(), regions.numpy(), resamples=1)), expected)
    listed = scores(evaluate_localisation(maps.tolist(), regions.tolist(), resamples=1))
    torch.testing.assert_close(listed, expected)
    with pytest.raises(TypeError, match="regions is None; expected numbers"):
        evaluate_localisation(maps, None, resamples=1)  # type: ignore[arg-type]

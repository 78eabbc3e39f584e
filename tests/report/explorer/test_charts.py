"""Small charts: that what they draw lies where their axes say."""

import re
from typing import Any

import numpy as np
import pytest

from reidkit.report.explorer import charts


def path_of(chart: str, kind: str) -> np.ndarray[Any, Any]:
    """The points (P, 2) of a line of a chart, in pixels."""
    found = re.search(rf'class="rx-{kind}" d="M([^"]+)"', chart)
    assert found
    return np.array([list(map(float, point.split())) for point in found[1].split("L")])


@pytest.mark.parametrize("log", [False, True])
def test_a_line_lies_on_its_axes(log: bool) -> None:
    x, y = np.arange(1, 13), np.geomspace(90, 0.3, 12)
    chart = charts.line_chart([charts.Line("here", x, y)], "epoch", "loss", "falls", log=log)
    points = path_of(chart, "here")
    assert np.allclose(np.diff(points[:, 0]), np.diff(points[:, 0]).mean(), atol=0.11)  # rounded to a tenth
    labels = re.findall(r'd="M46 ([\d.]+)H322"/><text[^>]*>([\d.]+)<', chart)
    at, values = (np.array([float(pair[i]) for pair in labels]) for i in (0, 1))
    order = np.argsort(values)
    scale = np.log10 if log else np.asarray
    expected = np.interp(scale(y), scale(values[order]), at[order])
    assert np.allclose(points[:, 1], expected, atol=0.2)
    assert values.min() <= y.min()
    assert y.max() <= values.max()
    assert 'role="img" aria-label="falls"' in chart


def test_a_chart_leaves_out_what_cannot_be_drawn() -> None:
    chart = charts.line_chart([charts.Line("here", [1, 2, 3, 4], [2, np.nan, 0, 1])], "x", "y", "a", log=True)
    assert len(path_of(chart, "here")) == 2
    flat = charts.line_chart([charts.Line("here", [1, 2], [0, 0])], "x", "y", "a")
    assert re.findall(r'text-anchor="end">([^<]+)</text>', flat) == ["0", "0.5", "1"]
    one = charts.line_chart([charts.Line("here", [1], [5])], "x", "y", "a")
    assert "l5 5" in one  # a point
    for values in ([np.nan], []):
        with pytest.raises(ValueError, match="no value to draw"):
            charts.line_chart([charts.Line("here", [1] * len(values), values)], "x", "y", "a")
    with pytest.raises(ValueError, match="no difference"):
        charts.difference_chart([], "x", "y", "a")


@pytest.mark.parametrize("count", [1, 7, 3368])
def test_a_bar_for_each_query_while_there_is_room(count: int) -> None:
    values = np.random.default_rng(0).normal(3, 10, count)
    chart = charts.difference_chart(values, "queries", "points", "a")
    bars = sum(len(re.findall("z", path)) for path in re.findall(r'class="rx-(?:gained|lost)" d="([^"]+)"', chart))
    assert bars == min(count, 276)
    lost = re.search(r'class="rx-lost" d="([^"]+)"', chart)
    share = len(re.findall("z", lost[1])) / bars if lost else 0
    assert share == pytest.approx((values < 0).mean(), abs=0.01)


def test_no_change_at_all_is_drawn_without_a_bar() -> None:
    chart = charts.difference_chart(np.zeros(5), "queries", "points", "a")
    assert "rx-gained" not in chart
    assert "rx-lost" not in chart
    assert "nan" not in chart

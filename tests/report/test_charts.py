"""Small charts: that what they draw lies where their axes say."""

import re
from typing import Any

import numpy as np
import pytest

from reidkit.report import charts


def path_of(chart: str) -> np.ndarray[Any, Any]:
    """The points (P, 2) of the first line of a chart, in pixels."""
    found = re.search(r'class="rx-b" d="M([^"]+)"', chart)
    assert found
    return np.array([list(map(float, point.split())) for point in found[1].split("L")])


@pytest.mark.parametrize("log", [False, True])
def test_a_line_lies_on_its_axes(log: bool) -> None:
    x, y = np.arange(1, 13), np.geomspace(90, 0.3, 12)
    chart = charts.line_chart(x, y, "epoch", "loss", "falls", log=log)
    points = path_of(chart)
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
    chart = charts.line_chart([1, 2, 3, 4], [2, np.nan, 0, 1], "x", "y", "a", log=True)
    assert len(path_of(chart)) == 2
    flat = charts.line_chart([1, 2], [0, 0], "x", "y", "a")
    assert re.findall(r'text-anchor="end">([^<]+)</text>', flat) == ["0", "0.5", "1"]
    one = charts.line_chart([1], [5], "x", "y", "a")
    assert "l5 5" in one  # a point
    for values in ([np.nan], []):
        with pytest.raises(ValueError, match="no value to draw"):
            charts.line_chart([1] * len(values), values, "x", "y", "a")


def test_each_value_is_said_under_the_pointer() -> None:
    chart = charts.line_chart([1, 2, 3], [0.5, 0.25, -0.125], "epoch", "loss", "falls")
    assert re.findall(r"<title>([^<]+)</title>", chart) == ["epoch 1: 0.5", "epoch 2: 0.25", "epoch 3: −0.125"]

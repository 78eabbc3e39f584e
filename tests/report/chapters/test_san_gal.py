"""The drawings of SAN-GAL: that they follow the networks and their options, and that they can be read."""

from typing import Any

import matplotlib as mpl
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from reidkit.models.backbone import STAGES
from reidkit.report.chapters import san_gal as drawings
from reidkit.report.chapters.san_gal import DualTraced, trace
from reidkit.systems.attributes import AttributeNetwork
from reidkit.systems.san_gal import SanGalNetwork
from tests.report.conftest import check_drawing, check_page, written


def traced(width: float = 0.125, last_stride: int = 1, colours: int = 4, **reading: Any) -> DualTraced:
    attributes = AttributeNetwork([2, colours], [1, colours - 1], width, last_stride)
    return trace(attributes, SanGalNetwork(7, True, (), width, last_stride, **reading), 64, 32)


@pytest.fixture(scope="module")
def narrow() -> DualTraced:
    return traced()


def test_tracing_leaves_both_networks_as_they_were() -> None:
    networks = AttributeNetwork([2, 3], width_multiplier=0.125).train(), SanGalNetwork(7, width_multiplier=0.125).eval()
    before = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]
    seen = trace(*networks, 64, 32)
    assert seen.heat_maps == {"layer2": (2, 8, 4), "layer3": (2, 4, 2), "layer4": (2, 4, 2)}
    assert seen.of_reid["attention.layer2"][0].output == (64, 8, 4)
    assert [network.training for network in networks] == [True, False]
    for network, state in zip(networks, before, strict=True):
        assert not any(module._forward_hooks for module in network.modules())
        assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_the_whole_follows_width_stride_and_attributes(narrow: DualTraced) -> None:
    said = {
        "narrow": drawings.dual_trace(narrow)[1],
        "wide": drawings.dual_trace(traced(width=0.25))[1],
        "strided": drawings.dual_trace(traced(last_stride=2))[1],
        "colourful": drawings.dual_trace(traced(colours=6))[1],
    }
    for name, boxes in {
        "narrow": ("heat maps (4 × 8 × 4); ASAM (64 × 8 × 4)", "BNNeck (256)", "2 × BN, FC (6 logits)"),
        "wide": ("heat maps (4 × 8 × 4); ASAM (128 × 8 × 4)", "BNNeck (512)", "classifier (7 logits)"),
        "strided": ("heat maps (4 × 2 × 1); ASAM (256 × 2 × 1)",),
        "colourful": ("heat maps (6 × 8 × 4)", "2 × BN, FC (8 logits)"),
    }.items():
        assert [box for box in boxes if box not in said[name]] == []
    assert all(alt.count("ASAM (") == alt.count("heat maps (") == len(STAGES) for alt in said.values())


@pytest.mark.parametrize(
    ("reading", "there", "absent"),
    [
        ({}, "β, Eq. 3 (4 × 1 × 1); product; sigmoid: α, Eq. 4 (4 × 8 × 4); sigmoid again (4 × 8 × 4)", "0–1"),
        ({"sigmoids": 1}, "sigmoid: α, Eq. 4 (4 × 8 × 4); product; blocks of channels (32 × 8 × 4)", "again"),
        ({"scaling": "minmax"}, "each map to 0–1 (4 × 8 × 4)", "pooling"),
    ],
)
def test_the_module_is_drawn_in_its_reading(reading: dict[str, Any], there: str, absent: str) -> None:
    figure, alt = drawings.attention_module(traced(**reading))
    assert there in alt
    assert absent not in written(figure)


def test_the_module_pools_where_there_are_more_maps_than_channels() -> None:
    alt = drawings.attention_module(traced(colours=50))[1]
    assert "heat maps (50 × 8 × 4)" in alt
    assert "pooling in blocks (32 × 8 × 4)" in alt
    assert "blocks of channels" not in alt
    assert (
        "pooling" not in drawings.attention_module(traced(colours=50), "layer3")[1]
    )  # as many channels as maps, or more


@pytest.mark.parametrize(("attended", "weighed"), [("last", "last half"), ("first", "first half")])
def test_the_attended_half_is_the_one_that_is_multiplied(attended: str, weighed: str) -> None:
    figure, _ = drawings.attention_module(traced(attended=attended))
    x = {text.get_text(): text.get_position()[0] for text in figure.findobj(mpl.text.Text)}
    products = [text.get_position()[0] for text in figure.findobj(mpl.text.Text) if text.get_text() == "×"]
    assert x[weighed] == min(products)
    assert len(products) == 2


def test_rows_that_the_drawing_is_not_of_are_refused() -> None:
    attributes = AttributeNetwork([2], width_multiplier=0.125)
    for reid in (
        SanGalNetwork(7, attention=False, width_multiplier=0.125),
        SanGalNetwork(7, class_counts=[2], width_multiplier=0.125),
    ):
        with pytest.raises(ValueError, match="of the row ID"):
            drawings.dual_trace(trace(attributes, reid, 64, 32))


@given(st.integers(1, 12), st.integers(1, 12))
def test_shares_are_those_of_blocks(maps: int, channels: int) -> None:
    found = drawings.shares(maps, channels)
    expected = torch.zeros(maps, channels)
    for c in range(channels):
        first = c * maps // channels
        end = first + 1 if maps < channels else -(-(c + 1) * maps // channels)  # the ceiling
        expected[first:end, c] = 1 / (end - first)
    assert torch.allclose(found, expected)
    if maps >= channels:
        values = torch.randn(maps)
        assert torch.allclose(values @ found, F.adaptive_avg_pool1d(values[None, None], channels).flatten(), atol=1e-5)


def test_blocks_say_and_show_the_same() -> None:
    figure, alt = drawings.blocks((3, 8), (5, 3))
    assert "channel 2: 0; channel 3: 1" in alt
    assert "channel 0: 0, 1; channel 1: 1, 2, 3; channel 2: 3, 4" in alt
    assert [written(figure).splitlines().count(share) for share in ("1/2", "1/3")] == [4, 3]


def test_text_stays_inside_its_box_and_is_legible_on_a_telephone() -> None:
    classes = [2] * 9 + [4, 10, 10]  # those of Market-1501, at full size: the longest shapes
    seen = trace(AttributeNetwork(classes, [1] * 10 + [9, 9]), SanGalNetwork(751, scaling="minmax"), 256, 128)
    figures = [drawings.attention_module(seen, stage)[0] for stage in STAGES]
    for figure in (drawings.dual_trace(seen)[0], *figures):
        check_drawing(figure)
    check_page(drawings.blocks((3, 8), (5, 3))[0])

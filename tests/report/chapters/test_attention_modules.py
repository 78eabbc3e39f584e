"""The architecture drawings: that they follow the network they are given, and that they can be read."""

from collections.abc import Callable

import pytest
import torch

from reidkit.report.chapters import attention_modules as drawings
from reidkit.report.chapters.attention_modules import trace
from reidkit.report.drawings import Trace
from reidkit.systems.joint_loss import ReIDNetwork
from tests.report.conftest import check_drawing, written

Draw = Callable[[Trace], drawings.Drawing]
EVERY: list[Draw] = [
    drawings.retrieval,
    drawings.architecture,
    drawings.residual_block,
    drawings.channel_attention,
    drawings.spatial_attention,
]


def traced(attention: str = "cbam", classifier: str = "circle", width: float = 0.125, last_stride: int = 1) -> Trace:
    return trace(ReIDNetwork(7, attention, classifier, width, last_stride), 64, 32)


@pytest.fixture(scope="module")
def narrow() -> Trace:
    return traced()


def test_trace_notes_what_modules_were_given_and_leaves_the_network_as_it_was() -> None:
    network = ReIDNetwork(7, "cbam", "circle", 0.125).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    seen = trace(network, 64, 32)
    assert seen.into("backbone.conv1") == "3 × 64 × 32"
    assert seen.into("backbone.layer1") == "8 × 16 × 8"  # after the pooling, which is no module
    assert seen.out_of("backbone.layer4") == "256 × 4 × 2"
    assert seen.out_of("classifier") == "7"
    assert len(seen["backbone.layer1.0.attention.channel.fc1"]) == 2  # shared by mean and maximum
    assert not network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_another_width_changes_the_shapes_that_are_drawn_and_said(narrow: Trace) -> None:
    wide = traced(width=0.25)
    said = {
        drawings.retrieval: ("embedding ({})", "256", "512"),
        drawings.architecture: ("Conv5_x: 3 blocks ({})", "256 × 4 × 2", "512 × 4 × 2"),
        drawings.residual_block: ("x_{{l+1}} ({})", "64 × 8 × 4", "128 × 8 × 4"),
        drawings.channel_attention: ("layer 2 ({})", "64", "128"),
        drawings.spatial_attention: ("F″ ({})", "64 × 8 × 4", "128 × 8 × 4"),
    }
    for draw, (text, in_narrow, in_wide) in said.items():
        for network, here, elsewhere in ((narrow, in_narrow, in_wide), (wide, in_wide, in_narrow)):
            figure, alt = draw(network)
            assert text.format(here) in alt
            assert text.format(elsewhere) not in alt
            assert here in written(figure)


def test_every_shape_in_a_drawing_is_in_its_alternative_text(narrow: Trace) -> None:
    for draw in EVERY:
        figure, alt = draw(narrow)
        shapes = [line for line in written(figure).splitlines() if " × " in line]
        assert shapes
        assert all(shape in alt for shape in shapes)


def test_the_architecture_shows_stride_classifier_and_where_attention_is() -> None:
    said = {
        attention: drawings.architecture(traced(attention, "linear", last_stride=2))[1]
        for attention in ("none", "se", "eca", "danet", "nonlocal")
    }
    assert all(
        "Conv5_x: 3 blocks (256 × 2 × 1)" in alt and "LinearClassifier (7 logits)" in alt for alt in said.values()
    )
    assert "blocks)" not in said["none"]
    assert "Conv4_x: 6 blocks (128 × 4 × 2); SE (inside 6 of 6 blocks)" in said["se"]
    assert said["eca"].count("ECA (inside") == 4
    assert "Conv5_x: 3 blocks (256 × 2 × 1); DANet (after 1 of 3 blocks)" in said["danet"]
    assert said["danet"].count("DANet (") == 1
    assert "Non-local (after 2 of 4 blocks)" in said["nonlocal"]
    assert "Non-local (after 3 of 6 blocks)" in said["nonlocal"]
    assert said["nonlocal"].count("Non-local (") == 2
    assert "Conv5_x: 3 blocks (256 × 4 × 2)" in drawings.architecture(traced())[1]


def test_the_residual_block_shows_its_attention_and_its_shortcut(narrow: Trace) -> None:
    first, second = (drawings.residual_block(narrow, f"backbone.layer2.{i}")[1] for i in (0, 1))
    assert "3×3 conv /2, BN, ReLU (16 × 8 × 4)" in first
    assert "shortcut (1×1 conv /2, BN, 64 × 8 × 4)" in first
    assert "3×3 conv, BN, ReLU (16 × 8 × 4)" in second
    assert "shortcut (identity, 64 × 8 × 4)" in second
    assert "channel attention (64 × 8 × 4); spatial attention (64 × 8 × 4); sum" in first
    assert "BN (64 × 8 × 4); SE (64 × 8 × 4); sum; ReLU" in drawings.residual_block(traced("se"))[1]
    nonlocal_ = traced("nonlocal")
    assert (
        "sum; ReLU (64 × 8 × 4); Non-local (64 × 8 × 4); x_{l+1}"
        in (drawings.residual_block(nonlocal_, "backbone.layer2.3")[1])
    )
    assert "Non-local" not in drawings.residual_block(nonlocal_, "backbone.layer2.0")[1]


def test_a_drawing_of_another_module_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"layer2.0.attention is SqueezeExcitation: this drawing needs ChannelAtt"):
        drawings.channel_attention(traced("se"), "backbone.layer2.0.attention")


def test_text_stays_inside_its_box_and_is_legible_on_a_telephone() -> None:
    network = trace(ReIDNetwork(751, "cbam", "circle"))  # full size: the longest shapes
    for draw in EVERY:
        figure, _ = draw(network)
        check_drawing(figure)

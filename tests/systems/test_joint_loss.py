"""The whole network: the 18 cells of the ablation grid, and what comes out of it."""

import pytest
import torch

from reidkit.losses import JointLoss
from reidkit.models import ATTENTION, CircleSoftmax, LinearClassifier
from reidkit.systems.joint_loss import SYSTEM, Output, ReIDNetwork, RunConfig

LABELS = torch.arange(3).repeat_interleave(2)


def batch() -> torch.Tensor:
    return torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("classifier", "use_triplet"), [("linear", False), ("linear", True), ("circle", True)])
@pytest.mark.parametrize("attention", ATTENTION)
def test_every_cell_learns(attention: str, classifier: str, use_triplet: bool, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    network = ReIDNetwork(3, attention, classifier, width_multiplier=0.125).to(memory_format=torch.channels_last)
    images = batch().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        output = network(images, LABELS)
        terms = JointLoss(use_triplet=use_triplet)(output, LABELS)
    assert isinstance(output, Output)
    assert output.features.shape == output.embedding.shape == (6, 256)
    assert output.features.dtype == output.embedding.dtype == torch.float32
    assert output.logits.shape == (6, 3)
    terms["total"].backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert network.backbone.conv1.weight.grad.abs().max() > 0


def test_evaluation_gives_the_embedding_after_bnneck() -> None:
    network = ReIDNetwork(3, width_multiplier=0.125)
    with torch.no_grad():
        network(batch(), LABELS)  # moves the running statistics
        network.eval()
        embedding = network(batch())
        features = network.backbone(batch()).mean((2, 3))
    assert not torch.allclose(embedding, features, atol=1e-2)
    torch.testing.assert_close(embedding, network.neck(features))


def test_embedding_of_an_image_does_not_depend_on_its_batch() -> None:
    network = ReIDNetwork(3, "cbam", "circle", width_multiplier=0.125).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(batch())[2:3], network(batch()[2:3]), rtol=1e-4, atol=1e-5)


def test_training_without_labels_gives_the_circle_classifier_no_target() -> None:
    network = ReIDNetwork(3, classifier="circle", width_multiplier=0.125, circle_scale=32.0, circle_margin=0.25)
    assert isinstance(network.classifier, CircleSoftmax)
    assert (network.classifier.scale, network.classifier.margin) == (32.0, 0.25)
    output = network(batch())
    torch.testing.assert_close(output.logits, 32 * network.classifier.cosines(output.embedding))


def test_classifier_is_linear_or_circle() -> None:
    assert isinstance(ReIDNetwork(3, width_multiplier=0.125).classifier, LinearClassifier)
    with pytest.raises(ValueError, match="classifier is 'arcface': expected 'linear' or 'circle'"):
        ReIDNetwork(3, classifier="arcface", width_multiplier=0.125)


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize(("attention", "classifier"), [("none", "linear"), *((name, "circle") for name in ATTENTION)])
def test_a_compiler_sees_one_graph(attention: str, classifier: str) -> None:
    torch.compiler.reset()
    network = ReIDNetwork(3, attention, classifier, width_multiplier=0.125)
    eager = network(batch(), LABELS)
    compiled = torch.compile(network, fullgraph=True, backend="eager")(batch(), LABELS)  # raises at a break
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(compiled, eager, strict=True))


def test_same_seed_same_network() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(ReIDNetwork(3, "danet", "circle", width_multiplier=0.125).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("row", "plays"), [("none/ce", False), ("half/ce", False), ("se/ce", True), ("danet/ce", True)]
)
def test_the_decay_of_attention_is_told_only_where_there_is_some(row: str, plays: bool) -> None:
    """So that runs without attention have one name, whatever a profile says of attention."""
    decayed, free = (RunConfig(**SYSTEM.rows[row], decay_attention=value) for value in (True, False))
    assert (decayed.name != free.name) == plays
    assert free.decay_attention == (not plays)


def test_undecayed_are_all_parameters_of_attention_and_no_others() -> None:
    for name, free in ((n, f) for n in ATTENTION for f in (True, False)):
        network = ReIDNetwork(3, name, width_multiplier=0.125, decay_attention=not free)
        found = {id(parameter) for module in network.undecayed() for parameter in module.parameters()}
        of_attention = {
            id(parameter) for key, parameter in network.named_parameters() if ".attention." in key or ".output." in key
        }
        assert found == (of_attention if free else set())

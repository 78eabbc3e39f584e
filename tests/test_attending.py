"""What trained attention looks at: weights apart from what they do, held at their means, and kept in records."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reidkit.attending import EXAMPLES, Weights, attention_of, frozen, place_maps, summarise, watched
from reidkit.cells import from_cells, to_cells
from reidkit.data.resident import normalise
from reidkit.models.attention import ATTENTION, Attention, SqueezeExcitation
from reidkit.models.backbone import ResNet50
from reidkit.profile import Profile
from reidkit.records import RecordError, read_record
from reidkit.runs import find_record, measure_again, run, weights_path
from reidkit.systems.ianet import ChannelIA, SpatialIA
from reidkit.systems.joint_loss import RunConfig

CONFIG = RunConfig(image_height=32, image_width=16, precision="fp32")
MODULES = [placement.module(16) for placement in ATTENTION.values()]
MODULES += [module(16, reading) for module in (SpatialIA, ChannelIA) for reading in ("softmax", "normalised")]
PARTS = [part for module in MODULES for part in attention_of(module).values()]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class InMemory:
    """Images as they are."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, indexes: Sequence[Tensor]) -> Iterator[Tensor]:
        return (self.pixels[chosen] for chosen in indexes)


def randomised(module: nn.Module, std: float = 0.5) -> nn.Module:
    """With parameters away from their starting values, at which much of attention does nothing."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.eval()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_a_module_is_its_weights_and_what_is_done_with_them(part: Attention) -> None:
    randomised(part)
    x = torch.randn(3, 16, 6, 4)
    weights = part.weights(x)
    torch.testing.assert_close(part.weigh(x, weights), part(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(part.weigh(x, weights[[1, 2, 0]]), part(x))
    if weights.dim() == 4:
        assert weights.shape in {(3, 16, 1, 1), (3, 1, 6, 4)}
        assert (weights.shape[2:] == (1, 1)) == (part.weighs == "channels")
        assert ((weights > 0) & (weights < 1)).all()
    else:
        size = {"channels": 16, "places": 24}[part.weighs]
        assert weights.shape == (3, size, size)
        torch.testing.assert_close(weights.sum(2), torch.ones(3, size))


def test_the_weights_of_all_images_are_summed_up_as_a_loop_would() -> None:
    backbone = randomised(ResNet50("cbam", width_multiplier=0.125), std=0.2)
    pixels = torch.randint(0, 256, (70, 3, 32, 16), dtype=torch.uint8)  # in two batches
    seen: dict[str, list[Tensor]] = {name: [] for name in attention_of(backbone)}
    for image in pixels:
        with watched(backbone, lambda name, weights: seen[name].append(weights)), torch.no_grad():
            backbone(normalise(image[None].float()))
    assert len(seen) == 2 * 16
    found_by_name = summarise(backbone, InMemory(pixels), CONFIG)  # type: ignore[arg-type]
    for name, found in found_by_name.items():
        weights = torch.cat(seen[name])
        torch.testing.assert_close(found.mean, weights.mean(0, keepdim=True), rtol=1e-4, atol=1e-5)
        mean = weights.mean().item()
        assert found.average == pytest.approx(mean, rel=1e-4)
        assert found.within == pytest.approx(weights.mean(0).std(correction=0).item() / mean, rel=1e-3, abs=1e-5)
        between = weights.var(0, correction=0).mean().sqrt().item() / mean
        assert found.between == pytest.approx(between, rel=1e-3, abs=1e-4)


def test_gates_that_are_shut_have_no_spread() -> None:
    shut = Weights(torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1))
    assert (shut.average, shut.within, shut.between) == (0, 0, 0)


def test_frozen_attention_weighs_every_image_alike() -> None:
    network = nn.Sequential(randomised(SqueezeExcitation(16)))
    x, held = torch.rand(5, 16, 4, 2), torch.rand(1, 16, 1, 1)
    before = network(x)
    with frozen(network, {"0": held}):
        torch.testing.assert_close(network(x), x * held)
    torch.testing.assert_close(network(x), before)
    with torch.no_grad(), frozen(network, {"0": network[0].weights(x[:1])}):  # type: ignore[operator]
        torch.testing.assert_close(network(x)[:1], before[:1])


def test_maps_of_places_are_factors_or_how_much_each_is_looked_at() -> None:
    gate = torch.rand(2, 1, 3, 2)
    assert torch.equal(place_maps(gate, (3, 2)), gate[:, 0])
    uniform = torch.full((2, 6, 6), 1 / 6)
    torch.testing.assert_close(place_maps(uniform, (3, 2)), torch.ones(2, 3, 2))
    all_at_the_third = torch.zeros(1, 6, 6)
    all_at_the_third[:, :, 2] = 1
    assert place_maps(all_at_the_third, (3, 2))[0].tolist() == [[0, 0], [6, 0], [0, 0]]


@pytest.mark.parametrize("height", [1, 5])
def test_a_map_comes_back_from_its_cells(height: int) -> None:
    map_ = torch.rand(height, 3)
    torch.testing.assert_close(from_cells(**to_cells(map_)), map_, atol=1 / 255, rtol=0)
    assert from_cells(**to_cells(torch.zeros(height, 3))).tolist() == [[0.0] * 3] * height


@pytest.fixture
def smoke(build: Path, synthped: Path, one_block_a_stage: None) -> Profile:
    return Profile.read("smoke", data_root=synthped)


def test_a_record_tells_what_attention_looks_at(smoke: Profile) -> None:
    config = smoke.config("cbam/ce")
    record = run(config, progress=False).record
    attention, looks = record.table("attention"), record.table("looks")
    assert attention["weighs"].tolist() == ["channels", "places"] * 4  # a block in each of four stages
    assert attention["mean"].between(0, 1).all()
    assert len(looks) == 4 * min(EXAMPLES, len(record.queries))
    first = looks.iloc[0]
    assert from_cells(first["cells"], first["height"], first["peak"]).shape == (
        config.image_height // 4,
        config.image_width // 4,
    )
    assert record.table("frozen")["query"].equals(record.queries["query"])
    assert record.table("frozen").columns.tolist() == ["query", "average_precision", "first_match_rank"]
    assert "attention" not in run(smoke.config("none/ce"), progress=False).record.tables


def test_a_run_is_measured_again_from_its_weights(smoke: Profile, synthped: Path) -> None:
    config = smoke.config("se/ce")
    record = run(config, progress=False).record
    history = (record.directory / "history.csv").read_bytes()
    for table in ("attention", "frozen", "looks"):  # as if it were older than these
        (record.directory / f"{table}.csv").unlink()
    content = json.loads((record.directory / "record.json").read_text())
    content["files"] = {name: sum_ for name, sum_ in content["files"].items() if name in ("history.csv", "queries.csv")}
    (record.directory / "record.json").write_text(json.dumps(content))
    again = measure_again(read_record(record.directory), synthped)
    assert again.directory == record.directory
    assert again.metrics == record.metrics
    assert {"attention", "frozen", "looks"} <= again.tables.keys()
    assert (record.directory / "history.csv").read_bytes() == history
    assert again.provenance["commit"] == record.provenance["commit"]
    assert again.provenance["measured"].keys() == {"created", "commit", "dirty"}
    assert [path.name for path in record.directory.parent.iterdir()] == [record.name]


def test_weights_that_measure_otherwise_replace_no_record(smoke: Profile, synthped: Path) -> None:
    config = smoke.config("se/ce")
    record = run(config, progress=False).record
    content = json.loads((record.directory / "record.json").read_text())
    content["metrics"]["mAP"] += 0.01
    (record.directory / "record.json").write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"measure otherwise than its record says \(mAP: "):
        measure_again(read_record(record.directory), synthped)
    weights_path(config).unlink()
    with pytest.raises(Exception, match="no weights of this run"):
        measure_again(read_record(record.directory), synthped)
    shutil.rmtree(record.directory)
    assert find_record(config) is None

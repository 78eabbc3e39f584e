"""ResNet-50 against torchvision's, where attention goes, and what loading weights refuses."""

import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from reidkit.models.attention import ATTENTION, NonLocal
from reidkit.models.backbone import ResNet50, WeightsError, load_imagenet_weights


@pytest.fixture(scope="module")
def torchvision_network() -> nn.Module:
    torch.manual_seed(0)
    network = resnet50()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that a batch norm in the wrong place shows
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    return network


@pytest.fixture(scope="module")
def network() -> ResNet50:
    return ResNet50(last_stride=2)


@pytest.fixture(scope="module")
def weights(torchvision_network: nn.Module) -> dict[str, Tensor]:
    return torchvision_network.state_dict()


@pytest.fixture(scope="module")
def weights_file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(weights, path)
    return path


@pytest.mark.parametrize("training", [False, True])
def test_same_weights_same_maps_as_torchvision(
    torchvision_network: nn.Module, network: ResNet50, weights_file: Path, training: bool
) -> None:
    load_imagenet_weights(network, weights_file)
    images = torch.randn(2, 3, 64, 32)
    maps: dict[str, Tensor] = {}
    hook = torchvision_network.layer4.register_forward_hook(lambda module, args, out: maps.update(layer4=out))
    with torch.no_grad():
        torchvision_network.train(training)(images)
        torch.testing.assert_close(network.train(training)(images), maps["layer4"], rtol=1e-4, atol=1e-4)
    hook.remove()


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    with torch.device("meta"):  # parameters without memory
        added = {name: count(ResNet50(name)) for name in ATTENTION}
    baseline = added["none"]
    assert baseline == 25_557_032 - 2048 * 1000 - 1000  # ResNet-50 less its classifier
    added = {name: number - baseline for name, number in added.items()}
    assert added["se"] == 28_088_024 - 25_557_032  # SE-ResNet-50, 28.09 M
    assert added["eca"] == 13 * 5 + 3 * 7  # "86 parameters"
    assert added["cbam"] == 2_514_944 + 16 * (2 * 49 + 2)  # the MLPs of SE without biases; 7x7 kernels with batch norm
    assert added["danet"] == 2048 * 2048 + 2048 + 2 * (2048 * 256 + 256) + 2
    non_local = [4 * c * c // 2 + 3 * c // 2 + 2 * c for c in (512, 1024)]
    assert added["nonlocal"] == 2 * non_local[0] + 3 * non_local[1]


@pytest.mark.parametrize("attention", ["none", "se", "eca", "cbam", "danet", "nonlocal", "half"])
def test_attention_sits_where_its_authors_put_it(attention: str) -> None:
    network = ResNet50(attention, width_multiplier=0.125)
    placed = {
        (stage, block): place
        for stage in range(1, 5)
        for block, module in enumerate(getattr(network, f"layer{stage}"))
        for place in ("attention", "output")
        if not isinstance(getattr(module, place), nn.Identity)
    }
    every = {(stage, block): "attention" for stage, depth in enumerate((3, 4, 6, 3), 1) for block in range(depth)}
    expected = {
        "none": {},
        "danet": {(4, 2): "output"},
        "nonlocal": {(2, 2): "output", (2, 3): "output", (3, 3): "output", (3, 4): "output", (3, 5): "output"},
    }.get(attention, every)
    assert placed == expected


def test_branch_attention_acts_before_the_residual_addition() -> None:
    """A gate of zero leaves the skip connection alone; after the addition it would leave nothing."""

    class Zero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0

    block = ResNet50("se", width_multiplier=0.125).layer1[1]
    block.attention = Zero()
    x = torch.rand(2, 32, 4, 4)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(("last_stride", "size"), [(1, (8, 4)), (2, (4, 2))])
def test_last_stride_sets_the_map_size(last_stride: int, size: tuple[int, int]) -> None:
    network = ResNet50(last_stride=last_stride, width_multiplier=0.125)
    assert network(torch.randn(1, 3, 128, 64)).shape == (1, network.out_channels, *size)


@pytest.mark.parametrize(("multiplier", "out"), [(0.125, 256), (0.25, 512), (0.3, 608), (1.0, 2048), (0.001, 32)])
def test_width_multiplier_scales_every_width_in_eights(multiplier: float, out: int) -> None:
    network = ResNet50(width_multiplier=multiplier)
    assert network.out_channels == out
    assert all(m.out_channels % 8 == 0 for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention": "cabm"}, "'cabm': expected one of none, se, eca, cbam, danet, nonlocal"),
        ({"last_stride": 3}, "last_stride is 3: expected 1 or 2"),
        ({"width_multiplier": 0}, "width_multiplier is 0"),
    ],
)
def test_refuses_what_it_cannot_build(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet50(**arguments)  # type: ignore[arg-type]


def test_weights_load_beside_attention_which_keeps_its_start(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "resnet50.safetensors")
    network = ResNet50("nonlocal")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.125)
    load_imagenet_weights(network, tmp_path / "resnet50.safetensors")
    for name, parameter in network.state_dict().items():
        if name in weights:
            assert torch.equal(parameter, weights[name]), name
    blocks = [module for module in network.modules() if isinstance(module, NonLocal)]
    assert len(blocks) == 5
    assert all((p == 0.125).all() for block in blocks for p in block.parameters())


def test_weights_older_than_the_batch_counters_load(
    weights: dict[str, Tensor], network: ResNet50, tmp_path: Path
) -> None:
    torch.save({k: v for k, v in weights.items() if "num_batches" not in k}, tmp_path / "old.pth")
    nn.init.zeros_(network.conv1.weight)
    load_imagenet_weights(network, tmp_path / "old.pth")
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])


class Payload:
    """What a hostile pickle does: calls something while it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no weights at .*weights.pth"),
        (b"", "is not a readable state dict"),
        (b"PK\x03\x04 truncated", "is not a readable state dict"),
        (pickle.dumps(Payload(), protocol=2), "is not a readable state dict"),
        ({"state_dict": {}}, "other than a flat state dict"),
        ({}, "lacks bn1.bias"),
        ({"module.conv1.weight": torch.zeros(1)}, "lacks bn1.bias"),
        ("extra", "has the unknown layer5.weight"),
        ("shape", "has another shape for bn1.bias"),
    ],
)
def test_unsuitable_weights_are_refused_and_nothing_changes(
    content: object,
    message: str,
    weights: dict[str, Tensor],
    network: ResNet50,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "extra":
        torch.save({name: torch.zeros(1) for name in [*weights, "layer5.weight"]}, path)
    elif content == "shape":
        torch.save({name: torch.zeros(1) for name in weights}, path)
    elif content is not None:
        torch.save(content, path)
    before = network.conv1.weight.detach().clone()
    with pytest.raises(WeightsError, match=message):
        load_imagenet_weights(network, path)
    assert torch.equal(network.conv1.weight, before)
    assert not Path("executed").exists()


def test_a_narrow_network_has_no_imagenet_weights() -> None:
    with pytest.raises(WeightsError, match=r"width_multiplier 1, but the network has 0\.25"):
        load_imagenet_weights(ResNet50(width_multiplier=0.25), "imagenet")


def test_no_network_connection_is_explained(network: ResNet50, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> dict[str, Tensor]:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", offline)
    with pytest.raises(WeightsError, match=r"could not download .*give its path"):
        load_imagenet_weights(network, "imagenet")


@pytest.mark.parametrize("attention", ["none", "se", "eca", "cbam", "half"])
def test_residual_branches_start_at_the_scale_that_is_set(attention: str) -> None:
    images = torch.randn(2, 3, 32, 16)
    whole = ResNet50(attention, width_multiplier=0.125, residual_scale=1.0)
    absent = ResNet50(attention, width_multiplier=0.125, residual_scale=0.0)
    absent.load_state_dict({k: v for k, v in whole.state_dict().items() if "bn3" not in k}, strict=False)
    for block in absent.layer2:
        x = torch.randn(2, block.conv1.in_channels, 8, 4)
        assert torch.equal(block(x), F.relu(block.downsample(x)))  # nothing but the skip connection
    assert not torch.equal(whole(images), absent(images))


@pytest.mark.parametrize(
    ("attention", "scale"), [("none", 1.0), ("half", 0.5), ("quarter", 0.25), ("se", 0.5), ("eca", 0.5), ("cbam", 0.25)]
)
def test_a_gate_scales_the_branch_at_the_start(attention: str, scale: float) -> None:
    torch.manual_seed(0)
    network = ResNet50(attention, width_multiplier=0.25).train()
    ratios = []
    for block in (*network.layer1, *network.layer2, *network.layer3):
        block.attention.register_forward_hook(
            lambda _, given, made: ratios.append((made.std() / given[0].std()).item())
        )
    network(torch.randn(8, 3, 64, 32))
    assert len(ratios) == 13
    assert sum(ratios) / len(ratios) == pytest.approx(scale, rel=0.15)


def test_loaded_weights_leave_nothing_of_the_scale(tmp_path: Path) -> None:
    donor, network = ResNet50(), ResNet50(residual_scale=0.0)
    path = tmp_path / "donor.pth"
    torch.save(donor.state_dict(), path)
    load_imagenet_weights(network, path)
    assert torch.equal(network.layer1[0].bn3.weight, donor.layer1[0].bn3.weight)

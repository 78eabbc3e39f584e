"""What a GPU would be asked to do, without one: tensors without values on a device that is not there.

Two and four steps must wait for the device equally often: so nothing inside a step waits for it. A graph of the whole
step could not be recorded either if something did. There is no backward pass on a device that is not there.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from reidkit.data import AttributeGroup
from reidkit.data.heat_maps import HeatMaps
from reidkit.data.resident import ResidentImages, channel_constants, normalise, resize
from reidkit.data.samplers import ShuffledSampler
from reidkit.data.synthped import PARTS
from reidkit.gradcam import attribute_heat_maps
from reidkit.losses import JointLoss, attribute_loss
from reidkit.models.attention import ATTENTION
from reidkit.models.backbone import STAGES
from reidkit.settings import Settings
from reidkit.systems import ROWS
from reidkit.systems.attributes import AttributeNetwork
from reidkit.systems.joint_loss import ReIDNetwork
from reidkit.systems.san_gal import SanGalNetwork
from reidkit.systems.system import Batch as SystemBatch
from reidkit.systems.system import Classes
from reidkit.training import Batch, extract_features, train

pytestmark = pytest.mark.usefixtures("one_block_a_stage")

SETTINGS = Settings(image_height=64, image_width=32, epochs=1, batch_size=8)
CLASSES = (2, 4)
OWN = {"joint-loss", "attributes", "san-gal"}  # the systems with tests of their own below


class FakeGPU(FakeTensorMode):
    """Tensors without values, on `cuda` though there is none."""

    avoid_device_init = True


class Waits(TorchDispatchMode):
    """Counts how often the CPU waits for the device: copies between the two, and looks at a value."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
            return -1.0 if args[0].is_floating_point() else -1
        result = function(*args, **kwargs)
        if function.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.copy_):
            source = args[1] if function is torch.ops.aten.copy_.default else args[0]
            given = dict(zip((argument.name for argument in function._schema.arguments), args, strict=False)) | kwargs
            self.count += source.device.type != result.device.type and not given.get("non_blocking", False)
        return result


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "none")
    monkeypatch.setattr("reidkit.training.save_checkpoint", lambda *_: None)
    monkeypatch.setattr(Tensor, "backward", lambda self: None)
    channel_constants.cache_clear()
    with FakeGPU(allow_non_fake_inputs=True):
        channel_constants(torch.empty(0, device="cuda").device)  # the first use waits, once in a process
        yield
    channel_constants.cache_clear()


def moved(network: nn.Module) -> Any:
    """The network on the device; `Module.to` cannot bring it there."""

    def there(value: Tensor) -> Tensor:
        memory_format = torch.channels_last if value.ndim == 4 else torch.contiguous_format
        return torch.empty(value.shape, dtype=value.dtype, device="cuda", memory_format=memory_format)

    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(there(parameter), parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, there(buffer))
    return network


def images(count: int) -> ResidentImages:
    store = ResidentImages([], SETTINGS.size)
    store.pixels = torch.empty(count, 3, 64, 32, dtype=torch.uint8, device="cuda").to(memory_format=torch.channels_last)
    return store


def heat_maps(count: int) -> HeatMaps:
    maps = {stage: torch.empty(count, 6, 8, 4, dtype=torch.uint8, device="cuda") for stage in STAGES}
    return HeatMaps(maps, {stage: torch.empty(count, 6, device="cuda") for stage in STAGES}, "cuda")


def waits_of_training(directory: Path, network: nn.Module, losses: Any, steps: int, columns: int = 0) -> int:
    count = steps * SETTINGS.batch_size
    labels = torch.zeros(count, columns, dtype=torch.int64) if columns else torch.zeros(count, dtype=torch.int64)
    with Waits() as waits:
        train(
            network, losses, images(count), labels, ShuffledSampler(count, SETTINGS.batch_size), SETTINGS,
            seed=0, directory=directory, identity={}, graph=False, progress=False,
        )  # fmt: skip
    return waits.count


def waits_of_features(network: nn.Module, batches: int, given: Callable[[Tensor, Tensor], Any] | None) -> int:
    with Waits() as waits:
        features = extract_features(network, images(8 * batches), SETTINGS, given=given, batch_size=8)
    assert features.device.type == "cpu"
    return waits.count


def assert_equally_many(waits: Callable[[int], int]) -> None:
    few, many = waits(2), waits(4)
    assert 0 < few == many, f"{few} waits in 2 steps, {many} in 4"


@pytest.mark.parametrize(("attention", "classifier"), [("none", "linear"), *((name, "circle") for name in ATTENTION)])
def test_no_step_of_the_joint_loss_waits(tmp_path: Path, attention: str, classifier: str) -> None:
    network, objective = moved(ReIDNetwork(6, attention, classifier, width_multiplier=0.125)), JointLoss()

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        output = network(batch.images, batch.labels)
        assert batch.images.dtype == torch.float32
        assert output.embedding.device.type == "cuda"
        return objective(output, batch.labels)

    assert_equally_many(lambda steps: waits_of_training(tmp_path, network, losses, steps))
    assert_equally_many(lambda batches: waits_of_features(network, batches, None))


@pytest.mark.parametrize(("attention", "class_counts"), [(False, ()), (False, CLASSES), (True, ()), (True, CLASSES)])
def test_no_step_of_san_gal_waits(tmp_path: Path, attention: bool, class_counts: tuple[int, ...]) -> None:
    network = moved(SanGalNetwork(6, attention, class_counts, width_multiplier=0.125))
    objective, augmentation, stored = JointLoss(), SETTINGS.augmentation(), heat_maps(4 * SETTINGS.batch_size)

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        maps = {stage: augmentation.move_maps(still, batch.draw) for stage, still in stored[batch.indexes].items()}
        output = network(batch.images, maps if attention else None)
        terms = objective(output, batch.labels[:, 0])
        if output.attributes:
            terms["total"] = terms["total"] + attribute_loss(output.attributes, batch.labels[:, 1:])
        return terms

    given = (lambda indexes, _: stored[indexes]) if attention else None
    assert_equally_many(lambda steps: waits_of_training(tmp_path, network, losses, steps, 1 + len(CLASSES)))
    assert_equally_many(lambda batches: waits_of_features(network, batches, given))


@pytest.mark.parametrize("row", [row for row, system in ROWS.items() if system.name not in OWN])
def test_no_step_of_a_compared_system_waits(tmp_path: Path, row: str) -> None:
    system = ROWS[row]
    config = system.configuration.model_validate({"width_multiplier": 0.125, **system.rows[row]})
    groups = (AttributeGroup("hat", ("no", "yes"), ("hat",)), AttributeGroup("top", ("none", "red"), ("red",)))
    network = moved(system.build(config, Classes(6, groups if "attributes" in config.needs else ())))
    maps = {"parts": torch.empty(SETTINGS.batch_size, len(PARTS), 8, 4, device="cuda")}

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        step = SystemBatch(batch.images, batch.labels[:, 0], batch.labels[:, 1:], maps, batch)
        return network.losses(step)  # type: ignore[no-any-return]

    given = (lambda *_: maps) if "parts" in config.needs else None
    assert_equally_many(lambda steps: waits_of_training(tmp_path, network, losses, steps, 1 + len(groups)))
    assert_equally_many(lambda batches: waits_of_features(network, batches, given))


def test_no_step_of_the_attribute_network_waits(tmp_path: Path) -> None:
    network = moved(AttributeNetwork(CLASSES, width_multiplier=0.125))

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        return {"total": attribute_loss(network(batch.images), batch.labels)}

    assert_equally_many(lambda steps: waits_of_training(tmp_path, network, losses, steps, len(CLASSES)))


def test_heat_maps_wait_for_nothing_but_the_classes_given() -> None:
    network = moved(AttributeNetwork(CLASSES, (1, 3), width_multiplier=0.125))
    pixels = normalise(resize(images(8).pixels, SETTINGS.size))
    with Waits() as waits:
        maps = attribute_heat_maps(network, pixels)
    assert waits.count == 0
    assert [tuple(of_stage.shape) for of_stage in maps.values()] == [(8, 4, 8, 4), (8, 4, 4, 2), (8, 4, 4, 2)]
    assert all(of_stage.device.type == "cuda" for of_stage in maps.values())


def test_what_waits_is_counted() -> None:
    there = torch.empty(3, device="cuda")
    with Waits() as waits:
        there.cpu()
        there.to("cpu", non_blocking=True)
        there.float()
        torch.zeros(3).copy_(there)
        float(there.sum())
        torch.tensor([1.0], device="cuda")
        torch.zeros(3, device="cuda")
    assert waits.count == 4
    with Waits() as waits, torch.inference_mode():
        there.cpu()
        there.float()
        there.to("cpu", non_blocking=True)
    assert waits.count == 1

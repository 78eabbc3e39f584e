"""Steps that are recorded and replayed: on a GPU, and on a CPU by a recorder that does what a CUDA graph does."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reidkit.data.resident import Augmentation, Draw, ResidentImages, move_at_once, normalise, resize
from reidkit.data.samplers import ShuffledSampler
from reidkit.graph import EAGER_STEPS, can_capture
from reidkit.losses import JointLoss
from reidkit.settings import Settings
from reidkit.systems.joint_loss import ReIDNetwork
from reidkit.training import Batch, Training, train

SETTINGS = Settings(
    image_height=64,
    image_width=32,
    epochs=2,
    batch_size=8,
    learning_rate=0.01,
    warmup_epochs=1,
    milestones=(1.5,),
    padding=2,
    precision="fp32",
)
STEPS = 6  # an epoch, of 8 images each


class Recording(TorchDispatchMode):
    """A CUDA graph as far as a CPU goes: operations on fixed memory, done again without the Python between them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing\nCompile with …")
        result = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        if self.replays == 1:
            return  # unlike a GPU, a CPU has done what it recorded
        for function, args, kwargs, result in self.operations:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():  # neither a view nor in place
                    old.copy_(new)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Lets a CPU do as a GPU does; what it records."""
    made: list[Recording] = []

    def augment(self: Augmentation, images: Tensor, draw: Draw) -> Tensor:
        moved = move_at_once(resize(images, self.size), draw, self.padding)
        return normalise(moved).mul_(~self.erased(draw)[:, None])

    def graph(recording: Recording, stream: None) -> Recording:
        made.append(recording)
        return recording

    monkeypatch.setattr(Augmentation, "__call__", augment)
    monkeypatch.setattr("reidkit.training.can_capture", lambda *_: True)
    monkeypatch.setattr("reidkit.training.own_stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr("torch.cuda.CUDAGraph", Recording)
    monkeypatch.setattr("torch.cuda.graph", graph)
    monkeypatch.setattr("torch.cuda.current_stream", lambda: None)
    return made


class TwoHeads(nn.Module):
    """A network of two classifiers, of which the losses may use one or both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.first, self.second = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.first(features), self.second(features)


class Case:
    """A network and its losses, trained on the same few images."""

    def __init__(self, network: nn.Module, settings: Settings = SETTINGS, device: str = "cpu") -> None:
        self.network, self.settings, self.calls = network.to(device), settings, 0
        self.images = ResidentImages([], settings.size)
        pixels = torch.randint(0, 256, (48, 3, 64, 32), generator=torch.Generator().manual_seed(0)).byte()
        self.images.pixels = pixels.contiguous(memory_format=torch.channels_last).to(device)
        self.labels = torch.arange(48) // 8
        self.objective = JointLoss()

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.objective(self.network(batch.images, batch.labels), batch.labels)

    def train(self, directory: Path, graph: bool, **options: Any) -> Training:
        def counted(batch: Batch) -> Mapping[str, Tensor]:
            self.calls += 1
            return self.losses(batch)

        return train(
            self.network, counted, self.images, self.labels, ShuffledSampler(48, 8), self.settings,
            seed=3, directory=directory, identity={}, graph=graph, **{"progress": False, **options},
        )  # fmt: skip


class Switching(Case):
    """The second head counts from the middle of the first epoch to the middle of the second."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(TwoHeads())

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        first, second = self.network(batch.images)
        terms = {"first": nn.functional.cross_entropy(first, batch.labels)}
        if 0.5 <= batch.progress < 1.5:
            terms["second"] = nn.functional.cross_entropy(second, batch.labels)
        return terms | {"total": torch.stack([*terms.values()]).sum()}


class Looking(Switching):
    """Losses that wait for the device."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        assert batch.images.abs().max().item() > 0
        return {"total": nn.functional.cross_entropy(self.network(batch.images)[0], batch.labels)}


def assert_same(first: tuple[Case, Training], second: tuple[Case, Training]) -> None:
    """Bit for bit."""
    states = first[0].network.state_dict(), second[0].network.state_dict()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    for table in ("history", "steps"):
        pd.testing.assert_frame_equal(getattr(first[1], table), getattr(second[1], table), check_exact=True)


def reid(attention: str, classifier: str, settings: Settings, device: str = "cpu") -> Case:
    torch.manual_seed(0)
    network = ReIDNetwork(6, attention, classifier, width_multiplier=0.125).to(memory_format=torch.channels_last)
    return Case(network, settings, device)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("attention", "classifier"), [("cbam", "circle"), ("none", "linear")])
def test_a_recorded_step_is_the_eager_one(
    tmp_path: Path, recordings: list[Recording], attention: str, classifier: str, optimizer: str
) -> None:
    settings = SETTINGS.model_copy(update={"optimizer": optimizer})
    eager, graphed = (reid(attention, classifier, settings) for _ in range(2))
    expected = eager.train(tmp_path / "eager", graph=False)
    assert not recordings
    assert_same((graphed, graphed.train(tmp_path / "graphed", graph=True)), (eager, expected))
    assert [recording.replays for recording in recordings] == [2 * STEPS - EAGER_STEPS]
    assert (eager.calls, graphed.calls) == (2 * STEPS, EAGER_STEPS + 1)


def test_where_the_losses_change_a_step_is_recorded_anew(tmp_path: Path, recordings: list[Recording]) -> None:
    eager, graphed = Switching(), Switching()
    expected = eager.train(tmp_path / "eager", graph=False)
    assert {"first", "second"} <= {*expected.history.columns}
    trained = graphed.train(tmp_path / "graphed", graph=True, phases=(0.5, 1.5))
    assert_same((graphed, trained), (eager, expected))
    # Three steps, six, three: only the second phase outlasts the eager ones.
    assert [recording.replays for recording in recordings] == [6 - EAGER_STEPS]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Switching, "the losses look at the progress, and no phases are named"),
        (Looking, "RuntimeError: operation not permitted when stream is capturing"),
    ],
)
def test_what_cannot_be_recorded_is_done_as_before(
    tmp_path: Path, recordings: list[Recording], capsys: pytest.CaptureFixture[str], case: Any, reason: str
) -> None:
    eager, graphed = case(), case()
    expected = eager.train(tmp_path / "eager", graph=False)
    trained = graphed.train(tmp_path / "graphed", graph=True, progress=True, name="run")
    assert_same((graphed, trained), (eager, expected))
    assert not any(recording.replays for recording in recordings)
    lines = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert lines == [f"run: steps are not taken as a CUDA graph, only slower: {reason}"]


def test_a_resumed_run_is_recorded_too(tmp_path: Path, recordings: list[Recording]) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop() -> Mapping[str, float]:
        raise Stop

    whole, cut = (reid("none", "circle", SETTINGS) for _ in range(2))
    expected = whole.train(tmp_path / "whole", graph=True)
    cut.settings = SETTINGS.model_copy(update={"evaluate_every": 2})
    with pytest.raises(Stop):
        cut.train(tmp_path / "cut", graph=True, evaluate=stop, checkpoint_seconds=0)
    again = reid("none", "circle", SETTINGS)
    assert_same((again, again.train(tmp_path / "cut", graph=True)), (whole, expected))


def test_only_one_gpu_records_and_not_in_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert can_capture(gpu, "bf16")
    assert can_capture(gpu, "fp32")
    assert not can_capture(gpu, "fp16")
    assert not can_capture(torch.device("cpu"), "fp32")
    monkeypatch.setattr("reidkit.distributed.processes", lambda: 2)
    assert not can_capture(gpu, "bf16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("attention", ["none", "se", "eca", "cbam", "nonlocal"])
def test_graph_and_eager_agree_on_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attention: str, precision: str, optimizer: str
) -> None:
    """To the last bit, after twelve steps, nine of them replayed.

    Without DANet: `reproducible` warns only, and so leaves fused attention the backward pass that is not deterministic.
    """
    settings = SETTINGS.model_copy(update={"precision": precision, "optimizer": optimizer, "deterministic": True})
    eager, graphed = (reid(attention, "circle", settings, "cuda") for _ in range(2))
    expected = eager.train(tmp_path / "eager", graph=False)
    assert_same((graphed, graphed.train(tmp_path / "graphed", graph=True, progress=True)), (eager, expected))
    assert (eager.calls, graphed.calls) == (2 * STEPS, EAGER_STEPS + 1)
    assert "CUDA graph" not in capsys.readouterr().err

import math
import pickle
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from reidkit.data.resident import ResidentImages
from reidkit.data.samplers import ShuffledSampler
from reidkit.training import (
    Batch,
    CheckpointError,
    Means,
    Settings,
    Stage,
    Stop,
    StoppedError,
    Training,
    TrainingError,
    extract_features,
    first_epochs,
    load_checkpoint,
    precision_of,
    reproducible,
    save_checkpoint,
    train,
)

SETTINGS = Settings(
    image_height=16,
    image_width=16,
    epochs=3,
    batch_size=4,
    learning_rate=0.01,
    warmup_epochs=1,
    milestones=(2,),
    precision="fp32",
    device="cpu",
)


CHECKPOINT_SECONDS = 0.0  # every epoch


class InterruptionError(Exception):
    pass


def images() -> ResidentImages:
    store = ResidentImages([], (16, 16))
    store.pixels = torch.randint(0, 256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    return store


def train_small(
    directory: Path,
    settings: Settings = SETTINGS,
    stop_in_epoch: int | None = None,
    spoil: bool = False,
    stop: Stop | None = None,
) -> tuple[Training, dict[str, Tensor]]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    steps = 0

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        nonlocal steps
        if stop_in_epoch is not None and steps == 3 * stop_in_epoch + 1:
            raise InterruptionError
        steps += 1
        loss = nn.functional.cross_entropy(network(batch.images), batch.labels)
        return {"cross-entropy": loss, "total": loss * (torch.nan if spoil and steps > 4 else 1)}

    trained = train(
        network, losses, images(), torch.arange(12) % 3, ShuffledSampler(12, settings.batch_size), settings,
        seed=7, directory=directory, identity={"run": "small"}, name="small",
        checkpoint_seconds=CHECKPOINT_SECONDS, stop=stop, progress=False,
    )  # fmt: skip
    return trained, network.state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_run_ends_with_the_same_numbers(tmp_path: Path, precision: str, epoch: int) -> None:
    settings = SETTINGS.model_copy(update={"precision": precision})
    whole, weights = train_small(tmp_path / "whole", settings)
    with pytest.raises(InterruptionError):
        train_small(tmp_path / "cut", settings, stop_in_epoch=epoch)
    resumed, resumed_weights = train_small(tmp_path / "cut", settings)
    pd.testing.assert_frame_equal(whole.history, resumed.history, check_exact=True)
    pd.testing.assert_frame_equal(whole.steps, resumed.steps, check_exact=True)
    assert same(weights, resumed_weights)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_undecayed_modules_are_moved_by_their_gradients_alone(tmp_path: Path, optimizer: str) -> None:
    """Of two layers that do nothing for the loss, weight decay takes one towards zero and leaves the other."""
    network = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("learns", "idle", "free")})
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        means = batch.images.mean((2, 3))
        return {"total": network["learns"](means).square().sum() + 0 * sum(m(means).sum() for m in network.values())}

    settings = SETTINGS.model_copy(update={"optimizer": optimizer, "weight_decay": 0.1})
    train(network, losses, images(), torch.arange(12) % 3, ShuffledSampler(12, 4), settings, seed=7, directory=tmp_path,
          identity={}, undecayed=[network["free"]], progress=False)  # fmt: skip
    after = network.state_dict()
    assert torch.equal(after["free.weight"], before["free.weight"])
    assert (after["idle.weight"].abs() < before["idle.weight"].abs()).all()
    assert not torch.equal(after["learns.weight"], before["learns.weight"])


def test_what_a_network_draws_itself_comes_of_seed_and_epoch(tmp_path: Path) -> None:
    """As dropout does: whatever was drawn before, and where training begins, and nothing of it is left behind."""

    def drawn(directory: Path, epochs: int) -> list[float]:
        network, found, pictures = nn.Linear(3, 3), [], images()
        before = torch.random.get_rng_state()

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            found.append(torch.rand(()).item())
            return {"total": network(batch.images.mean((2, 3))).sum()}

        settings = SETTINGS.model_copy(update={"epochs": epochs})
        train(network, losses, pictures, torch.arange(12) % 3, ShuffledSampler(12, 4), settings,
              seed=7, directory=directory, identity={}, checkpoint_seconds=0, progress=False)  # fmt: skip
        assert torch.equal(torch.random.get_rng_state(), before)
        return found

    whole = drawn(tmp_path / "whole", 3)
    torch.rand(5)
    assert drawn(tmp_path / "cut", 1) + drawn(tmp_path / "cut", 3) == whole
    assert len(set(whole)) == 9


@pytest.mark.parametrize("step", range(1, 10))
def test_a_run_that_was_stopped_after_any_step_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("reidkit.training.LOOK", 2)  # so that some steps are looked at and some are not
    whole, weights = train_small(tmp_path / "whole")
    asked: list[float] = []
    spent: list[float] = []

    def stop(done: float, seconds: float) -> bool:
        asked.append(done)
        spent.append(seconds)
        return len(asked) == step

    with pytest.raises(StoppedError, match=f"small: stopped after {step / 3:.1f} of 3 epochs; it goes on from"):
        train_small(tmp_path / "cut", stop=stop)
    resumed, resumed_weights = train_small(tmp_path / "cut", stop=stop)
    assert asked == pytest.approx([(number + 1) / 3 for number in range(9)])  # no step is taken twice
    assert spent == sorted(spent)  # seconds go on where they had stopped
    pd.testing.assert_frame_equal(whole.history, resumed.history, check_exact=True)
    pd.testing.assert_frame_equal(whole.steps, resumed.steps, check_exact=True)
    assert same(weights, resumed_weights)


def test_a_run_is_not_stopped_with_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not finite at step 2 of epoch 2"):
        train_small(tmp_path, spoil=True, stop=lambda done, _: done > 1.5)
    assert len(load_checkpoint(tmp_path / "checkpoint.pt", {"run": "small", "processes": 1})["history"]) == 1


def train_staged(
    directory: Path, stop_at: int | None = None
) -> tuple[Training, nn.ModuleDict, list[dict[str, Tensor]]]:
    """Three stages of two, one and one epochs: all; the head alone at a tenth, from new weights; all again."""
    torch.manual_seed(3)
    base = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network, head = nn.ModuleDict({"base": base, "head": nn.Linear(4, 3)}), nn.Linear(4, 3)
    stages = (
        Stage(0.5),
        Stage(0.25, {network["head"]: 0.1}, lambda: network["head"].load_state_dict(head.state_dict())),
        Stage(0.25),
    )
    seen: list[dict[str, Tensor]] = []

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        if len(seen) == stop_at:
            raise InterruptionError
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"total": nn.functional.cross_entropy(network["head"](network["base"](batch.images)), batch.labels)}

    settings = SETTINGS.model_copy(update={"epochs": 4, "precision": "fp32"})
    trained = train(network, losses, images(), torch.arange(12) % 3, ShuffledSampler(12, 4), settings, seed=7,
                    directory=directory, identity={}, stages=stages, checkpoint_seconds=0, progress=False)  # fmt: skip
    return trained, network, seen


def test_a_stage_trains_what_it_names_and_its_rest_stands_still(tmp_path: Path) -> None:
    trained, network, seen = train_staged(tmp_path)
    at_border, later = seen[6], seen[9]  # three steps an epoch
    for name in at_border:
        frozen = torch.equal(at_border[name], later[name])
        assert frozen == name.startswith("base"), name  # its batch norm too
    assert not torch.equal(seen[5]["head.weight"], at_border["head.weight"])
    assert (at_border["head.weight"] - later["head.weight"]).abs().max() < 3.1 * 0.1 * SETTINGS.learning_rate
    assert not torch.equal(later["base.0.weight"], network.state_dict()["base.0.weight"])
    rates = trained.history["learning rate"].tolist()
    assert rates[2] == rates[3]  # the schedule begins anew


@pytest.mark.parametrize("steps", [4, 6, 7, 9, 10])
def test_a_run_that_is_resumed_at_or_after_the_border_of_a_stage_ends_with_the_same_numbers(
    tmp_path: Path, steps: int
) -> None:
    whole, network, _ = train_staged(tmp_path / "whole")
    with pytest.raises(InterruptionError):
        train_staged(tmp_path / "cut", steps)
    resumed, again, _ = train_staged(tmp_path / "cut")
    pd.testing.assert_frame_equal(whole.history, resumed.history, check_exact=True)
    assert same(network.state_dict(), again.state_dict())


def test_every_stage_needs_an_epoch() -> None:
    assert first_epochs([Stage(0.55), Stage(0.15), Stage(0.3)], 40) == [0, 22, 28, 40]
    with pytest.raises(TrainingError, match="epochs 2 are too few for 3 stages"):
        first_epochs([Stage(0.55), Stage(0.15), Stage(0.3)], 2)


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    first, weights = train_small(tmp_path / "a")
    again, weights_again = train_small(tmp_path / "b")
    pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)
    assert same(weights, weights_again)
    assert list(first.history.columns) == ["epoch", "learning rate", "cross-entropy", "total"]


def test_steps_are_means_between_looks_and_epochs_the_means_of_their_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidkit.training.LOOK", 1)
    each, _ = train_small(tmp_path / "each")
    monkeypatch.setattr("reidkit.training.LOOK", 2)
    pairs, _ = train_small(tmp_path / "pairs")
    assert each.steps["step"].tolist() == list(range(1, 10))
    assert pairs.steps["step"].tolist() == [2, 3, 5, 6, 8, 9]  # an epoch of three steps ends with a look
    total = each.steps["total"]
    assert pairs.steps["total"].tolist() == pytest.approx(
        [mean for i in (0, 3, 6) for mean in (total[i : i + 2].mean(), total[i + 2])]
    )
    assert each.history["total"].tolist() == pytest.approx([total[i : i + 3].mean() for i in (0, 3, 6)])


def test_checkpoints_are_written_by_the_clock_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr("reidkit.training.save_checkpoint", lambda _, state: written.append(len(state["history"])))
    train_small(tmp_path)
    assert written == [1, 2, 3]
    written.clear()
    monkeypatch.setattr(sys.modules[__name__], "CHECKPOINT_SECONDS", 1e9)
    train_small(tmp_path)
    assert written == [3]


class WatchedSampler:
    """Says when an epoch has been drawn."""

    def __init__(self, spoilt: int | None = None) -> None:
        self.spoilt = spoilt
        self.drawn: list[Tensor] = []
        self.ready = [threading.Event() for _ in range(SETTINGS.epochs)]

    def epoch(self, generator: torch.Generator) -> Tensor:
        epoch = len(self.drawn)
        if epoch == self.spoilt:
            raise ZeroDivisionError
        self.drawn.append(ShuffledSampler(12, 4).epoch(generator))
        self.ready[epoch].set()
        return self.drawn[-1]


def test_the_next_epoch_is_drawn_while_one_is_trained(tmp_path: Path) -> None:
    sampler, seen = WatchedSampler(), []
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        if batch.progress < 2:
            assert sampler.ready[int(batch.progress) + 1].wait(30)
        seen.append(batch.indexes)
        return {"total": nn.functional.cross_entropy(network(batch.images), batch.labels)}

    def run(sampler: WatchedSampler) -> None:
        train(network, losses, images(), torch.arange(12) % 3, sampler, SETTINGS,
              seed=7, directory=tmp_path, identity={}, progress=False)  # fmt: skip

    with pytest.raises(ZeroDivisionError):
        run(WatchedSampler(spoilt=0))
    run(sampler)
    assert len(sampler.drawn) == SETTINGS.epochs  # none in vain
    assert torch.equal(torch.stack(seen), torch.cat(sampler.drawn))


def test_a_run_is_not_resumed_by_another_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_small(tmp_path)
    monkeypatch.setattr("reidkit.distributed.processes", lambda: 2)
    with pytest.raises(CheckpointError, match="made by 1 processes, and this is one of 2"):
        train_small(tmp_path)


def test_a_record_can_tell_every_device_that_a_run_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InterruptionError):
        train_small(tmp_path, stop_in_epoch=1)
    monkeypatch.setattr("reidkit.training.device_name", lambda _: "another")
    trained, _ = train_small(tmp_path)
    assert trained.devices == ("CPU, 1 thread, fp32", "another, fp32")


def test_auto_is_bf16_only_where_the_processor_has_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for able, expected in (({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"bf16": True}, "bf16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert precision_of("auto", cpu) == expected
        assert precision_of("fp16", cpu) == "fp16"


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite at step 2 of epoch 2 .*fp32"):
        train_small(tmp_path, spoil=True)
    state = load_checkpoint(tmp_path / "checkpoint.pt", {"run": "small", "processes": 1})
    assert len(state["history"]) == 1
    assert all(value.isfinite().all() for value in state["network"].values())


def test_checkpoints_of_another_run_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": {"run": "a", "epochs": 3}})
    with pytest.raises(CheckpointError, match="another run"):
        load_checkpoint(path, {"run": "a", "epochs": 4})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(path, {"run": "a", "epochs": 3})
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="not a checkpoint of reidkit"):
        load_checkpoint(path, {})


def test_means_are_those_of_a_loop_however_often_they_are_looked_at() -> None:
    values = torch.rand(7, generator=torch.Generator().manual_seed(0))
    means = Means(torch.device("cpu"), {})
    for number, value in enumerate(values, start=1):
        means.add({"total": value, "triplet": 2 * value})
        if number in (3, 7):
            since = values[0:3] if number == 3 else values[3:7]
            assert means.look() == pytest.approx({"total": since.mean().item(), "triplet": 2 * since.mean().item()})
        if number == 5:
            means = Means(torch.device("cpu"), means.state())  # stopped and gone on
    assert means.of_epoch() == pytest.approx({"total": values.mean().item(), "triplet": 2 * values.mean().item()})
    assert means.first_bad() is None
    for value in (1.0, math.nan, math.inf):
        means.add({"total": torch.tensor(value)})
    assert means.first_bad() == 8  # the second after seven


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "checkpoint.pt"
    path.write_bytes(pickle.dumps({"identity": Harmful()}))
    with pytest.raises(CheckpointError, match="not a checkpoint that is safe to read"):
        load_checkpoint(path, {})
    assert not (tmp_path / "executed").exists()


def test_a_failing_write_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": {"run": "a"}})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"identity": {"run": "b"}})
    assert load_checkpoint(path, {"run": "a"})["identity"] == {"run": "a"}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_learning_rate_by_hand() -> None:
    settings = Settings(learning_rate=1.0, warmup_epochs=10, warmup_factor=0.1, milestones=(40, 90), decay=0.1)
    expected = {0: 0.1, 5: 0.55, 10: 1.0, 39.9: 1.0, 40: 0.1, 89.9: 0.1, 90: 0.01, 119.9: 0.01}
    assert {at: round(settings.learning_rate_at(at), 12) for at in expected} == expected
    by_epoch = settings.model_copy(update={"schedule_by": "epoch"})
    assert by_epoch.learning_rate_at(5.9) == by_epoch.learning_rate_at(5) == settings.learning_rate_at(5)
    assert Settings(warmup_epochs=0, milestones=()).learning_rate_at(0) == 3.5e-4


def test_the_cosine_falls_from_the_end_of_the_warm_up_to_zero() -> None:
    settings = Settings(learning_rate=2.0, epochs=30, warmup_epochs=10, warmup_factor=0.1, schedule="cosine")
    expected = {0: 0.2, 5: 1.1, 10: 2.0, 20: 1.0, 15: 1 + math.cos(math.pi / 4), 30: 0.0}
    assert {at: round(settings.learning_rate_at(at), 9) for at in expected} == {
        at: round(rate, 9) for at, rate in expected.items()
    }
    with pytest.raises(ValueError, match="leave nothing of 5 epochs"):
        Settings(epochs=5, warmup_epochs=5, schedule="cosine")


def test_features_come_in_order_and_from_evaluation_mode(tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.9))
    network.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    features = extract_features(network, images(), SETTINGS, batch_size=5)
    assert features.shape == (12, 3)
    whole = extract_features(network, images(), SETTINGS, batch_size=12)
    torch.testing.assert_close(features, whole)


def test_reproducible_puts_the_settings_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    with reproducible(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.are_deterministic_algorithms_enabled() is before
    assert torch.utils.deterministic.fill_uninitialized_memory is filled

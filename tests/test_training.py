import pickle
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
    TrainingError,
    TrainingSettings,
    extract_features,
    load_checkpoint,
    reproducible,
    save_checkpoint,
    train,
)

SETTINGS = TrainingSettings(
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


class InterruptionError(Exception):
    pass


def images() -> ResidentImages:
    store = ResidentImages([], (16, 16))
    store.pixels = torch.randint(0, 256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    return store


def train_small(
    directory: Path, settings: TrainingSettings = SETTINGS, stop_in_epoch: int | None = None, spoil: bool = False
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
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

    history, _ = train(
        network, losses, images(), torch.arange(12) % 3, ShuffledSampler(12, settings.batch_size), settings,
        seed=7, directory=directory, identity={"run": "small"}, name="small", progress=False,
    )  # fmt: skip
    return history, network.state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_run_ends_with_the_same_numbers(tmp_path: Path, precision: str, epoch: int) -> None:
    settings = SETTINGS.model_copy(update={"precision": precision})
    history, weights = train_small(tmp_path / "whole", settings)
    with pytest.raises(InterruptionError):
        train_small(tmp_path / "cut", settings, stop_in_epoch=epoch)
    resumed, resumed_weights = train_small(tmp_path / "cut", settings)
    pd.testing.assert_frame_equal(history, resumed, check_exact=True)
    assert same(weights, resumed_weights)


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    history, weights = train_small(tmp_path / "a")
    again, weights_again = train_small(tmp_path / "b")
    pd.testing.assert_frame_equal(history, again, check_exact=True)
    assert same(weights, weights_again)
    assert list(history.columns) == ["epoch", "learning rate", "cross-entropy", "total"]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite at step 1 of epoch 1 .*fp32"):
        train_small(tmp_path, spoil=True)
    state = load_checkpoint(tmp_path / "checkpoint.pt", {"run": "small"})
    assert len(state["history"]) == 1
    assert all(value.isfinite().all() for value in state["network"].values())


def test_checkpoints_of_another_run_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": {"run": "a", "epochs": 3}})
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(path, {"run": "a", "epochs": 4})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(path, {"run": "a", "epochs": 3})
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="not a checkpoint of reidkit"):
        load_checkpoint(path, {})


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
    settings = TrainingSettings(learning_rate=1.0, warmup_epochs=10, warmup_factor=0.1, milestones=(40, 90), decay=0.1)
    expected = {0: 0.1, 5: 0.55, 10: 1.0, 39.9: 1.0, 40: 0.1, 89.9: 0.1, 90: 0.01, 119.9: 0.01}
    assert {at: round(settings.learning_rate_at(at), 12) for at in expected} == expected
    by_epoch = settings.model_copy(update={"schedule_by": "epoch"})
    assert by_epoch.learning_rate_at(5.9) == by_epoch.learning_rate_at(5) == settings.learning_rate_at(5)
    assert TrainingSettings(warmup_epochs=0, milestones=()).learning_rate_at(0) == 3.5e-4


def test_features_come_in_order_and_from_evaluation_mode(tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.9))
    network.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    features = extract_features(network, images(), SETTINGS, batch_size=5)
    assert features.shape == (12, 3)
    whole = extract_features(network, images(), SETTINGS, batch_size=12)
    torch.testing.assert_close(features, whole)


def test_reproducible_puts_the_settings_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with reproducible(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is before

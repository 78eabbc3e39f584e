"""Parameter files and what runs leave, damaged at random (see `tests.fuzzing`). About ten seconds in all."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from reidkit.data.heat_maps import HeatMapError, HeatMaps, store_heat_maps
from reidkit.data.resident import ResidentImages
from reidkit.errors import UserError
from reidkit.models.backbone import WeightsError, read_weights
from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.records import RecordError, read_record, write_record
from reidkit.runs import load_weights, save_weights, weights_path
from reidkit.settings import ParameterError
from reidkit.systems.joint_loss import RunConfig
from reidkit.systems.system import Classes
from reidkit.training import CheckpointError, load_checkpoint, save_checkpoint
from tests.fuzzing import Payload, damaged, is_told

IDENTITY = {"run": "a", "processes": 1}


def fuzz(path: Path, read: Callable[[], Any], kind: type[UserError], *, named: Path | None = None) -> int:
    """How many of 300 damaged files were refused, by errors that name the file, or what else is `named`."""
    whole, told = path.read_bytes(), 0
    for seed in range(300):
        path.write_bytes(damaged(whole, seed))
        told += is_told(read, named or path, kind)
    path.write_bytes(whole)
    assert not is_told(read, path, kind)
    return told


def test_parameter_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes((project_root() / "parameters" / "smoke.yaml").read_bytes())
    assert fuzz(path, lambda: Profile.read(path), ParameterError) > 100


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(Profile.model_fields)), value=values)
def test_parameters_of_any_value(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value}, allow_unicode=True), encoding="utf-8", errors="replace")
    is_told(lambda: Profile.read(path), path, ParameterError)


def a_record(folder: Path) -> Path:
    table = pd.DataFrame({"epoch": [1, 2], "total": [2.0, 1.0]})
    return write_record(
        folder / "a-run", system="joint-loss", config={"seed": 0}, metrics={"mAP": 0.5}, provenance={}, history=table
    ).directory


@pytest.mark.parametrize("name", ["record.json", "history.csv"])
def test_records(tmp_path: Path, name: str) -> None:
    record = a_record(tmp_path)
    assert fuzz(record / name, lambda: read_record(record), RecordError, named=record) > 100


def test_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": IDENTITY, "network": {"weight": torch.ones(3)}, "history": [{"epoch": 1}]})
    assert fuzz(path, lambda: load_checkpoint(path, IDENTITY), CheckpointError) > 50


def test_weights_of_a_run(build: Path) -> None:
    network, config = nn.Linear(2, 2), RunConfig()
    save_weights(path := weights_path(config), network, config, Classes(2, ()), "0" * 64)
    assert fuzz(path, lambda: load_weights(network, config, "0" * 64), CheckpointError) > 100


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_to_start_from(tmp_path: Path, suffix: str) -> None:
    path, state = tmp_path / f"resnet50{suffix}", {"fc.weight": torch.ones(2, 2)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    assert fuzz(path, lambda: read_weights(path), WeightsError) > 50


@pytest.mark.parametrize("name", ["meta.json", "layer4.npy", "layer4.peaks.npy"])
def test_heat_maps(tmp_path: Path, name: str) -> None:
    folder, key = tmp_path / "maps", {"network": "a"}
    images = ResidentImages([], (8, 4))
    images.pixels = torch.zeros(3, 3, 8, 4, dtype=torch.uint8)
    store_heat_maps(folder, images, lambda i, _: {"layer4": torch.ones(len(i), 2, 2, 1)}, key=key, progress=False)
    path = folder / name

    def read() -> None:
        maps = HeatMaps.open(folder, key)
        assert maps[torch.tensor([2])]["layer4"].shape == (1, 2, 2, 1)

    whole = path.read_bytes()
    for seed in range(150):
        path.write_bytes(damaged(whole, seed))
        is_told(read, folder, HeatMapError)


def test_no_pickle_is_run(tmp_path: Path, build: Path) -> None:
    written, config = tmp_path / "written", RunConfig()
    content = pickle.dumps(Payload(written))
    weights_path(config).parent.mkdir(parents=True)
    for path, read in (
        (tmp_path / "checkpoint.pt", lambda path: load_checkpoint(path, IDENTITY)),
        (tmp_path / "resnet50.pth", read_weights),
        (tmp_path / "resnet50.safetensors", read_weights),
        (weights_path(config), lambda _: load_weights(nn.Linear(1, 1), config, "")),
        (tmp_path / "mine.yaml", Profile.read),
    ):
        for how in ("pickle", "torch"):
            if how == "pickle":
                path.write_bytes(content)
            else:
                torch.save(Payload(written), path)
            with pytest.raises(UserError, match=path.name):
                read(path)
    (tmp_path / "mine.yaml").write_text(f"epochs: !!python/object/apply:pathlib.Path.touch [{written}]")
    with pytest.raises(ParameterError, match="mine.yaml"):
        Profile.read(tmp_path / "mine.yaml")
    assert not written.exists()
    pickle.loads(content)
    assert written.exists()  # so that it would have shown

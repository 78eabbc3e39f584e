import gc
import itertools
import json
import os
import shutil
import threading
import weakref
from pathlib import Path

import filelock
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from reidkit.data import load_dataset
from reidkit.data.layouts import file_list_checksum
from reidkit.data.resident import ResidentImages
from reidkit.places import build_root, project_root
from reidkit.profile import Profile
from reidkit.records import RecordError, compare, read_record
from reidkit.runs import (
    check_data,
    features,
    find_record,
    images_kept,
    images_of,
    load_network,
    measure,
    open_dataset,
    repeat,
    run,
    save_weights,
    weights_path,
    with_weights,
)
from reidkit.settings import ParameterError
from reidkit.systems import system
from reidkit.systems.joint_loss import GRID, TABLE_1, RunConfig
from reidkit.systems.system import Classes, CollapsedError, rank_features
from reidkit.training import CheckpointError

PARAMETERS = sorted((project_root() / "parameters").glob("*.yaml"))


pytestmark = pytest.mark.usefixtures("one_block_a_stage")


@pytest.fixture
def smoke(build: Path, synthped: Path) -> Profile:
    return Profile.read("smoke", data_root=synthped, batch_size=8)


def test_the_grid_is_the_papers_eight_rows_and_ten_cells_more() -> None:
    assert len(GRID) == 18
    assert len(TABLE_1) == 8
    assert {GRID[name].row for name in TABLE_1} == {cell.row for cell in GRID.values()} - {None}
    assert GRID["cbam/ce+tri+cir"].row == "Ours"
    assert GRID["cbam/ce"].row is None


@pytest.mark.parametrize("path", PARAMETERS, ids=lambda path: path.stem)
def test_every_parameter_file_is_valid_and_named_after_its_profile(path: Path) -> None:
    profile = Profile.read(path)
    assert profile.profile == path.stem
    runs = profile.configs()
    assert len({config.name for config in runs}) == len(runs) > 0


def test_the_market1501_profile_is_what_the_paper_prints() -> None:
    config = Profile.read("market1501").config("none/ce")
    printed = (config.image_height, config.image_width, config.learning_rate, config.batch_size, config.weights)
    assert printed == (256, 128, 3.5e-4, 64, None)
    assert config.width_multiplier == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epohcs: 3", "unknown parameter 'epohcs'; did you mean 'epochs'"),
        ("epochs: 0", "epochs: .*greater than or equal to 1"),
        ("epochs: many", "epochs: .*integer"),
        ("epochs: 2.5", "epochs: .*integer"),
        ("learning_rate: fast", "learning_rate"),
        ("attention: cbam", "unknown parameter 'attention'"),
        (
            "systems: {joint-loss: {rows: [cbam/ce+tir]}}",
            "'cbam/ce.tir' is none of its rows; did you mean 'cbam/",
        ),
        ("batch_size: 6", "multiple of images_per_identity"),
        ("dataset: market1501", "data_root is needed"),
        ("weights: imagenet\nwidth_multiplier: 0.5", "width_multiplier 1 only"),
        ("learning_rate: .nan", "learning_rate"),
        ("- a list", "expected `key: value` lines, found list"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_bad_parameter_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message) as error:
        Profile.read(path)
    assert "mine.yaml" in str(error.value)


def test_all_bad_parameters_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 0\nlearning_rte: 1")
    with pytest.raises(ParameterError) as error:
        Profile.read(path)
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_parameter_file_names_the_others() -> None:
    with pytest.raises(ParameterError, match="did you mean 'smoke'"):
        Profile.read("smoek")


def test_a_name_says_what_determines_the_numbers_and_nothing_else() -> None:
    config = RunConfig()
    assert RunConfig(device="cpu", data_root=Path("/elsewhere")).name == config.name
    others = [RunConfig(seed=1), RunConfig(attention="se"), RunConfig(epochs=121), RunConfig(synthped_seed=1)]
    assert len({other.name for other in [config, *others]}) == 5
    real = RunConfig(dataset="market1501", data_root=Path("a"))
    assert real.name == RunConfig(dataset="market1501", data_root=Path("b"), synthped_seed=3).name


def test_a_run_is_trained_once_recorded_and_loaded(smoke: Profile) -> None:
    config = smoke.config("none/ce")
    assert find_record(config) is None
    trained = run(config, progress=False)
    assert 0 < trained.metrics["mAP"] <= 1
    assert {"mAP", "mAP (trapezoid)", "mINP", "rank-1", "rank-5", "rank-10"} == trained.metrics.keys()
    assert len(trained.history) == smoke.epochs
    dataset = open_dataset(config)
    assert trained.record.queries["query"].tolist() == [path.name for path in dataset.query.paths]
    mean = trained.record.queries["average_precision"].mean()
    assert mean == pytest.approx(trained.metrics["mAP"], abs=1e-5)
    written = trained.record.directory / "record.json"
    before = written.stat().st_mtime_ns
    assert run(config, progress=False).metrics == trained.metrics
    assert written.stat().st_mtime_ns == before

    found = features(config, dataset)
    assert measure(*found, dataset) == trained.metrics  # the stored weights are those that were evaluated


def test_what_is_published_is_loaded_unless_a_fresh_run_is_asked_for(
    smoke: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, published = smoke.config("none/ce"), tmp_path / "published"
    run(config, records=published, progress=False)
    monkeypatch.setattr("reidkit.runs.record_roots", lambda: (build_root() / "records", published))
    assert run(config, progress=False).record.directory.parent == published
    weights_path(config).unlink()
    with_weights(config, progress=False)  # published records come without
    assert weights_path(config).is_file()
    assert run(config, progress=False).record.directory.parent == published  # which goes on to count
    repeated = read_record(build_root() / "repeated" / config.name)
    assert all(difference.within for difference in compare(read_record(published / config.name), repeated))
    assert run(config, fresh=True, progress=False).record.directory.parent == build_root() / "records"


def test_a_network_that_collapses_leaves_no_record(smoke: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smoke.config("none/ce+tri").model_copy(update={"evaluate_every": 1})
    monkeypatch.setattr(
        system, "embed", lambda network, material, config, split: torch.ones(len(material.images[split]), 4)
    )
    with pytest.raises(CollapsedError, match=r"9\d% of the similarities .*CMC are too high.* lower learning_rate"):
        run(config, progress=False)
    assert find_record(config) is None


def test_a_network_may_recover_from_a_collapse(smoke: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    features, calls = system.embed, itertools.count()
    monkeypatch.setattr(system, "embed", lambda *arguments: features(*arguments) * (next(calls) > 1))
    config = smoke.config("none/ce").model_copy(update={"epochs": 2, "evaluate_every": 1})
    history = run(config, progress=False).record.history
    assert history["mAP"].isna().tolist() == [True, False]


def test_images_are_kept_for_the_next_run_on_the_same_data_and_device(
    smoke: Profile, synthped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(synthped, tmp_path / "copy")
    dataset, cpu = load_dataset("synthped", root), torch.device("cpu")

    def pixels(size: tuple[int, int] = smoke.size) -> torch.Tensor:
        images = images_of(dataset, "query", size, cpu)
        assert isinstance(images, ResidentImages)
        return images.pixels

    assert pixels() is not pixels()
    with images_kept():
        first = pixels()
        assert pixels() is first
        assert pixels((32, 16)) is not first  # and nothing is left of what is no longer asked for
        second = pixels()
        assert second is not first
        assert torch.equal(second, first)
        changed = dataset.query.paths[0]
        os.utime(changed, ns=(0, 0))
        assert pixels() is not second
        Image.open(changed).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(changed, quality=95)
        assert not torch.equal(pixels(), first)
        last = weakref.ref(pixels())
    gc.collect()
    assert last() is None


def test_runs_on_kept_images_have_the_same_numbers(smoke: Profile) -> None:
    alone = run(smoke.config("none/ce"), progress=False).record
    with images_kept():
        run(smoke.config("none/ce+tri"), progress=False)
        again = repeat(alone, smoke.data_root, progress=False)
    for file in ("history.csv", "steps.csv", "queries.csv"):
        assert (alone.directory / file).read_bytes() == (again.directory / file).read_bytes()


def test_a_gallery_is_ranked_once_for_both_conventions(synthped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("synthped", synthped)
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(len(split), 8, generator=generator) for split in (dataset.query, dataset.gallery))
    alone = {
        by: rank_features(query, gallery, dataset, average_precision=by).mAP for by in ("rectangular", "trapezoid")
    }
    passes = []
    once = system.evaluate_ranking
    monkeypatch.setattr(
        system, "evaluate_ranking", lambda *arguments, **options: passes.append(1) or once(*arguments, **options)
    )
    metrics = measure(query, gallery, dataset)
    assert len(passes) == 1
    assert metrics["mAP"] == round(alone["rectangular"], 6)
    assert metrics["mAP (trapezoid)"] == round(alone["trapezoid"], 6)


def test_the_same_seed_gives_the_same_record(smoke: Profile) -> None:
    record = run(smoke.config("cbam/ce+tri+cir"), progress=False).record
    again = repeat(record, smoke.data_root, progress=False)
    assert all(difference.within for difference in compare(record, again))
    for file in ("history.csv", "queries.csv"):
        assert (record.directory / file).read_bytes() == (again.directory / file).read_bytes()


def test_records_of_other_code_are_not_repeated(smoke: Profile) -> None:
    record = run(smoke.config("none/ce"), progress=False).record
    path = record.directory / "record.json"
    content = json.loads(path.read_text())
    content["config"]["revision"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="revision 0"):
        repeat(read_record(record.directory), progress=False)


def test_a_record_of_other_files_is_noticed(smoke: Profile, tmp_path: Path) -> None:
    record = run(smoke.config("none/ce"), progress=False).record
    dataset = open_dataset(smoke)
    check_data(record, dataset)
    other = type(dataset)(dataset.name, dataset.root, dataset.query, dataset.query, dataset.gallery, None)
    with pytest.raises(RecordError, match="made from files with checksum.*delete it to have it rendered anew"):
        check_data(record, other)
    record.config["dataset"] = "market1501"
    with pytest.raises(RecordError, match="a changed copy of a known one"):
        check_data(record, other)


def test_weights_of_another_run_damaged_ones_and_pickles_are_refused(smoke: Profile) -> None:
    first, second = smoke.config("none/ce"), smoke.config("none/ce+tri")
    dataset = open_dataset(first)
    with pytest.raises(CheckpointError, match="no weights of this run"):
        load_network(first, dataset)
    run(first, progress=False)
    load_network(first, dataset)
    good = weights_path(first).read_bytes()
    weights_path(second).write_bytes(good)
    with pytest.raises(CheckpointError, match="the weights are of the run"):
        load_network(second, dataset)
    weights_path(first).write_bytes(good[:1000])
    with pytest.raises(CheckpointError, match="truncated"):
        load_network(first, dataset)
    torch.save({}, weights_path(first))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_network(first, dataset)
    weights_path(first).write_bytes(good)
    save_weights(weights_path(first), torch.nn.Linear(1, 1), first, Classes(8, ()), file_list_checksum(dataset))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_network(first, dataset)


def test_weights_of_other_data_are_neither_used_nor_trained_over(smoke: Profile, tmp_path: Path) -> None:
    """Of as many people, so that the network fits."""
    config = smoke.config("none/ce")
    run(config, progress=False)
    other = shutil.copytree(config.root, tmp_path / "other")
    taken = sorted((other / "bounding_box_train").iterdir())[0]
    taken.rename(taken.with_name(taken.name.replace("_01.jpg", "_99.jpg")))
    elsewhere = config.model_copy(update={"data_root": other})
    assert elsewhere.name == config.name
    with pytest.raises(CheckpointError, match="trained on files with checksum"):
        features(elsewhere, open_dataset(elsewhere))
    weights_path(config).unlink()
    with pytest.raises(RecordError, match="made from files with checksum"):
        with_weights(elsewhere, progress=False)
    assert not weights_path(config).exists()


def test_the_second_of_two_says_who_trains_and_waits(
    smoke: Profile, build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = smoke.config("none/ce")
    (build / "runs").mkdir(parents=True)
    (build / "runs" / f"{config.name}.holder").write_text("process 42 on elsewhere")
    lock = filelock.FileLock(build / "runs" / f"{config.name}.lock", thread_local=False)
    lock.acquire()
    results = []
    waiting = threading.Thread(target=lambda: results.append(run(config, progress=False)))
    waiting.start()
    waiting.join(timeout=0.5)
    assert waiting.is_alive()
    lock.release()
    waiting.join(timeout=60)
    assert results[0].metrics["mAP"] > 0
    assert "is being trained by process 42 on elsewhere; waiting" in capsys.readouterr().out


@pytest.mark.parametrize("cell", [name for name in GRID if name not in ("none/ce", "cbam/ce+tri+cir")])
def test_every_cell_of_the_grid_trains(cell: str, smoke: Profile) -> None:
    finished = run(smoke.config(cell), progress=False)
    assert finished.history["total"].notna().all()
    assert ("triplet" in finished.history) == ("tri" in cell)
    assert finished.record.config["attention"] == cell.split("/")[0]


@pytest.mark.parametrize(
    ("loss", "sampling", "same"),
    [
        ("ce", "shuffled", True),
        ("ce", "identities", False),
        ("ce+tri", "identities", True),
        ("ce+tri", "shuffled", False),
    ],
)
def test_sampling_follows_the_loss_unless_it_is_set(smoke: Profile, loss: str, sampling: str, same: bool) -> None:
    config = smoke.config(f"none/{loss}")
    other = config.model_copy(update={"sampling": sampling})
    assert other.name != config.name
    assert run(config, progress=False).history.equals(run(other, progress=False).history) == same


def test_evaluations_during_training_stand_in_the_history(smoke: Profile) -> None:
    config = smoke.config("none/ce").model_copy(update={"epochs": 2, "evaluate_every": 2})
    history = run(config, progress=False).history
    assert pd.isna(history["mAP"][0])
    assert history["mAP"][1] == pytest.approx(run(config).metrics["mAP"], abs=1e-6)


def test_the_resolved_profile_is_read_back_alike(tmp_path: Path) -> None:
    profile = Profile.read("smoke")
    path = tmp_path / "parameters.yaml"
    path.write_text(yaml.safe_dump(json.loads(profile.model_dump_json())))
    assert Profile.read(path) == profile

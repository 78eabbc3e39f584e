"""Parameter files, and the names that they give to runs."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reidkit import pipeline
from reidkit.__main__ import app
from reidkit.places import record_roots
from reidkit.profile import Profile, read_yaml
from reidkit.records import read_records
from reidkit.report import rows
from reidkit.runs import configuration_of
from reidkit.settings import ParameterError, files_checksum


def test_the_short_names_of_a_profile_are_of_one_run_each() -> None:
    compared = Profile.read("synthped-compared")
    names = [run.config.name for run in compared.planned()]
    assert len({name[-8:] for name in names}) == len(names)


def test_what_is_changed_for_all_is_changed_for_systems_with_a_setting_of_their_own() -> None:
    """As `--set` does: the profile's own setting for one system must not win over it in silence."""
    profile = Profile.read("synthped", epochs=5, image_height=96)
    assert {profile.config(row).epochs for row in ("none/ce", "ID+attrAttention", "attributes")} == {5}
    assert {profile.config(row).image_height for row in ("none/ce", "attributes")} == {96}
    assert profile.config("attributes").image_width == Profile.read("synthped").config("attributes").image_width
    plans = {"attributes": {"settings": {"epochs": 3, "weights": None}}}
    assert Profile.read("synthped", epochs=5, systems=plans).config("attributes").epochs == 3


def test_numbers_with_an_exponent_are_numbers() -> None:
    found = read_yaml("[1e-3, 2E5, -1.5e2, 1.0e-3, 1e3x, e3, '1e-3']")
    assert found == [0.001, 200000.0, -150.0, 0.001, "1e3x", "e3", "1e-3"]


def test_renders_of_different_sizes_lie_in_different_folders() -> None:
    sizes = ({}, {"train": 8}, {"test": 8}, {"train": 8, "test": 8}, {"train": 9})
    roots = [
        Profile.read("smoke", **{f"synthped_{split}_identities": size.get(split) for split in ("train", "test")}).root
        for size in sizes
    ]
    assert len(set(roots)) == len(sizes)


def test_published_records_keep_their_names() -> None:
    """Whatever becomes of the code: a record is found by the name that its configuration has."""
    published = read_records(record_roots()[1])
    assert len(published) >= 19
    for record in published:
        assert configuration_of(record, data_root=Path("/anywhere")).name == record.name


def test_published_records_of_one_rendered_data_set_are_of_the_same_pictures() -> None:
    """Runs on pictures that differ by a shade, as another CPU may render them, do not stand in one table."""
    files: dict[tuple[object, ...], set[str]] = {}
    for record in read_records(record_roots()[1]):
        if record.config["dataset"] == "synthped":
            told = [record.config[key] for key in record.config if key == "renderer" or key.startswith("synthped_")]
            files.setdefault(tuple(told), set()).add(record.provenance["data"])
    assert files
    assert all(len(checksums) == 1 for checksums in files.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1\nepochs: 2", "'epochs' stands twice"),
        ("systems: {joint-loss: {seeds: [0, 0]}}", "a seed is named twice"),
        ("systems: {joint-loss: {seeds: [-1]}}", "systems.joint-loss.seeds.0: .*greater than or equal to 0"),
        ("systems: {joint-loss: {seeds: [20240131123000]}}", "systems.joint-loss.seeds.0: .*less than"),
        ("synthped_seed: 20240131123000", "synthped_seed: .*less than"),
        ("systems: {joint-loss: {sedes: [0]}}", "'systems.joint-loss.sedes'; did you mean 'seeds'"),
        ("systems: {joint-lost: {}}", "'joint-lost' is none; did you mean 'joint-loss'"),
        ('profile: ".."', "profile: "),
        ("profile: my run", "profile: "),
        ("profile: a/b", "profile: "),
        ("epochs: 2024-01-31", "epochs: "),
    ],
)
def test_what_no_profile_may_say_is_told_before_anything_runs(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message) as error:
        Profile.read(path)
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epohcs": 3}, "arguments of Profile.read: unknown parameter 'epohcs'; did you mean 'epochs'"),
        ({"epochs": 0}, "arguments of Profile.read: epochs: .*greater than or equal to 1"),
        ({"batch_size": 6}, "mine.yaml and arguments of Profile.read: batch_size 6 is not a multiple of images_per_id"),
        ({"epochs": 3}, "mine.yaml: padding: .*greater than or equal to 0"),
    ],
)
def test_a_refusal_names_where_the_value_stands(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("images_per_identity: 4\npadding: " + ("-1" if "padding" in message else "1"))
    with pytest.raises(ParameterError, match=message) as error:
        Profile.read(path, **changes)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ParameterError, match=r"^config\('none/ce', -1\): seed: .*greater than or equal to 0"):
        Profile.read("smoke").config("none/ce", -1)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_told_so_and_a_mark_before_utf_8_is_not_minded(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# Größe\nepochs: 3\n", encoding=encoding)
    with pytest.raises(ParameterError, match=r"mine.yaml: not UTF-8"):
        Profile.read(path)
    path.write_text("# Größe\nepochs: 3\n", encoding="utf-8-sig")
    assert Profile.read(path).epochs == 3
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ParameterError, match="a folder; expected a parameter file"):
        Profile.read(tmp_path / "folder.yaml")


def test_a_copied_file_does_not_build_over_the_book_that_it_was_copied_from(build: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("profile: smoke\n")
    with pytest.raises(ParameterError, match="whose book it would overwrite; say `profile: mine`"):
        pipeline.plan(Profile.read(path), path)


def test_what_is_published_is_made_only_where_it_is_to_be_repeated_or_all_is_fresh(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile.read("smoke", repeated=["none/ce", "se/ce"])
    published = profile.config("none/ce").name
    (tmp_path / published).mkdir()
    (tmp_path / published / "record.json").touch()
    monkeypatch.setattr(pipeline, "record_roots", lambda: (build / "records", tmp_path))
    planned = pipeline.plan(profile)["runs"]
    assert [name for name, run in planned.items() if run["published"]] == [published]
    assert [name for name, run in planned.items() if run["repeated"]] == [published]  # the other is trained anyway
    fresh = pipeline.plan(profile, fresh=True)
    assert fresh["fresh"]
    assert not any(run["published"] or run["repeated"] for run in fresh["runs"].values())
    with pytest.raises(ParameterError, match="'noen/ce' is no row"):
        Profile.read("smoke", repeated=["noen/ce"])


def test_what_takes_too_long_is_repeated_for_fewer_epochs(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile.read("smoke", repeated=["none/ce", "se/ce"], repeated_epochs=3)
    short = Profile.read("smoke", epochs=3).config("none/ce").name
    assert short != profile.config("none/ce").name
    (tmp_path / short).mkdir()
    (tmp_path / short / "record.json").touch()
    monkeypatch.setattr(pipeline, "record_roots", lambda: (build / "records", tmp_path))
    runs = pipeline.plan(profile)["runs"]
    assert [name for name, run in runs.items() if run["repeated"]] == [short]
    assert runs[short]["epochs"] == 3
    assert runs.keys() == pipeline.plan(Profile.read("smoke"))["runs"].keys() | {short}  # no unpublished one is trained
    assert short not in pipeline.plan(profile, fresh=True)["runs"]


def test_a_profile_that_trains_nothing_shows_what_has_a_record(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile.read("smoke", train_missing=False)
    here, published = profile.config("none/ce").name, profile.config("se/ce").name
    monkeypatch.setattr(pipeline, "record_roots", lambda: (build / "records", tmp_path))
    for folder in (build / "records" / here, tmp_path / published):
        folder.mkdir(parents=True)
        (folder / "record.json").touch()
    assert pipeline.plan(profile)["runs"].keys() == {here, published}
    assert len(pipeline.plan(profile, fresh=True)["runs"]) == len(profile.configs())
    rows.train_missing(profile, "joint-loss")  # would fail at these empty records


def test_data_that_are_asked_for_and_missing_are_told_and_no_published_record_stands_in(build: Path) -> None:
    failed = CliRunner().invoke(app, ["run", "market1501-small", "--row", "none/ce", "--data-root", "/nowhere/at/all"])
    assert "/nowhere/at/all is not a folder" in str(failed.exception)
    assert "mAP" not in failed.stdout


def test_the_published_record_of_other_data_is_not_shown_for_ones_own(build: Path, synthped: Path) -> None:
    """A folder in Market-1501's layout: the published record of the real one is refused, with both checksums."""
    failed = CliRunner().invoke(app, ["run", "market1501-small", "--row", "none/ce", "--data-root", str(synthped)])
    assert failed.exit_code == 1
    assert "made from files with checksum" in failed.stderr
    assert "mAP" not in failed.stdout


@pytest.mark.usefixtures("one_block_a_stage")
def test_ones_own_pictures_have_a_name_of_their_own(build: Path, synthped: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    subprocess.run(["cp", "-r", str(synthped), str(mine)], check=True)
    arguments = ["run", "smoke", "--row", "none/ce", "--set", "dataset=own", "--set", "batch_size=8", "--data-root"]
    names = []
    for change in (False, True):
        if change:
            picture = next((mine / "bounding_box_train").glob("*.jpg"))
            picture.write_bytes(picture.read_bytes() + b" ")
            files_checksum.cache_clear()  # a process looks at the pictures once
        done = CliRunner().invoke(app, [*arguments, str(mine)])
        assert done.exit_code == 0, done.stderr[-2000:]
        names.append(done.stdout.split(":")[0])
    assert names[0] != names[1]
    assert all(name.startswith("own-none-ce-seed0-") for name in names)


def test_a_published_record_says_that_it_is_one(build: Path) -> None:
    arguments = ["run", "market1501-small", "--row", "none/ce"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "mAP 31.62" in done.stdout
    assert "(published; the data " in done.stdout  # agree, or are not here

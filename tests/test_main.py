import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from click.testing import Result
from typer.testing import CliRunner

import reidkit as reidkit_package
from reidkit import __main__, listing
from reidkit.__main__ import app, main
from reidkit.errors import UserError
from reidkit.listing import listed_rows, row_of_run
from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.records import find, read_record
from reidkit.runs import run as load_or_train
from reidkit.systems import ROWS


def reidkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "reidkit", *arguments], capture_output=True, text=True, timeout=600)


def here(*arguments: str) -> Result:
    """The same in this process, which has imported all that it takes; an error is raised by `Result.exception`."""
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def published() -> list[str]:
    return sorted(path.parent.name for path in (project_root() / "book" / "records").glob("*/record.json"))


AT_ONCE: list[tuple[list[str], int, str]] = [
    (["--help"], 0, "search"),
    (["run", "--help"], 0, "--data-root"),
    (["--version"], 0, "reidkit 0.1.0"),
    (["rnu"], 2, "run"),
    (["rows"], 0, "cbam/ce+tri+cir"),
    (["runs"], 0, "published"),
    (["run", "smok"], 1, "did you mean 'smoke'"),
    (["run", "smoke", "--set", "epohcs=3"], 1, "did you mean 'epochs'"),
    (["run", "smoke", "--row", "cbma/ce"], 1, "did you mean 'cbam/ce'"),
    (["run", "smoke", "--device", "gpu"], 1, "device"),
    (["run", "smoke", "--data-root", "/nowhere"], 1, "not a folder"),
    (["evaluate", "smok", "--row", "none/ce"], 1, "did you mean 'smoke'"),
    (["table", "9"], 1, "prints no table 9"),
    (["table", "1", "smok"], 1, "did you mean 'smoke'"),
    (["verify", "nowhere"], 1, "no such record"),
    (["compare", "44eaa33e", "nowhere"], 1, "did you mean '44eaa33d'"),
    (["publish", "nowhere"], 1, "no such record"),
]
WITHOUT_TORCH = """
import contextlib, io, json, sys

sys.modules["torch"] = None  # its import would be an error
from reidkit.__main__ import main

answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            answers.append((end.code, said.getvalue()))
print(json.dumps(answers))
"""


def test_help_and_mistakes_wait_for_no_import_of_torch(build: Path) -> None:
    listed_rows()  # what a machine has once asked the systems
    given = json.dumps([arguments for arguments, *_ in AT_ONCE])
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, given], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for (arguments, code, told), (found, said) in zip(AT_ONCE, json.loads(done.stdout), strict=True):
        assert (arguments, found) == (arguments, code), said
        assert told in said, arguments


def test_a_chapter_that_decodes_no_picture_imports_no_torchvision() -> None:
    """It takes with it torch's compiler, two to three seconds of every chapter of a build."""
    code = "import sys, reidkit.report.chapters.experiments; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_the_package_offers_its_names_without_importing_torch() -> None:
    code = "import sys, reidkit; assert 'torch' not in sys.modules; assert 'torch' not in dir(); print(*dir(reidkit))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"RunConfig", "GRID", "run", "embed"} <= {*reidkit_package.__all__} <= {*done.stdout.split()}
    for name in reidkit_package.__all__:
        assert getattr(reidkit_package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = reidkit_package.rnu


def test_the_rows_that_are_kept_are_those_of_the_systems(build: Path) -> None:
    assert [listed.row for listed in listed_rows()] == [*ROWS]  # asked
    assert [listed.row for listed in listed_rows()] == [*ROWS]  # read
    (build / "rows.json").write_text("{")
    listing._read.clear()
    assert [listed.row for listed in listed_rows()] == [*ROWS]
    for row, system in ROWS.items():
        config = system.configuration.model_construct(**system.rows[row])
        assert row_of_run("none of a profile", system.name, config.model_dump(mode="json")) == config.row_name


def test_a_control_is_listed_by_its_own_name(build: Path) -> None:
    """Not as the row that it looks like: the profile tells."""
    listed = {run["name"]: run["row"] for run in json.loads(here("runs", "--format", "json").stdout)}
    for planned in Profile.read("synthped").planned("joint-loss"):
        assert listed.get(planned.config.name, planned.row) == planned.row
    told = here("rows").stdout
    assert re.search(r"none/ce/identities .*synthped, market-like \(\d\)", told)
    assert re.search(r"none/ce  .*synthped, market-like \(\d+\)", told)


def test_runs_are_listed_finished_interrupted_and_published(
    build: Path, synthped: Path, published: list[str], one_block_a_stage: None
) -> None:
    config = Profile.read("smoke", data_root=synthped, batch_size=8).config("none/ce")
    name = load_or_train(config, progress=False).record.name
    left = build / "runs" / "synthped-cbam-ce-seed3-0123abcd"
    left.mkdir(parents=True)
    torch.save({"history": [{"epoch": 1}, {"epoch": 2}]}, left / "checkpoint.pt")
    (build / "runs" / "synthped-cbam-ce-seed4-0123abcd").mkdir()
    damaged = build / "runs" / "synthped-cbam-ce-seed5-0123abcd"
    damaged.mkdir()
    (damaged / "checkpoint.pt").write_bytes(b"half a checkpoint")
    (build / "runs" / "backup").mkdir()
    broken = build / "records" / "synthped-cbam-ce-seed6-0123abcd"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    listed = {run["name"]: run for run in json.loads(here("runs", "--format", "json").stdout)}
    assert {*published, name} < listed.keys()
    mine = load_or_train(config).metrics
    assert listed[name]["state"] == "finished"
    assert (listed[name]["row"], listed[name]["mAP"]) == ("none/ce", pytest.approx(100 * mine["mAP"], abs=0.005))
    assert {listed[record]["state"] for record in published} == {"published"}
    assert listed[left.name] | {"state": "interrupted, checkpoint after epoch 2", "seed": 3} == listed[left.name]
    assert listed["synthped-cbam-ce-seed4-0123abcd"]["state"] == "interrupted, before a checkpoint"
    assert listed[damaged.name]["state"] == "interrupted, its checkpoint is damaged"
    assert "backup" not in listed
    assert listed[broken.name]["state"].startswith("damaged")
    assert not any(path.suffix == ".lock" for path in (build / "runs").iterdir() if "seed5" in path.name)
    text = here("runs").stdout
    assert all(record.rpartition("-")[2] in text for record in listed)


def test_two_runs_are_compared_query_by_query_by_the_names_that_the_book_prints(build: Path) -> None:
    done = here("compare", "44eaa33d", "synthped-cbam-ce-seed0-9dd45394", "--queries", "2")
    assert done.exit_code == 0, done.output
    assert "attention: none / cbam" in done.stdout
    roots = [project_root() / "book" / "records"]
    first, second = (read_record(find(name, roots)) for name in ("44ea", "9dd45394"))
    gain = 100 * (second.metrics["mAP"] - first.metrics["mAP"])
    assert f"{gain:.2f}" in done.stdout
    both = first.queries.merge(second.queries, on="query", suffixes=("", " then"))
    by_query = (both["average_precision then"] - both["average_precision"]).sort_values()
    assert both["query"][by_query.index[-1]] in done.stdout
    assert both["query"][by_query.index[0]] in done.stdout
    lines = here("compare", "44eaa33d", "9dd45394", "--format", "csv").stdout.splitlines()
    assert len(lines) == 1 + both["average_precision"].notna().sum()
    best = both.set_index("query").loc[both["query"][by_query.index[-1]]]
    shown = pd.read_csv(io.StringIO("\n".join(lines))).set_index("query").loc[best.name]
    assert shown["gain"] == pytest.approx(100 * by_query.iloc[-1], abs=0.01)
    assert shown["first"] == pytest.approx(100 * best["average_precision"], abs=0.01)
    assert "They differ in no setting." in here("compare", "44eaa33d", "44eaa33d").stdout
    for pair, message in {
        ("44eaa33d", "1773e162"): "different data",
        ("2398cebb", "1773e162"): "ranks nothing",
        ("market", "1773e162"): "no such record",
    }.items():
        assert message in str(here("compare", *pair).exception)


@pytest.mark.parametrize("form", ["csv", "json", "md", "latex"])
def test_a_table_is_written_in_other_forms(build: Path, form: str) -> None:
    done = here("table", "1", "market1501-small", "--format", form)
    assert done.exit_code == 0, done.output
    assert "83.67" in done.stdout
    assert "{doc}" not in done.stdout
    if form in ("csv", "json"):
        read = pd.read_csv if form == "csv" else pd.read_json
        frame = read(io.StringIO(done.stdout))
        names = frame["records"].iloc[0]
        published = project_root() / "book" / "records"
        seeds = [read_record(published / name) for name in (names.split() if form == "csv" else names)]
        score = frame.query("metric == 'mAP'")["ours"].iloc[0]
        assert score == pytest.approx(100 * sum(seed.metrics["mAP"] for seed in seeds) / len(seeds), abs=1e-3)
        first = frame.iloc[0]
        assert first["difference"] == pytest.approx(first["ours"] - first["paper"])  # on the paper's own data
        toy = read(io.StringIO(here("table", "1", "synthped", "--format", form).stdout))
        assert (toy["data"] == "synthped").any()
        assert toy["difference"].isna().all()


def test_own_pictures_are_embedded_and_searched(
    build: Path, synthped: Path, tmp_path: Path, one_block_a_stage: None
) -> None:
    load_or_train(Profile.read("smoke", data_root=synthped, batch_size=8).config("none/ce"), progress=False)
    features, query = tmp_path / "features.npz", synthped / "query"
    done = here("embed", str(synthped / "bounding_box_test"), "--out", str(features))
    assert done.exit_code == 0, done.output
    first = sorted(query.iterdir())[0]
    found = here("search", str(first), str(features), "-k", "3")
    assert found.exit_code == 0, found.output
    again = here("search", str(first), str(synthped / "bounding_box_test"), "-k", "3")
    assert again.stdout == found.stdout
    assert len(found.stdout.splitlines()) == 4
    known = here("search", str(sorted(synthped.glob("bounding_box_test/*.jpg"))[0]), str(features), "-k", "99")
    assert len(known.stdout.splitlines()) == len(list(synthped.glob("bounding_box_test/*.jpg")))  # not itself
    nowhere = here("embed", str(query), "--out", str(tmp_path / "nowhere" / "features.npz"))
    assert "name a file in a folder that is there" in str(nowhere.exception)
    shutil.rmtree(build / "records")  # such as of a network that somebody has passed on
    assert "name the same weights by --weights" in str(here("search", str(first), str(features)).exception)
    (weights,) = (build / "weights").glob("*.safetensors")
    assert here("search", str(first), str(features), "--weights", str(weights), "-k", "3").stdout == found.stdout
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "mine" / "whole.jpg").write_bytes(first.read_bytes())
    half = here("embed", str(tmp_path / "mine"), "--weights", str(weights), "--out", str(features))
    assert half.exit_code == 1
    assert "left out: " in half.stderr
    assert "broken.jpg" in half.stderr
    assert "1 pictures" in half.stdout


def test_weights_that_are_not_here_are_trained_again_where_that_is_asked(
    build: Path, synthped: Path, one_block_a_stage: None
) -> None:
    record = load_or_train(
        Profile.read("smoke", data_root=synthped, batch_size=8).config("none/ce"), progress=False
    ).record
    weights = build / "weights" / f"{record.name}.safetensors"
    weights.unlink()
    command = ("run", "smoke", "--row", "none/ce", "--data-root", str(synthped), "--set", "batch_size=8")
    assert here(*command).exit_code == 0
    assert not weights.exists()
    missing = here("evaluate", *command[1:])
    assert "--row none/ce --seed 0 --with-weights` trains it" in str(missing.exception)
    again = here(*command, "--with-weights")
    assert again.exit_code == 0, again.output
    assert record.name in again.stdout
    assert weights.is_file()
    assert read_record(record.directory).provenance == record.provenance  # the record stays


def test_a_finished_run_is_planned_as_finished(build: Path, synthped: Path, one_block_a_stage: None) -> None:
    name = load_or_train(Profile.read("smoke", data_root=synthped).config("none/ce"), progress=False).record.name
    planned = here("plan", "smoke", "--data-root", str(synthped)).stdout.splitlines()
    assert f"finished    {name}" in planned
    assert any(line.startswith("to be made") for line in planned)


def test_a_plan_without_runs_says_so(build: Path) -> None:
    planned = here("plan", "smoke", "--set", "train_missing=false").stdout
    assert planned.startswith("Nothing: no run of smoke is published")


@pytest.mark.parametrize("arguments", [["embed", "a", "--out", "~/x.npz"], ["embed", "~/a", "--out=~/x.npz"]])
def test_a_home_that_no_shell_has_written_out_is(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("reidkit.__main__.app", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["reidkit", *arguments])
    main()
    assert "~" not in " ".join(seen[0])
    assert str(Path.home() / "x.npz") in " ".join(seen[0])


def test_an_interruption_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reidkit.listing.listed_runs", interrupted)
    monkeypatch.setattr(sys, "argv", ["reidkit", "runs"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert "interrupted; `reidkit run` goes on from the last checkpoint" in capsys.readouterr().err


def test_run_table_evaluate_and_verify(build: Path, synthped: Path, tmp_path: Path) -> None:
    changes = ["--set", f"data_root={synthped}", "--set", "batch_size=8"]
    done = reidkit("run", "smoke", "--cell", "none/ce", *changes)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr  # a progress bar was shown
    assert "rank-1" in done.stdout
    profile = tmp_path / "mine.yaml"
    config = Profile.read("smoke", data_root=synthped, batch_size=8)
    profile.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    name = load_or_train(config.config("none/ce")).record.name

    table = here("table", "1", str(profile))
    assert table.exit_code == 0, table.output
    assert "83.67" in table.stdout
    assert "Departs from the paper's setting" in table.stdout
    assert f"reidkit run {profile} --row cbam/ce+tri+cir --seed 0" in table.stdout
    assert "--row none/ce --seed" not in table.stdout

    evaluated = here("evaluate", str(profile), "--cell", "none/ce")
    mean = load_or_train(config.config("none/ce")).metrics["mAP"]
    assert f"{100 * mean:6.2f}" in evaluated.stdout

    same = here("verify", name, name)
    assert same.exit_code == 0
    assert "mAP" in same.stdout
    assert "MOVED" not in same.stdout

    again = here("measure", name, "--data-root", str(synthped))
    assert again.exit_code == 0, again.output
    assert again.stdout.strip().endswith(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "smoke", "--set", "epochs"], "expected KEY=VALUE"),
        (["evaluate", "market1501", "--cell", "none/ce"], "--data-root"),
        (["run", "market1501", "--row", "half/ce"], "--data-root"),
        (["run", "smoke", "--records", "/proc/none"], "no folder that can be written to"),  # before it is trained
        (["run", "smoke", "--time-only", "--within", "5"], "--time-only: it only tells the time"),
        (["evaluate", "smoke", "--cell", "attributes"], "attributes: it ranks nothing"),
        (["evaluate", "synthped", "--row", "none/ce"], "no weights of this run"),  # and nothing is rendered first
        (["data", "render", "market1501"], "not rendered"),
        (["heatmaps", "smoke", "--split", "queries"], "expected train, query, gallery"),
    ],
)
def test_errors_are_told_in_words(build: Path, synthped: Path, arguments: list[str], message: str) -> None:
    if "smoke" in arguments:
        arguments = [*arguments, "--data-root", str(synthped)]
    failed = here(*arguments)
    assert failed.exit_code == 1
    assert isinstance(failed.exception, UserError | SystemExit)
    assert message in f"{failed.exception}{failed.stderr}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "smoke", "--set", "epohcs=3"], "--set: unknown parameter 'epohcs'"),
        (["run", "smoke", "--set", "epochs=0"], "--set: epochs: "),
        (["run", "smoke", "--set", "origins=1"], "--set: unknown parameter 'origins'"),
        (["run", "smoke", "--set", "systems={joint-loss: {seeds: [-1]}}"], "--set: systems.joint-loss.seeds.0: "),
        (
            ["run", "smoke", "--set", "systems={joint-loss: {rows: none/cee}}"],
            "smoke.yaml and --set: systems.joint-loss",
        ),
        (["run", "smoke", "--set", "batch_size=6"], "smoke.yaml and --set: batch_size 6 is not a multiple of"),
        (["run", "smoke", "--set", "epochs=[1"], r"--set epochs=\[1: not valid YAML"),
        (["run", "smoke", "--set", "systems={a: {}, a: {}}"], r"--set systems=.*'a' stands twice"),
        (["run", "smoke", "--set", "data_root=3"], "--set: data_root: "),
        (["run", "smoke", "--set", "data_root=/nowhere"], "--set: data_root: /nowhere is not a folder"),
        (["run", "smoke", "--data-root", "/nowhere"], "--data-root: data_root: /nowhere is not a folder"),
        (["run", "smoke", "--device", "gpu"], "--device: device: "),
        (["run", "smoke", "--row", "none/cee"], "--row: 'none/cee' is no row"),
        (["evaluate", "smoke", "--row", "none/ce", "--set", "epochs=0"], "--set: epochs: "),
        (["data", "render", "smoke", "--preset", "market"], "--preset: synthped_preset: "),
    ],
)
def test_a_refusal_names_where_the_value_stands(build: Path, arguments: list[str], message: str) -> None:
    refusal = str(here(*arguments).exception)
    assert re.match(f"(.*/)?{message}", refusal), refusal


def test_a_seed_that_is_none_is_refused_by_its_option(build: Path) -> None:
    for arguments in (["run", "smoke"], ["evaluate", "smoke", "--row", "none/ce"], ["data", "render", "smoke"]):
        refused = here(*arguments, "--seed", "-1")
        assert refused.exit_code == 2
        assert "Invalid value for '--seed'" in refused.output


def test_a_folder_of_something_else_is_not_rendered_into(build: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    error = here("data", "render", "smoke", "--root", str(tmp_path / "mine")).exception
    assert isinstance(error, UserError)
    assert "not a SynthPed render" in str(error)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"


def test_data_check_tells_by_its_exit_code(build: Path, synthped: Path, tmp_path: Path) -> None:
    assert here("data", "check", "synthped", str(synthped)).exit_code == 0
    missing = here("data", "check", "market1501", str(tmp_path))
    assert missing.exit_code == 1
    assert str(tmp_path) in missing.stdout


def test_a_terminal_without_all_letters(build: Path) -> None:
    command = [sys.executable, "-m", "reidkit", "table", "1", "smoke"]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "83.67" in done.stdout.decode("latin-1")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "make room and give the same command again"), (errno.EACCES, "REIDKIT_BUILD"), (errno.EIO, None)],
)
def test_what_the_machine_refuses(
    number: int, advice: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number), "/build/runs")

    monkeypatch.setattr(__main__, "app", refuse)
    with pytest.raises(SystemExit if advice else OSError):
        __main__.main()
    assert (advice or "") in capsys.readouterr().err

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reidkit import __main__
from reidkit.profile import Profile
from reidkit.runs import run as load_or_train


def reidkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "reidkit", *arguments], capture_output=True, text=True, timeout=600)


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

    table = reidkit("table", "1", str(profile))
    assert table.returncode == 0, table.stderr
    assert "83.67" in table.stdout
    assert "other setting" in table.stdout
    assert f"reidkit run {profile} --row cbam/ce+tri+cir --seed 0" in table.stdout
    assert "--row none/ce --seed" not in table.stdout

    evaluated = reidkit("evaluate", str(profile), "--cell", "none/ce")
    mean = load_or_train(config.config("none/ce")).metrics["mAP"]
    assert f"{100 * mean:6.2f}" in evaluated.stdout

    same = reidkit("verify", name, name)
    assert same.returncode == 0
    assert "mAP" in same.stdout
    assert "MOVED" not in same.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "smoke", "--set", "epohcs=3"], "did you mean 'epochs'"),
        (["run", "smoke", "--set", "epochs"], "expected KEY=VALUE"),
        (["run", "smoke", "--cell", "cbma/ce"], "did you mean 'cbam/ce'"),
        (["table", "1", "smok"], "did you mean 'smoke'"),
        (["verify", "nowhere"], "nowhere: no such record; looked here and in"),
        (["evaluate", "market1501", "--cell", "none/ce"], "Market-1501-v15.09.15"),
        (["evaluate", "smoke", "--cell", "attributes"], "attributes: it ranks nothing"),
        (["data", "render", "market1501"], "not rendered"),
    ],
)
def test_errors_are_told_in_words(build: Path, arguments: list[str], message: str) -> None:
    failed = reidkit(*arguments)
    assert failed.returncode == 1
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_folder_of_something_else_is_not_rendered_into(build: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    failed = reidkit("data", "render", "smoke", "--root", str(tmp_path / "mine"))
    assert failed.returncode == 1
    assert "not a SynthPed render" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"


def test_data_check_tells_by_its_exit_code(build: Path, synthped: Path, tmp_path: Path) -> None:
    assert reidkit("data", "check", "synthped", str(synthped)).returncode == 0
    missing = reidkit("data", "check", "market1501", str(tmp_path))
    assert missing.returncode == 1
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

"""The examples of docstrings, of the README and of the reference are executed."""

import doctest
import importlib
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
from traitlets.config.loader import PyFileConfigLoader
from typer.testing import CliRunner

import reidkit
from reidkit.__main__ import app, read_profile
from reidkit.places import project_root
from reidkit.profile import Profile

PACKAGE = project_root() / "reidkit"
MODULES = [
    ".".join(file.relative_to(project_root()).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8") and file.name != "api.py"
]
REFERENCE = (project_root() / "book" / "api.md").read_text(encoding="utf-8")

README = (project_root() / "README.md").read_text(encoding="utf-8")
LINES = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("#")
]
COMMANDS = [line.partition("reidkit ")[2] for line in LINES if re.match(r"(torchrun .* -m )?reidkit ", line)]
QUICK = ("rows", "runs", "plan", "compare", "table")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings(name: str, build: Path, synthped: Path, one_block_a_stage: None) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"root": synthped})
    assert result.attempted > 0
    assert result.failed == 0


def test_the_reference_has_all_that_the_package_offers_with_an_example_each() -> None:
    shown = set(re.findall(r"[\w.]+", REFERENCE))
    for name in reidkit.__all__:
        offered = getattr(reidkit, name)
        assert name in {word.rpartition(".")[2] for word in shown}
        if callable(offered) and not hasattr(offered, "model_fields"):
            assert ">>> " in offered.__doc__, name


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_one(line: str) -> None:
    name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    given = command.make_context(name, arguments).params  # raises for an option or an argument too many
    if "profile" in given:
        profile = read_profile(given["profile"], given.get("set_"))
        rows = given.get("row") or ()
        assert all(profile.config(row) for row in ([rows] if isinstance(rows, str) else rows))


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.split()[0] in QUICK])
def test_a_quick_command_of_the_readme_works(line: str, build: Path) -> None:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == 0, done.output
    assert done.stdout.strip()


TARGETS = {line for line in LINES if line.startswith("make ")} | set(re.findall(r"`(make [\w= ]+)`", README))


@pytest.mark.parametrize("line", sorted(TARGETS))
def test_make_has_what_the_readme_asks_of_it(line: str) -> None:
    done = subprocess.run([*shlex.split(line), "--dry-run"], cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_files_that_commands_of_the_readme_name_are_there() -> None:
    named = {word for line in LINES for word in re.findall(r"(?:book|parameters)/[\w./-]+\.\w+", line)}
    assert {"book/losses.md", "parameters/smoke.yaml"} <= named
    assert [file for file in named if not (project_root() / file).is_file()] == []


def test_the_recipe_for_own_pictures(
    build: Path, synthped: Path, tmp_path: Path, one_block_a_stage: None, capsys: pytest.CaptureFixture[str]
) -> None:
    reidkit.run(Profile.read("smoke", data_root=synthped, batch_size=8).config("none/ce"), progress=False)
    places = {
        "/path/to/pictures": str(synthped / "bounding_box_test"),
        "somebody.jpg": str(min((synthped / "query").iterdir())),
        "features.npz": str(tmp_path / "features.npz"),
    }

    def here(text: str) -> str:
        for place, real in places.items():
            text = text.replace(place, real)
        return text

    for line in COMMANDS:
        if line.startswith(("embed", "search")):
            done = CliRunner().invoke(app, shlex.split(here(line)))
            assert done.exit_code == 0, done.output
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(here(code), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_lab_opens_the_first_page_on_the_port_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8890")
    folder = project_root() / ".jupyter"
    config = PyFileConfigLoader("jupyter_lab_config.py", path=str(folder)).load_config()
    assert config.ServerApp.port == 8890
    assert (project_root() / "book" / config.LabApp.default_url.rpartition("/")[2]).is_file()
    shown = json.loads((folder / "labconfig" / "default_setting_overrides.json").read_text())
    assert shown["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"

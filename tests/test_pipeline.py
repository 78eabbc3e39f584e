"""What `make` and the Snakefile do before anything is made."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def snakemake(targets: list[str], profile: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        "snakemake",
        *targets,
        "--configfile",
        f"parameters/{profile}.yaml",
        "--cores",
        "1",
        "--dry-run",
        "--nolock",
    ]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["zip", "pdf"])
def test_no_file_to_pass_on_is_made_of_real_people(build: Path, target: str) -> None:
    refused = snakemake([target], "market1501-small")
    assert refused.returncode != 0
    assert "Say ALLOW_PEOPLE=1 if the file stays with you" in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("profile", "people", "repository", "address"),
    [
        ("market1501-small", True, "github.com/someone/reid-book.git", "https://github.com/someone/reid-book"),
        ("smoke", False, "https://gitlab.com/a/b", None),
    ],
)
def test_pages_say_whom_they_show_and_where_their_source_is(
    build: Path, profile: str, people: bool, repository: str, address: str | None
) -> None:
    allowed = {"ALLOW_PEOPLE": "1"} if people else {}
    done = snakemake(["zip", "pdf"], profile, REPOSITORY=repository, **allowed)
    assert done.returncode == 0, done.stderr
    assert ("no launch buttons" in done.stderr) == (address is None)
    config = yaml.safe_load((build / profile / "_config.yml").read_text(encoding="utf-8"))
    assert (config["repository"]["url"] or None) == address
    assert ("market1501: these pages may show real people" in config["html"].get("announcement", "")) == people


def test_folders_with_spaces_and_accents(tmp_path: Path) -> None:
    """Of the project, the build and the data: what make hands over arrives as it was written, and pages are made."""
    project, build, data = tmp_path / "Größe 1" / "a 'copy'", tmp_path / "my build", tmp_path / "my data" / "Market's"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "build", "screening", "tests", "node_modules"))
    data.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(project), "REIDKIT_BUILD": str(build), "DATA_ROOT": str(data)}
    recipe = ["make", "-n", "-o", ".venv/bin/installed", "book", "PROFILE=market1501-small"]
    printed = subprocess.run(recipe, cwd=project, env=environment, capture_output=True, text=True, check=True)
    (command,) = (line for line in printed.stdout.splitlines() if line.startswith("snakemake book"))
    made = [build / "market1501-small" / "source" / name for name in ("_toc.yml", "glossary.md", "references.bib")]
    command = command.replace("snakemake book", "snakemake " + shlex.join(os.path.relpath(p, project) for p in made))
    done = subprocess.run(command, shell=True, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in made)
    assert yaml.safe_load((build / "market1501-small" / "parameters.yaml").read_text())["data_root"] == str(data)


def test_a_book_of_no_profile_is_told_in_words() -> None:
    command = ["make", "-o", ".venv/bin/installed", "book", "PROFILE=smok"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode
    assert "did you mean 'smoke'?" in said.stderr
    assert "Traceback" not in said.stderr


def test_where_no_home_can_be_written(tmp_path: Path) -> None:
    """Snakemake, npm and Jupyter keep their caches there."""
    command = ["make", "-n", "-p", "-o", ".venv/bin/installed", "book", "PROFILE=smoke"]
    environment = os.environ | {"REIDKIT_BUILD": str(tmp_path)}
    for home, used in ((str(tmp_path), str(tmp_path)), ("/proc/none", f"{tmp_path}/home")):
        said = subprocess.run(
            command, cwd=ROOT, env=environment | {"HOME": home}, capture_output=True, text=True
        ).stdout
        (line,) = (line for line in said.splitlines() if line.startswith(("HOME =", "HOME :=")))
        assert line.partition("= ")[2] == used

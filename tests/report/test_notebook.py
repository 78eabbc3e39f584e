import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from reidkit.profile import parameter_file
from reidkit.report.execute import NotebookError, declared_parameters, execute_chapter
from reidkit.report.notebook import notebook_profile
from reidkit.settings import ParameterError

HEADER = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
PARAMETERS = """```{code-cell}
:tags: [parameters]

profile = "smoke"  # a file of parameters/
epochs = None
```

```{code-cell}
from reidkit.report.notebook import notebook_profile
settings = notebook_profile(globals())
print(settings.profile, settings.epochs)
```
"""


def chapter(folder: Path, *cells: str) -> Path:
    path = folder / "chapter.md"
    path.write_text(HEADER + PARAMETERS + "\n".join(f"```{{code-cell}}\n{cell}\n```\n" for cell in cells))
    return path


def outputs(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))


def test_a_chapter_gets_what_its_parameters_cell_declares(tmp_path: Path) -> None:
    assert declared_parameters(jupytext.read(chapter(tmp_path))) == ["profile", "epochs"]
    mine = tmp_path / "mine.yaml"
    mine.write_text("profile: mine\nepochs: 7\nbatch_size: 8\n")
    result = execute_chapter(chapter(tmp_path), mine, tmp_path / "out" / "chapter.ipynb")
    assert outputs(result) == "mine 7\n"
    assert [path.name for path in result.parent.iterdir()] == ["chapter.ipynb"]


def test_a_script_that_names_no_language_is_python(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text("# %% tags=['parameters']\nepochs = 3\n# %%\nprint(epochs)\n")
    result = execute_chapter(script, parameter_file("smoke"), tmp_path / "out.ipynb")
    assert outputs(result) == "1\n"


def test_a_bad_parameter_file_stops_before_anything_runs(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("epohcs: 7")
    command = [sys.executable, "-m", "reidkit", "notebook", str(chapter(tmp_path)), str(mine)]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "did you mean 'epochs'" in failed.stderr
    assert not (tmp_path / "chapter.ipynb").exists()


def test_a_failing_cell_leaves_the_partial_notebook_and_no_stale_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REIDKIT_BUILD", str(tmp_path))
    output = tmp_path / "out.ipynb"
    output.write_text("of last time")
    with pytest.raises(NotebookError, match=r"ZeroDivisionError.*\n.*out\.failed\.ipynb"):
        execute_chapter(chapter(tmp_path, "1 / 0"), parameter_file("smoke"), output)
    assert not output.exists()
    assert outputs(tmp_path / "out.failed.ipynb").startswith("smoke 1")


@pytest.mark.parametrize(("name", "value"), [("epohcs", 3), ("epochs", "three"), ("epochs", 0)])
def test_papermill_itself_cannot_inject_a_bad_parameter(tmp_path: Path, name: str, value: object) -> None:
    """Bare papermill only warns of a name that the notebook does not declare; the chapter's own check stops it."""
    source = tmp_path / "source.ipynb"
    jupytext.write(jupytext.read(chapter(tmp_path)), source)
    with pytest.raises(PapermillExecutionError, match="epochs"):
        papermill.execute_notebook(
            str(source), str(tmp_path / "out.ipynb"), {name: value}, progress_bar=False, kernel_name="python3"
        )


def test_variables_that_are_not_parameters() -> None:
    namespace = {"profile": "smoke", "In": [], "_i1": "", "Path": Path, "pytest": pytest, "chapter": chapter}
    settings = notebook_profile(namespace)
    assert settings.profile == "smoke"
    assert notebook_profile(namespace | {"settings": settings}) == settings  # the cell may be run again
    with pytest.raises(ParameterError, match="'epohcs'; did you mean 'epochs'"):
        notebook_profile(namespace | {"epohcs": 1})


ASK = "settings = notebook_profile(globals())"


@pytest.mark.parametrize(
    ("cells", "values", "epochs"),
    [
        # the chapter's own variables, of a parameter's name or not, when its first cells are run again
        (["profile = 'smoke'", ASK, "colours = 3; epochs = 9", "profile = 'smoke'", ASK], {"epochs": 9}, 1),
        (["profile = 'smoke'", ASK, "colours = 3", ASK], {}, 1),
        (["profile = 'smoke'", ASK, "profile = 'smoke'\nepochs = 7", ASK], {"epochs": 7}, 7),
        (["profile = 'smoke'\nepochs = 7", ASK, "profile = 'smoke'", ASK], {"epochs": 7}, 1),  # taken out again
        (["profile = 'smoke'\nepochs = 7", "1 +", "epochs += 1", ASK], {"epochs": 8}, 8),
        # as papermill injects them
        (["profile = 'synthped'", "# Parameters\nprofile = 'smoke'\nepochs = 7\n", ASK], {"epochs": 7}, 7),
        (["profile = 'smoke'\nepochs = 5", "# Parameters\nprofile = 'smoke'\n", ASK], {"epochs": 5}, 5),
        (["profile = 'smoke'", "# Parameters\nepochs = 7\n", ASK, "profile = 'smoke'", ASK], {"epochs": 7}, 1),
    ],
)
def test_parameters_are_what_the_parameters_cell_assigns(
    cells: list[str], values: dict[str, object], epochs: int
) -> None:
    namespace = {"In": ["", *cells], "profile": "smoke", "colours": 3} | values
    assert notebook_profile(namespace).epochs == epochs


@pytest.mark.parametrize(
    "cells",
    [
        ["profile = 'smoke'", ASK, "profile = 'smoke'\nepohcs = 7", ASK],
        ["profile = 'smoke'", "# Parameters\nepohcs = 7\n", ASK],
        ["prfile = 'smoke'\nepohcs = 7", ASK],
    ],
)
def test_a_misspelt_one_is_told_whenever_it_is_run(cells: list[str]) -> None:
    with pytest.raises(ParameterError, match="'epohcs'; did you mean 'epochs'"):
        notebook_profile({"In": ["", *cells], "epohcs": 7})


def test_what_a_parameters_cell_declares() -> None:
    source = """
epochs: int = 3  # passes
batch_size, padding = 2, 16
options = dict(
    learning_rate=5.0,
)
note = "a=b"
"""
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("seed = 3"),
        ]
    )
    assert set(declared_parameters(notebook)) == {"epochs", "batch_size", "padding", "options", "note"}


def test_no_file_of_the_user_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REIDKIT_BUILD", str(tmp_path / "build"))
    mine, before = tmp_path / "mine.ipynb", tmp_path / "before.ipynb"
    jupytext.write(jupytext.read(chapter(tmp_path, "1 / 0")), mine)
    kept = mine.read_bytes()
    before.write_text("of last time")
    with pytest.raises(NotebookError, match="would be overwritten by its own output"):
        execute_chapter(mine, parameter_file("smoke"), mine)
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        execute_chapter(mine, parameter_file("smoke"), before)
    assert mine.read_bytes() == kept
    assert before.read_text() == "of last time"
    with pytest.raises(NotebookError, match=r"no such chapter.*did you mean 'chapter\.md'"):
        execute_chapter(tmp_path / "chaptre.md", parameter_file("smoke"), before)


@pytest.mark.parametrize(("name", "content"), [("a.txt", "x"), ("a.ipynb", '{"cells": ['), ("a.ipynb", "[]")])
def test_what_is_no_notebook_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(NotebookError, match=f"{name}: no notebook"):
        execute_chapter(tmp_path / name, parameter_file("smoke"), tmp_path / "out.ipynb")
    assert [path.name for path in tmp_path.iterdir()] == [name]

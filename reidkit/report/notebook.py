"""Chapters as notebooks: checked parameters inside them, and papermill around them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit.experiments import ParameterError, Profile, nearest, project_root

if TYPE_CHECKING:
    from nbformat import NotebookNode


class NotebookError(Exception):
    """A chapter that cannot be executed; the message says where its partial notebook is kept."""


def notebook_profile(namespace: Mapping[str, Any]) -> Profile:
    """The profile that a chapter runs with; its first cell after the parameters calls this with `globals()`.

    `profile` names the parameter file; every other variable with a parameter's name (whether it was written in the
    parameters cell or injected by papermill) replaces what the file says, unless it is None. Raises ParameterError for
    a variable that is no parameter: papermill itself only warns of a misspelt one.
    """
    given = {name: value for name, value in namespace.items() if _is_parameter(name, value)}
    for name in given:
        if name not in Profile.model_fields:
            raise ParameterError(f"unknown parameter {name!r}{nearest(name, Profile.model_fields)}")
    changes = {name: value for name, value in given.items() if name != "profile" and value is not None}
    return Profile.read(given.get("profile", "synthped"), **changes)


def _is_parameter(name: str, value: Any) -> bool:
    """Whether a notebook's variable was meant as a parameter: plain data, and not IPython's own."""
    if name.startswith("_") or name in {"In", "Out"}:
        return False
    return value is None or isinstance(value, bool | int | float | str | list | tuple | dict)


def declared_parameters(notebook: "NotebookNode") -> list[str]:
    """The variables that a notebook's `parameters` cell assigns, in order."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    names = [
        line.split("=")[0].split(":")[0].strip() for cell in cells for line in cell.source.splitlines() if "=" in line
    ]
    return [name for name in names if name.isidentifier()]


def execute_chapter(chapter: Path, parameter_file: str | Path, output: Path, *, progress: bool = False) -> Path:
    """Executes a text notebook with papermill and moves the result to `output` once all of it ran.

    The parameter file is validated whole first; the notebook receives what its parameters cell declares. Raises
    ParameterError before anything runs, and NotebookError where a cell fails: the partial notebook stays beside
    `output`, named `.failed.ipynb`, and what was at `output` is removed rather than left stale.
    """
    # Imported here: they take two seconds, which every chapter would spend that only asks for its profile.
    import jupytext
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    profile = Profile.read(parameter_file)
    notebook = jupytext.read(chapter)
    values = profile.model_dump(mode="json")
    parameters = {name: values[name] for name in declared_parameters(notebook) if name in values}
    if "profile" in parameters:
        path = Path(parameter_file)  # relative to the project, where the kernel starts: pages show it
        parameters["profile"] = os.path.relpath(path.resolve(), project_root()) if path.suffix else str(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    source = output.with_suffix(".input.ipynb")
    nbformat.write(notebook, source)
    try:
        papermill.execute_notebook(
            str(source), str(failed), parameters, cwd=str(project_root()), progress_bar=progress, kernel_name="python3"
        )
    except PapermillExecutionError as error:
        output.unlink(missing_ok=True)
        raise NotebookError(
            f"{chapter}: cell {error.exec_count} failed with {error.ename}: {error.evalue}\n"
            f"The partial notebook is kept at {failed}"
        ) from error
    finally:
        source.unlink()
    executed = nbformat.read(failed, as_version=4)
    for cell in executed.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-input")  # pages show the chapter's own parameters cell
    nbformat.write(executed, failed)
    failed.replace(output)
    return output

"""Executes a chapter with papermill: `python -m reidkit.report.execute CHAPTER PARAMETERS OUTPUT`.

It knows nothing of what parameters mean, and imports no network: a book has many chapters. Check the parameter file
first, as the Snakefile and `reidkit notebook` do.
"""

import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from reidkit.errors import UserError, nearest
from reidkit.places import build_root
from reidkit.report.parameters_cell import assigned

PROJECT = Path(__file__).resolve().parents[2]


class NotebookError(UserError):
    """A chapter that cannot be executed; the message says where its partial notebook is kept."""


def declared_parameters(notebook: nbformat.NotebookNode) -> list[str]:
    """The variables that a notebook's `parameters` cell assigns."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return list(dict.fromkeys(name for cell in cells for name in assigned(cell.source)))


def execute_chapter(chapter: Path, parameter_file: Path, output: Path) -> Path:
    """Executes a text notebook with papermill and moves the result to `output` once all of it ran.

    The notebook receives what its parameters cell declares of the parameter file, and as `profile` the file's path.
    Raises NotebookError where there is no chapter, where `output` is the chapter itself, and where a cell fails: the
    partial notebook then stays beside `output`, named `.failed.ipynb`. What was at `output` is removed rather than left
    stale in the build folder, where all can be made again; elsewhere it is left as it was.
    """
    if not chapter.is_file():
        near = nearest(chapter.name, (path.name for path in chapter.parent.glob("*.md")))
        raise NotebookError(f"{chapter}: no such chapter; expected a text notebook, such as book/experiments.md{near}")
    if output.resolve() == chapter.resolve():
        raise NotebookError(f"{chapter}: would be overwritten by its own output; name another one with --output")
    try:
        notebook = jupytext.read(chapter)
    except Exception as error:  # whatever jupytext and nbformat find wrong with it
        raise NotebookError(f"{chapter}: no notebook, neither as text (.md, .py, …) nor .ipynb: {error}") from error
    values = yaml.safe_load(parameter_file.read_text(encoding="utf-8"))
    # Relative to the project, where the kernel starts: pages show it.
    values["profile"] = os.path.relpath(parameter_file.resolve(), PROJECT)
    values["live"] = False  # a page has no kernel, whatever the chapter was last saved with
    parameters = {name: values[name] for name in declared_parameters(notebook) if name in values}
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # `python3` is this environment's kernel, whatever the user calls so
    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    source = output.with_suffix(".input.ipynb")
    nbformat.write(notebook, source)
    try:
        # Sockets in a folder of its own: of free ports, two kernels that start at once may take the same, and one dies.
        with tempfile.TemporaryDirectory(prefix="reidkit-") as sockets:
            papermill.execute_notebook(
                str(source),
                str(failed),
                parameters,
                cwd=str(PROJECT),
                progress_bar=False,
                kernel_name="python3",
                language="python",
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
                start_timeout=300,  # seconds that a machine under load may take to start a kernel,
                iopub_timeout=300,  # and to hand over what a cell printed
            )
    except PapermillExecutionError as error:
        if output.resolve().is_relative_to(build_root().resolve()):
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


def main(chapter: str, parameter_file: str, output: str) -> None:
    try:
        execute_chapter(Path(chapter), Path(parameter_file), Path(output))
    except NotebookError as error:
        sys.exit(f"reidkit: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])

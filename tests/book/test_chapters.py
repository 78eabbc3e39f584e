"""Every chapter as its reader holds it: run in JupyterLab again and again, opened there and saved."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets import import_item
from traitlets.config.loader import PyFileConfigLoader

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.md") if "kernelspec:" in path.read_text(encoding="utf-8"))


def code_cells(chapter: str) -> list[nbformat.NotebookNode]:
    """Of a chapter that runs with the smoke profile."""
    cells = [cell for cell in jupytext.read(BOOK / f"{chapter}.md").cells if cell.cell_type == "code"]
    (parameters,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assert 'profile = "synthped"' in parameters.source
    parameters.source = parameters.source.replace('profile = "synthped"', 'profile = "smoke"')
    return cells


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One for all chapters: what they import takes longer than most of them do."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(ROOT), env=os.environ | {"MPLBACKEND": "agg"})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_run_all_and_again_and_its_first_cells_once_more(site: Path, kernel: KernelManager, chapter: str) -> None:
    """`site` has made the records that the chapter reads, and run it in a kernel of its own."""
    cells = code_cells(chapter)
    sources = ["%reset -f", *(cell.source for cell in (*cells, *cells, *cells[:3]))]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    try:
        NotebookClient(notebook, km=kernel, timeout=None).execute()
    except CellExecutionError as error:
        done = [cell for cell in notebook.cells[1:] if cell.execution_count is not None]
        pytest.fail(f"cell {len(done)} of {len(cells)}, run again and again, fails: {error.ename}: {error.evalue}")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_that_is_opened_in_lab_and_saved_stays_as_it_is(tmp_path: Path, chapter: str) -> None:
    """With the settings of `make lab`, and with what a kernel says of itself."""
    config = PyFileConfigLoader("jupyter_lab_config.py", path=str(ROOT / ".jupyter")).load_config()
    manager = import_item(config.ServerApp.contents_manager_class)(root_dir=str(tmp_path), config=config)
    for name in (f"{chapter}.md", "jupytext.toml"):
        shutil.copy(BOOK / name, tmp_path)
    model = manager.get(f"{chapter}.md", type="notebook")
    assert any(cell.cell_type == "code" for cell in model["content"].cells)
    kernel = KernelSpecManager().get_kernel_spec("python3")
    model["content"].metadata["kernelspec"]["display_name"] = kernel.display_name
    model["content"].metadata["language_info"] = {"name": "python", "version": "3.11.0", "file_extension": ".py"}
    for number, cell in enumerate(model["content"].cells):
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = number, [nbformat.v4.new_output("stream", text="42")]
    manager.save(model, f"{chapter}.md")
    assert (tmp_path / f"{chapter}.md").read_bytes() == (BOOK / f"{chapter}.md").read_bytes()

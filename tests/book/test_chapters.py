"""Every chapter as its reader holds it: run in JupyterLab again and again, opened there and saved."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import start_new_kernel
from traitlets import import_item
from traitlets.config.loader import PyFileConfigLoader

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.md") if "kernelspec:" in path.read_text(encoding="utf-8"))
CHAPTERS.sort(key="extend".__eq__)  # last: it adds to the package's tables in its kernel


def code_cells(chapter: str) -> list[nbformat.NotebookNode]:
    """Of a chapter that runs with the smoke profile."""
    cells = [cell for cell in jupytext.read(BOOK / f"{chapter}.md").cells if cell.cell_type == "code"]
    (parameters,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assert 'profile = "synthped"' in parameters.source
    parameters.source = parameters.source.replace('profile = "synthped"', 'profile = "smoke"')
    return cells


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    """One for all chapters, emptied between them: to import torch anew takes longer than most of them."""
    environment = os.environ | {"MPLBACKEND": "agg"}
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT), env=environment)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run_cell(kernel: BlockingKernelClient, code: str) -> dict[str, Any]:
    reply: dict[str, Any] = kernel.execute_interactive(code, allow_stdin=False, output_hook=lambda _: None)["content"]
    return reply


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_run_all_and_again_and_its_first_cells_once_more(
    site: Path, kernel: BlockingKernelClient, chapter: str
) -> None:
    """In one kernel; `site` has made the records that the chapter reads."""
    run_cell(kernel, "%reset -f\n%reset -f in out\nimport torch\ntorch.set_grad_enabled(True)\ndel torch")
    cells = code_cells(chapter)
    for number, cell in enumerate((*cells, *cells, *cells[:3])):
        reply = run_cell(kernel, cell.source)
        if reply["status"] != "ok":
            where = f"cell {number + 1} of {len(cells)}, run again and again"
            pytest.fail(f"{where}, fails: {reply.get('ename')}: {reply.get('evalue')}")


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
    told = {"name": "python", "version": "3.11.0", "file_extension": ".py", "pygments_lexer": "ipython3"}
    model["content"].metadata["language_info"] = told
    for number, cell in enumerate(model["content"].cells):
        cell.metadata["user_expressions"] = []  # jupyterlab-myst leaves it there
        cell.metadata |= {"editable": True, "slideshow": {"slide_type": ""}}  # of the property inspector
        if cell.cell_type == "markdown":
            cell.metadata["jp-MarkdownHeadingCollapsed"] = True  # of a heading that was folded
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            assert bool(cell.metadata.get("jupyter")) == ("-input" in str(tags) and "parameters" not in tags)
            cell.execution_count, cell.outputs = number, [nbformat.v4.new_output("stream", text="42")]
    manager.save(model, f"{chapter}.md")
    assert (tmp_path / f"{chapter}.md").read_bytes() == (BOOK / f"{chapter}.md").read_bytes()

"""Launch buttons lead to the text notebook in the repository, and no other button is touched."""

from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook
from sphinx.application import Sphinx

from reidkit.report.launch import github_address

OPTIONS = {
    "repository_url": "https://github.com/someone/reid-book",
    "repository_branch": "main",
    "path_to_docs": "book",
    "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
}


def test_the_buttons_of_the_theme_open_the_text_notebook(tmp_path: Path) -> None:
    notebook = new_notebook(
        cells=[new_markdown_cell("# Losses")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    nbformat.write(notebook, source / "losses.ipynb")
    config = {
        "extensions": ["myst_nb", "sphinx_book_theme", "reidkit.report.launch"],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": OPTIONS,
        "nb_execution_mode": "off",
        "root_doc": "losses",
    }
    Sphinx(source, None, site, tmp_path / "doctrees", "html", config, status=None, warning=None).build()
    page = BeautifulSoup((site / "losses.html").read_text(encoding="utf-8"), "html.parser")
    links = [link["href"] for link in page.select(".article-header-buttons a[href]")]
    assert "https://mybinder.org/v2/gh/someone/reid-book/main?urlpath=lab/tree/book/losses.md" in links
    assert "_sources/losses.ipynb" in links


@pytest.mark.parametrize(
    "given",
    [
        "https://github.com/someone/reid-book",
        "http://www.github.com/someone/reid-book/",
        "github.com/someone/reid-book.git",
        "git@github.com:someone/reid-book.git",
        "ssh://git@github.com/someone/reid-book",
        " https://token@github.com/someone/reid-book ",
    ],
)
def test_a_repository_on_github_however_it_is_given(given: str) -> None:
    assert github_address(given) == "https://github.com/someone/reid-book"


@pytest.mark.parametrize(
    "given",
    [
        "https://gitlab.com/someone/reid-book",
        "https://notgithub.com/someone/reid-book",
        "https://github.com.evil.org/someone/reid-book",
        "https://github.com/someone",
        "https://github.com/someone/reid-book/tree/main",
        "someone/reid-book",
        "/home/someone/reid-book",
    ],
)
def test_no_buttons_for_what_is_not_on_github(given: str) -> None:
    assert github_address(given) is None

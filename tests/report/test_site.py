"""A site of a few pages: what stands around the text, what code is called, and what is searched."""

import json
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.application import Sphinx

from reidkit.records import origin
from reidkit.report.display import explorer_link
from reidkit.report.folds import LONG

CONFIG = {
    "extensions": ["myst_nb", "sphinxcontrib.bibtex", "sphinx_book_theme"]
    + [f"reidkit.report.{name}" for name in ("citations", "folds", "site")],
    "project": "A book",
    "html_title": "A book",
    "author": "Its authors",
    "copyright": "2026",
    "html_theme": "sphinx_book_theme",
    "html_theme_options": {"repository_url": "https://github.com/someone/book", "path_to_docs": "book"},
    "nb_execution_mode": "off",
    "nb_render_markdown_format": "myst",
    "nb_mime_priority_overrides": [["html", "text/markdown", 0]],
    "nb_merge_streams": True,
    "numfig": True,
    "numfig_secnum_depth": 1,
    "bibtex_bibfiles": ["references.bib"],
    "bibtex_default_style": "author_year",
    "people_shown": True,
}
TABLE = '~~~{table} A table.\n:name: "table-one"\n\n| a | b |\n| :-- | --: |\n| 1 | 2 |\n~~~\n'
SLIDES = """
~~~{figure} data:image/png;base64,AA==
:name: "figure-two"
:alt: "Bars."

Another caption.

```{image} data:image/png;base64,BB==
:alt: "m = 0"
:width: "20px"
:class: "no-scaled-link state"

```
```{image} data:image/png;base64,CC==
:alt: "m = 1"
:class: "no-scaled-link state shown"

```
~~~
"""
FIGURE = """
~~~{figure} data:image/png;base64,AA==
:name: "figure-one"
:alt: "Bars."
:class: "by-day"

A *caption*.

```{image} data:image/png;base64,BB==
:alt: "Bars."
:class: "by-night"

```
~~~
"""
LONG_CODE = "loss = 0\n" * (LONG + 1)
HIDDEN = {"tags": ["hide-input"]}
CELLS = [
    new_markdown_cell("# Runs\n\nWhat was *trained*, and how long it took."),
    new_code_cell('profile = "smoke"', metadata={"tags": ["parameters"]}),
    new_code_cell("profile = 'injected'", metadata={"tags": ["injected-parameters", "remove-input"]}),
    new_code_cell("import torch", metadata=HIDDEN),
    new_code_cell("numbered_table()", metadata=HIDDEN, outputs=[new_output("display_data", {"text/markdown": TABLE})]),
    new_code_cell("Markdown()", metadata=HIDDEN, outputs=[new_output("display_data", {"text/markdown": "Words."})]),
    new_code_cell(LONG_CODE, outputs=[new_output("display_data", {"text/markdown": "0.1 [−1.0 to +2.0] in Table 1."})]),
    new_code_cell(f"# reidkit/losses.py\n{LONG_CODE}"),
    new_code_cell(
        "numbered_table()",
        metadata={"tags": ["remove-input", "hide-output"]},
        outputs=[new_output("display_data", {"text/markdown": TABLE.replace("-one", "-two")})],
    ),
    new_code_cell(
        "assert 1",
        metadata={"tags": ["hide-cell"]},
        outputs=[new_output("display_data", {"text/markdown": "It holds."})],
    ),
    new_code_cell("print(1)", outputs=[new_output("stream", text="1\n"), new_output("stream", text="2\n")]),
]
LINK = explorer_link("Two rows", "smoke", "none/ce", "se/ce")
REFERENCES = "".join(
    f"@misc{{{key}, author = {{{author}}}, title = {{On {key}}}, year = 2019}}\n"
    for key, author in {
        "one": "{The Paper}",
        "two": "Bradley Efron and Robert Tibshirani",
        "some": "Jun Fu and Jing Liu and Haijie Tian",
        "others": "Jie Fu and Li Xu and Bo Qi",
    }.items()
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    (source / "runs").mkdir(parents=True)
    pages = {
        "index.md": "# First\n\nWords.\n\n```{toctree}\n:numbered:\nruns\n```\n\n"
        "```{toctree}\nglossary\nreferences\n```\n",
        "runs/a.md": f"---\nnosearch: true\n---\n\n# Archived\n\nAn unusual word.\n\n{LINK}\n",
        "runs/b.md": "---\nnosearch: true\n---\n\n# Archived too\n\nAn unusual word.\n",
        "glossary.md": f"# Glossary\n\n## Terms\n\n{'Many words. ' * 40}\n{FIGURE}\n{SLIDES}",
        "references.md": "# References\n\n```{bibliography}\n:all:\n```\n",
        "references.bib": REFERENCES,
    }
    for name, text in pages.items():
        (source / name).write_text(text)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    toctree = new_markdown_cell("```{toctree}\nruns/a\nruns/b\n```")
    nbformat.write(new_notebook(cells=[*CELLS, toctree], metadata=kernel), source / "runs.ipynb")
    Sphinx(source, None, folder / "html", folder / "trees", "html", CONFIG, status=None, warning=None).build()
    return folder / "html"


def page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def test_reading_on_leads_past_the_pages_of_runs(site: Path) -> None:
    assert page(site, "runs").select_one("a.right-next")["href"] == "glossary.html"
    assert page(site, "glossary").select_one("a.left-prev")["href"] == "runs.html"
    assert not page(site, "runs/a").select(".prev-next-area a")


def test_every_page_says_what_it_is_and_where_it_comes_from(site: Path) -> None:
    soup = page(site, "runs")
    assert len(soup.select("h1")) == 1
    assert soup.find("meta", {"name": "description"})["content"] == "What was trained, and how long it took."
    assert soup.find("meta", property="og:title")["content"] == "1. Runs"
    footer = soup.select_one(".bd-footer-content")
    commit = origin()["commit"]
    assert f"commit {commit[:8]}" in footer.get_text() if commit else "commit" not in footer.get_text()
    links = [link["href"] for link in footer.select("a")]
    assert "https://github.com/someone/book/blob/main/book/runs.md" in links
    assert {"_static/LICENSE.txt", "_static/CITATION.cff"} < {*links}
    assert "Its authors (2026)" in footer.get_text()
    assert "../_static/LICENSE.txt" in [link["href"] for link in page(site, "runs/a").select("footer a")]


def test_pages_that_may_show_people_ask_not_to_be_listed(site: Path) -> None:
    assert "noindex" in page(site, "index").find("meta", {"name": "robots"})["content"]


def test_a_long_paragraph_is_described_by_whole_words(site: Path) -> None:
    text = page(site, "glossary").find("meta", {"name": "description"})["content"]
    assert 140 < len(text) <= 160
    assert text.endswith(("words…", "Many…", "words.…"))


def test_what_is_searched(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert "glossari" in index
    assert '"unusu"' not in index
    assert "Archived" not in index
    script = (site / "_static" / "search-texts.js").read_text()
    texts = json.loads(script.removeprefix("const searchTexts = ").rstrip(";\n"))
    assert {*texts} == {"index", "runs", "glossary", "references"}
    assert texts["runs"][0][:2] == ["runs", "Runs"]
    assert texts["runs"][0][2].startswith("What was trained, and how long it took. Words. 0.1 [")
    assert [label for label, *_ in texts["glossary"]] == ["glossary", "terms"]
    assert "search-texts.js" in (site / "search.html").read_text()


def test_a_fold_is_called_by_what_it_holds_or_its_code_makes_and_the_setup_is_one(site: Path) -> None:
    folds = page(site, "runs").select("article details")
    names = [fold.summary.get_text() for fold in folds]
    assert names == ["Setup", "Code of Table 1.1", "Code", "Code", "Table 1.2: A table", "Check"]
    assert folds[3].select_one("pre").get_text() == LONG_CODE
    listing = [pre for pre in page(site, "runs").select("article pre") if "reidkit/losses.py" in pre.get_text()]
    assert [pre.find_parent("details") for pre in listing] == [None]
    assert [code.get_text() for code in folds[0].select("pre")] == ['profile = "smoke"\n', "import torch\n"]
    assert "injected" not in page(site, "runs").article.get_text()


def test_a_link_opens_the_explorer_at_two_rows(site: Path) -> None:
    (link,) = page(site, "runs/a").select("article a[href^=explorer]")
    assert (link.get_text(), link["href"]) == ("Two rows", "explorer.html#a=smoke:none/ce&b=smoke:se/ce")


def test_what_one_cell_prints_is_one_output(site: Path) -> None:
    assert [block.get_text() for block in page(site, "runs").select(".output.stream")] == ["1\n2\n\n"]


def test_heads_of_tables_say_what_they_are_heads_of(site: Path) -> None:
    heads = page(site, "runs").find(id="table-one").select("th")
    assert [head.get("scope") for head in heads] == ["col", "col"]


def test_the_renderings_of_a_figure_stand_beside_each_other_above_its_caption(site: Path) -> None:
    figure = page(site, "glossary").find(id="figure-one")
    assert [(part.name, part.get("class")) for part in figure.find_all(recursive=False)] == [
        ("img", ["by-day"]),
        ("img", ["by-night"]),
        ("figcaption", None),
    ]
    assert figure.figcaption.get_text().strip().rstrip("#") == "A caption."  # not of a numbered chapter
    assert not figure.select(".legend")


def test_the_states_of_a_figure_stand_beside_it_with_a_script_that_shows_them(site: Path) -> None:
    glossary = page(site, "glossary")
    states = glossary.find(id="figure-two").find_all(recursive=False)
    assert [part.get("alt") for part in states] == ["Bars.", "m = 0", "m = 1", None]
    assert glossary.select("script[src*='states.js']")
    assert not page(site, "runs").select("script[src*='states.js']")


def test_no_line_ends_within_an_interval_and_short_cells_stay_whole(site: Path) -> None:
    article = page(site, "runs").article
    assert "0.1 [−1.0\xa0to\xa0+2.0] in Table\xa01." in article.get_text()
    assert all("short" in cell["class"] for cell in article.select("td"))


def test_references_are_labelled_as_they_are_cited(site: Path) -> None:
    labels = [label.get_text() for label in page(site, "references").select(".citation > .label")]
    assert labels == ["[Efron and Tibshirani, 2019]", "[Fu et al., 2019a]", "[Fu et al., 2019b]", "[The Paper, 2019]"]

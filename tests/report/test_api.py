"""The reference is made of the docstrings without a warning, and says what they say."""

import io
import re
import shutil
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

from reidkit.places import project_root
from reidkit.report.api import escaped, restructured

SHOWN = yaml.safe_load((project_root() / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (["Half of *x*, in `x_`."], ["Half of *x*, in ``x_``."]),
        ([">>> f(x)", "1"], [">>> f(x)", "1"]),
        (["    y = x * x"], ["::", "", "        y = x * x"]),
        (
            ["query (Q, D), gallery (G, D): features, of any", "    device.", "cmc: fractions."],
            ["", "- **query (Q, D), gallery (G, D)**: features, of any", "  device.", "", "- **cmc**: fractions."],
        ),
        (["Ties: a rank is", "one more."], ["Ties: a rank is", "one more."]),
        (["It holds", "- `a`, and", "  more", "- b"], ["It holds", "", "- ``a``, and", "  more", "", "- b"]),
    ],
)
def test_a_docstring_becomes_restructured_text(block: list[str], expected: list[str]) -> None:
    assert list(restructured(block)) == expected


def test_code_that_goes_on_in_the_next_line_does_no_harm() -> None:
    assert escaped("a `b") == "a \\`b"


def text(element: Tag) -> str:
    return " ".join(element.get_text().split())


def test_the_reference_is_built_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    shutil.copy(project_root() / "book" / "api.md", tmp_path / "source")
    kept = {key: SHOWN[key] for key in ("nitpick_ignore_regex", "autodoc_inherit_docstrings")}
    options = {"extensions": ["myst_nb", "reidkit.report.api"], "root_doc": "api", "nb_execution_mode": "off"}
    told = io.StringIO()
    config = {**options, **kept, "nitpicky": True}
    Sphinx(
        tmp_path / "source", None, tmp_path / "site", tmp_path / "trees", "html", config, status=None, warning=told
    ).build()
    # A process in which Sphinx has run before is told so.
    assert [line for line in told.getvalue().splitlines() if "is already registered" not in line] == []
    page = BeautifulSoup((tmp_path / "site" / "api.html").read_text(encoding="utf-8"), "html.parser")
    ranking = page.find(id="reidkit.evaluation.ranking.evaluate_ranking").parent.get_text()
    assert "(Q, D), gallery (G, D): features" in ranking
    assert "0.5833" in ranking  # its example
    assert "Raises ValueError" in ranking
    assert "[source]" in ranking
    fold = page.find(id="reidkit.evaluation.ranking.evaluate_ranking").find_parent("details")
    assert fold.summary.get_text().startswith("evaluate_ranking ")
    methods = page.select("dl.method")
    assert methods
    assert {len(method.find_parents("details")) for method in methods} == {1}
    assert "logits: Tensor | ArrayLike, labels: Tensor | ArrayLike)" in page.get_text()
    (detail,) = [fold for fold in page.find_all("details") if "is a match, everything else" in text(fold)]
    assert text(detail.summary) == "reidkit.evaluation.ranking in detail"
    assert not page.find(string=re.compile("a feature for each")).find_parent("details")
    assert "reidkit.embedding in detail" not in text(page)  # whose example stays in sight
    settings = page.find(id="reidkit.systems.joint_loss.RunConfig").parent.get_text()
    assert "the highest learning rate (unless given, 0.00035)" in settings
    embedding = page.find(id="reidkit.embedding.Embedding").parent.get_text()
    assert "run: whose network\n" in embedding
    assert "features: (N, D) float32, on the CPU" in embedding
    assert "~" not in embedding
    assert "Alias for field" not in page.get_text()

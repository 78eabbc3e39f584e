"""The book, built with the smoke profile as a reader builds it, and what Sphinx's warnings do not catch."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from reidkit.experiments import Profile, find_record

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


def page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def test_nothing_is_done_again_when_nothing_changed(
    site: Path, make: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    before = (site / "index.html").stat().st_mtime_ns
    again = make()
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    assert (site / "index.html").stat().st_mtime_ns == before


def test_no_page_is_an_orphan() -> None:
    assert {path.stem for path in BOOK.glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(site: Path, name: str) -> None:
    soup = page(site, name)
    assert soup.h1
    images = soup.select("article img")
    assert [image["src"][:80] for image in images if not image.get("alt", "").strip()] == []
    assert not soup.select(".system-message, .problematic")
    ids = Counter(tag["id"] for tag in soup.select("article [id]"))
    assert [label for label, count in ids.items() if count > 1] == []
    for code in soup.select("article pre"):
        code.decompose()  # code may speak of roles; prose may not show one
    raw = [text for text in soup.select_one("article").stripped_strings if re.search(r"\{(numref|cite|doc|eq)", text)]
    assert raw == []


@pytest.mark.parametrize("name", PAGES)
def test_no_page_asks_the_network_for_a_script_a_style_or_a_picture(site: Path, name: str) -> None:
    soup = page(site, name)
    asked = [tag.get("src") or tag.get("href") for tag in soup.select("script[src], img[src], link[rel=stylesheet]")]
    assert [address for address in asked if re.match(r"(https?:)?//", address)] == []


def test_no_label_is_used_twice(site: Path) -> None:
    found: Counter[str] = Counter()
    for source in (site.parent / "source").glob("*.ipynb"):
        for cell in nbformat.read(source, as_version=4).cells:
            texts = [cell.source] if cell.cell_type == "markdown" else []
            texts += [str(out.get("data", {}).get("text/markdown", "")) for out in cell.get("outputs", [])]
            for text in texts:
                found.update(re.findall(r'^:(?:name|label): "?([\w-]+)', text, re.M))
                found.update(re.findall(r"^\(([\w-]+)\)=$", text, re.M))
    assert found
    assert [label for label, count in found.items() if count > 1] == []


def test_every_measured_number_of_table_1_is_in_a_record(site: Path) -> None:
    soup = page(site, "experiments")
    profiles = {"table-1": Profile.read("smoke"), "table-1-market": Profile.read("market1501-small")}
    for label, profile in profiles.items():
        held = set()
        for config in profile.configs():
            record = find_record(config)
            held |= {100 * value for value in record.metrics.values()} if record else set()
        table = soup.find(id=label)
        header = [cell.get_text(strip=True) for cell in table.select("thead th")]
        columns = [i for i, name in enumerate(header) if name.endswith("here")]
        assert len(columns) == 4
        cells = [row.select("td")[i].get_text(strip=True) for row in table.select("tbody tr") for i in columns]
        shown = [float(cell) for cell in cells if cell != "–"]  # rounded to two decimals
        assert [number for number in shown if all(abs(number - value) > 0.00501 for value in held)] == []
        assert sum(cell != "–" for cell in cells) == 4 * len([c for c in profile.configs() if find_record(c)])


def test_published_records_hold_no_picture_and_no_weights() -> None:
    files = [path for path in (BOOK / "records").rglob("*") if path.is_file()]
    tables = {"history.csv", "queries.csv", "attributes.csv", "attention.csv"}
    assert {path.name for path in files} <= {"record.json", *tables}
    for path in files:
        if path.name == "record.json":
            assert json.loads(path.read_text())["provenance"]["dirty"] is False

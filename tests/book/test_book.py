"""The book, built with the smoke profile as a reader builds it, and what Sphinx's warnings do not catch."""

import hashlib
import json
import re
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from reidkit.profile import Profile
from reidkit.published import JOINT_LOSS
from reidkit.report.chapters import experiments
from reidkit.report.chapters.comparison import OTHERS
from reidkit.report.chapters.runs import shown_records
from reidkit.report.chapters.systems import figure_name
from reidkit.runs import find_record
from reidkit.systems import SYSTEMS
from tests.book.conftest import Make

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


def page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def test_nothing_is_done_again_when_nothing_changed(site: Path, make: Make) -> None:
    before = (site / "index.html").stat().st_mtime_ns
    again = make()
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    assert (site / "index.html").stat().st_mtime_ns == before


def test_the_book_as_one_file(site: Path, make: Make, tmp_path: Path) -> None:
    done = make("zip")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with zipfile.ZipFile(done.stdout.splitlines()[-1]) as packed:
        packed.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    listed = dict(reversed(line.split("  ./")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert listed == {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    assert (folder / "site" / "index.html").read_bytes() == (site / "index.html").read_bytes()
    shown = {*shown_records(Profile.read("smoke"))}
    assert {path.name for path in (folder / "records").iterdir()} == shown
    assert all((folder / "records" / name / "record.json").is_file() for name in shown)


def test_no_page_is_an_orphan() -> None:
    assert {path.stem for path in BOOK.glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(site: Path, name: str) -> None:
    soup = page(site, name)
    assert len(soup.select("h1")) == 1
    images = soup.select("article img")
    assert [image["src"][:80] for image in images if not image.get("alt", "").strip()] == []
    assert not soup.select(".system-message, .problematic")
    ids = Counter(tag["id"] for tag in soup.select("article [id]"))
    assert [label for label, count in ids.items() if count > 1] == []
    for code in soup.select("article pre"):
        code.decompose()  # code may speak of roles; prose may not show one
    raw = [text for text in soup.select_one("article").stripped_strings if re.search(r"\{(numref|cite|doc|eq)", text)]
    assert raw == []
    assert not [head for head in soup.select("article table.table th") if not head.get("scope") or not head.get_text()]
    assert "<IPython." not in soup.get_text()  # what has no text to show, shows its type
    assert soup.select_one(".bd-footer-content a[href$='CITATION.cff']")
    assert len(soup.find("meta", {"name": "description"})["content"]) > 10


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


def test_every_number_called_here_is_a_records_own(site: Path) -> None:
    """In every table of every page: a mean over the seeds of some run's metric, or a difference of two such means."""
    seeds = defaultdict(list)
    for record in shown_records(Profile.read("smoke")).values():
        config = {**SYSTEMS[record.system].complete(record.config), "seed": None}  # older records name fewer settings
        seeds[json.dumps(config, sort_keys=True)].append(pd.Series(record.metrics))
    means = 100 * pd.DataFrame([mean for group in seeds.values() for mean in (*group, sum(group) / len(group))])
    columns = [means[metric].dropna().to_numpy() for metric in means]
    held = np.concatenate(columns)
    gains = np.concatenate([np.subtract.outer(column, column).ravel() for column in columns])
    checked = 0
    for file in sorted(site.rglob("*.html")):
        soup = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
        for table in soup.select("article table"):
            header = [cell.get_text(strip=True) for cell in table.select("thead th")]
            for column in (i for i, title in enumerate(header) if title.lower().split(" ")[-1] == "here"):
                for row in table.select("tbody tr"):
                    shown = row.select("td")[column].get_text(strip=True)
                    if re.fullmatch(r"[+−]?[\d.]+", shown):  # and no text, nor – for what was not run
                        number = float(shown.replace("−", "-"))
                        pool = gains if shown[0] in "+−" else held
                        assert abs(pool - number).min() < 0.00501, f"{file.name}: {header[column]} {shown}"
                        checked += 1
    assert checked > 200


def test_every_score_of_an_attribute_is_a_records_own(site: Path) -> None:
    table = page(site, "attribute-network").find(id="table-attribute-scores")
    scores = find_record(Profile.read("smoke").config("attributes")).table("attributes")
    held = 100 * scores.select_dtypes("number").to_numpy()
    means = 100 * scores.groupby("level").mean(numeric_only=True).to_numpy()
    cells = [float(cell.get_text()) for cell in table.select("tbody td:not(:first-child)")]
    assert len(cells) == 8 * (len(scores) // 2 + 1)
    assert [number for number in cells if min(abs(held - number).min(), abs(means - number).min()) > 0.0501] == []


def test_every_row_that_was_run_is_shown(site: Path) -> None:
    soup = page(site, "experiments")
    printed = JOINT_LOSS[1].cells
    shown = {
        "table-1-scores": (printed, ["smoke"]),
        "table-1-market": (printed, ["market1501-small"]),
        "table-1": (experiments.SHOWN, ["smoke", "market1501-small"]),
    }
    for label, (rows, profiles) in shown.items():
        planned = [run for profile in profiles for run in Profile.read(profile).planned("joint-loss")]
        run = {planned.config.name for planned in planned if planned.row in rows and find_record(planned.config)}
        links = soup.find(id=label).select("tbody a[href]")
        assert {Path(link["href"]).stem for link in links} == run
        assert all((site / link["href"]).is_file() for link in links)


# Figures of live modules, of losses and of data: they show no number of a run.
WITHOUT_RUN = {
    "figure-task",
    *map(figure_name, OTHERS),
    *(f"figure-{number}" for number in range(1, 6)),
    *("figure-eq1", "figure-hinge", "figure-boundary", "figure-toy"),
    *("figure-contact", "figure-parts", "figure-alike", "figure-augmentation", "figure-batch"),
    *("figure-attribute-balance", "figure-san-gal-1", "figure-san-gal-3", "figure-blocks", "figure-sigmoids"),
    *("figure-san-gal-schedule", "figure-decay"),
    "figure-screening",  # of runs on held-out people, whose records have no pages
    "figure-found",  # of a network that is trained for the page alone
}


def test_every_figure_of_a_run_leads_to_its_page(site: Path) -> None:
    found = set()
    for name in PAGES:
        for figure in page(site, name).select("article figure"):
            links = figure.select("figcaption a[href^='runs/'], figcaption a[href='runs.html']")  # one by one, or all
            assert bool(links) == (figure["id"] not in WITHOUT_RUN), figure["id"]
            assert all((site / link["href"]).is_file() for link in links)
            found.add(figure["id"])
    assert found > WITHOUT_RUN


def test_published_records_hold_no_picture_and_no_weights() -> None:
    files = [path for folder in ("records", "screening") for path in (BOOK / folder).rglob("*") if path.is_file()]
    names = (
        "history",
        "steps",
        "queries",
        "attributes",
        "attention",
        "frozen",
        "looks",
        "localisation",
        "examples",
        "focus",
        "shares",
    )
    tables = {f"{name}.csv" for name in names}
    assert {path.name for path in files} <= {"record.json", *tables}
    for path in files:
        if path.name == "record.json":
            assert json.loads(path.read_text())["provenance"]["dirty"] is False

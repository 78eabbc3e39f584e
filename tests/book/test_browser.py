"""The built pages in a real browser, without a network: what a reader sees, and what only a running page can show."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect, sync_playwright

from reidkit.models import ATTENTION
from reidkit.profile import Profile
from reidkit.runs import find_record
from reidkit.systems.joint_loss import GRID, LOSSES
from tests.book.conftest import CHROMIUM, needs_chromium

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
PHONE: ViewportSize = {"width": 390, "height": 844}

pytestmark = needs_chromium


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not work for root
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Reader:
    """A browser without a network, and what went wrong in it."""

    def __init__(self, context: BrowserContext, site: Path) -> None:
        self.site, self.problems = site, list[str]()
        context.set_offline(True)
        context.on("request", self._asked)
        context.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url[:200]}"))
        context.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.page = context.new_page()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"asked the network: {request.url[:200]}")

    def open(self, name: str) -> Page:
        self.page.goto((self.site / f"{name}.html").as_uri())
        if self.page.locator("script[type='application/vnd.jupyter.widget-view+json']").count():
            expect(self.page.locator(".widget-subarea .rx").first).to_be_visible()
        if self.page.locator(".math").count():
            self.page.wait_for_function(
                "() => [...document.querySelectorAll('.math')].every(m => m.querySelector('svg'))"
            )
        return self.page


@pytest.fixture
def reader(chromium: Browser, site: Path) -> Iterator[Reader]:
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    reader = Reader(context, site)
    yield reader
    context.close()
    assert reader.problems == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_by_day_and_by_night_and_whole_without_a_network(reader: Reader, name: str) -> None:
    page = reader.open(name)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator(f"html[data-theme={theme}]")).to_have_count(1)
        assert violations(page, reader.site) == []
    check_whole(page)


def test_the_page_of_every_run_is_whole_without_a_network(reader: Reader) -> None:
    pages = sorted((reader.site / "runs").glob("*.html"))
    assert len(pages) > 12
    for path in pages:
        check_whole(reader.open(f"runs/{path.stem}"))
    assert violations(reader.page, reader.site) == []


def check_whole(page: Page) -> None:
    """Its mathematics is typeset, every picture is there and has a text, and it fits a telephone."""
    assert page.locator("mjx-merror").count() == 0
    for kind, whole in (
        ("img", "i.complete && i.naturalWidth && i.alt.trim()"),
        ("[role=img]", "['label', 'labelledby', 'hidden'].some(a => i.getAttribute('aria-' + a))"),
    ):
        bad = f"all => all.filter(i => !({whole})).map(i => i.outerHTML.slice(0, 90))"
        assert page.locator(kind).evaluate_all(bad) == []
    page.set_viewport_size(PHONE)
    wide = page.evaluate("""() => {
        const room = document.documentElement.clientWidth;
        const scrolls = e => e && (getComputedStyle(e).overflowX != 'visible' || scrolls(e.parentElement));
        return document.documentElement.scrollWidth <= room ? [] : [...document.querySelectorAll('article *')]
            .filter(e => e.getBoundingClientRect().right > room + 1 && !scrolls(e.parentElement))
            .map(e => e.outerHTML.slice(0, 90));
    }""")
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


# What Sphinx and its extensions write themselves: the label of a folded cell, the roles of a list of references.
THEIRS = ("label-content-name-mismatch", "aria-deprecated-role", "aria-required-children")


def violations(page: Page, site: Path) -> list[str]:
    """What a program can see of a page's contrast, labels, roles and names that WCAG 2 does not allow."""
    page.add_script_tag(path=site.parent / "scripts" / "node_modules" / "axe-core" / "axe.min.js")
    options = {
        "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
        "rules": {rule: {"enabled": False} for rule in THEIRS},
        "resultTypes": ["violations"],
        "preload": False,  # of styles, which pages opened from disk may not read
    }
    found = page.evaluate("options => axe.run({include: 'article', exclude: 'mjx-container'}, options)", options)[
        "violations"
    ]
    return [f"{rule['id']}: {node['html'][:150]}" for rule in found for node in rule["nodes"]]


def test_search_finds_a_known_word(reader: Reader) -> None:
    page = reader.page
    page.goto((reader.site / "search.html").as_uri() + "?q=bootstrap")
    results = page.locator("#search-results ul.search li a")
    expect(results.first).to_be_visible(timeout=15_000)
    assert any("How to read this book" in text for text in results.all_inner_texts())


# -------------------------------------------------------------------------------------------------------- the explorer


def control(page: Page, label: str) -> Locator:
    return page.locator(".widget-subarea").get_by_label(label, exact=True).locator("visible=true")


def options(dropdown: Locator) -> list[str]:
    return [text.replace("\N{NO-BREAK SPACE}", " ") for text in dropdown.locator("option").all_inner_texts()]


def title(page: Page) -> str:
    return page.locator(".widget-subarea .rx p strong").locator("visible=true").inner_text()


def test_every_attention_and_loss_can_be_chosen(reader: Reader) -> None:
    page = reader.open("explorer")
    seen = set()
    for attention in options(control(page, "Attention")):
        control(page, "Attention").select_option(label=attention)
        for loss in options(control(page, "Loss")):
            control(page, "Loss").select_option(label=loss)
            expect(page.locator(".widget-subarea .rx p strong").locator("visible=true")).to_have_text(
                re.compile(rf"^{re.escape(f'{attention}, {loss}')}(:|$)")
            )
            seen.add(title(page))
    assert len(seen) == 18


def test_each_data_set_and_run_can_be_chosen(reader: Reader) -> None:
    page = reader.open("explorer")
    data = options(control(page, "Data"))
    assert len(data) >= 4
    for name in data:
        control(page, "Data").select_option(label=name)
        if name.startswith("SAN-GAL"):
            expect(control(page, "Attention")).to_have_count(0)
            for run in options(control(page, "Run")):
                control(page, "Run").select_option(label=run)
                expect(page.locator(".widget-subarea .rx p strong").locator("visible=true")).to_have_text(run)
        else:
            expect(control(page, "Run")).to_have_count(0)
            expect(control(page, "Attention")).to_be_visible()


def test_a_run_that_is_missing_names_its_command(reader: Reader) -> None:
    page = reader.open("explorer")
    missing = next(cell for cell in GRID.values() if find_record(Profile.read("smoke").config(cell.name)) is None)
    control(page, "Attention").select_option(label=ATTENTION[missing.attention].title)
    control(page, "Loss").select_option(label=LOSSES[missing.loss])
    expect(page.locator(".widget-subarea")).to_contain_text(f"reidkit run smoke --row {missing.name} --seed 0")


def test_a_run_leads_to_its_page(reader: Reader) -> None:
    page = reader.open("explorer")
    page.locator(".widget-subarea summary").locator("visible=true").first.click()
    page.locator(".widget-subarea details[open] a").first.click()
    expect(page).to_have_url((reader.site / "runs" / f"{Profile.read('smoke').config('none/ce').name}.html").as_uri())


def test_the_explorer_works_by_keyboard(reader: Reader) -> None:
    page = reader.open("explorer")
    control(page, "Data").focus()
    page.keyboard.press("Tab")
    expect(control(page, "Attention")).to_be_focused()
    before = title(page)
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(control(page, "Attention")).to_have_value("CBAM")
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    expect(page.locator(".widget-subarea .rx p strong").locator("visible=true")).to_have_text(
        "CBAM, CE + Tri + Cir: Ours"
    )
    assert title(page) != before


def test_queries_and_stages_change_the_pictures(reader: Reader) -> None:
    page = reader.open("explorer")
    control(page, "Data").select_option(label="SAN-GAL: SynthPed (toy)")
    control(page, "Run").select_option(index=2)
    names = set()
    for query in ("easy", "median", "hard"):
        control(page, "Query").select_option(label=query)
        for stage in ("layer2", "layer3", "layer4"):
            control(page, "Stage").select_option(label=stage)
            expect(page.locator(".widget-subarea p", has_text="Heat maps of").locator("visible=true")).to_contain_text(
                stage
            )
        names.add(page.locator(".widget-subarea p", has_text="Query").locator("code").inner_text())
        thumbs = page.locator(".widget-subarea .rx-thumb").locator("visible=true")
        sizes = thumbs.evaluate_all(
            "all => all.map(t => getComputedStyle(t).backgroundImage.startsWith('url(\"data:'))"
        )
        assert len(sizes) > 8 + 27
        assert all(sizes)  # each has its sheet
    assert len(names) == 3
    assert violations(page, reader.site) == []


def test_the_page_of_the_explorer_is_small(site: Path) -> None:
    assert (site / "explorer.html").stat().st_size < 5_000_000


def test_on_a_telephone_only_the_tables_scroll(reader: Reader) -> None:
    reader.page.set_viewport_size(PHONE)
    page = reader.open("explorer")
    for number in range(control(page, "Data").locator("option").count()):
        control(page, "Data").select_option(index=number)
        for details in page.locator(".widget-subarea details:not([open]) summary").locator("visible=true").all()[::-1]:
            details.click()
        wide = page.locator(".widget-subarea, .widget-subarea .rx").evaluate_all(
            "all => all.filter(e => e.scrollWidth > e.clientWidth || e.clientWidth > 390).map(e => e.className)"
        )
        assert wide == []


def test_the_tables_say_the_same_as_the_explorer(reader: Reader) -> None:
    page = reader.open("explorer")
    shown = page.locator(".widget-subarea table").first.locator("tr", has_text="mAP").locator("td").all_inner_texts()
    row = page.locator("#table-explorer-joint-loss-smoke tbody tr").first.locator("td").all_inner_texts()
    assert shown[1:3] == row[3:5]  # paper and here
    assert float(shown[2]) > 0

"""The built pages in a real browser, without a network: what a reader sees, and what only a running page can show."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, ViewportSize, expect, sync_playwright

from reidkit.profile import Profile
from reidkit.runs import find_record
from reidkit.systems.joint_loss import GRID
from tests.book.conftest import CHROMIUM, needs_chromium

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
TALLEST = 6500  # pixels of a page beside a sidebar: seven screens
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
        context.on("requestfailed", self._failed)
        context.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.page = context.new_page()

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"asked the network: {request.url[:200]}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # aborted: the page was left while it loaded; a missing file differs
            self.problems.append(f"failed ({request.failure}): {request.url[:200]}")

    def open(self, name: str) -> Page:
        self.page.goto((self.site / f"{name}.html").as_uri())
        if self.page.locator("script[type='application/vnd.jupyter.widget-view+json']").count():
            expect(self.page.locator(".jupyter-widgets").first).to_be_visible()
        if self.page.locator(".rx-explorer").count():
            expect(self.page.locator(".rx-now")).not_to_be_empty()
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
    """Its mathematics is typeset, every picture is there and has a text, and it fits a telephone, equations too."""
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
    cut = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.parentElement.id)"
    assert page.locator("div.math mjx-container").evaluate_all(cut) == []
    broken = """all => all.filter(cell => {
        const text = document.createRange();
        text.selectNodeContents(cell);
        return text.getBoundingClientRect().height > 1.9 * parseFloat(getComputedStyle(cell).lineHeight);
    }).map(cell => cell.textContent)"""
    short = page.locator("table.table td.short:not(:first-child)")  # which would make its row tall, out of sight
    assert short.evaluate_all(broken) == []


def violations(page: Page, site: Path) -> list[str]:
    """What a program can see of a page's contrast, labels, roles and names that WCAG 2 does not allow."""
    page.add_script_tag(path=site.parent / "scripts" / "node_modules" / "axe-core" / "axe.min.js")
    options = {
        "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
        "resultTypes": ["violations"],
        "preload": False,  # of styles, which pages opened from disk may not read
    }
    found = page.evaluate("options => axe.run({include: 'article', exclude: 'mjx-container'}, options)", options)[
        "violations"
    ]
    return [f"{rule['id']}: {node['html'][:150]}" for rule in found for node in rule["nodes"]]


def test_no_chapter_is_endless(reader: Reader) -> None:
    heights = {}
    for name in PAGES:
        page = reader.open(name)
        page.set_viewport_size({"width": 1280, "height": 900})
        heights[name] = page.evaluate("document.documentElement.scrollHeight")
    del heights["runs"]  # a list that is sorted and filtered
    assert {name: height for name, height in heights.items() if height > TALLEST} == {}


def test_no_table_is_cut_on_a_small_screen(reader: Reader) -> None:
    reader.page.set_viewport_size({"width": 1280, "height": 900})
    cut = {}
    for name in PAGES:
        page = reader.open(name)
        page.evaluate("document.querySelectorAll('article details').forEach(fold => fold.open = true)")
        cut[name] = page.evaluate(
            "[...document.querySelectorAll('article .pst-scrollable-table-container')]"
            ".filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText.slice(0, 80))"
        )
    assert {name: tables for name, tables in cut.items() if tables} == {}


def test_search_finds_a_known_word(reader: Reader) -> None:
    page = reader.page
    page.goto((reader.site / "search.html").as_uri() + "?q=bootstrap")
    results = page.locator("#search-results ul.search li a")
    expect(results.filter(has_text="Settings and verdicts").first).to_be_visible(timeout=15_000)


def test_search_shows_the_places_and_no_page_of_a_run(reader: Reader) -> None:
    page = reader.page
    page.goto((reader.site / "search.html").as_uri() + "?q=circle+loss")
    expect(page.locator("#search-results .search-summary")).to_contain_text("found", timeout=15_000)
    links = page.locator("#search-results ul.search > li > a").evaluate_all("all => all.map(a => a.pathname)")
    assert links
    assert not [link for link in links if "/runs/" in link]
    places = page.locator("#search-results .context")
    assert places.count() > len(links) / 2
    assert {"circle", "loss"} & {text.lower() for text in places.locator("mark").all_inner_texts()}
    places.locator("a[href*='.html#']").first.click()
    expect(page).to_have_url(re.compile(r"\.html#"))


def test_the_table_of_runs_is_sorted_and_filtered(reader: Reader) -> None:
    page = reader.open("runs")
    rows = page.locator("#table-runs tbody tr").locator("visible=true")
    everything = rows.count()

    def column(name: str) -> list[str]:
        names = page.locator("#table-runs thead th").all_inner_texts()
        place = next(i for i, text in enumerate(names) if text.startswith(name))
        return [row.locator("td").nth(place).inner_text() for row in rows.all()]

    page.get_by_role("button", name="mAP").click()
    scores = [float(score) for score in column("mAP") if score != "–"]
    assert len(scores) > 10
    assert scores == sorted(scores, reverse=True)
    assert "–" not in column("mAP")[: len(scores)]
    expect(page.locator("#table-runs th[aria-sort=descending]")).to_have_count(1)
    page.get_by_label("Show runs with").fill("market1501 CBAM")
    assert 0 < rows.count() < everything
    assert all("cbam" in run for run in column("Run"))
    expect(page.locator(".filters output")).to_contain_text(f"{rows.count()} of {everything}")
    assert violations(page, reader.site) == []


# -------------------------------------------------------------------------------------------------------- the explorer


def explorer(reader: Reader, fragment: str = "") -> Page:
    page = reader.page
    page.goto((reader.site / "explorer.html").as_uri() + fragment)
    expect(page.locator(".rx-now")).not_to_be_empty()
    return page


def control(page: Page, label: str) -> Locator:
    return page.locator(".rx-explorer").get_by_label(label, exact=True)


def options(dropdown: Locator) -> list[str]:
    """The sides that can be chosen, as the address calls them."""
    return dropdown.locator("option").evaluate_all("all => all.map(o => o.value)")


def said(page: Page) -> str:
    """What is told of every change."""
    assert page.locator(".rx-now").get_attribute("aria-live") == "polite"
    return page.locator(".rx-now").inner_text()


def test_any_two_runs_stand_side_by_side(reader: Reader) -> None:
    page = explorer(reader)
    keys = options(control(page, "B"))
    assert any("@" in key for key in keys)  # single seeds too
    assert len({key.partition(":")[2].partition("@")[0] for key in keys}) >= 12
    seen = set()
    for key in keys:
        control(page, "B").select_option(value=key)
        page.evaluate("new Promise(requestAnimationFrame)")
        seen.add(said(page))
        lines = page.locator(".rx-scores tbody tr")
        if control(page, "A").input_value() != key:
            assert lines.nth(2).locator("th").inner_text() == "B − A"
            ours, base, gain = (
                float(lines.nth(n).locator("td").first.inner_text().split()[0].replace("−", "-")) for n in (1, 0, 2)
            )
            assert gain == pytest.approx(ours - base, abs=0.02) or "@" in key or "ID" in key  # of common seeds
            assert page.locator(".rx-charts svg .rx-a").count() >= 2
        assert page.locator(".rx-charts svg .rx-b").count() >= 2
    assert len(seen) == len(keys)


def test_a_cell_of_the_grid_chooses_a_run_and_one_that_was_not_run_says_so(reader: Reader) -> None:
    page = explorer(reader)
    grid = page.locator(".rx-chooser").first
    cells = grid.locator("tbody td")
    assert cells.count() == len(GRID)
    missing = [cell for cell in GRID.values() if find_record(Profile.read("smoke").config(cell.name)) is None]
    assert grid.locator(".rx-missing").count() == len(missing)
    assert "reidkit run smoke --row" in page.locator(".rx-tables + .rx-note").inner_text()
    grid.locator("[data-row='se/ce']").click()
    assert control(page, "B").input_value() == "smoke:se/ce"
    page.locator(".rx-slots").get_by_label("for A").check()
    grid.locator("[data-row='eca/ce']").click()
    assert control(page, "A").input_value() == "smoke:eca/ce"
    assert control(page, "B").input_value() == "smoke:se/ce"
    expect(grid.locator("[data-row='eca/ce']")).to_have_attribute("aria-pressed", "true")
    expect(grid.locator("[data-row='eca/ce']")).to_be_focused()


def test_an_address_leads_to_what_was_shown(reader: Reader) -> None:
    page = explorer(reader)
    control(page, "A").select_option(value="smoke:se/ce")
    control(page, "B").select_option(value="smoke:ID+attr@1")
    control(page, "Queries in the order").select_option(value="lost")
    page.locator(".rx-strip label").nth(3).click()
    shown, told = page.locator(".rx-strip input:checked").input_value(), said(page)
    assert "a=smoke:se/ce&b=smoke:ID+attr@1" in page.url
    assert page.get_by_text("Link to what is shown").get_attribute("href") == page.url[page.url.index("#") :]
    fragment = page.url[page.url.index("#") :]
    page.goto("about:blank")
    page = explorer(reader, fragment)
    assert said(page) == told
    assert page.locator(".rx-strip input:checked").input_value() == shown
    assert page.evaluate("window.scrollY") > 0  # the explorer is what is looked at
    page = explorer(reader, "#a=none/ce&b=cbam/ce+tri+cir")  # as a hand writes it
    assert control(page, "B").input_value() == "smoke:cbam/ce+tri+cir"
    before = said(page)
    page = explorer(reader, "#a=nothing/ce")
    assert "names no run that is here: #a=nothing/ce." in page.locator(".rx-explorer [role=status]").inner_text()
    page = explorer(reader, "#what-is-shown")  # a heading of the page is no choice
    assert control(page, "B").input_value() != "smoke:cbam/ce+tri+cir" or said(page) == before


def test_the_values_of_every_chart_are_told(reader: Reader) -> None:
    page = explorer(reader)
    charts = page.locator(".rx-explorer figure")
    assert charts.count() == 3
    for number in range(3):
        svg, reading = charts.nth(number).locator("svg"), charts.nth(number).locator("output")
        assert len(svg.get_attribute("aria-label") or "") > 40
        svg.hover(position={"x": 200, "y": 100})
        pointed = reading.inner_text()
        assert re.search(r"\d+: .*A −?[\d.]+, B −?[\d.]+|epoch \d+: A [\d.]+", pointed)
        svg.focus()
        page.keyboard.press("Home")
        first = reading.inner_text()
        page.keyboard.press("End")
        assert "A" in first
        if number == 0:
            assert first.startswith("k = 1: ")
            assert reading.inner_text().startswith("k = 20: ")


def test_queries_are_looked_at_in_the_order_of_their_gain(reader: Reader) -> None:
    page = explorer(reader, "#a=none/ce&b=se/ce")
    texts = page.locator(".rx-strip .rx-item > span:last-child").all_inner_texts()
    gains = [float(text.replace("−", "-")) for text in texts]
    assert gains == sorted(gains, reverse=True)
    assert page.locator(".rx-strip .rx-thumb").count() == len(gains)
    page.locator(".rx-strip input").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".rx-strip input:checked")).to_be_focused()
    chosen = page.locator(".rx-strip input:checked").get_attribute("aria-label") or ""
    assert page.locator(".rx-explorer p > code").last.inner_text() == chosen.partition(",")[0]
    rows = page.locator(".rx-row:visible")
    assert rows.count() == 3  # A, B, and what should come first
    for row in rows.all()[:2]:
        assert row.locator(".rx-right, .rx-wrong").count() == 8
    sheets = page.locator(".rx-thumb:visible").evaluate_all(
        """all => Promise.all(all.map(thumb => new Promise(done => {
            const image = new Image();
            image.onload = () => done(image.width > 64);
            image.onerror = () => done(false);
            image.src = getComputedStyle(thumb).backgroundImage.slice(5, -2);
        })))"""
    )
    assert all(sheets)
    page.locator(".rx-explorer figure svg").last.click(position={"x": 300, "y": 60})  # a bar leads to its query
    expect(page.locator(".rx-strip input:checked")).not_to_have_attribute("aria-label", chosen)


def test_heat_maps_say_what_the_network_says(reader: Reader) -> None:
    page = explorer(reader, "#a=none/ce&b=ID+attrAttention")
    if (other := page.get_by_role("button", name="Show one of them")).count():  # the first query is no example
        other.click()
    seen = set()
    for stage in ("layer2", "layer3", "layer4"):
        control(page, "Stage").select_option(label=stage)
        maps = page.locator(".rx-maps > span")
        assert maps.count() == 27
        assert maps.nth(2).locator("b").inner_text() == "sleeve length"
        assert all(re.search("✓|✗\ntrue: ", text) for text in maps.all_inner_texts())
        seen.add(maps.first.locator(".rx-heat").get_attribute("aria-label"))
    assert len(seen) == 3
    assert page.locator(".rx-scale").is_visible()
    assert violations(page, reader.site) == []
    control(page, "B").select_option(value="smoke:se/ce")  # which reads none
    expect(page.locator(".rx-maps")).to_be_hidden()


def test_what_is_shown_can_be_downloaded(reader: Reader) -> None:
    page = explorer(reader, "#a=none/ce&b=se/ce")
    for name, first in (("Scores", "metric,A,A low"), ("Curves", "side,seed,curve"), ("Queries", "query,A,B,gained")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"{name} (CSV)").click()
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert text.startswith(first)
        assert len({line.count(",") for line in text.splitlines() if '"' not in line}) <= 2


def test_toy_scores_are_not_subtracted_from_the_papers(reader: Reader) -> None:
    for key, apart in (("smoke:none/ce", False), ("market1501-small:none/ce", True)):
        page = explorer(reader, f"#a={key}&b={key}")
        page.reload()
        lines = page.locator(".rx-scores tbody th").all_inner_texts()
        assert any("the paper" in line for line in lines)
        assert any("− the paper" in line for line in lines) == apart
    assert page.locator(".rx-thumb:visible").count() == 0  # no picture of real people
    assert "real people are not shown" in page.locator(".rx-explorer").inner_text()


def test_a_run_leads_to_its_page(reader: Reader) -> None:
    page = explorer(reader, "#b=none/ce&a=none/ce")
    page.get_by_text("Where the numbers come from").click()
    page.locator(".rx-explorer details a").first.click()
    expect(page).to_have_url((reader.site / "runs" / f"{Profile.read('smoke').config('none/ce').name}.html").as_uri())


def test_without_scripts_the_reader_is_told_of_the_tables(chromium: Browser, site: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "explorer.html").as_uri())
    assert "plain tables further down" in page.locator(".rx-explorer noscript").inner_text()
    page.locator("details:has(#table-explorer-joint-loss-smoke) > summary").click()
    assert page.locator("#table-explorer-joint-loss-smoke").is_visible()
    context.close()


def test_a_slider_leads_through_the_states_of_a_figure(reader: Reader) -> None:
    figure = reader.open("losses").locator("#figure-toy")
    expect(figure.locator("img:visible")).to_have_count(1)
    expect(figure.locator("output")).to_have_text("after 300 steps")
    slider = figure.get_by_role("slider")
    slider.press("Home")
    expect(figure.locator("output")).to_have_text("after 0 steps")
    expect(figure.locator("img:visible")).to_have_count(1)
    expect(figure.locator("img:visible")).to_have_attribute("alt", "after 0 steps")


def test_the_page_of_the_explorer_is_small(site: Path) -> None:
    assert (site / "explorer.html").stat().st_size < 6_000_000


def test_on_a_telephone_only_tables_and_queries_scroll(reader: Reader) -> None:
    reader.page.set_viewport_size(PHONE)
    page = explorer(reader, "#a=none/ce&b=ID+attrAttention")
    page.get_by_text("Where the numbers come from").click()
    page.wait_for_function(
        "() => ['html', '.rx-explorer'].map(e => document.querySelector(e)).every(e => e.scrollWidth <= e.clientWidth)"
    )


def test_a_query_and_its_first_results_stand_in_one_line_beside_a_sidebar(reader: Reader) -> None:
    reader.page.set_viewport_size({"width": 1280, "height": 900})
    row = explorer(reader, "#a=none/ce&b=ID+attrAttention").locator(".rx-row").first
    tops = row.locator(".rx-thumb").evaluate_all("all => all.map(e => Math.round(e.getBoundingClientRect().top))")
    assert len(tops) == 9
    assert len({*tops}) == 1


def test_the_tables_say_the_same_as_the_explorer(reader: Reader) -> None:
    page = explorer(reader, "#a=none/ce&b=none/ce")
    shown = page.locator(".rx-scores tbody tr").first.locator("td").first.inner_text().split()[0]
    page.locator("details:has(#table-explorer-joint-loss-smoke) > summary").click()
    heads = page.locator("#table-explorer-joint-loss-smoke thead th").all_inner_texts()
    row = page.locator("#table-explorer-joint-loss-smoke tbody tr").first.locator("td").all_inner_texts()
    assert shown == row[[head.replace("\N{NON-BREAKING HYPHEN}", "-") for head in heads].index("mAP here")]
    assert float(shown) > 0

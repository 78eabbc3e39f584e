"""What numbered tables and figures offer to JupyterLab, to the book and to a console."""

import base64
import io
import json
import re
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from docutils.parsers.rst.directives.images import Figure as FigureDirective
from docutils.parsers.rst.directives.tables import RSTTable
from matplotlib.figure import Figure
from myst_parser.parsers.directives import parse_directive_text
from PIL import Image

from reidkit.report.display import numbered_figure, numbered_table
from tests.report.conftest import MakeRecord

AWKWARD = "quoted \"so\" and 'so', # no comment, key: value, back\\slash, `tick`, ü → 5 %"


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"Method": ["`a|b`", "x < y"], "mAP": [65.054, np.nan], "Paper": ["–", "+1.2"], "Seeds": [1, 2]}
    )


def split(markdown: str, kind: str) -> tuple[str, str]:
    """First line's argument, and the rest of a fenced directive."""
    found = re.fullmatch(rf"(~~~+){{{kind}}} (.*?)\n(.*)\n\1\n(?:\n(.*)\n)?", markdown, re.S)
    assert found
    return found[2], found[3]


def test_tables_and_figures_lead_to_the_runs_behind_them(frame: pd.DataFrame, make_record: MakeRecord) -> None:
    records = [make_record(seed=seed) for seed in (0, 1, 0)]
    links = [f"{{doc}}`{record.name[-8:]} <runs/{record.name}>`" for record in records[:2]]
    assert len({record.name[-9] for record in records}) == 1  # a dash, before the hash
    table = numbered_table(frame, "table-one", "A caption", "Notes.", records)
    assert table.markdown().endswith(f"\nNotes. Runs: {links[0]}, {links[1]}.\n")
    drawn = numbered_figure(plt.figure(figsize=(1, 1)), "figure-one", "A caption.", "A text.", iter(records[:1]))
    assert f"\nA caption. Run: {links[0]}.\n" in drawn.markdown()
    assert f"A caption. Run: {records[0].name[-8:]}." in drawn.html()


def test_table_offers_the_same_cells_to_lab_book_and_console(frame: pd.DataFrame) -> None:
    bundle = numbered_table(frame, "table-one", "A {numref}`other`\n  caption", "Some *notes*.")._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/markdown", "text/plain"}
    argument, body = split(bundle["text/markdown"], "table")
    assert argument == "A {numref}`other` caption"
    parsed = parse_directive_text(RSTTable, argument, body, line=0)
    assert parsed.options["name"] == "table-one"
    assert not parsed.warnings
    lines = "\n".join(parsed.body).strip().splitlines()
    assert lines == [
        "| Method | mAP | Paper | Seeds |",
        "| :-- | --: | --: | --: |",
        r"| `a\|b` | 65.05 | – | 1 |",
        "| x < y | – | +1.2 | 2 |",
    ]
    assert bundle["text/markdown"].endswith("\nSome *notes*.\n")
    assert "<code>a|b</code>" in bundle["text/html"]
    assert "x &lt; y" in bundle["text/html"]
    assert "A other caption" in bundle["text/html"]
    assert "overflow-x:auto" in bundle["text/html"]
    assert "<em>notes</em>" in bundle["text/html"]
    for text in ("A other caption", "65.05", "x < y", "notes"):
        assert text in bundle["text/plain"]


def test_columns_of_numbers_stand_to_the_right_and_others_to_the_left() -> None:
    intervals = {"Interval": "91.3 to 93.5", "Gain": "−0.5 to +1.0 (widened)", "Mean": "+3.1 [−0.5 to +6.0]"}
    cells = {"Rank-1": "92.40", **intervals, "Change": "−1,200.5", "Rows": "8 of 8", "Table": "1: Losses"}
    frame = pd.DataFrame([cells, dict.fromkeys(cells, "–")]).assign(Nothing="")
    table = numbered_table(frame, "one", "One")
    lines = table.markdown().splitlines()
    assert lines[4] == "| --: | --: | --: | --: | --: | :-- | :-- | :-- |"
    assert re.findall(r'<td style="text-align:(\w+)">–<', table.html()) == ["right"] * 5 + ["left"] * 2
    assert lines[3].startswith("| Rank\N{NON-BREAKING HYPHEN}1 |")  # a header breaks between words only


def test_table_leaves_the_frame_alone_and_needs_no_rows() -> None:
    empty = pd.DataFrame({"Method": pd.Series([], dtype=str)})
    assert "| :-- |" in numbered_table(empty, "none", "Nothing")._repr_mimebundle_()["text/markdown"]
    frame = pd.DataFrame({"a": [1.23456]})
    numbered_table(frame, "one", "One").markdown()
    assert frame.loc[0, "a"] == 1.23456


def test_figure_is_shown_with_its_alternative_text() -> None:
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([1, 2])
    shown = numbered_figure(figure, "figure-one", "With `code`", AWKWARD + "\nand a line")
    assert not plt.fignum_exists(figure.number)
    bundle = shown._repr_mimebundle_()
    uri, body = split(bundle["text/markdown"], "figure")
    parsed = parse_directive_text(FigureDirective, uri, body, line=0)
    assert not parsed.warnings
    assert parsed.options["alt"] == AWKWARD + " and a line"
    assert parsed.options["width"] == "264px"
    assert parsed.options["name"] == "figure-one"
    assert "\n".join(parsed.body).strip() == "With `code`"
    assert parsed.options["class"] == ["no-scaled-link", "drawn"]
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as picture:
        assert picture.size == (600, 400)
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # white, for dark pages
    assert f'src="{uri}"' in bundle["text/html"]
    tag = BeautifulSoup(bundle["text/html"], "html.parser").img
    assert tag is not None
    assert tag["alt"] == AWKWARD + " and a line"
    assert AWKWARD in bundle["text/plain"]


@pytest.mark.parametrize(
    ("inches", "shown"),
    [
        ((5.2, 4), "458px"),
        ((5, 8), "380px"),
        ((5, 6.7), "396px"),
        ((3, 20), "264px"),
    ],  # as drawn, and the tall narrower
)
def test_a_tall_drawing_is_narrower_down_to_what_a_telephone_shows(inches: tuple[float, float], shown: str) -> None:
    figure = plt.figure(figsize=inches)
    assert f':width: "{shown}"' in numbered_figure(figure, "figure-one", "Tall", "A tall one").markdown()


def test_photographs_are_as_wide_as_there_is_room_however_tall() -> None:
    figure, axes = plt.subplots(figsize=(4.2, 9))
    axes.imshow(np.zeros((9, 9, 3), np.uint8))
    assert ':width: "441px"' in numbered_figure(figure, "figure-one", "Tall", "A tall one").markdown()


def test_a_long_alternative_text_begins_at_the_picture_and_stands_whole_below_it() -> None:
    long = " ".join(f"Bar {i} reaches {i} points, and {i} more." for i in range(40))
    markdown = numbered_figure(drawing(), "shown", "Shown", long).markdown()
    alt = json.loads(re.search(r"^:alt: (.*)$", markdown, re.M)[1])  # type: ignore[index]
    assert len(alt) <= 500
    start = alt.removesuffix(" …: all of it in words below.")
    assert start != alt
    assert long.startswith(start + ".")
    assert f"</summary>{long}</details>" in markdown
    assert long in numbered_figure(drawing(), "shown", "Shown", long).html()


def test_a_figure_of_several_states_shows_one_and_holds_all() -> None:
    figures = {"m = 0": drawing(), "m = 1": drawing()}
    shown = numbered_figure(figures, "shown", "Shown", "Shown")
    assert [shown.state, *shown.states] == ["m = 1", "m = 0", "m = 1"]
    assert not any(plt.fignum_exists(figure.number) for figure in figures.values())
    first = numbered_figure({"m = 0": drawing(), "m = 1": drawing()}, "shown", "Shown", "Shown", state="m = 0")
    assert re.findall(r':alt: "(m = .)".*?:class: "(.*?)"', first.markdown(), re.S) == [
        ("m = 0", "no-scaled-link state drawn shown"),
        ("m = 1", "no-scaled-link state drawn"),
    ]
    assert numbered_figure(drawing(), "shown", "Shown", "Shown").states == {}


def test_photographs_have_a_dark_rendering_and_drawings_need_none() -> None:
    assert numbered_figure(drawing(), "shown", "Shown", "Shown").dark == ""
    figure = photograph()
    (axes,) = figure.axes
    axes.text(-30, 100, "name")
    axes.plot([0, 100], [0, 100], color="white")
    shown = numbered_figure(figure, "shown", "Shown", "Shown")
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("L"), dtype=int)
        for uri in (shown.uri, shown.dark)
    ]
    day, night = pictures
    assert day[0, 0] == 255
    assert night[0, 0] < 30
    held = np.s_[150:250, 150:250]  # within the photograph
    assert abs(day[held] - night[held]).mean() < 10
    assert day[:, :60].min() < 60  # letters
    assert night[:, :60].max() > 150
    assert ':class: "no-scaled-link by-day"' in shown.markdown()
    assert "by-night" in shown.markdown()


def test_colours_that_stand_for_themselves_are_left_alone() -> None:
    for draw in (drawing, photograph):
        shown = numbered_figure(draw(), "shown", "Shown", "Shown", literal=True)
        assert shown.dark == ""
        assert ':class: "no-scaled-link card"' in shown.markdown()


def drawing() -> Figure:
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.bar([1, 2], [3, 4])
    return figure


def photograph() -> Figure:
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.imshow(np.random.default_rng(0).random((200, 200, 3)), interpolation="bicubic")
    return figure


@pytest.mark.parametrize(("draw", "kind"), [(drawing, "png"), (photograph, "jpeg")])
def test_a_drawing_stays_lossless_and_a_photograph_becomes_small(draw: Callable[[], Figure], kind: str) -> None:
    shown = numbered_figure(draw(), "shown", "Shown", "Shown")
    assert shown.uri == f"data:image/{kind};base64,{base64.b64encode(shown.picture).decode()}"
    figure, as_it_is = draw(), io.BytesIO()
    figure.savefig(as_it_is, dpi=200)
    plt.close(figure)
    with Image.open(io.BytesIO(shown.picture)) as picture, Image.open(as_it_is) as expected:
        assert picture.format == kind.upper()
        difference = np.abs(np.asarray(picture, dtype=np.int16) - np.asarray(expected.convert("RGB"), dtype=np.int16))
        assert difference.mean() <= (0 if kind == "png" else 5)
    assert len(shown.picture) < len(as_it_is.getvalue()) * (1 if kind == "png" else 0.5)


@pytest.mark.parametrize("draw", [drawing, photograph])
def test_the_same_figure_is_the_same_bytes(draw: Callable[[], Figure]) -> None:
    first, second = (numbered_figure(draw(), "shown", "Shown", "Shown").picture for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["", "Table 1", "table_1", "-table", "table--1", "Tabelle-ü"])
def test_names_that_are_no_labels_are_refused(name: str, frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="cannot name a table: use lower-case"):
        numbered_table(frame, name, "Caption")


def test_captions_and_alternative_texts_are_required(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="table 'one' needs a text for its caption"):
        numbered_table(frame, "one", " ")
    with pytest.raises(ValueError, match="figure 'one' needs a text for its alt"):
        numbered_figure(plt.figure(), "one", "Caption", "")
    plt.close("all")

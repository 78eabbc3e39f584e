"""The pages that draw the compared systems: each system that has a row is on one of them."""

import re
from pathlib import Path

import pytest

from reidkit.profile import Profile
from reidkit.report.chapters.comparison import NAMES, OTHERS
from reidkit.report.chapters.systems import drawn

BOOK = Path(__file__).parents[3] / "book"
PAGES = "\n".join((BOOK / f"{name}.md").read_text(encoding="utf-8") for name in ("systems", "systems-parts"))


def test_every_system_is_drawn_once() -> None:
    assert sorted(re.findall(r'^drawn\("(.*)"\)$', PAGES, re.MULTILINE)) == sorted(OTHERS)


@pytest.mark.parametrize("row", OTHERS)
def test_a_system_is_traced_from_its_pictures_to_its_embedding(row: str) -> None:
    figure = drawn(Profile.read("synthped-compared"), row)
    text = str(figure)
    assert NAMES[row] in text
    html = figure.html()
    assert "images (3×64×32)" in html
    assert "loss" in html
    assert "embedding" in html

"""The pages that draw the compared systems: each system that has a row is on one of them."""

import re
from pathlib import Path

import pytest

from reidkit.profile import Profile
from reidkit.report.chapters.comparison import NAMES, OTHERS, PLAIN
from reidkit.report.chapters.systems import PAGES, answer, drawn, masks_in_words
from reidkit.report.differences import with_interval
from reidkit.report.rows import difference
from tests.report.conftest import MakeRecord

BOOK = Path(__file__).parents[3] / "book"
TEXTS = "\n".join((BOOK / f"systems-{page}.md").read_text(encoding="utf-8") for page in PAGES)


def test_every_system_is_drawn_once() -> None:
    assert sorted(re.findall(r'^drawn\("(.*)"\)$', TEXTS, re.MULTILINE)) == sorted(OTHERS)
    assert sorted(row for rows in PAGES.values() for row in rows if row in OTHERS) == sorted(OTHERS)


def test_the_answer_counts_who_is_clearly_ahead_and_behind(make_record: MakeRecord) -> None:
    good = {PLAIN: 0.5, "pcb": 0.9, "bfe": 0.1, "vpm": 0.5}
    runs = {row: [make_record(seed=seed, quality=quality) for seed in range(3)] for row, quality in good.items()}
    gain = with_interval(difference(runs, "pcb", PLAIN))
    assert answer(PAGES["parts"], {"toy": runs}) == (
        "On toy, of three systems, variants left out, PCB is clearly ahead of the plain network with triplet loss and "
        f"one clearly behind it; PCB is highest, at {gain}."
    )
    few = {row: runs[row] for row in (PLAIN, "pcb")}
    gain = with_interval(difference(few, "pcb", PLAIN))
    assert answer(PAGES["parts"], {"none": {}, "real": few}) == (
        f"On real only PCB was run: {gain} over the plain network with triplet loss."
    )
    assert "has been run yet" in answer(PAGES["vectors"], {"real": runs})


@pytest.mark.parametrize("row", OTHERS)
def test_a_system_is_traced_from_its_pictures_to_its_embedding(row: str) -> None:
    figure = drawn(Profile.read("synthped-compared"), {}, row)
    text = str(figure)
    assert NAMES[row] in text
    html = figure.html()
    assert "images (3×64×32)" in html
    assert "loss" in html
    assert "embedding" in html


def test_true_masks_are_told_beside_the_parsers_and_a_plain_network(make_record: MakeRecord) -> None:
    good = {"none/ce": 0.7, "spreid": 0.5, "spreid/predicted": 0.4}
    runs = {row: [make_record(seed=seed, quality=quality) for seed in range(3)] for row, quality in good.items()}
    assert masks_in_words(runs).startswith(
        f"True masks have {with_interval(difference(runs, 'spreid', 'spreid/predicted'))}"
    )
    assert "has not been run" in masks_in_words({"spreid": runs["spreid"]})

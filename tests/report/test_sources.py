"""Listings of the package's code say where it stands, and long ones are folded."""

import ast
import inspect
from textwrap import dedent

from reidkit import losses
from reidkit.losses import BatchHardTripletLoss
from reidkit.models.attention import CBAM
from reidkit.models.backbone import Bottleneck
from reidkit.report.sources import LONG, WIDE, fitted, source


def test_a_listing_names_its_file_and_holds_the_code() -> None:
    text = source(Bottleneck.forward).data
    summary = "<code>Bottleneck.forward</code> in <code>reidkit/models/backbone.py</code>"
    assert text.startswith(f'<details class="source" open><summary>{summary}</summary>\n')
    assert "\n\n```python\ndef forward(self" in text


def test_what_stands_in_one_file_is_listed_together_and_long_listings_are_folded() -> None:
    text = source(BatchHardTripletLoss, CBAM, losses.hardest_distances).data
    first, second = text.split("\n\n</details>")[:2]
    assert "<code>BatchHardTripletLoss</code>, <code>hardest_distances</code> in <code>reidkit/losses.py<" in first
    assert "class CBAM" in second
    for listing in (first, second):
        assert listing.lstrip().startswith('<details class="source">') == (listing.lstrip().count("\n") - 3 > LONG)


def test_comments_and_docstrings_fit_a_page_and_the_code_is_the_same() -> None:
    for thing in (losses.binary_cross_entropy_eq1, losses.attribute_loss, CBAM, BatchHardTripletLoss):
        code = dedent(inspect.getsource(thing))
        shown = fitted(code)
        assert "".join(shown.split()).replace("#", "") == "".join(code.split()).replace("#", "")
        prose = [line for line in shown.split("\n") if line.lstrip().startswith(("#", '"""'))]
        assert max(map(len, prose)) <= WIDE
        parsed, again = (ast.unparse(ast.parse(text)).split() for text in (code, shown))
        assert parsed == again
    assert fitted("a = 1\n\n\nb = 2\n") == "a = 1\n\n\nb = 2\n"
    example = '"""' + "A long line. " * 8 + "\n\nx: one\ny: two\n\n>>> f(1)  " + "#" * 90 + '\n2\n"""'
    assert fitted(example).endswith("\n\nx: one\ny: two\n\n>>> f(1)  " + "#" * 90 + '\n2\n"""')

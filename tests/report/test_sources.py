"""Listings of the package's code say where it stands, and long ones are folded."""

from reidkit import losses
from reidkit.losses import BatchHardTripletLoss
from reidkit.models.attention import CBAM
from reidkit.models.backbone import Bottleneck
from reidkit.report.sources import LONG, source


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
        assert listing.lstrip().startswith('<details class="source">') == (listing.count("\n") - 3 > LONG)

import pytest

from reidkit.report.printing import mended, number_contents, page_numbers


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"Setting upSetting up", b"Setting up"),
        (b"3.1. 3.1. The lossThe loss", b"3.1. The loss"),
        (b"2.3. 2.3. A \\(small\\) gateA \\(small\\) gate", b"2.3. A \\(small\\) gate"),
        (b"\xfe\xff\0P\0\xd7\0K\0P\0\xd7\0K", b"\xfe\xff\0P\0\xd7\0K"),
        (b"3.1. The loss", b"3.1. The loss"),
        (b"11. Losses", b"11. Losses"),
        (b"", b""),
    ],
)
def test_a_title_that_is_written_twice_stands_once_and_nothing_else_moves(written: bytes, meant: bytes) -> None:
    before = b"%%PDF-1.4\n1 0 obj <</Title (%b) /Dest [2 0 R]>> endobj\nxref" % written
    after = mended(before)
    assert b"/Title (%b)" % meant in after
    assert len(after) == len(before)
    assert after.index(b"/Dest") == before.index(b"/Dest")
    assert after.endswith(b"/Dest [2 0 R]>> endobj\nxref")


PDF = b"""%PDF-1.4
1 0 obj
<</Type /Page>>
endobj
20 0 obj
<</Type /Pages
/Count 2
/Kids [1 0 R 4 0 R]
/Parent 22 0 R>>
endobj
21 0 obj
<</Type /Pages
/Count 1
/Kids [9 0 R]
/Parent 22 0 R>>
endobj
22 0 obj
<</Type /Pages
/Count 3
/Kids [20 0 R 21 0 R]>>
endobj
30 0 obj
<</document-first [4 0 R /XYZ 0 700 0]
/the-loss [9 0 R /XYZ 27 41.5 0]
/gone [99 0 R /XYZ 0 0 0]>>
endobj
"""


def test_places_are_found_on_their_pages() -> None:
    assert page_numbers(PDF) == {"document-first": 2, "the-loss": 3}


def test_the_contents_get_page_numbers_once_and_the_rest_of_the_page_none() -> None:
    links = '<a class="x" href="#the-loss">The <em>loss</em></a><a href="#elsewhere">Elsewhere</a>'
    page = f'<main>{links}<nav class="book-contents">{links}</nav>{links}</main>'
    once = number_contents(page, {"the-loss": 3})
    assert once.count("<span") == 1
    assert (
        '<nav class="book-contents"><a class="x" href="#the-loss">The <em>loss</em><span class="page">3</span></a>'
        in once
    )
    assert number_contents(once, {"the-loss": 4}) == once.replace(">3<", ">4<")

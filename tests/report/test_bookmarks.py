import pytest

from reidkit.report.bookmarks import mended


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

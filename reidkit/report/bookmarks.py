"""Mends the bookmarks of a printed book: `python -m reidkit.report.bookmarks FILE`.

Chromium writes the title of a heading twice, word for word, where the heading is moved to the next page: "3.1. 3.1. The
lossThe loss".
"""

import re
import sys
from pathlib import Path

TITLE = re.compile(rb"/Title \(((?:[^()\\]|\\.)*)\)", re.DOTALL)
UTF16 = b"\xfe\xff"  # how the text begins where it is not ASCII


def mended(pdf: bytes) -> bytes:
    """The same file with each title once. Every byte keeps its place, because the file's own index counts them."""
    return TITLE.sub(lambda found: _once(found[1]).ljust(len(found[0])), pdf)


def _once(title: bytes) -> bytes:
    start = UTF16 if title.startswith(UTF16) else b""
    text = title.removeprefix(start)
    once = halved(text)
    return b"/Title (%b)" % (start + (text if once is None else once))


def halved(text: bytes) -> bytes | None:
    """One of two of each part of a text that is made of doubled parts only; None where it is not."""
    if not text:
        return b""
    for length in range(len(text) // 2, 0, -1):
        if text[:length] == text[length : 2 * length]:
            rest = halved(text[2 * length :])
            if rest is not None:
                return text[:length] + rest
    return None


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_bytes(mended(file.read_bytes()))

"""The book, printed."""

import re
from pathlib import Path

from bs4 import BeautifulSoup

from tests.book.conftest import Make, needs_chromium


@needs_chromium
def test_the_book_as_a_pdf(site: Path, make: Make) -> None:
    done = make("pdf")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    printed = Path(done.stdout.splitlines()[-1]).read_bytes()
    assert printed.startswith(b"%PDF-")
    assert printed.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 100
    source = BeautifulSoup((site.parent / "print/_build/singlehtml/index.html").read_text(), "html.parser")
    numbered = [tag.get_text() for tag in source.select("figure .caption-number, table .caption-number")]
    assert len(numbered) > 70
    assert len({*numbered}) == len(numbered)

"""The book, printed."""

import re
from pathlib import Path

from bs4 import BeautifulSoup

from reidkit.report.printing import halved
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
    assert source.select_one(".cover .book").get_text() == "Attention in person re-identification"
    pages = [int(span.extract().get_text()) for span in source.select(".book-contents .page")]
    assert pages == sorted(set(pages))
    listed = [link.get_text() for link in source.select(".book-contents a")]
    assert len(pages) == len(listed)
    chapters = [title.get_text().rstrip("#") for title in source.select("article h1")]
    assert chapters[1:] == listed
    assert not source.select("#document-runs h1, [id^='document-runs/']")
    titles = re.findall(rb"/Title \(([^)]*)\)", printed)
    assert len(titles) > 100
    assert not [title for title in titles if halved(title) is not None]

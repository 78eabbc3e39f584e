"""What Chromium does not do for a printed book: page numbers in its contents, and bookmarks that say a title once.

python -m reidkit.report.printing contents PDF HTML   # numbers the contents of the page that was printed
python -m reidkit.report.printing bookmarks PDF

Of a heading that is moved to the next page Chromium writes the title twice, word for word: "3.1. 3.1. The lossThe
loss".
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

TITLE = re.compile(rb"/Title \(((?:[^()\\]|\\.)*)\)", re.DOTALL)
PAGES = re.compile(rb"\n(\d+) 0 obj\n<</Type /Pages\n/Count \d+\n/Kids \[([^\]]*)\]")  # a group of pages, or of groups
PLACE = re.compile(rb"/(\S+) \[(\d+) 0 R /XYZ")  # of a link: its name, and the page as an object
LINK = re.compile(r'(<a [^>]*href="#([^"]+)"[^>]*>)(.*?)(</a>)', re.DOTALL)
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


def page_numbers(pdf: bytes) -> dict[str, int]:
    """The page, from 1, on which each place of a printed page begins that it links to."""
    groups = {group: re.findall(rb"(\d+) 0 R", kids) for group, kids in PAGES.findall(pdf)}
    pages = [kid for kids in groups.values() for kid in kids if kid not in groups]
    numbers = {page: number for number, page in enumerate(pages, 1)}
    return {name.decode(): numbers[page] for name, page in PLACE.findall(pdf) if page in numbers}


def number_contents(html: str, pages: Mapping[str, int]) -> str:
    """The same page with the number of its page behind each line of the contents that leads to one."""
    start = html.index('<nav class="book-contents"')
    end = html.index("</nav>", start)

    def numbered(found: re.Match[str]) -> str:
        opening, name, title, closing = found.groups()
        title = title.partition('<span class="page">')[0]
        page = f'<span class="page">{pages[name]}</span>' if name in pages else ""
        return f"{opening}{title}{page}{closing}"

    return html[:start] + LINK.sub(numbered, html[start:end]) + html[end:]


if __name__ == "__main__":
    what, file, *pages = sys.argv[1:]
    printed = Path(file).read_bytes()
    if what == "contents":
        page = Path(pages[0])
        page.write_text(number_contents(page.read_text(encoding="utf-8"), page_numbers(printed)), encoding="utf-8")
    else:
        Path(file).write_bytes(mended(printed))

"""Numbered tables and figures that a cell shows alike in JupyterLab and in the book.

Each object offers the same content as `text/html` for JupyterLab, as `text/markdown` holding a MyST directive for
Jupyter Book (which numbers it, so that {numref} finds it), and as plain text for a console.
"""

import base64
import html
import io
import json
import re
from collections.abc import Iterable
from typing import Any, cast

import matplotlib.pyplot as plt
import pandas as pd
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from PIL import Image

from reidkit.records import Record

PIXELS_PER_INCH = 100  # at which a page shows a figure; the picture itself holds twice as many, for sharp screens
_ROLE = re.compile(r"\{[\w:+-]+\}`([^`<]*?)(?: ?<[^`>]*>)?`")  # a role, with or without a text before its target
_NUMBER = re.compile(r"([-+−±]?\d[\d.,]*( – |$))+|–?")  # a number, an interval of two, or nothing
_MARKDOWN = MarkdownIt("commonmark", {"html": False})
MimeBundle = dict[str, str]


class NumberedTable:
    """What `numbered_table` returns; the last expression of a cell shows it."""

    def __init__(
        self, frame: pd.DataFrame, name: str, caption: str, notes: str = "", records: Iterable[Record] = ()
    ) -> None:
        _check(name, "table", caption=caption)
        self.frame, self.name, self.caption = frame, name, _line(caption)
        self.notes = f"{notes} {_run_links(records)}".strip()
        self._cells = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
        self._header = [str(column).replace("-", "\N{NON-BREAKING HYPHEN}") for column in frame.columns]
        self._right = [
            any(column) and all(_NUMBER.fullmatch(cell) for cell in column)
            for column in ([row[i] for row in self._cells] for i in range(len(self._header)))
        ]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        return {"text/html": self.html(), "text/markdown": self.markdown(), "text/plain": str(self)}

    def markdown(self) -> str:
        rule = ["--:" if right else ":--" for right in self._right]
        lines = [[_pipe(text) for text in row] for row in ([self._header, rule, *self._cells])]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return _directive("table", self.caption, {"name": self.name}, body) + (
            f"\n{self.notes}\n" if self.notes else ""
        )

    def html(self) -> str:
        def row(cells: list[str], tag: str) -> str:
            aligned = zip(cells, self._right, strict=True)
            return "".join(
                f'<{tag} style="text-align:{"right" if r else "left"}">{_inline(c)}</{tag}>' for c, r in aligned
            )

        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self._cells)
        notes = f"<div>{_MARKDOWN.render(without_roles(self.notes))}</div>" if self.notes else ""
        return (
            f'<div style="overflow-x:auto"><table><caption style="text-align:left">{_inline(self.caption)}</caption>'
            f"<thead><tr>{row(self._header, 'th')}</tr></thead><tbody>{body}</tbody></table></div>{notes}"
        )

    def __str__(self) -> str:
        rows = [[without_roles(cell) for cell in row] for row in self._cells]
        table = pd.DataFrame(rows, columns=self._header).to_string(index=False)
        return "\n\n".join(without_roles(text) for text in (self.caption, table, self.notes) if text)


class NumberedFigure:
    """What `numbered_figure` returns; the last expression of a cell shows it."""

    def __init__(self, figure: Figure, name: str, caption: str, alt: str, records: Iterable[Record] = ()) -> None:
        _check(name, "figure", caption=caption, alt=alt)
        self.name, self.caption, self.alt = name, _line(f"{caption} {_run_links(records)}"), _line(alt)
        self.width = round(figure.get_figwidth() * PIXELS_PER_INCH)
        self.mime, self.picture = _encoded(figure)
        plt.close(figure)  # or the notebook would show it a second time

    @property
    def uri(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.picture).decode('ascii')}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        return {"text/html": self.html(), "text/markdown": self.markdown(), "text/plain": str(self)}

    def markdown(self) -> str:
        # no-scaled-link: Sphinx would wrap the picture in a link that holds all of it once more
        options = {"name": self.name, "alt": self.alt, "width": f"{self.width}px", "class": "no-scaled-link"}
        return _directive("figure", self.uri, options, self.caption)

    def html(self) -> str:
        return (
            f'<figure style="margin:0"><img src="{self.uri}" alt="{html.escape(self.alt)}" width="{self.width}" '
            f'style="max-width:100%;height:auto"><figcaption>{_inline(self.caption)}</figcaption></figure>'
        )

    def __str__(self) -> str:
        return f"{without_roles(self.caption)}\n\n{self.alt}"


def numbered_table(
    frame: pd.DataFrame, name: str, caption: str, notes: str = "", records: Iterable[Record] = ()
) -> NumberedTable:
    """A table with a number, a caption and a label.

    frame: shown without its index; cells may hold inline MyST; floats are shown with two decimals, missing ones as –.
    name: the label that {numref}`name` refers to: lower-case letters, digits and hyphens.
    caption: one paragraph of MyST. notes: MyST below the table.
    records: what its numbers come from, linked below it where no column does so.
    Raises ValueError for a name that is no label and for an empty caption.
    """
    return NumberedTable(frame, name, caption, notes, records)


def numbered_figure(
    figure: Figure, name: str, caption: str, alt: str, records: Iterable[Record] = ()
) -> NumberedFigure:
    """A figure with a number, a caption, a label and an alternative text; the matplotlib figure is closed.

    name: as for `numbered_table`. alt: what the figure shows, with its numbers, for those who cannot see it.
    records: what its numbers come from, linked at the end of the caption.
    Raises ValueError for a name that is no label and for an empty caption or alternative text.
    """
    return NumberedFigure(figure, name, caption, alt, records)


def run_link(name: str) -> str:
    """A link to the page of a record (`report.run_pages`), shown as the hash that ends the record's name."""
    return f"{{doc}}`{name.rsplit('-', 1)[-1]} <runs/{name}>`"


def _run_links(records: Iterable[Record]) -> str:
    names = dict.fromkeys(record.name for record in records)
    return f"Run{'s' if len(names) > 1 else ''}: {', '.join(map(run_link, names))}." if names else ""


def _encoded(figure: Figure) -> tuple[str, bytes]:
    """The figure as its MIME type and bytes: PNG, or JPEG where that takes less than half, as photographs do.

    No date or version inside: the same figure is the same bytes.
    """
    drawn, png, jpeg = io.BytesIO(), io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=2 * PIXELS_PER_INCH, facecolor="white", pil_kwargs={"compress_level": 1})
    with Image.open(drawn) as image:
        opaque = image.convert("RGB")
    opaque.save(png, "PNG", optimize=True)
    opaque.save(jpeg, "JPEG", quality=88, subsampling=0, optimize=True)  # 0: lettering keeps its colour
    if 2 * len(jpeg.getvalue()) < len(png.getvalue()):
        return "image/jpeg", jpeg.getvalue()
    return "image/png", png.getvalue()


def _check(name: str, kind: str, **texts: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} cannot name a {kind}: use lower-case letters, digits and single hyphens")
    for what, text in texts.items():
        if not text.strip():
            raise ValueError(f"{kind} {name!r} needs a text for its {what}")


def _directive(kind: str, argument: str, options: dict[str, str], body: str) -> str:
    longest = max((len(run) for run in re.findall("~+", body)), default=0)
    fence = "~" * max(3, longest + 1)  # a fence of backticks could not have a caption with code or roles
    written = "\n".join(f":{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    return f"{fence}{{{kind}}} {argument}\n{written}\n\n{body}\n{fence}\n"


def _cell(value: object) -> str:
    if value is None or pd.isna(cast(Any, value)):
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _line(text: str) -> str:
    return " ".join(text.split())


def _pipe(text: str) -> str:
    return _line(text).replace("|", r"\|")


def without_roles(text: str) -> str:
    """MyST as it can be read where no Sphinx resolves its roles: with their texts alone."""
    return _ROLE.sub(r"\1", text)


def _inline(text: str) -> str:
    return str(_MARKDOWN.renderInline(without_roles(text)))

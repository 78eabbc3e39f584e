"""Tables as they are written everywhere, and numbered tables and figures, alike in JupyterLab and in the book.

Each numbered object offers the same content as `text/html` for JupyterLab, as `text/markdown` holding a MyST directive
for Jupyter Book (which numbers it, so that {numref} finds it), and as plain text for a console.
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import matplotlib.pyplot as plt
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from reidkit.records import Record
from reidkit.report.markup import markup
from reidkit.report.style import NIGHT, darken, holds_photographs

FEW = 4  # runs that a caption lists one by one
PHOTOGRAPHS, DRAWINGS = 105, 88  # pixels in which a page shows an inch of a figure: letters no larger than the page's
TALLEST, NARROWEST = 530, 380  # pixels: a drawing that would be taller is narrower, down to what a telephone shows
DOTS_PER_INCH = 200  # of the picture itself, for sharp screens
COARSE = 140  # of each state of one that has several
LONGEST_ALT = 500  # characters that a picture's alternative text has at most
MORE = " …: all of it in words below."
_ROLE = re.compile(r"\{[\w:+-]+\}`([^`<]*?)(?: ?<[^`>]*>)?`")  # a role, with or without a text before its target
_ONE = r"[-+−±]?\d[\d.,]*"
_NUMBER = re.compile(rf"{_ONE}( to {_ONE})?( \[{_ONE} to {_ONE}\]| \(\w+\))?|–?")  # a number, an interval, or nothing
_MARKDOWN = MarkdownIt("commonmark", {"html": False})
MimeBundle = dict[str, str]


class Written:
    """A frame as texts, shown without its index: floats with two decimals, missing values as –, numbers to the right.

    Cells may hold inline MyST. A hyphen in a header does not break a line: a narrow column would break Rank-1.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.header = [str(column).replace("-", "\N{NON-BREAKING HYPHEN}") for column in frame.columns]
        self.rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
        columns = [[row[i] for row in self.rows] for i in range(len(self.header))]
        self.right = [any(column) and all(_NUMBER.fullmatch(cell) for cell in column) for column in columns]

    def markdown(self) -> str:
        rule = ["--:" if right else ":--" for right in self.right]
        lines = [[_line(text).replace("|", r"\|") for text in row] for row in (self.header, rule, *self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def html(self, caption: str) -> Markup:
        """caption: MyST above it."""
        header, *rows = ([_inline(text) for text in row] for row in (self.header, *self.rows))
        return markup("table.html", header=header, rows=rows, right=self.right, caption=_inline(caption))

    def __str__(self) -> str:
        texts = [[without_roles(text) for text in row] for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        lines = [
            "  ".join(f"{text:{'>' if r else '<'}{w}}" for text, w, r in zip(row, widths, self.right, strict=True))
            for row in texts
        ]
        return "\n".join(line.rstrip() for line in lines)


class NumberedTable:
    """A table with a number, a caption and a label, `Written`; the last expression of a cell shows it.

    name: the label that {numref}`name` refers to: lower-case letters, digits and hyphens.
    caption: one paragraph of MyST. notes: MyST below the table.
    records: what its numbers come from, linked below it where no column does so.
    Raises ValueError for a name that is no label and for an empty caption.
    """

    def __init__(
        self, frame: pd.DataFrame, name: str, caption: str, notes: str = "", records: Iterable[Record] = ()
    ) -> None:
        _check(name, "table", caption=caption)
        self.frame, self.name, self.caption, self.written = frame, name, _line(caption), Written(frame)
        self.notes = f"{notes} {_run_links(records)}".strip()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        return {"text/html": self.html(), "text/markdown": self.markdown(), "text/plain": str(self)}

    def markdown(self) -> str:
        table = _directive("table", self.caption, {"name": self.name}, self.written.markdown())
        return table + (f"\n{self.notes}\n" if self.notes else "")

    def html(self) -> str:
        notes = f"<div>{_MARKDOWN.render(without_roles(self.notes))}</div>" if self.notes else ""
        return f"{self.written.html(self.caption)}{notes}"

    def __str__(self) -> str:
        return "\n\n".join(filter(None, (without_roles(self.caption), str(self.written), without_roles(self.notes))))


class NumberedFigure:
    """A figure with a number, a caption, a label and an alternative text; the matplotlib figure is closed.

    On dark pages one that holds photographs is shown as a second, dark rendering, any other with its colours turned
    round (`book.css`), and one whose colours stand for themselves, such as those of clothes, as it is (`literal`).

    figure: or several states of a drawing, by what each is called. `state` is shown, the last if not given, and on a
    page a slider leads through all of them (`states.js`).
    name: as of a `NumberedTable`. alt: what the figure shows, with its numbers, for those who cannot see it; where that
    is long, it stands folded below the figure, and its beginning is the picture's text.
    records: what its numbers come from, linked at the end of the caption.
    Raises ValueError for a name that is no label and for an empty caption or alternative text.
    """

    def __init__(
        self,
        figure: Figure | Mapping[str, Figure],
        name: str,
        caption: str,
        alt: str,
        records: Iterable[Record] = (),
        literal: bool = False,
        state: str | None = None,
    ) -> None:
        _check(name, "figure", caption=caption, alt=alt)
        states = figure if isinstance(figure, Mapping) else {"": figure}
        self.state = state or list(states)[-1]
        figure = states[self.state]
        self.name, self.caption, self.alt = name, _line(f"{caption} {_run_links(records)}"), _line(alt)
        self.width = _width(figure, photographs=literal or holds_photographs(figure))
        self.mime, self.picture = _encoded(figure, "white")
        self.dark = ""
        self.kind = "card" if literal else "drawn"
        if holds_photographs(figure) and not literal:
            self.kind = "by-day"
            darken(figure)
            self.dark = _uri(*_encoded(figure, NIGHT))
        self.states = (
            {state: _uri(*_encoded(of, "white", COARSE)) for state, of in states.items()} if len(states) > 1 else {}
        )
        for of in states.values():
            plt.close(of)  # or the notebook would show it a second time

    @property
    def uri(self) -> str:
        return _uri(self.mime, self.picture)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        return {"text/html": self.html(), "text/markdown": self.markdown(), "text/plain": str(self)}

    def markdown(self) -> str:
        # no-scaled-link: Sphinx would wrap the picture in a link that holds all of it once more
        shown = {"alt": shortened(self.alt), "width": f"{self.width}px", "class": "no-scaled-link"}
        body = [self.caption]
        for state, uri in self.states.items():
            look = "no-scaled-link state drawn" + " shown" * (state == self.state)
            body.append(_directive("image", uri, shown | {"alt": state, "class": look}, "", fence="`"))
        if self.dark:  # `report.site` moves it to the other picture
            body.append(_directive("image", self.dark, shown | {"class": "no-scaled-link by-night"}, "", fence="`"))
        if len(self.alt) > LONGEST_ALT:
            body.append(markup("words.html", text=self.alt))
        options = {"name": self.name, **shown, "class": f"no-scaled-link {self.kind}"}
        return _directive("figure", self.uri, options, "\n\n".join(body))

    def html(self) -> str:
        caption, words = _inline(self.caption), self.alt if len(self.alt) > LONGEST_ALT else ""
        alt = shortened(self.alt)
        return markup("figure.html", uri=self.uri, alt=alt, width=self.width, caption=caption, words=words)

    def __str__(self) -> str:
        return f"{without_roles(self.caption)}\n\n{self.alt}"


numbered_table, numbered_figure = NumberedTable, NumberedFigure  # as the chapters call them


def run_link(name: str, text: str = "") -> str:
    """A link to the page of a record (`chapters.runs`), shown as the hash that ends the record's name if not `text`."""
    return f"{{doc}}`{text or name.rsplit('-', 1)[-1]} <runs/{name}>`"


def explorer_link(text: str, profile: str, base: str, ours: str) -> str:
    """A link to the explorer, where two rows of a profile stand side by side: A, what is compared with, and B."""
    return f"{{explore}}`{text} <a={profile}:{base}&b={profile}:{ours}>`"


def _run_links(records: Iterable[Record]) -> str:
    """The few runs behind something; where there are many, the page that lists them."""
    names = dict.fromkeys(record.name for record in records)
    if len(names) > FEW:
        return f"{{doc}}`{len(names)} runs <runs>`."
    return f"Run{'s' if len(names) > 1 else ''}: {', '.join(map(run_link, names))}." if names else ""


def shortened(alt: str) -> str:
    """The first sentences of an alternative text, where the whole of it is longer than one wants to hear."""
    if len(alt) <= LONGEST_ALT:
        return alt
    start = alt[: LONGEST_ALT - len(MORE)]
    ends = [end for stop in (". ", "; ", ", ", " ") if (end := start.rfind(stop)) > LONGEST_ALT / 3]
    return start[: ends[0]].rstrip(".;,") + MORE


def _width(figure: Figure, photographs: bool) -> int:
    """The pixels that a page gives a figure from left to right."""
    inches, height = map(float, figure.get_size_inches())
    if photographs:
        return round(inches * PHOTOGRAPHS)
    return round(min(inches * DRAWINGS, max(NARROWEST, TALLEST * inches / height)))


def _encoded(figure: Figure, background: str, dots: int = DOTS_PER_INCH) -> tuple[str, bytes]:
    """The figure as its MIME type and bytes: PNG, or JPEG where that takes less than half, as photographs do.

    No date or version inside: the same figure is the same bytes.
    """
    drawn, png, jpeg = io.BytesIO(), io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dots, facecolor=background, pil_kwargs={"compress_level": 1})
    with Image.open(drawn) as image:
        opaque = image.convert("RGB")
    opaque.save(png, "PNG", optimize=True)
    opaque.save(jpeg, "JPEG", quality=88, subsampling=0, optimize=True)  # 0: lettering keeps its colour
    if 2 * len(jpeg.getvalue()) < len(png.getvalue()):
        return "image/jpeg", jpeg.getvalue()
    return "image/png", png.getvalue()


def _uri(mime: str, picture: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(picture).decode('ascii')}"


def _check(name: str, kind: str, **texts: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} cannot name a {kind}: use lower-case letters, digits and single hyphens")
    for what, text in texts.items():
        if not text.strip():
            raise ValueError(f"{kind} {name!r} needs a text for its {what}")


def _directive(kind: str, argument: str, options: dict[str, str], body: str, fence: str = "~") -> str:
    longest = max((len(run) for run in re.findall(f"{fence}+", body)), default=0)
    fence = fence * max(3, longest + 1)  # a fence of backticks could not have a caption with code or roles
    written = "\n".join(f":{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    return f"{fence}{{{kind}}} {argument}\n{written}\n\n{body}\n{fence}\n"


def _cell(value: object) -> str:
    if value is None or pd.isna(cast(Any, value)):
        return "–"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text.replace("-", "−") if isinstance(value, int | float) else text


def _line(text: str) -> str:
    return " ".join(text.split())


def without_roles(text: str) -> str:
    """MyST as it can be read where no Sphinx resolves its roles: with their texts alone."""
    return _ROLE.sub(r"\1", text)


def _inline(text: str) -> Markup:
    return Markup(_MARKDOWN.renderInline(without_roles(text)))

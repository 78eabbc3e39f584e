"""What stands around the text on every page, as a Sphinx extension: footer, description, order of pages, search.

The pages of runs (`chapters.runs`) are the archive behind the book: linked from everywhere, but neither read one after
another nor searched.
"""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from markupsafe import Markup
from sphinx.addnodes import desc_signature
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.i18n import format_date

from reidkit.places import project_root
from reidkit.records import origin
from reidkit.report.markup import markup

RUNS = "runs/"  # what the names of their pages begin with
TEXTS = "search-texts.js"
LONGEST = 160  # characters of a description
_made_from = functools.cache(origin)  # asked for every page
SHORT = 24  # characters of a table's cell that is not worth a second line
TOGETHER = re.compile(r"\[[−+]?[\d.]+ to [−+]?[\d.]+\]|\d %|\b(?:Tables?|Figs?\.|Eqs?\.|Sects?\.|Sections?) \d")
UNREAD = (nodes.raw, nodes.literal_block, nodes.table, nodes.math, nodes.math_block, nodes.Invisible, desc_signature)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("people_shown", False, "html")  # whether pages may show real people: no engine shall list them
    app.add_role("explore", explore)
    app.connect("config-inited", configure)
    app.connect("env-get-updated", number_chapters, priority=900)  # after Sphinx has numbered every page's
    app.connect("doctree-read", join_renderings)
    app.connect("doctree-resolved", pass_by_runs)
    app.connect("doctree-resolved", keep_texts)
    app.connect("doctree-resolved", keep_together)
    app.connect("html-page-context", complete)
    app.connect("build-finished", write_texts)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


def configure(app: Sphinx, config: Any) -> None:
    """The frame of the pages, and a sidebar of chapters, without the runs below one of them."""
    config.html_theme_options |= {"footer_content_items": "extra-footer.html", "max_navbar_depth": 1}
    config.templates_path = [*config.templates_path, str(Path(__file__).parent / "templates" / "site")]


def number_chapters(app: Sphinx, environment: BuildEnvironment) -> list[str]:
    """Leaves figures and tables their numbers in numbered chapters alone: elsewhere *Table 1* would be the paper's."""
    for page in environment.toc_fignumbers.keys() - environment.toc_secnumbers.keys():
        del environment.toc_fignumbers[page]
    return []


def explore(name: str, source: str, text: str, *rest: Any) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role of `display.explorer_link`: a link to the explorer's page in a state, *text <a=row&b=row>*."""
    words, _, state = text.partition(" <")
    return [nodes.reference(source, words, refuri=f"explorer.html#{state.rstrip('>')}")], []


# ------------------------------------------------------------------------------------------------------ order of pages


def pass_by_runs(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Leads from chapter to chapter: the pages of runs have no neighbours and are nobody's."""
    relations = getattr(app.builder, "relations", {})  # by page: parent, previous, next

    def chapter(page: str | None, way: int) -> str | None:
        while page is not None and page.startswith(RUNS):
            page = relations[page][way]
        return page

    around = {
        name: [parent, chapter(before, 1), chapter(after, 2)] for name, (parent, before, after) in relations.items()
    }
    relations.update({name: [kin[0], None, None] if name.startswith(RUNS) else kin for name, kin in around.items()})


# ------------------------------------------------------------------------------------------------------------ each page


def complete(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Puts the description into the head of a page, scopes into its tables, and what it comes from at its end."""
    context["metatags"] = context.get("metatags", "") + str(
        markup(
            "meta.html",
            title=Markup(context.get("title") or app.config.html_title).striptags(),
            book=app.config.html_title,
            description=description(doctree) if doctree else "",
            hidden=app.config.people_shown,
        )
    )
    if "body" in context:
        context["body"] = re.sub(r'<th class="(head|stub)', _scope, context["body"])
        # Sphinx's role for a reference is deprecated, and no item of a list.
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
        if app.builder.name == "singlehtml":
            context["body"] = chapters_first(context["body"])
    context["imprint"] = imprint(app)
    static = context["pathto"]("_static/", True)
    context["theme_extra_footer"] = markup("footer.html", **context["imprint"], static=static, source=source(app, page))
    if page == "search":
        app.add_js_file(TEXTS)
        app.add_js_file("search.js")
    if doctree and any("state" in image["classes"] for image in doctree.findall(nodes.image)):
        app.add_js_file("states.js")
    if page == "runs":
        app.add_js_file("runs.js")


def join_renderings(app: Sphinx, doctree: nodes.document) -> None:
    """Sets the other renderings of a figure, which its markup has below the caption, beside the one above it."""
    for figure in doctree.findall(nodes.figure):
        others = [image for image in figure.findall(nodes.image) if {"by-night", "state"} & set(image["classes"])]
        for place, image in enumerate(others, 1):
            legend = image.parent
            legend.remove(image)
            if not legend.children:
                legend.parent.remove(legend)
            figure.insert(place, image)


def keep_together(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """No line ends within an interval, before a per cent sign, or between *Table* and its number.

    Short cells of tables are marked: broken on a telephone, they would make rows tall from out of sight.
    """
    for text in list(doctree.findall(nodes.Text)):
        if TOGETHER.search(text) and not isinstance(text.parent, (*UNREAD, nodes.literal)):
            kept = TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
            text.parent.replace(text, nodes.Text(kept))
    for cell in doctree.findall(nodes.entry):
        if len(cell.astext()) <= SHORT:
            cell["classes"].append("short")


def description(doctree: nodes.document) -> str:
    """The first paragraph of a page, or as many words of it as a search engine shows."""
    texts = (_plain(paragraph) for paragraph in doctree.findall(nodes.paragraph))
    text = next(filter(None, texts), "")
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def imprint(app: Sphinx) -> dict[str, Any]:
    """Who made the book, when, from what, and as what it is cited."""
    made = _made_from()
    revision = f"commit {made['commit'][:8]}{' with changes' if made['dirty'] else ''}" if made["commit"] else ""
    return {
        "book": app.config.html_title,
        "author": app.config.author,
        "year": app.config.copyright,
        "date": format_date("%d %B %Y", language="en").lstrip("0"),
        "commit": made["commit"] if revision and not made["dirty"] else "",
        "revision": revision,
        "repository": app.config.html_theme_options.get("repository_url", "").rstrip("/"),
        "cited": yaml.safe_load((project_root() / "CITATION.cff").read_text(encoding="utf-8")),
    }


def source(app: Sphinx, page: str) -> str:
    """The address of a page's source, where the repository is known and has it."""
    theme = app.config.html_theme_options
    path = f"{theme.get('path_to_docs', 'book')}/{page}.md"
    if not theme.get("repository_url") or not (project_root() / path).is_file():
        return ""
    return f"{theme['repository_url'].rstrip('/')}/blob/{theme.get('repository_branch', 'main')}/{path}"


def chapters_first(body: str) -> str:
    """The book on one page with its chapters beside the first page, below which Sphinx puts them."""
    first, wrapper, chapters = body.partition('<div class="toctree-wrapper')
    return first + wrapper + re.sub(r"(</?h)([2-6])\b", lambda tag: f"{tag[1]}{int(tag[2]) - 1}", chapters)


def _scope(found: re.Match[str]) -> str:
    return f'<th scope="{"col" if found[1] == "head" else "row"}" class="{found[1]}'


# --------------------------------------------------------------------------------------------------------------- search


def keep_texts(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Remembers the text of each section of a page: pages opened from disk may not read one another for an excerpt."""
    if app.builder.name == "html" and not page.startswith(RUNS):
        vars(app.builder).setdefault("texts", {})[page] = [list(section) for section in sections(doctree)]


def sections(doctree: nodes.document) -> Iterator[tuple[str, str, str]]:
    """The label, the title and the text of each section of a page; code and tables are no text."""
    for section in doctree.findall(nodes.section):
        title, *rest = section.children
        texts = (_plain(child) for child in rest if not isinstance(child, nodes.section))
        yield section["ids"][0], title.astext(), " ".join(filter(None, texts))


def write_texts(app: Sphinx, exception: Exception | None) -> None:
    if texts := vars(app.builder).get("texts"):
        script = f"const searchTexts = {json.dumps(texts, ensure_ascii=False, separators=(',', ':'))};\n"
        (Path(app.outdir) / "_static" / TEXTS).write_text(script, encoding="utf-8")


def _plain(node: nodes.Node) -> str:
    """The words of a node, on one line."""

    def words(node: nodes.Node) -> str:
        if isinstance(node, UNREAD):
            return ""
        if isinstance(node, nodes.Text):
            return str(node)
        return ("" if isinstance(node, nodes.TextElement) else " ").join(map(words, node.children))

    return " ".join(words(node).split())

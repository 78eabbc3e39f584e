"""The package's reference from its docstrings, as a Sphinx extension beside autodoc.

Docstrings here are written to be read in an editor: backticks around code, `name: what it is` for an argument, formulas
indented. Sphinx wants them marked up, and the fields of a class, which are described beside them, too. Each object is
folded under its name and the first paragraph of its description, and a module's text after its first paragraph, so that
the page can be looked over.
"""

import dataclasses
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from markupsafe import escape
from pydantic import BaseModel
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

# What Sphinx makes of the alias that `numpy.typing` calls so
ARRAY_LIKE = re.compile(r"[\w.~]*_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]")
# What is described in a list, such as `query (Q, D), gallery (G, D): `.
ITEM = re.compile(r"([\w.]+(?: \([^)]*\))?(?:,? (?:and )?[\w.]+ \([^)]*\))*): ")
FIELD = re.compile(r"^    (\w+): [^#\n]*#\s*(.+)$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("autodoc-process-docstring", mark_up)
    app.connect("autodoc-process-signature", parsable)
    app.connect("autodoc-skip-member", uninformative)
    app.add_post_transform(FoldObjects)
    app.add_node(Fold, html=(open_fold, close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mark_up(app: Sphinx, what: str, name: str, described: Any, options: Any, lines: list[str]) -> None:
    """Replaces the lines of a docstring by reStructuredText; what autodoc calls for each that it shows."""
    text = [line for block in blocks(lines) for line in (*restructured(block), "")]
    if what == "module" and not any(line.startswith(("    ", ">>>")) for line in lines):  # an example stays in sight
        text = folded(name, text)
    if inspect.isclass(described):
        text += [line for field, meaning in fields(described) for line in (f"- **{field}**: {escaped(meaning)}", "")]
    lines[:] = text


def folded(name: str, text: list[str]) -> list[str]:
    """What is said of a module, folded after the first paragraph."""
    start = text.index("") + 1
    if start == len(text):
        return text
    opened = f'<details class="source"><summary><code>{name}</code> in detail</summary>'
    return [*text[:start], *raw(opened), *text[start:], *raw("</details>")]


def raw(html: str) -> list[str]:
    return [".. raw:: html", "", f"   {html}", ""]


def parsable(app: Sphinx, what: str, name: str, described: Any, options: Any, signature: str, returns: str) -> Any:
    """The signature of a dataclass with a default that Sphinx can read, and with the short name of a long type."""
    return signature and ARRAY_LIKE.sub("ArrayLike", signature.replace("<factory>", "...")), returns


def uninformative(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out "Alias for field number 0" of named tuples, whose fields are described with the class."""
    return True if type(member).__name__ == "_tuplegetter" else None


def blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """The paragraphs of a docstring, whatever stands between two empty lines."""
    for filled, block in itertools.groupby(map(str.rstrip, lines), bool):
        if filled:
            yield list(block)


def restructured(block: list[str]) -> Iterator[str]:
    """One paragraph: an example as it is, what is indented as code, and a list where several things are described."""
    if block[0].startswith(">>>"):
        yield from block
    elif block[0].startswith(" "):
        yield from ("::", "", *(f"    {line}" for line in block))
    else:
        listed = any(line.startswith(" ") for line in block) or sum(bool(ITEM.match(line)) for line in block) > 1
        within = False  # an item of a list
        for line in block:
            found = ITEM.match(line) if listed else None
            if found or line.startswith("- "):
                text = f"**{escaped(found[1])}**: {escaped(line[found.end() :])}" if found else escaped(line[2:])
                yield from ("", f"- {text}")
                within = True
            else:
                yield ("  " if within else "") + escaped(line.strip())


def escaped(text: str) -> str:
    """A line in which reStructuredText sees nothing but code between backticks and single *words* that stand out."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # code that goes on in the next line
        return re.sub(r"([\\*|`_])", r"\\\1", text)
    return "".join(
        f"``{part}``" if i % 2 else re.sub(r"(?<!\S)(\*[a-z]+\*)|([\\*|_])", _escaped, part)
        for i, part in enumerate(parts)
    )


def _escaped(found: re.Match[str]) -> str:
    return found[1] or f"\\{found[2]}"


def fields(described: type) -> Iterator[tuple[str, str]]:
    """The fields of a class and what is said of them: settings by their descriptions, others by a comment."""
    if issubclass(described, BaseModel):
        for name, setting in described.model_fields.items():
            yield name, f"{setting.description or ''} (unless given, `{setting.get_default()}`)".strip()
    elif dataclasses.is_dataclass(described) or hasattr(described, "_fields"):
        yield from FIELD.findall(inspect.getsource(described))


class Fold(nodes.General, nodes.Element):  # type: ignore[misc]
    """A function or a class, folded. name: of it. about: the first paragraph of its description."""


class FoldObjects(SphinxPostTransform):
    """Folds what is described, but for what is described within it."""

    default_priority = 400
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        described = list(self.document.findall(addnodes.desc))
        for node in described:
            if not any(isinstance(above, addnodes.desc) for above in ancestors(node)):
                name = next(node.findall(addnodes.desc_name)).astext()
                about = next((said.astext() for said in node[-1].findall(nodes.paragraph)), "")
                node.replace_self(Fold("", node.deepcopy(), name=name, about=about))


def ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    while node := node.parent:
        yield node


def open_fold(writer: Any, node: Fold) -> None:
    name, about = escape(node["name"]), escape(node["about"])
    writer.body.append(f'<details class="source"><summary><code>{name}</code> {about}</summary>\n')


def close_fold(writer: Any, node: Fold) -> None:
    writer.body.append("</details>\n")

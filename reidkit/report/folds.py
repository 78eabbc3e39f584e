"""Folded code, figures and tables on a page, as a Sphinx extension: each fold says what it holds, and the setup of a
chapter is one.

MyST-NB calls every fold alike, and shows the imports that a chapter begins with, and code of any length.
"""

import re
from typing import Any

from docutils import nodes
from markupsafe import escape
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

SETUP, CHECK, SOLUTION = "Setup", "Check", "Solution"
LONG = 12  # lines; longer code is folded, but for what belongs into a file that its first line names


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("myst_nb")
    app.add_post_transform(NameFolds)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class NameFolds(SphinxPostTransform):
    """Names folds after the figure or table that they hold or make, and folds cells that only prepare, as one."""

    default_priority = 198  # MyST-NB's HideInputCells, which makes the folds, is 199
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        cells = [cell for cell in self.document.findall(nodes.container) if cell.get("nb_element") == "cell_code"]
        for cell in cells:
            if not cell.children:
                cell.parent.remove(cell)  # whose code is not shown and which shows nothing
            elif prepares(cell):
                fold_setup(cell)
            elif cell.get("hide_mode") or long(cell):
                # all: a check, or an exercise's answer, which the build works out
                cell["hide_mode"] = cell.get("hide_mode") or "input"
                cell["prompt_show"] = cell["prompt_hide"] = self.name(cell)

    def name(self, cell: nodes.container) -> str:
        if cell["hide_mode"] == "all":
            return SOLUTION if "exercises" in cell.parent.get("names", []) else CHECK
        made = list(cell.findall(shown))
        if not made:
            return "Code"
        titles = [title for node in made if (title := self.title(node))]
        if cell["hide_mode"] != "output":
            return f"Code of {titles[0]}" if titles else "Code"
        if len(titles) < 2:
            return ": ".join([*titles, subject(made[0])])
        title, last = titles[0], titles[-1]
        kind, number = title.split()
        return f"{kind.rstrip('.')}s{'.' * kind.endswith('.')} {number} to {last.split()[-1]}"

    def title(self, node: nodes.Element) -> str | None:
        """Such as *Table 2.1*; None without a number, as on a page that is no chapter (`site.number_chapters`)."""
        kind = "figure" if isinstance(node, nodes.figure) else "table"
        for numbered in self.env.toc_fignumbers.values():
            if number := numbered.get(kind, {}).get(node["ids"][0] if node["ids"] else ""):
                return str(self.config.numfig_format[kind] % ".".join(map(str, number)))
        return None


def shown(node: nodes.Node) -> bool:
    return isinstance(node, (nodes.figure, nodes.table))


def subject(made: nodes.Element) -> str:
    """What a figure or a table is of: its caption up to the first stop."""
    caption = next(made.findall(lambda node: isinstance(node, (nodes.caption, nodes.title))))
    return re.split(r"(?<!Fig)(?<!Eq)(?<!al)[.:](?:\s|$)", caption.astext(), maxsplit=1)[0]


def prepares(cell: nodes.container) -> bool:
    """Whether a cell shows nothing and begins with parameters or imports."""
    inputs = [part for part in cell.children if part.get("nb_element") == "cell_code_source"]
    if len(inputs) != len(cell.children) or not inputs:
        return False
    return "parameters" in cell["cell_metadata"].get("tags", []) or inputs[0].astext().startswith(("import ", "from "))


def long(cell: nodes.container) -> bool:
    """Whether a cell shows more code than a reader of the page wants to pass by."""
    code = "".join(part.astext() for part in cell.children if part.get("nb_element") == "cell_code_source")
    return code.count("\n") >= LONG and not code.startswith("#")


def fold_setup(cell: nodes.container) -> None:
    """Folds a cell, or puts its code into the fold that stands right before it."""
    place = cell.parent.index(cell)
    before = cell.parent[place - 1] if place else None
    if isinstance(before, nodes.container) and before.get("prompt_show") == SETUP:
        before[0].extend(cell[0].children)
        cell.parent.remove(cell)
    else:
        cell["hide_mode"], cell["prompt_show"], cell["prompt_hide"] = "input", SETUP, SETUP


def open_fold(self: Any, node: HideCodeCellNode) -> None:
    self.body.append(
        f'<details class="hide {" ".join(node["classes"])}"><summary>{escape(node["prompt_show"])}</summary>\n'
    )


def close_fold(self: Any, node: HideCodeCellNode) -> None:
    self.body.append("</details>\n")

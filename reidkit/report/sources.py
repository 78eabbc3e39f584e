"""The package's own code on a page: listings that carry the name of their file, long ones folded under it."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

from IPython.display import Markdown

import reidkit

LONG = 12  # lines; a longer listing is folded
WIDE = 88  # characters that a line of a page holds
ITEM = re.compile(r"- |\w[\w, ]*(?: \([^)]*\))?: ")  # of a list, which begins a line of its own


def source(*things: type | Callable[..., Any]) -> Markdown:
    """The code of classes, functions and methods of the package, those of one file together, in the given order."""
    files: dict[str, list[Any]] = {}
    for thing in things:
        path = Path(inspect.getsourcefile(thing) or "").resolve().relative_to(Path(reidkit.__file__).parents[1])
        files.setdefault(path.as_posix(), []).append(thing)
    return Markdown("\n\n".join(_listing(path, of) for path, of in files.items()))


def _listing(path: str, things: list[Any]) -> str:
    code = "\n\n".join(dedent(inspect.getsource(thing)) for thing in things)
    code = fitted(re.sub(r" +# type: ignore\S*", "", code))  # which is said to a program, and no reader
    names = ", ".join(f"<code>{thing.__qualname__}</code>" for thing in things)
    unfolded = " open" if code.count("\n") <= LONG else ""
    return (
        f'<details class="source"{unfolded}><summary>{names} in <code>{path}</code></summary>\n\n'
        f"```python\n{code}```\n\n</details>"
    )


def fitted(code: str) -> str:
    """The code with its comments and the prose of its docstrings broken anew where a line is wider than a page."""
    lines: list[str] = []
    paragraph: list[str] = []
    quoted = example = False  # within a docstring, and in it within an example
    for line in code.split("\n"):
        text, before = line.strip(), quoted
        quoted ^= line.count('"""') % 2 == 1
        example = text.startswith(">>>") or (example and bool(text))
        prose = text.startswith(("#", '"""')) or (before and bool(text) and not example)
        if not prose or ITEM.match(text) or text == '"""' or (paragraph and _mark(line) != _mark(paragraph[0])):
            lines += _broken(paragraph)
            paragraph = []
        if prose and text != '"""':
            paragraph.append(line)
        else:
            lines.append(line)
    return "\n".join([*lines, *_broken(paragraph)])


def _broken(paragraph: list[str]) -> list[str]:
    if max(map(len, paragraph), default=0) <= WIDE:
        return paragraph
    mark = _mark(paragraph[0])
    words = " ".join(line.removeprefix(mark) for line in paragraph)
    return wrap(words, WIDE, initial_indent=mark, subsequent_indent=mark, break_long_words=False)


def _mark(line: str) -> str:
    """What every line of a paragraph begins with: its indentation, and a comment's sign."""
    return re.match(r" *(?:# )?", line)[0]  # type: ignore[index]  # which matches everything

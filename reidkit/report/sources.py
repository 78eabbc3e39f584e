"""The package's own code on a page: listings that carry the name of their file, long ones folded under it."""

import inspect
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

from IPython.display import Markdown

import reidkit

LONG = 20  # lines; a longer listing is folded


def source(*things: type | Callable[..., Any]) -> Markdown:
    """The code of classes, functions and methods of the package, those of one file together, in the given order."""
    files: dict[str, list[Any]] = {}
    for thing in things:
        path = Path(inspect.getsourcefile(thing) or "").resolve().relative_to(Path(reidkit.__file__).parents[1])
        files.setdefault(path.as_posix(), []).append(thing)
    return Markdown("\n\n".join(_listing(path, of) for path, of in files.items()))


def _listing(path: str, things: list[Any]) -> str:
    code = "\n\n".join(dedent(inspect.getsource(thing)) for thing in things)
    names = ", ".join(f"<code>{thing.__qualname__}</code>" for thing in things)
    unfolded = " open" if code.count("\n") <= LONG else ""
    return (
        f'<details class="source"{unfolded}><summary>{names} in <code>{path}</code></summary>\n\n'
        f"```python\n{code}```\n\n</details>"
    )

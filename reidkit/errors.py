"""What went wrong and can be mended by whoever asked: told in words, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Its message names the thing, where it was looked for, what was expected and what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a misspelt name, or nothing where no known one is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""

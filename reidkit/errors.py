"""What went wrong and can be mended by whoever asked: told in words, without a traceback."""

import difflib
import errno
import os
import shutil
from collections.abc import Iterable

_ROOM = "make room and give the same command again, which goes on from the last checkpoint"
_OWN = "another user's, or read-only? Name a place that is yours; REIDKIT_BUILD names that of the build folder"
MENDABLE = {errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EACCES: _OWN, errno.EPERM: _OWN, errno.EROFS: _OWN}


class UserError(Exception):
    """Its message names the thing, where it was looked for, what was expected and what to do."""


def in_words(error: BaseException) -> str | None:
    """An error as it is told to whoever can mend it, the machine's refusals with advice; None where nobody can."""
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):  # a copy of a folder lists all that failed
        source, _, text = error.args[0][0]
        text = f"{source}: {text}"
    # By its words: such a copy, or a library of another language, gives no number.
    advice = [advice for number, advice in MENDABLE.items() if os.strerror(number) in text]
    return f"{text:.300}: {advice[0]}" if advice else None


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a misspelt name, or nothing where no known one is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""

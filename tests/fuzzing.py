"""What is read from outside, damaged at random: an error with the path in it, nothing run and nothing written.

Each seed is one damaged file, so that a failure is found again by its number.
"""

import random
from collections.abc import Callable
from pathlib import Path

from reidkit.errors import UserError


def damaged(whole: bytes, seed: int) -> bytes:
    """With one to four bits turned, bytes set, cut off or put in."""
    chance, data = random.Random(seed), bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0 | 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at] = chance.choice([0, 127, 128, 255])
            case 3:
                data[at : at + chance.randint(0, 8)] = chance.randbytes(chance.randint(1, 8))
            case 4:
                del data[max(at, 1) :]
    return bytes(data)


def is_told(read: Callable[[], object], path: Path, kind: type[UserError]) -> bool:
    """Whether `read` raises an error of a kind that names `path`; any other exception is the test's failure."""
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    message = ""
    try:
        read()
    except kind as error:
        message = str(error)
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before
    assert message == "" or str(path) in message
    return message != ""


class Payload:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)

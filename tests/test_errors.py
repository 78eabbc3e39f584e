import errno
import os
import shutil
from pathlib import Path

import pytest

from reidkit.errors import UserError, in_words


def full(source: str, target: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)


def test_a_copy_of_a_folder_that_fails_is_told_by_the_first_file(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "record" / name).write_text("1")
    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "record", tmp_path / "copy", copy_function=full)
    told = in_words(caught.value)
    assert told is not None
    assert told.startswith(str(tmp_path / "record"))
    assert "No space left on device" in told
    assert "make room" in told
    assert "[(" not in told


def test_what_nobody_can_mend_is_not_told_in_words() -> None:
    assert in_words(UserError("do this")) == "do this"
    assert in_words(OSError(errno.EIO, os.strerror(errno.EIO))) is None
    assert in_words(shutil.Error("the same file")) is None

"""The book of the smoke profile, built once for all tests of its pages."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

ROOT = Path(__file__).parents[2]
Make = Callable[..., "subprocess.CompletedProcess[str]"]
# Debian's (`apt-get install chromium`), or another that is found under one of these names
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: `apt-get install chromium` (Debian) or your system's package of it"
)


@pytest.fixture(scope="session")
def make() -> Make:
    """Builds the book as a reader does, or another target; the workers of one test session take turns."""

    def make(target: str = "book") -> subprocess.CompletedProcess[str]:
        (ROOT / "build").mkdir(exist_ok=True)
        with filelock.FileLock(ROOT / "build" / "test.lock"):
            command = ["make", "--no-print-directory", target, "PROFILE=smoke"]
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return make


@pytest.fixture(scope="session")
def site(make: Make) -> Path:
    """The folder of the built pages."""
    done = make()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    index = Path(done.stdout.splitlines()[-1])  # the page's path comes last
    assert index == ROOT / "build" / "smoke" / "html" / "index.html"
    return index.parent

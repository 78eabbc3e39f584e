"""Where things lie: the project, what can be made again, and the records of finished runs; how a file comes there."""

import os
from pathlib import Path

LOCK_MODE = 0o664  # of lock files: a group that shares a build folder takes turns


def project_root() -> Path:
    """The checkout that this package lies in; the working directory where it was installed without one."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def build_root() -> Path:
    """Where everything that can be made again goes: `build/`, or what REIDKIT_BUILD names."""
    return Path(os.environ.get("REIDKIT_BUILD") or project_root() / "build").expanduser()


def record_roots() -> tuple[Path, Path]:
    """Where records are looked for: working ones first, then the published ones."""
    return build_root() / "records", project_root() / "book" / "records"


def replace_file(file: Path, content: bytes | memoryview) -> None:
    """Writes a file whole or not at all: a process that is killed, or a full disk, leaves the one before.

    One process at a time writes it: what a killed one has left beside it is replaced.
    """
    partial = file.with_suffix(".partial")
    try:
        with partial.open("wb") as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)

"""What a finished run leaves behind: the only source of a number in the book.

A record is a directory, named by the run, with `record.json` (config, metrics, provenance and checksums) and tables
as CSV: `history` (one row per epoch), and what else that kind of run measured, such as `queries` (one row per query).
It is written beside its place and renamed into it, so that a half-written one is never read.
"""

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
ROUNDED = 1e-5  # by how much a metric may differ from what the rounded scores of its queries say
CONTENT = {"system": str, "config": dict, "metrics": dict, "provenance": dict, "files": dict}  # beside it
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "pandas")


class RecordError(UserError):
    """A record that is missing, incomplete, altered or made from other data."""


@dataclass(frozen=True)
class Record:
    directory: Path
    system: str  # which of `reidkit.systems.SYSTEMS` made it
    config: dict[str, Any]  # its configuration, as plain values
    metrics: dict[str, float]  # fractions in 0…1
    tables: "dict[str, pd.DataFrame]"
    provenance: dict[str, Any]  # commit, dirty, data checksum, versions, device, seconds, …

    def table(self, name: str) -> "pd.DataFrame":
        if name not in self.tables:
            raise RecordError(f"{self.directory}: has no table {name!r}; it holds {', '.join(self.tables)}")
        return self.tables[name]

    @property
    def history(self) -> "pd.DataFrame":
        """One row per epoch."""
        return self.table("history")

    @property
    def queries(self) -> "pd.DataFrame":
        """query (file name), average_precision (nan without a match), first_match_rank (0 without)."""
        return self.table("queries")

    @property
    def name(self) -> str:
        return self.directory.name


def flat(config: Mapping[str, Any], of: str = "") -> dict[str, Any]:
    """A configuration with the settings of a run within as `guide.setting`.

    >>> flat({"epochs": 3, "guide": {"epochs": 5}})
    {'epochs': 3, 'guide.epochs': 5}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{of}{key}.") if isinstance(value, Mapping) else {of + key: value}
    return found


def origin() -> dict[str, Any]:
    """The `commit` that this code is of, and whether it is `dirty`, changed since; None where nobody says.

    Git says it of a checkout. Where code was copied without one, REIDKIT_COMMIT may say it, in the words of
    `git describe --always --abbrev=40 --exclude '*' --dirty` at its source. Raises RecordError for other words.
    """
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if commit is not None:
        return {"commit": commit, "dirty": None if changes is None else bool(changes)}
    if not (said := os.environ.get("REIDKIT_COMMIT")):
        return {"commit": None, "dirty": None}
    if not (match := re.fullmatch(r"([0-9a-f]{40})(-dirty)?", said)):
        raise RecordError(
            f"REIDKIT_COMMIT={said}: expected 40 hexadecimal digits, then -dirty where files were changed: what "
            "`git describe --always --abbrev=40 --exclude '*' --dirty` says where the code comes from"
        )
    return {"commit": match[1], "dirty": match[2] is not None}


def provenance(**measured: Any) -> dict[str, Any]:
    """Where and from what a run was made: commit, versions and machine, with what the caller measured.

    The commit is that of now, unless the caller says which it was when the code was loaded.
    """
    return {
        "created": now(),
        **(origin() if "commit" not in measured else {}),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        **measured,
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_record(
    directory: Path,
    *,
    system: str,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
    **tables: "pd.DataFrame",
) -> Record:
    """Writes a record as `directory`, whole or not at all.

    Tables that lie there without a `record.json` are replaced: Snakemake takes that file from a run that it saw no end
    of. Raises RecordError where a record is there already, or anything but tables, or a metric is not finite.
    """
    left = sorted(directory.iterdir()) if directory.exists() else []
    if any(path.suffix != ".csv" for path in left):
        raise RecordError(f"{directory}: a record of this name is there already; move it away to write it anew")
    bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if bad:
        raise RecordError(f"{directory.name}: not recorded, as these metrics are not finite: {bad}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, table in tables.items():
            _write(partial / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        content = {
            "format": FORMAT,
            "name": directory.name,
            "system": system,
            "config": dict(config),
            "metrics": dict(metrics),
            "provenance": dict(provenance),
            "files": {f"{name}.csv": _sha256(partial / f"{name}.csv") for name in tables},
        }
        _write(partial / "record.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        for path in left:
            path.unlink(missing_ok=True)
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_record(directory)


def replace_record(
    record: Record, metrics: Mapping[str, float], provenance: Mapping[str, Any], tables: "Mapping[str, pd.DataFrame]"
) -> Record:
    """Writes a record anew in its place, whole or not at all: other measures of the same run.

    Tables that are not given stay as they are, digit by digit.
    """
    import pandas as pd

    kept = {
        name: pd.read_csv(record.directory / f"{name}.csv", dtype=str, keep_default_na=False)
        for name in record.tables
        if name not in tables
    }
    with tempfile.TemporaryDirectory(dir=record.directory.parent, prefix=".replaced-") as folder:
        written = write_record(
            Path(folder) / record.name,
            system=record.system,
            config=record.config,
            metrics=metrics,
            provenance=provenance,
            **kept,
            **tables,
        )
        before = Path(folder) / "before"
        try:
            record.directory.rename(before)
            written.directory.rename(record.directory)
        except BaseException:
            if before.exists() and not record.directory.exists():
                before.rename(record.directory)
            raise
    return read_record(record.directory)


def read_record(directory: Path) -> Record:
    """Reads a record and checks it against its own checksums. Raises RecordError, naming what is wrong."""
    import pandas as pd

    content = read_content(directory)
    for name, expected in content["files"].items():
        if not (directory / name).is_file() or _sha256(directory / name) != expected:
            raise RecordError(
                f"{directory / name}: missing or altered since the record was written; delete the record and run it "
                "again"
            )
    return Record(
        directory=directory,
        system=content["system"],
        config=content["config"],
        metrics=content["metrics"],
        tables={Path(name).stem: pd.read_csv(directory / name) for name in content["files"]},
        provenance=content["provenance"],
    )


def read_content(directory: Path) -> dict[str, Any]:
    """What the `record.json` of a record says; its tables are neither read nor checked. Raises RecordError."""
    path = directory / "record.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such record") from error
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON ({error}); delete the record and run it again") from error
    made = content.get("format") if isinstance(content, dict) else None
    if made != FORMAT:
        raise RecordError(f"{path}: record format {made!r}, but this version reads format {FORMAT}")
    for key, kind in CONTENT.items():
        if not isinstance(content.get(key), kind):
            raise RecordError(f"{path}: {key!r} is missing or altered; delete the record and run it again")
    return dict(content)


def publish(record: Record, root: Path) -> Record:
    """Copies a record into `root`, whole or not at all, where the book finds it; returns the copy.

    Raises RecordError for one that nobody could repeat (of an unknown commit, of a changed checkout, of unknown data),
    for one that holds anything but numbers, and where another record of its name is there.
    """
    origin, target = record.provenance, root / record.name
    problems = []
    for code in (origin, origin.get("measured", origin)):  # of its training, and of a later measurement
        if not code.get("commit"):
            problems.append("it does not say of which commit it is: run it in a checkout, or set REIDKIT_COMMIT")
        elif code.get("dirty") is not False:
            problems.append("it was made in a checkout with uncommitted changes: commit them and run it again")
    if "queries" in record.tables and "mAP" in record.metrics:
        followed = float(record.queries["average_precision"].mean())
        if not abs(followed - record.metrics["mAP"]) < ROUNDED:
            problems.append(
                f"its mAP is {record.metrics['mAP']}, but that of its queries {followed:.6f}: it was altered"
            )
    if not origin.get("data"):
        problems.append("it does not say which data it was made from")
    allowed = {"record.json", *(f"{table}.csv" for table in record.tables)}
    if others := sorted(path.name for path in record.directory.iterdir() if path.name not in allowed):
        problems.append(f"it holds {', '.join(others)}: only record.json and its tables are published")
    if target.exists() and _sha256(target / "record.json") != _sha256(record.directory / "record.json"):
        problems.append(f"another record of this name is published already at {target}")
    if problems:
        raise RecordError("\n".join(f"{record.name}: not published: {problem}" for problem in dict.fromkeys(problems)))
    if not target.exists():
        partial = root / f".{record.name}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            shutil.copytree(record.directory, partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return read_record(target)


def read_records(*roots: Path) -> list[Record]:
    """Every record below the given folders, sorted by name; the first folder wins where two hold the same name."""
    return [read_record(directory) for directory in folders(roots)]


def folders(roots: Iterable[Path]) -> list[Path]:
    """The folder of every record below the given ones, sorted by name, each name once: the first to hold it wins."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.glob("*/record.json")):
            if not path.parent.name.startswith("."):
                found.setdefault(path.parent.name, path.parent)
    return [found[name] for name in sorted(found)]


def find(name: str, roots: Sequence[Path]) -> Path:
    """The folder of a record, by its path, its name, the hash that ends its name, or the first digits of that.

    Raises RecordError where there is none, and where several begin so.
    """
    if (Path(name) / "record.json").is_file():
        return Path(name)
    known = {folder.name: folder for folder in folders(roots)}
    hashes = {of: of.rpartition("-")[2] for of in known}
    found = [of for of in known if name in (of, hashes[of])]
    found = found or [of for of in known if len(name) >= 4 and hashes[of].startswith(name)]
    if len(found) > 1:
        raise RecordError(f"{name}: several records' hashes begin so: {', '.join(found)}")
    if not found:
        close = nearest(name, [*known, *hashes.values()])
        looked = " and ".join(map(str, roots))
        raise RecordError(f"{name}: no such record; looked here and in {looked}{close}; `reidkit runs` lists them")
    return known[found[0]]


@dataclass(frozen=True)
class Difference:
    """How far one metric of two records lies apart."""

    metric: str
    first: float
    second: float
    tolerance: float

    @property
    def within(self) -> bool:
        return abs(self.first - self.second) <= self.tolerance


def compare(first: Record, second: Record, tolerance: float = 0.0) -> list[Difference]:
    """The metrics that two records share side by side.

    Raises RecordError where they share none, or are not of one configuration.
    """
    keys = sorted(first.config.keys() | second.config.keys())
    if moved := [key for key in keys if first.config.get(key) != second.config.get(key)]:
        described = ", ".join(f"{k}: {first.config.get(k)!r} / {second.config.get(k)!r}" for k in moved)
        raise RecordError(f"{first.name} and {second.name} are of different configurations ({described})")
    if not (shared := [metric for metric in first.metrics if metric in second.metrics]):
        raise RecordError(f"{first.directory} and {second.directory} share no metric: there is nothing to compare")
    return [Difference(metric, first.metrics[metric], second.metrics[metric], tolerance) for metric in shared]


def _git(*arguments: str) -> str | None:
    """What git says of this package's own checkout; None where it is no checkout or git is missing."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

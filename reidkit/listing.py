"""What there is to name, rows and runs, as plain data: for help, completion, and a mistake to be told at once.

Importing the systems takes torch's seconds. What they say is therefore kept in the build folder, until a file of the
package or a profile changes.
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from reidkit.places import LOCK_MODE, build_root, project_root, record_roots
from reidkit.records import RecordError, folders, read_content

_NAMED = re.compile(r"([^-]+)-(.+)-seed(\d+)-([0-9a-f]+)")  # a run: data set, row, seed, hash

_read: dict[Path, dict[str, Any]] = {}  # what `_told` has read, by file


class Listed(NamedTuple):
    """A row of a system."""

    row: str  # as tables and commands call it
    system: str  # the system's name
    title: str  # the system's, as pages call it
    printed: str | None  # what Table 1 of the joint-loss paper calls it
    settings: dict[str, Any] | None  # by which its runs are known; None where they go by another row's name


def listed_rows() -> list[Listed]:
    """The rows of all systems, in their order."""
    return [Listed(*row) for row in _told()["rows"]]


def row_of_run(name: str, system: str, config: Mapping[str, Any]) -> str:
    """The row that the run `name` is of: by the profile that plans it, as a control may look like its row.

    Of a run that no profile plans, as far as its settings tell; the system's name where they tell of none.
    """
    if planned := _told()["controls"].get(name):
        return str(planned)
    fitting = {
        listed.row: len(listed.settings)
        for listed in listed_rows()
        if listed.system == system
        and listed.settings is not None
        and all(config.get(key) == value for key, value in listed.settings.items())
    }
    return max(fitting, key=lambda row: fitting[row], default=system)  # a reading says more than the row it is of


def _told() -> dict[str, Any]:
    """What the systems and the profiles say: `rows`, and by their names the runs that go by another row's: `controls`.

    Kept until a file of them changes.
    """
    files = sorted([*Path(__file__).parent.rglob("*.py"), *(project_root() / "parameters").glob("*.yaml")])
    state: list[Any] = [[str(file), file.stat().st_mtime_ns, file.stat().st_size] for file in files]
    kept = build_root() / "rows.json"
    if kept in _read and _read[kept]["files"] == state:
        return _read[kept]
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["files"] == state and "controls" in content:
            _read[kept] = content
            return _read[kept]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _read[kept] = {"files": state, "rows": _ask_the_systems(), "controls": _ask_the_profiles()}
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(_read[kept]), encoding="utf-8")
        partial.replace(kept)
    except OSError:  # nothing is lost but the time to ask again
        partial.unlink(missing_ok=True)
    return _read[kept]


def _ask_the_profiles() -> dict[str, str]:
    from reidkit.errors import UserError
    from reidkit.profile import Profile

    found: dict[str, str] = {}
    for file in sorted((project_root() / "parameters").glob("*.yaml")):
        with contextlib.suppress(UserError):  # told to whoever reads that profile
            planned = list(Profile.read(file).planned())
            named = {run.config.name for run in planned if run.config.row_name == run.row}
            found |= {run.config.name: run.row for run in planned if run.config.name not in named}
    return found


def _ask_the_systems() -> list[Listed]:
    from reidkit.systems import SYSTEMS
    from reidkit.systems.joint_loss import GRID

    found = []
    for system in SYSTEMS.values():
        for row, settings in system.rows.items():
            printed = GRID[row].row if row in GRID else None
            known = system.configuration.model_construct(**settings).row_name == row
            found.append(Listed(row, system.name, system.title, printed, dict(settings) if known else None))
    return found


def listed_runs() -> list[dict[str, Any]]:
    """The runs that are here, the finished ones before the others.

    By name: record (the hash), row, data, seed, epochs, mAP and rank-1 (per cent), state, name. What is not known of an
    unfinished run is None.
    """
    working, published = record_roots()
    found = []
    for folder in folders((working, published)):
        try:
            content = read_content(folder)
        except RecordError:
            if named := _NAMED.fullmatch(folder.name):
                found.append(_unknown(named, "damaged: delete it, or fetch it again"))
            continue
        config, metrics = content["config"], content["metrics"]
        preset = f", {config['synthped_preset']}" if config["dataset"] == "synthped" else ""
        found.append(
            {
                "record": folder.name.rpartition("-")[2],
                "row": row_of_run(folder.name, content["system"], config),
                "data": config["dataset"] + preset,
                "seed": config["seed"],
                "epochs": config["epochs"],
                **{name: round(100 * metrics[name], 2) if name in metrics else None for name in ("mAP", "rank-1")},
                "state": "published" if folder.parent == published else "finished",
                "name": folder.name,
            }
        )
    names = {run["name"] for run in found}
    for folder in sorted(path for path in (build_root() / "runs").glob("*") if path.is_dir()):
        if folder.name not in names and (named := _NAMED.fullmatch(folder.name)):  # or it is no run's
            found.append(_unknown(named, _state(folder)))
    return found


def _unknown(named: re.Match[str], state: str) -> dict[str, Any]:
    """A run of which only the name tells."""
    dataset, row, seed, of = named.groups()
    row = _told()["controls"].get(named.string, row)
    known = {"record": of, "row": row, "data": dataset, "seed": int(seed)}
    return known | dict.fromkeys(("epochs", "mAP", "rank-1")) | {"state": state, "name": named.string}


def _state(folder: Path) -> str:
    """How far an unfinished run is, by its folder of `build/runs`."""
    held = folder.with_name(f"{folder.name}.holder")
    lock = folder.with_name(f"{folder.name}.lock")
    state = "interrupted"
    if lock.exists():
        try:
            with FileLock(lock, mode=LOCK_MODE).acquire(blocking=False):
                pass
        except Timeout:
            state = f"training: {held.read_text(encoding='utf-8') if held.exists() else 'another process'}"
    if not (checkpoint := folder / "checkpoint.pt").is_file():
        return f"{state}, before a checkpoint"
    import torch

    try:
        history = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["history"]
    except Exception:  # torch raises anything for a damaged file
        return f"{state}, its checkpoint is damaged"
    return f"{state}, checkpoint after epoch {len(history)}"

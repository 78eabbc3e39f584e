"""What has to be made for a profile's book, as plain data: all that the Snakefile knows."""

import os
from pathlib import Path
from typing import Any

import torch

from reidkit.places import build_root, record_roots
from reidkit.profile import Profile
from reidkit.settings import Configuration, ParameterError


def plan(profile: Profile, read_from: Path | None = None, fresh: bool = False) -> dict[str, Any]:
    """The runs, data sets and heat maps behind the book of a profile and its companion.

    Raises ParameterError where the file that it was read from has another name: it would be built over another's book.

    - `build`: the book's folder; `records`: where runs leave theirs; both relative to the working directory.
    - `parameters`: the parameter file that chapters get, written here as validated, like the companion's beside it.
    - `fresh`: whether runs have to be told to pass over published records.
    - `data`: by folder of a rendered data set, the parameter file of who needs it.
    - `runs`: by name, the parameter file, row, seed and epochs of a run; the rendered `data` that it needs, or null;
      the run that `guide`s it with heat maps, or null; whether it is `published`, so that it need not be made (nothing
      is with `fresh`); and whether it is to be `repeated` nevertheless. Runs without a record are left out where the
      profile does not train them, unless `fresh`.
    - `heatmaps`: by name of a run that guides others, the parameter file.
    - `people`: the data sets of real people whose pictures its pages may show.
    - `gpu`: how many a run takes.
    """
    if read_from is not None and read_from.stem != profile.profile:
        raise ParameterError(
            f"{read_from}: says `profile: {profile.profile}`, whose book it would overwrite; "
            f"say `profile: {read_from.stem}`, as the file is called"
        )
    root = Path(os.path.relpath(build_root()))
    build = root / profile.profile
    runs: dict[str, dict[str, Any]] = {}
    data: dict[str, str] = {}
    heat_maps: dict[str, str] = {}
    people: dict[str, None] = {}
    for part, name in ((profile, "parameters.yaml"), (profile.other(), "companion.yaml")):
        if part is None:
            continue
        file = str(build / name)
        if part.dataset != "synthped":
            people[part.dataset] = None
        write_if_changed(Path(file), part.as_yaml())
        repeated = {run.config.name: run for run in part.repetitions() if not fresh and _recorded(run.config)[1]}
        for name, planned in ({run.config.name: run for run in part.planned()} | repeated).items():
            config, guide = planned.config, planned.config.guide
            rendered = config.root.name if config.dataset == "synthped" and config.data_root is None else None
            here, published = (False, False) if fresh else _recorded(config)
            if not (part.train_missing or fresh or here or published):
                continue
            if rendered is not None:
                data[rendered] = file
            if guide is not None:
                heat_maps[guide.name] = file
            runs[name] = {
                "owner": file,
                "row": planned.row,
                "seed": planned.seed,
                "epochs": config.epochs,
                "data": rendered,
                "guide": None if guide is None else guide.name,
                "published": published,
                "repeated": name in repeated,
            }
    return {
        "build": str(build),
        "root": str(root),
        "records": os.path.relpath(record_roots()[0]),
        "parameters": str(build / "parameters.yaml"),
        "data": data,
        "fresh": fresh,
        "runs": runs,
        "heatmaps": heat_maps,
        "people": list(people),
        "gpu": int(torch.cuda.is_available()),
    }


def _recorded(config: Configuration) -> tuple[bool, bool]:
    """Whether a run has a record here, and whether a published one."""
    here, published = ((root / config.name / "record.json").is_file() for root in record_roots())
    return here, published


def write_if_changed(file: Path, text: str) -> None:
    """Writes a text only where it differs, so that the file's age tells when its content changed."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

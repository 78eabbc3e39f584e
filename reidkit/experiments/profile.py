"""A profile: one file of `parameters/`, which says on which data, at which size and for how long the book is run."""

import shutil
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from reidkit.data.synthped import renderer
from reidkit.experiments.joint_loss import GRID, TABLE_1, RunConfig
from reidkit.experiments.settings import (
    REVISION,
    ParameterError,
    Settings,
    build_root,
    nearest,
    project_root,
    validate,
)
from reidkit.records import Record, RecordError


class Profile(Settings):
    """A file of `parameters/`: the settings, and which cells are run with which seeds."""

    profile: str = Field("synthped", description="the profile's name, and its folder below build/")
    cells: Literal["table 1", "grid"] | tuple[str, ...] = Field("table 1", description="which cells of the grid to run")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one run per cell and seed")

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        for cell in self.cell_names:
            if cell not in GRID:
                raise ValueError(f"cells: {cell!r} is not a cell of the grid{nearest(cell, GRID)}")
        return self

    @property
    def cell_names(self) -> tuple[str, ...]:
        return {"table 1": TABLE_1, "grid": tuple(GRID)}[self.cells] if isinstance(self.cells, str) else self.cells

    @classmethod
    def read(cls, path: str | Path, **changes: Any) -> Self:
        """A profile from a YAML file (or the name of one in `parameters/`), with some parameters changed.

        Raises ParameterError, naming the key, the file and the nearest valid name, before anything runs.
        """
        file = Path(path)
        if file.suffix not in {".yaml", ".yml"}:
            file = project_root() / "parameters" / f"{path}.yaml"
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = sorted(p.stem for p in (project_root() / "parameters").glob("*.yaml"))
            raise ParameterError(
                f"{file}: no such parameter file; there are {', '.join(known)}{nearest(file.stem, known)}"
            ) from error
        except yaml.YAMLError as error:
            raise ParameterError(f"{file}: not valid YAML: {error}") from error
        if not isinstance(content, dict):
            raise ParameterError(f"{file}: expected `key: value` lines, found {type(content).__name__}")
        return validate(cls, content | changes, source=str(file))

    def config(self, cell: str, seed: int | None = None) -> RunConfig:
        """The run of one cell of the grid; the profile's first seed unless one is given."""
        if cell not in GRID:
            raise ParameterError(
                f"{cell!r} is not a cell of the grid{nearest(cell, GRID)}; there are {', '.join(GRID)}"
            )
        shared = self.model_dump(include=set(Settings.model_fields))
        chosen = GRID[cell]
        seed = self.seeds[0] if seed is None else seed
        return RunConfig(**shared, attention=chosen.attention, loss=chosen.loss, seed=seed)

    def configs(self) -> list[RunConfig]:
        """Every run of the profile, seed by seed, so that all rows are there before the second seed begins."""
        return [self.config(cell, seed) for seed in self.seeds for cell in self.cell_names]


def repeat(record: Record, data_root: Path | None = None, progress: bool = True) -> Record:
    """Trains the run of a record once more, from scratch and apart from it, and returns the new record."""
    found = record.config
    made = {"revision": found["revision"], "renderer": found.get("renderer")}
    here = {"revision": REVISION, "renderer": renderer() if found["dataset"] == "synthped" else None}
    for key in made:
        if made[key] != here[key]:
            raise RecordError(
                f"{record.name}: made by {key} {made[key]} of the code, this is {key} {here[key]}; "
                f"check out commit {record.provenance['commit']} to repeat it"
            )
    values = {key: value for key, value in found.items() if key not in made}
    if data_root is not None:
        values["data_root"] = str(data_root.resolve())
    config = validate(RunConfig, values, source=record.name)
    apart = build_root() / "repeated" / record.name
    shutil.rmtree(apart, ignore_errors=True)
    return config.make(apart, apart / "records", progress)

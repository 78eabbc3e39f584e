"""A profile: one file of `parameters/`, which says on which data, at which size and for how long the book is run."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from reidkit.data.synthped import renderer
from reidkit.experiments.joint_loss import CELLS, GRID, TABLE_1, RunConfig
from reidkit.experiments.san_gal import READINGS, ROWS, SAN_GAL, AttributeConfig, SanGalConfig
from reidkit.experiments.settings import (
    REVISION,
    Configuration,
    ParameterError,
    Settings,
    build_root,
    nearest,
    project_root,
    validate,
)
from reidkit.records import Record, RecordError


class SanGalPlan(BaseModel):
    """What a profile runs of SAN-GAL, and what differs there from the profile's other settings."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rows: tuple[str, ...] = Field(ROWS, description="rows of the paper's Table 1, one run per row and seed")
    readings: tuple[str, ...] = Field((), description="readings of ID+attrAttention, with the first seed")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="of the rows")
    attributes: dict[str, Any] = Field({}, description="settings of the attribute network that differ")
    reid: dict[str, Any] = Field({}, description="settings of the re-identification networks that differ")


class Profile(Settings):
    """A file of `parameters/`: the settings, and which cells are run with which seeds."""

    profile: str = Field("synthped", description="the profile's name, and its folder below build/")
    cells: Literal["table 1", "grid"] | tuple[str, ...] = Field("table 1", description="which cells of the grid to run")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one run per cell and seed")

    san_gal: SanGalPlan | None = Field(None, description="what is run of SAN-GAL; null: nothing")
    companion: str | None = Field(None, description="the profile of SAN-GAL's other data set; null: none")

    @model_validator(mode="after")
    def _check_plan(self) -> Self:
        for cell in self.cell_names:
            if cell not in CELLS:
                raise ValueError(f"cells: {cell!r} is not a cell of the grid{nearest(cell, CELLS)}")
        if self.san_gal is not None:
            for key, names, known in (
                ("rows", self.san_gal.rows, ROWS),
                ("readings", self.san_gal.readings, tuple(READINGS)),
            ):
                for name in names:
                    if name not in known:
                        raise ValueError(f"san_gal: {name!r} is none of its {key}{nearest(name, known)}")
            try:
                self.san_gal_configs()
            except ParameterError as error:
                raise ValueError(str(error)) from error
        return self

    @property
    def cell_names(self) -> tuple[str, ...]:
        return {"table 1": TABLE_1, "grid": tuple(GRID)}[self.cells] if isinstance(self.cells, str) else self.cells

    @classmethod
    def read(cls, path: str | Path, **changes: Any) -> Self:
        """A profile from a YAML file (or the name of one in `parameters/`), with some parameters changed.

        Raises ParameterError, naming the key, the file and the nearest valid name, before anything runs.
        """
        file = parameter_file(path)
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
        if cell not in CELLS:
            raise ParameterError(
                f"{cell!r} is not a cell of the grid{nearest(cell, CELLS)}; there are {', '.join(CELLS)}"
            )
        shared = self.model_dump(include=set(Settings.model_fields))
        chosen = CELLS[cell]
        seed = self.seeds[0] if seed is None else seed
        return RunConfig(**shared, attention=chosen.attention, loss=chosen.loss, seed=seed)

    def attribute_config(self) -> AttributeConfig:
        """The run of SAN-GAL's attribute network, with its first seed."""
        plan = self.san_gal or SanGalPlan()
        return validate(
            AttributeConfig, self._given() | plan.attributes | {"seed": plan.seeds[0]}, "san_gal.attributes"
        )

    def san_gal_config(self, name: str, seed: int | None = None) -> SanGalConfig:
        """The run of a row of SAN-GAL's Table 1, or of a reading, named as ID+attrAttention/one-sigmoid."""
        row, _, reading = name.partition("/")
        if name not in SAN_GAL or row == "attributes":
            raise ParameterError(
                f"{name!r} is no run of SAN-GAL{nearest(name, SAN_GAL)}; there are {', '.join(SAN_GAL)}"
            )
        plan = self.san_gal or SanGalPlan()
        values = self._given() | plan.reid | READINGS.get(reading, {})
        values |= {"row": row, "seed": plan.seeds[0] if seed is None else seed}
        if row == "ID+attrAttention":
            values["attributes"] = self.attribute_config().model_dump(mode="json")
        return validate(SanGalConfig, values, "san_gal.reid")

    def any_config(self, name: str, seed: int | None = None) -> Configuration:
        """The run of that name: a cell of the grid, a row or a reading of SAN-GAL, or `attributes`."""
        if name == "attributes":
            return self.attribute_config()
        if name in SAN_GAL:
            return self.san_gal_config(name, seed)
        if name not in CELLS:
            known = (*CELLS, *SAN_GAL)
            raise ParameterError(f"{name!r} is no run{nearest(name, known)}; there are {', '.join(known)}")
        return self.config(name, seed)

    def _given(self) -> dict[str, Any]:
        """The settings that the profile names, as plain values; each kind of run has defaults of its own."""
        return self.model_dump(mode="json", include=set(Settings.model_fields), exclude_unset=True)

    def configs(self) -> list[RunConfig]:
        """The joint-loss runs, seed by seed, so that all rows are there before the second seed begins."""
        return [self.config(cell, seed) for seed in self.seeds for cell in self.cell_names]

    def san_gal_configs(self) -> list[AttributeConfig | SanGalConfig]:
        """SAN-GAL's runs: the attribute network, the rows, seed by seed, and the readings."""
        if self.san_gal is None:
            return []
        rows = [self.san_gal_config(row, seed) for seed in self.san_gal.seeds for row in self.san_gal.rows]
        readings = [self.san_gal_config(f"ID+attrAttention/{reading}") for reading in self.san_gal.readings]
        return [self.attribute_config(), *rows, *readings]

    def other(self) -> "Profile | None":
        """The companion profile."""
        return Profile.read(self.companion) if self.companion else None


def parameter_file(profile: str | Path) -> Path:
    """The file of a profile: a path that ends in .yaml as it is, a name in `parameters/`."""
    file = Path(profile)
    return file if file.suffix in {".yaml", ".yml"} else project_root() / "parameters" / f"{profile}.yaml"


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
    values = dict(found)
    if data_root is not None:
        values["data_root"] = str(data_root.resolve())
    kind = SanGalConfig if "row" in values else RunConfig if "loss" in values else AttributeConfig
    config = validate(kind, _without(values, made), source=record.name)
    apart = build_root() / "repeated" / record.name
    shutil.rmtree(apart, ignore_errors=True)
    again = config.make(apart, apart / "records", progress)
    assert again is not None, "a run is repeated by one process"
    return again


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """`values` and the dictionaries in it, without some keys."""
    return {k: _without(v, keys) if isinstance(v, Mapping) else v for k, v in values.items() if k not in keys}

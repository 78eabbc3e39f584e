"""A profile: one file of `parameters/`, which says on which data, at which size and for how long the book is run.

The systems are imported where they are used: that takes seconds, which nobody should wait for a mistake to be told.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from reidkit.places import project_root
from reidkit.settings import Configuration, ParameterError, Seed, Settings, nearest, validate


class Plan(BaseModel):
    """What a profile runs of one system, and what differs there from the profile's other settings."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rows: str | tuple[str, ...] | None = Field(None, description="rows, or the names of several; null: all of them")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="a run for each row and seed")
    settings: dict[str, Any] = Field({}, description="the settings of this system that differ")

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is named twice")
        return seeds


@dataclass(frozen=True)
class Planned:
    """A run of a profile, by the row that it is of."""

    row: str
    seed: int
    config: Configuration


class _OnceEach(yaml.SafeLoader):
    """YAML, in which a key that stands twice in a mapping is an error: the first of them would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [str(key) for number, key in enumerate(keys) if key in keys[:number]]:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


# 1e-3 is a number, as everywhere else. YAML 1.1 wants a point and a sign in it.
_OnceEach.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str) -> Any:
    """What a text in YAML says. Raises yaml.YAMLError, for a key that stands twice in a mapping too."""
    return yaml.load(text, Loader=_OnceEach)


class Profile(Settings):
    """A file of `parameters/`: settings that all runs share, and by system which rows are run with which seeds."""

    profile: str = Field(
        "synthped",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="the profile's name, and its folder below build/: letters, digits, points, underscores, hyphens",
    )
    systems: dict[str, Plan] = Field({"joint-loss": Plan(rows="table 1")}, description="what is run, by system")
    repeated: tuple[str, ...] = Field(
        (), description="rows whose published run with the first seed is trained once more, beside it, by `make book`"
    )
    repeated_epochs: int | None = Field(
        None, ge=1, description="epochs of the published runs that are, where the rows' own take too long; null: theirs"
    )
    train_missing: bool = Field(
        True, description="whether the book trains runs without a record; false: they are shown as not run"
    )
    companion: str | None = Field(None, description="the profile of the same systems on another data set; null: none")

    @model_validator(mode="after")
    def _check_plans(self) -> Self:
        from reidkit.systems import SYSTEMS

        for name in self.systems:
            if name not in SYSTEMS:
                raise ValueError(f"systems: {name!r} is none{nearest(name, SYSTEMS)}; there are {', '.join(SYSTEMS)}")
        try:
            list(self.planned())
            self.repetitions()
        except ParameterError as error:
            raise ValueError(str(error)) from error
        return self

    @classmethod
    def read(cls, path: str | Path, origins: Mapping[str, str] | None = None, /, **changes: Any) -> Self:
        """A profile from a YAML file (or the name of one in `parameters/`), with some parameters changed.

        `origins` says what errors call the places where changes stand, such as `--set`.

        >>> profile = Profile.read("smoke", epochs=3)
        >>> profile.config("cbam/ce", seed=1).epochs, profile.rows("attributes")
        (3, ('attributes',))

        Raises ParameterError, naming the key, where it stands and the nearest valid name, before anything runs.
        """
        file = parameter_file(path)
        try:
            content = read_yaml(file.read_text(encoding="utf-8-sig"))
        except IsADirectoryError as error:
            raise ParameterError(f"{file}: a folder; expected a parameter file") from error
        except UnicodeDecodeError as error:
            raise ParameterError(
                f"{file}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
            ) from error
        except FileNotFoundError as error:
            known = sorted(p.stem for p in (project_root() / "parameters").glob("*.yaml"))
            raise ParameterError(
                f"{file}: no such parameter file; there are {', '.join(known)}{nearest(file.stem, known)}"
            ) from error
        except yaml.YAMLError as error:
            raise ParameterError(f"{file}: not valid YAML: {error}") from error
        if not isinstance(content, dict):
            raise ParameterError(f"{file}: expected `key: value` lines, found {type(content).__name__}")
        given = dict.fromkeys(changes, "arguments of Profile.read") | dict(origins or {})
        return validate(cls, content | changes, str(file), given)._without_plans_for(changes)

    def config(self, row: str, seed: int | None = None) -> Configuration:
        """The run of a row; with the first seed of its system's plan unless one is given.

        Raises ParameterError for a row that no system has, and for settings that do not fit it.
        """
        from reidkit.systems import ROWS

        if row not in ROWS:
            raise ParameterError(f"{row!r} is no row of any system{nearest(row, ROWS)}; there are {', '.join(ROWS)}")
        system = ROWS[row]
        plan = self.systems.get(system.name, Plan())
        # The settings that the profile names; each system has defaults of its own for the others.
        given = self.model_dump(mode="json", include=set(Settings.model_fields), exclude_unset=True)
        values = given | plan.settings | dict(system.rows[row])
        values["seed"] = plan.seeds[0] if seed is None else seed
        for setting, other in system.within.get(row, {}).items():
            values[setting] = self.config(other).model_dump(mode="json")
        source = f"systems.{system.name}.settings"
        return validate(system.configuration, values, source, {"seed": f"config({row!r}, {values['seed']})"})

    def _without_plans_for(self, changes: Iterable[str]) -> Self:
        """The same profile, in which no system has a value of its own for what was changed for all of them."""
        if "systems" in changes:
            return self
        plans = {
            name: plan.model_copy(update={"settings": {k: v for k, v in plan.settings.items() if k not in changes}})
            for name, plan in self.systems.items()
        }
        return self.model_copy(update={"systems": plans})

    def rows(self, system: str) -> tuple[str, ...]:
        """The rows of a system that the profile runs; none of one that it does not name."""
        from reidkit.systems import SYSTEMS

        if system not in self.systems:
            return ()
        chosen, known = self.systems[system].rows, SYSTEMS[system]
        if chosen is None:
            return tuple(known.rows)
        rows: list[str] = []
        for name in (chosen,) if isinstance(chosen, str) else chosen:
            if name not in known.rows and name not in known.row_groups:
                names = (*known.row_groups, *known.rows)
                raise ParameterError(f"systems.{system}: {name!r} is none of its rows{nearest(name, names)}")
            rows += known.row_groups.get(name, (name,))
        return tuple(dict.fromkeys(rows))

    def planned(self, *systems: str) -> Iterator[Planned]:
        """The runs of some systems, or of all: seed by seed, so that all rows are there before the second begins."""
        for system in systems or self.systems:
            for seed in self.systems[system].seeds if system in self.systems else ():
                for row in self.rows(system):
                    yield Planned(row, seed, self.config(row, seed))

    def repetitions(self) -> list[Planned]:
        """The runs that are trained once more where they are published."""
        short = {} if self.repeated_epochs is None else {"epochs": self.repeated_epochs}
        profile = self.model_copy(update=short)._without_plans_for(short)
        configs = [profile.config(row) for row in self.repeated]
        return [Planned(row, config.seed, config) for row, config in zip(self.repeated, configs, strict=True)]

    def configs(self, *systems: str) -> list[Configuration]:
        """The configurations of `planned`."""
        return [planned.config for planned in self.planned(*systems)]

    def as_yaml(self) -> str:
        """Its parameter file: what it names, and nothing that has its default."""
        return yaml.safe_dump(json.loads(self.model_dump_json(exclude_unset=True)), sort_keys=False)

    def other(self) -> "Profile | None":
        """The companion profile."""
        return Profile.read(self.companion) if self.companion else None

    def command(self, row: str, seed: int, file: str | None = None) -> str:
        """The command that makes the record of a run; `file` where the profile was read from one of its own."""
        return f"reidkit run {file or self.profile} --row {row} --seed {seed}"


def parameter_file(profile: str | Path) -> Path:
    """The file of a profile: a path that ends in .yaml as it is, a name in `parameters/`."""
    file = Path(profile)
    return file if file.suffix in {".yaml", ".yml"} else project_root() / "parameters" / f"{profile}.yaml"

"""What every run has in common: its settings, checked before anything starts, and where its files lie."""

import difflib
import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor

from reidkit.data import Dataset
from reidkit.data.synthped import renderer
from reidkit.records import Record
from reidkit.training import TrainingSettings

# Raised when a change to the code or to a default changes the numbers of a run with an unchanged configuration.
REVISION = 1

DatasetName = Literal["synthped", "market1501", "dukemtmcreid", "msmt17"]


Model = TypeVar("Model", bound=BaseModel)


class ParameterError(Exception):
    """A parameter that is misspelt, of the wrong type or out of range."""


class Settings(TrainingSettings):
    """What a profile and a run have in common: the data, the network and its losses, and the training."""

    dataset: DatasetName = Field("synthped", description="which data set, by its layout on disk")
    data_root: Path | None = Field(None, description="the data set's folder; synthped is rendered where it is missing")
    synthped_preset: Literal["market-like", "duke-like", "msmt-like"] = Field(
        "market-like", description="SynthPed only"
    )
    synthped_seed: int = Field(0, ge=0, description="SynthPed only: which world is rendered")
    synthped_train_identities: int | None = Field(None, ge=2, description="SynthPed only; null: the preset's")
    synthped_test_identities: int | None = Field(None, ge=2, description="SynthPed only; null: the preset's")
    width_multiplier: float = Field(1.0, gt=0, le=2, description="of every channel count of ResNet-50")
    last_stride: Literal[1, 2] = Field(1, description="stride of ResNet-50's last stage")
    residual_scale: float = Field(
        1.0, ge=0, le=1, description="weight of each residual branch's last batch norm at the start; not with weights"
    )
    validation_identities: int = Field(
        0, ge=0, description="training identities held out as query and gallery in place of the test images; 0: none"
    )
    weights: str | None = Field(None, description="null, imagenet (torchvision's), or a local file of weights")
    sampling: Literal["auto", "shuffled", "identities"] = Field(
        "auto", description="of batches: identities is P×K; auto: P×K where the loss compares images, else shuffled"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="of the cross-entropy")
    triplet_margin: float = Field(0.3, ge=0, description="m of Eq. 2 and 3")
    circle_scale: float = Field(64.0, gt=0, description="γ of the circle classifier")
    circle_margin: float = Field(0.35, gt=0, lt=1, description="m of the circle classifier")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.images_per_identity:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of images_per_identity {self.images_per_identity}"
            )
        if self.weights is not None and self.width_multiplier != 1:
            raise ValueError(f"weights {self.weights!r} fit width_multiplier 1 only, not {self.width_multiplier}")
        if self.dataset != "synthped" and self.data_root is None:
            raise ValueError(f"data_root is needed for {self.dataset}: the folder that holds it")
        return self

    @property
    def root(self) -> Path:
        """The data set's folder; a relative one lies in the project."""
        if self.data_root is not None:
            return project_root() / self.data_root.expanduser()
        sizes = [n for n in (self.synthped_train_identities, self.synthped_test_identities) if n is not None]
        return build_root() / "data" / "-".join(map(str, (self.synthped_preset, self.synthped_seed, *sizes)))


class Configuration(Settings):
    """One run of any kind: the settings and a seed. Its name ends in a hash of everything that decides its numbers."""

    seed: int = Field(0, ge=0)

    @property
    @abstractmethod
    def title(self) -> tuple[str, ...]:
        """What a run's name says before its hash; each kind of run has its own."""

    @property
    @abstractmethod
    def cell(self) -> str:
        """What `reidkit run --cell` calls it."""

    def command(self, profile: str) -> str:
        """The command that makes this run's record."""
        return f"reidkit run {profile} --cell {self.cell} --seed {self.seed}"

    @property
    def determinants(self) -> dict[str, Any]:
        """What decides the run's numbers, as plain values."""
        return self._determinants(exclude_defaults=False)

    def _determinants(self, exclude_defaults: bool) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude={"data_root", "device"}, exclude_defaults=exclude_defaults)
        if self.dataset == "synthped":
            values["renderer"] = renderer()  # pictures that other code rendered are another data set
        else:
            values = {key: value for key, value in values.items() if not key.startswith("synthped_")}
        return values | {"revision": REVISION}

    @property
    def name(self) -> str:
        # Defaults stay out of the hash: a new parameter whose default changes nothing leaves old records their names.
        text = json.dumps(self._determinants(exclude_defaults=True), sort_keys=True)
        return "-".join((*self.title, hashlib.sha256(text.encode()).hexdigest()[:8]))

    @abstractmethod
    def make(self, build: Path, records: Path, progress: bool) -> Record | None:
        """Trains, evaluates and writes the record, or None where another process does; works below `build`."""

    @abstractmethod
    def features(self, dataset: Dataset, splits: Sequence[str] = ("query", "gallery")) -> list[Tensor]:
        """Features (N, C) of some splits under the trained network of the finished run.

        Raises CheckpointError where its weights are not on this machine, ParameterError for a run that ranks nothing.
        """


def validate(model: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """`values` as a `model`, strictly; raises ParameterError naming each bad key, its source and the nearest name."""
    try:
        return model.model_validate_json(json.dumps(dict(values), default=str))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"][:1])
            if problem["type"] == "extra_forbidden":
                lines.append(f"unknown parameter {key!r}{nearest(key, model.model_fields)}")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                given = f" (given: {problem['input']!r})" if key else ""
                lines.append(f"{key}: {message}{given}" if key else message)
        raise ParameterError("\n".join(f"{source}: {line}" for line in dict.fromkeys(lines))) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a misspelt name, or nothing where no known one is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def project_root() -> Path:
    """The checkout that this package lies in; the working directory where it was installed without one."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def build_root() -> Path:
    """Where everything that can be made again goes: `build/`, or what REIDKIT_BUILD names."""
    return Path(os.environ.get("REIDKIT_BUILD", project_root() / "build"))


def record_roots() -> tuple[Path, Path]:
    """Where records are looked for: working ones first, then the published ones."""
    return build_root() / "records", project_root() / "book" / "records"

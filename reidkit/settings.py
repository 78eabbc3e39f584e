"""What every run has in common: its settings, checked before anything starts, and the name that they give it.

A mistake in them is told at once: what takes seconds to import, as torch does, is imported where it is used.
"""

import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reidkit.errors import UserError
from reidkit.errors import nearest as nearest
from reidkit.places import build_root, project_root

if TYPE_CHECKING:
    from reidkit.data.resident import Augmentation
    from reidkit.evaluation.ranking import Metric

# Raised when a change to the code or to a default changes the numbers of a run with an unchanged configuration.
REVISION = 1

Seed = Annotated[int, Field(ge=0, lt=2**32)]
DatasetName = Literal["synthped", "market1501", "dukemtmcreid", "msmt17", "own"]
MapClasses = Literal["predicted", "labels"]  # which a heat map explains: those that the guide predicts, or the true
Model = TypeVar("Model", bound=BaseModel)


class ParameterError(UserError):
    """A parameter that is misspelt, of the wrong type or out of range."""


class Settings(BaseModel):
    """The data, the network and its training. Defaults are the strong baseline's (Luo et al. 2019) in fast-reid.

    What belongs to a method, so that runs differ in it, has as its field's title the words that tell its value: {} is
    the value, {other} that of another setting, whose own title then is empty, and {fall} how the learning rate falls.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    dataset: DatasetName = Field("synthped", description="which data set, by its layout on disk")
    data_root: Path | None = Field(None, description="the data set's folder; synthped is rendered where it is missing")
    synthped_preset: Literal["market-like", "duke-like", "msmt-like"] = Field(
        "market-like", description="SynthPed only"
    )
    synthped_seed: Seed = Field(0, description="SynthPed only: which world is rendered")
    synthped_train_identities: int | None = Field(None, ge=2, description="SynthPed only; null: the preset's")
    synthped_test_identities: int | None = Field(None, ge=2, description="SynthPed only; null: the preset's")
    validation_identities: int = Field(
        0, ge=0, description="training identities held out as query and gallery in place of the test images; 0: none"
    )
    image_height: int = Field(
        256, ge=16, le=1024, title="{}×{image_width} pixels", description="input height in pixels"
    )
    image_width: int = Field(128, ge=16, le=1024, title="", description="input width in pixels")
    width_multiplier: float = Field(
        1.0, gt=0, le=2, title="width × {}", description="of every channel count of ResNet-50"
    )
    last_stride: Literal[1, 2] = Field(1, title="last stride {}", description="stride of ResNet-50's last stage")
    residual_scale: float = Field(
        1.0,
        ge=0,
        le=1,
        title="residual branches start at × {}",
        description="weight of each residual branch's last batch norm at the start; not with weights",
    )
    weights: str | None = Field(None, description="null, imagenet (torchvision's), or a local file of weights")
    label_smoothing: float = Field(0.1, ge=0, lt=1, title="label smoothing {}", description="of the cross-entropy")
    triplet_margin: float = Field(0.3, ge=0, title="triplet margin {}", description="m of Eq. 2 and 3")
    circle_scale: float = Field(
        64.0, gt=0, title="circle scale and margin {} and {circle_margin}", description="γ of the circle classifier"
    )
    circle_margin: float = Field(0.35, gt=0, lt=1, title="", description="m of the circle classifier")
    sampling: Literal["auto", "shuffled", "identities"] = Field(
        "auto",
        title="{} sampling",
        description="of batches: identities is P×K; auto: P×K where the loss compares images, else shuffled",
    )
    batch_size: int = Field(64, ge=2, title="batch size {}", description="images in a batch")
    images_per_identity: int = Field(
        4, ge=1, title="{} images per identity", description="K of P×K sampling, for losses that compare images"
    )
    epochs: int = Field(120, ge=1, title="epochs {}", description="passes over the training images")
    optimizer: Literal["adam", "sgd"] = Field("adam", title="optimiser {}", description="sgd is with a momentum of 0.9")
    learning_rate: float = Field(3.5e-4, gt=0, title="learning rate {}", description="the highest learning rate")
    weight_decay: float = Field(5e-4, ge=0, title="weight decay {}", description="the optimiser's L2 penalty")
    warmup_epochs: float = Field(
        10,
        ge=0,
        title="warm-up to epoch {} from × {warmup_factor}",
        description="epochs over which the learning rate rises linearly",
    )
    warmup_factor: float = Field(0.1, gt=0, le=1, title="", description="the factor on the learning rate at the start")
    schedule: Literal["milestones", "cosine"] = Field(
        "milestones",
        title="learning rate {fall}",
        description="how the learning rate falls after the warm-up; cosine: to zero at the end",
    )
    cosine_from: float = Field(
        0, ge=0, title="", description="epoch at which the cosine begins, if not the warm-up's end"
    )
    milestones: tuple[float, ...] = Field((40, 90), title="", description="epochs at which the learning rate falls")
    decay: float | tuple[float, ...] = Field(
        0.1, title="", description="the factor by which it falls, for all or for each"
    )
    schedule_by: Literal["epoch", "step"] = Field("step", description="how often the learning rate is set")
    flip_probability: float = Field(0.5, ge=0, le=1, title="flip {}", description="share of images mirrored")
    padding: int = Field(10, ge=0, title="pad-crop {}", description="pixels padded before the random crop")
    erasing_probability: float = Field(
        0.5, ge=0, le=1, title="random erasing {}", description="share of images with a box erased"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="of the network's arithmetic; auto: bf16 where the device has it in hardware, else fp32",
    )
    channels_last: bool = Field(True, description="memory format of images and weights")
    compile: bool = Field(False, description="torch.compile the network (pays on a GPU only)")
    deterministic: bool = Field(
        True, description="the same numbers again on the same machine, a little slower on a GPU"
    )
    evaluate_every: int = Field(0, ge=0, description="epochs between evaluations for the history; 0: at the end only")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if isinstance(self.decay, tuple) and len(self.decay) != len(self.milestones):
            raise ValueError(f"decay has {len(self.decay)} factors for {len(self.milestones)} milestones")
        for factor in self.decay if isinstance(self.decay, tuple) else (self.decay,):
            if not 0 < factor <= 1:
                raise ValueError(f"decay {factor} is not above 0 and at most 1")
        if self.schedule == "cosine" and max(self.warmup_epochs, self.cosine_from) >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} and cosine_from {self.cosine_from:g} leave nothing of "
                f"{self.epochs} epochs to the cosine"
            )
        return self

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
    def size(self) -> tuple[int, int]:
        """Input height and width in pixels."""
        return self.image_height, self.image_width

    @property
    def root(self) -> Path:
        """The data set's folder; a relative one lies in the project."""
        if self.data_root is not None:
            return project_root() / self.data_root.expanduser()
        sizes = (self.synthped_train_identities, self.synthped_test_identities)
        named = () if sizes == (None, None) else ("all" if n is None else n for n in sizes)
        return build_root() / "data" / "-".join(map(str, (self.synthped_preset, self.synthped_seed, *named)))

    def augmentation(self) -> "Augmentation":
        from reidkit.data.resident import Augmentation

        return Augmentation(self.size, self.flip_probability, self.padding, self.erasing_probability)

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate after `progress` epochs: linear warm-up, then a fall at each milestone or along a cosine.

        The cosine is Loshchilov & Hutter's (ICLR 2017, Eq. 5), once and to zero at the last epoch's end.
        """
        if self.schedule_by == "epoch":
            progress = int(progress)
        warmup = min(1.0, progress / self.warmup_epochs) if self.warmup_epochs else 1.0
        factor = self.warmup_factor + (1 - self.warmup_factor) * warmup
        if self.schedule == "cosine":
            start = max(self.warmup_epochs, self.cosine_from)
            done = max(0.0, progress - start) / (self.epochs - start)
            return self.learning_rate * factor * (1 + math.cos(math.pi * done)) / 2
        decays = self.decay if isinstance(self.decay, tuple) else (self.decay,) * len(self.milestones)
        fallen = [decay for decay, milestone in zip(decays, self.milestones, strict=True) if progress >= milestone]
        return self.learning_rate * factor * math.prod(fallen)


class Configuration(Settings):
    """One run: a row of a system with a seed. Its name ends in a hash of everything that decides its numbers."""

    system: ClassVar[str]  # which of `reidkit.systems.SYSTEMS`
    told_by_hash: ClassVar[bool] = True  # whether the hash of a run's name tells its system; three are older than that
    ranked_by: ClassVar[Literal["cosine", "euclidean"]] = "cosine"  # how its embeddings are compared
    compares_images: ClassVar[bool] = False  # whether its loss does, so that batches need several of a person
    takes: ClassVar[frozenset[str]] = frozenset()  # what it is given beside images and identities, as of `needs`

    seed: Seed = Field(0, description="of the first weights, the batches and the augmentation")

    @property
    def title(self) -> tuple[str, ...]:
        """What a run's name says before its hash."""
        return self.dataset, self.row_name.lower().replace("/", "-").replace("+", "-"), f"seed{self.seed}"

    @property
    def row_name(self) -> str:
        """What tables and `reidkit run --row` call what it runs."""
        return self.system

    @property
    def needs(self) -> frozenset[str]:
        """What it has to be given beside images and identities: "attributes", "heat maps", "parts" (part maps)."""
        return self.takes

    @property
    def compares(self) -> bool:
        """Whether its loss compares images: that of all its runs, unless it depends on their settings."""
        return self.compares_images

    @property
    def metric(self) -> "Metric":
        """What its embeddings are ranked by, as `evaluate_ranking` takes it; another's where a distance is its own."""
        return self.ranked_by

    @property
    def map_classes(self) -> MapClasses:
        """Whose heat maps guide the training, of the classes that the guide predicts or that the labels name."""
        return "predicted"

    @property
    def phases(self) -> tuple[float, ...]:
        """The progress, in epochs, from which on its losses are others."""
        return ()

    def from_scratch(self) -> Self:
        """The same without weights to start from: what is built before a finished run's own weights are loaded."""
        return self.model_copy(update={"weights": None})

    @property
    def guide(self) -> "Configuration | None":
        """The run that must be finished before this one, whose network makes the heat maps that it reads."""
        return None

    @property
    def determinants(self) -> dict[str, Any]:
        """What decides the run's numbers, as plain values."""
        return self._determinants(exclude_defaults=False)

    def _determinants(self, exclude_defaults: bool) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude={"data_root", "device"}, exclude_defaults=exclude_defaults)
        if self.dataset == "synthped":
            from reidkit.data.synthped import RENDERER

            values["renderer"] = RENDERER  # other pictures are another data set
        else:
            values = {key: value for key, value in values.items() if not key.startswith("synthped_")}
        if self.dataset == "own":
            values["data"] = files_checksum("own", self.root)  # one's own pictures have no other name
        return values | {"revision": REVISION}

    @property
    def name(self) -> str:
        # Defaults stay out of the hash: a new parameter whose default changes nothing leaves old records their names.
        told = self._determinants(exclude_defaults=True) | ({"system": self.system} if self.told_by_hash else {})
        text = json.dumps(told, sort_keys=True)
        return "-".join((*self.title, hashlib.sha256(text.encode()).hexdigest()[:8]))


@functools.lru_cache
def files_checksum(dataset: str, root: Path) -> str:
    """`file_list_checksum` of a data set as it lies at `root`, looked at once by a process."""
    from reidkit.data.layouts import file_list_checksum, load_dataset

    return file_list_checksum(load_dataset(dataset, root))


def validate(model: type[Model], values: Mapping[str, Any], source: str, origins: Mapping[str, str] = {}) -> Model:
    """`values` as a `model`, strictly; raises ParameterError naming each bad key, its source and the nearest name.

    `origins` names where some of the keys stand instead of in `source`.
    """
    try:
        return model.model_validate_json(json.dumps(dict(values), default=str))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            *above, last = problem["loc"] or ("",)
            key = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = f"unknown parameter {key!r}{nearest(str(last), _fields(model, above))}"
            elif key:
                message = f"{key}: {message} (given: {problem['input']!r})"
            place = origins.get(str(problem["loc"][0]), source) if key else _places(message, source, origins)
            lines.append(f"{place}: {message}")
        raise ParameterError("\n".join(dict.fromkeys(lines))) from error


def _places(message: str, source: str, origins: Mapping[str, str]) -> str:
    """Where the values stand that a message about several of them speaks of."""
    spoken = dict.fromkeys(origin for key, origin in origins.items() if re.search(rf"\b{re.escape(key)}\b", message))
    return " and ".join((source, *spoken))


def _fields(model: type[BaseModel], path: Iterable[int | str]) -> Iterable[str]:
    """What may stand at a place within the values of a model."""
    for part in path:
        if field := model.model_fields.get(str(part)):
            inner = (kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type))
            model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return model.model_fields

"""One's own pictures through a trained network: a feature for each, and which pictures are most alike.

    from reidkit import embed, search

    gallery = embed("pictures/")                     # by the newest run whose weights are here
    query = embed("somebody.jpg", gallery.run)       # by the same network
    for found in search(query, gallery, k=5)[0]:
        print(f"{found.similarity:.2f}", found.picture)

Nothing is learned from the pictures, and they may be of any size: they are resized as the run's settings say.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from reidkit import records
from reidkit.data import AttributeGroup, DatasetError
from reidkit.data.resident import StreamedImages
from reidkit.errors import UserError
from reidkit.gradcam import attribute_heat_maps
from reidkit.places import build_root, record_roots
from reidkit.runs import attributes_of, configuration_from, on_device, open_dataset, read_weights
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import Classes, HeldMaps, Material
from reidkit.training import CheckpointError, choose_device, extract_features

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


class EmbeddingError(UserError):
    """Pictures that cannot be embedded or compared, or a file that holds no features."""


@dataclass(frozen=True)
class Embedding:
    """Pictures and what a network makes of them."""

    run: str  # whose network
    pictures: tuple[Path, ...]
    features: Tensor  # (N, D) float32, on the CPU
    metric: str = "cosine"  # by which they are compared, or euclidean
    unreadable: Mapping[Path, str] = field(default_factory=dict)  # what was left out, and why

    def save(self, file: str | Path) -> None:
        """Writes run, pictures and features to a .npz or .safetensors file. Raises EmbeddingError for another name."""
        file = suffixed(file)
        names = [str(picture.absolute()) for picture in self.pictures]  # so that they are found from any folder
        if file.suffix == ".npz":
            np.savez(file, run=self.run, pictures=names, features=self.features.numpy(), metric=self.metric)
        else:
            header = {"embedding": json.dumps({"run": self.run, "pictures": names, "metric": self.metric})}
            safetensors.torch.save_file({"features": self.features.contiguous()}, file, metadata=header)

    @classmethod
    def read(cls, file: str | Path) -> "Embedding":
        """What `save` wrote. Raises EmbeddingError, naming the file, for anything else."""
        file = suffixed(file)
        try:
            if file.suffix == ".npz":
                with np.load(file) as held:
                    told = {key: held[key].tolist() for key in ("run", "pictures", "metric")}
                    features = held["features"]
            else:
                with safetensors.safe_open(file, framework="np") as held:
                    told = json.loads(held.metadata()["embedding"])
                    features = held.get_tensor("features")
            found = cls(told["run"], tuple(map(Path, told["pictures"])), torch.from_numpy(features), told["metric"])
        except Exception as error:  # a damaged file makes NumPy raise anything
            raise EmbeddingError(f"{file}: no features written by `reidkit embed` ({error})") from error
        return found


class Match(NamedTuple):
    """A picture of the gallery, and its similarity to the query: cosine, -1 to 1, or minus the Euclidean distance."""

    picture: Path
    similarity: float


def embed(
    pictures: str | Path | Sequence[str | Path],
    weights: str | Path | None = None,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Embedding:
    """The feature of every picture under a trained network of any system that ranks.

    pictures: a folder, whose picture files are taken with those of its subfolders; a file; or a list of files. One
        that cannot be read is left out, and named in the result.
    weights: a run by its record (folder, name, or the hash that ends it), or a .safetensors file that a run left; the
        newest run whose weights are here unless given.
    data_root: the training data, which only weights of an older version need: theirs do not say how many people they
        tell apart.
    device: auto, cpu or cuda.

    >>> from reidkit.profile import Profile
    >>> from reidkit.runs import run
    >>> trained = run(Profile.read("smoke", data_root=root, batch_size=8).config("none/ce"), progress=False)
    >>> found = embed(root / "query")
    >>> found.run == trained.record.name, len(found.features) == len(found.pictures)
    (True, True)

    Raises EmbeddingError where there is no picture, RecordError or CheckpointError where there is no such run or no
    weights.
    """
    paths = picture_files(pictures)
    network = TrainedNetwork.load(weights, data_root, device)
    metric = network.config.metric
    if not isinstance(metric, str):
        raise EmbeddingError(
            f"{network.run}: its system compares pictures by a distance of its own, which features in a file do not "
            "carry; name a run of another system by --weights, or rank with `reidkit.runs` and `evaluate_ranking`"
        )
    images = OwnPictures(paths, network.config.size, network.device)
    features = extract_features(
        network.module, images, network.config, given=network.given, batch_size=64, progress=progress
    )
    readable = [i for i, path in enumerate(paths) if path not in images.unreadable]
    if not readable:
        raise EmbeddingError("\n".join(images.unreadable.values()))
    return Embedding(network.run, tuple(paths[i] for i in readable), features[readable], metric, images.unreadable)


def search(query: Embedding, gallery: Embedding, k: int = 10) -> list[list[Match]]:
    """For each picture of the query the k of the gallery that are most like it, best first; never itself.

    >>> from pathlib import Path
    >>> import torch
    >>> people = Embedding("a run", (Path("a.jpg"), Path("b.jpg")), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    >>> search(Embedding("a run", (Path("c.jpg"),), torch.tensor([[2.0, 0.0]])), people, k=1)
    [[Match(picture=PosixPath('a.jpg'), similarity=1.0)]]

    Raises EmbeddingError for features of two networks, which nothing compares.
    """
    if query.run != gallery.run:
        raise EmbeddingError(f"features of {query.run} and of {gallery.run} cannot be compared: embed both by one run")
    if query.metric == "cosine":
        similarity = F.normalize(query.features) @ F.normalize(gallery.features).T  # (Q, G)
    else:
        similarity = -torch.cdist(query.features, gallery.features)
    places = {picture.resolve(): i for i, picture in enumerate(gallery.pictures)}
    for row, picture in zip(similarity, query.pictures, strict=True):
        if (own := places.get(picture.resolve())) is not None:
            row[own] = -torch.inf
    best = similarity.topk(min(k, len(gallery.pictures)))
    return [
        [
            Match(gallery.pictures[i], round(value, 6))
            for value, i in zip(values, found, strict=True)
            if value > -torch.inf
        ]
        for values, found in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


# ------------------------------------------------------------------------------------------------------------ pictures


class OwnPictures(StreamedImages):
    """Pictures for `extract_features`: one that cannot be read is black, and named in `unreadable` with the reason."""

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        super().__init__(paths, size, device)
        self.unreadable: dict[Path, str] = {}

    def load(self, index: int) -> Tensor:
        try:
            return super().load(index)
        except DatasetError as error:
            self.unreadable[self.paths[index]] = str(error).splitlines()[0]
            return torch.zeros(3, *self.size, dtype=torch.uint8)


def picture_files(pictures: str | Path | Sequence[str | Path]) -> list[Path]:
    """The picture files in a folder and below it, sorted; of a file or a list of files, these."""
    if not isinstance(pictures, str | Path):
        return [Path(picture) for picture in pictures]
    place = Path(pictures).expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise EmbeddingError(f"{place}: no such file or folder; expected a picture, or a folder of pictures")
    found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise EmbeddingError(f"{place}: no picture in it or below; looked for {', '.join(sorted(SUFFIXES))}")
    return found


def suffixed(file: str | Path) -> Path:
    """A file of features, whose name says in which format."""
    file = Path(file)
    if file.suffix not in (".npz", ".safetensors"):
        raise EmbeddingError(f"{file}: features are kept as .npz or .safetensors; name such a file")
    return file


# ------------------------------------------------------------------------------------------------------------- network


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of a finished run, ready to embed, with what it needs beside the images."""

    run: str
    config: Configuration
    module: torch.nn.Module  # in evaluation mode, on `device`
    device: torch.device
    given: Callable[[Tensor, Tensor], Any] | None  # as `extract_features` takes it

    @classmethod
    def load(
        cls, weights: str | Path | None = None, data_root: Path | None = None, device: str = "auto"
    ) -> "TrainedNetwork":
        """As for `embed`. Raises CheckpointError, RecordError or EmbeddingError where that cannot be."""
        name, file = locate(weights)
        target = choose_device(device)
        config, network = build(name, file, data_root)
        if not SYSTEMS[config.system].ranks:
            raise EmbeddingError(f"{name}: a run of {config.row_name}, which makes no features; name a run that ranks")
        if needed := config.needs - {"attributes", "heat maps"}:
            raise EmbeddingError(f"{name}: its network needs {', '.join(needed)} of every picture; own ones have none")
        given = None
        if (guide := config.guide) is not None:
            of = file.with_name(f"{guide.name}.safetensors")
            given = heat_maps(config, build(guide.name, of, data_root)[1].to(target))
        return cls(name, config, on_device(network, config, target), target, given)


def locate(weights: str | Path | None) -> tuple[str, Path]:
    """A run's name and its weights file; the newest run that has one unless a run or a file is named."""
    folder = build_root() / "weights"
    if weights is not None and Path(weights).suffix == ".safetensors":
        file = Path(weights)
        return str(read_weights(file)[0].get("run", file.stem)), file
    if weights is not None:
        name = records.find(str(weights), record_roots()).name
    else:
        ranking, made = {name for name, system in SYSTEMS.items() if system.ranks}, {}
        for record in records.folders(record_roots()):
            content = records.read_content(record)
            if content["system"] in ranking and (folder / f"{record.name}.safetensors").is_file():
                made[record.name] = content["provenance"]["created"]
        if not made:
            raise EmbeddingError(
                f"no finished run has its weights in {folder} (published records come without): train one, as "
                "`reidkit run synthped --row none/ce --seed 0 --with-weights` does, or name a weights file"
            )
        name = max(made, key=lambda name: made[name])
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        raise CheckpointError(
            f"{file}: no weights of this run on this machine (published records come without). `reidkit run "
            "PROFILE --row ROW --seed SEED --with-weights` trains it; or name a weights file."
        )
    return name, file


def build(name: str, file: Path, data_root: Path | None) -> tuple[Configuration, torch.nn.Module]:
    """The configuration of a run and its trained network, from its weights file; an older one needs record and data."""
    told, state = read_weights(file)
    if "classes" in told:
        # The data's place decides nothing about the network; real data need one to be named.
        elsewhere = None if told["config"]["dataset"] == "synthped" else Path()
        config = configuration_from(told["system"], told["config"], name, data_root or elsewhere)
        groups = [AttributeGroup(g["name"], tuple(g["classes"]), tuple(g["fields"])) for g in told["classes"]["groups"]]
        classes = Classes(told["classes"]["identities"], tuple(groups))
    else:
        content = records.read_content(records.find(name, record_roots()))
        config = configuration_from(content["system"], content["config"], name, data_root)
        dataset = open_dataset(config)
        classes = Material(dataset, {}, attributes_of(dataset) if "attributes" in config.needs else None).classes
    network = SYSTEMS[config.system].build(config.from_scratch(), classes)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{file}: the weights do not fit the network of {name} ({error})") from error
    return config, network.eval()


def heat_maps(config: Configuration, guide: Any) -> Callable[[Tensor, Tensor], Mapping[str, Tensor]]:
    """What a guided network takes beside images: their heat maps under its guide, or a control's in their place."""

    def given(indexes: Tensor, images: Tensor) -> Mapping[str, Tensor]:
        maps = attribute_heat_maps(guide, images)
        return SYSTEMS[config.system].guided(config, HeldMaps(maps))[torch.arange(len(indexes))]

    return given

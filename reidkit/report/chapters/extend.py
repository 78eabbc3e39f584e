"""What the chapters on modules, data and pictures of one's own need: a folder to try things in, and a terminal."""

import contextlib
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from IPython.utils.capture import capture_output
from torch import Tensor
from typer.testing import CliRunner

from reidkit.__main__ import app
from reidkit.data import Dataset
from reidkit.profile import Profile
from reidkit.records import Record
from reidkit.report.rows import Spread, gain
from reidkit.report.words import interval, signed
from reidkit.runs import make, open_dataset
from reidkit.settings import Settings
from reidkit.systems import SYSTEMS

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


class Workshop:
    """A folder that is thrown away: what is trained and typed there is in no list of the book's runs.

    Everything is as small as the smoke profile says, whatever the book is built for. Its people are in `dataset`, and
    below the folder as `people`.
    """

    def __init__(self) -> None:
        self.profile = Profile.read("smoke")
        self.dataset = open_dataset(self.profile, progress=False)
        self._kept = tempfile.TemporaryDirectory(prefix="reidkit-")
        self.folder = Path(self._kept.name)
        self.folder.joinpath("people").symlink_to(self.dataset.root.resolve())

    def train(self, system: str = "joint-loss", **settings: Any) -> Record:
        """Trains a run with settings that differ from the profile's, whatever was trained before; its record.

        A run is named by its settings, not by code that is still being written: nothing is loaded here.
        """
        given = self.profile.model_dump(include=set(Settings.model_fields), exclude_unset=True)
        config = SYSTEMS[system].configuration.model_validate(given | {"data_root": self.dataset.root} | settings)
        place = Path(tempfile.mkdtemp(dir=self.folder))
        record = make(config, place, progress=False, build=place)
        assert record is not None, "one process trains"
        return record

    def own_pictures(self, name: str) -> pd.DataFrame:
        """A folder as of pictures of one's own, whose names say a person, a camera and anything: what is in it."""
        rows = []
        for split, folder in FOLDERS.items():
            of = getattr(self.dataset, split)
            place = self.folder / name / folder
            place.mkdir(parents=True)
            for number, (path, identity, camera) in enumerate(zip(of.paths, of.ids, of.cameras, strict=True)):
                if identity > 0:
                    shutil.copy(path, place / f"{int(identity):04d}_c{int(camera)}_picture{number:03d}.jpg")
            names = sorted(path.name for path in place.iterdir())
            rows.append({"Folder": folder, "Pictures": len(names), "The first of them": f"`{names[0]}`"})
        return pd.DataFrame(rows)

    def terminal(self, line: str) -> None:
        """Types a `reidkit` command in the folder and prints its answer. Raises RuntimeError where it fails."""
        with contextlib.chdir(self.folder), capture_output(stdout=False, stderr=False):  # without progress bars
            done = CliRunner().invoke(app, shlex.split(line)[1:], env={"REIDKIT_BUILD": str(self.folder / "build")})
        if done.exit_code:
            raise RuntimeError(f"{line}: {done.output}") from done.exception
        print(done.stdout.strip().replace(str(self.folder), "…"))  # whose name is another in every build


def beside(base: Record, *others: Record) -> pd.DataFrame:
    """A row per run: its mAP in per cent, and what it gains over the first in points, paired over the people sought."""
    rows = []
    for record in (base, *others):
        over = gain([record], [base], Spread())["mAP"]
        rows.append(
            {
                "Row": f"`{SYSTEMS[record.system].row_of(record.config)}`",
                "mAP": 100 * record.metrics["mAP"],
                "Gain": "" if record is base else signed(over.ours),
                "95 % interval": "" if record is base else interval(over.low, over.high, sign=True),
                "Seconds of training": record.provenance["seconds"]["training"],
            }
        )
    return pd.DataFrame(rows)


def first_right(dataset: Dataset, query: Tensor, gallery: Tensor) -> pd.DataFrame:
    """How often the first result is right, in per cent, the easiest way of asking first; and how often by chance.

    Features (Q, D) and (G, D), compared by cosine. A query without a right picture is left out.
    """
    similarity = F.normalize(query) @ F.normalize(gallery).T  # (Q, G)
    right = dataset.query.ids[:, None] == dataset.gallery.ids
    other = dataset.query.cameras[:, None] != dataset.gallery.cameras
    asked_for = (dataset.gallery.ids > 0).expand_as(right)
    choices = {
        f"the people asked for, {int(asked_for[0].sum())} pictures": asked_for,
        "the same, the right ones by other cameras": asked_for & (other | ~right),
        f"these and strangers, {asked_for.shape[1]} pictures": other | ~right,
    }
    rows = []
    for among, counted in choices.items():
        asked = (right & counted).any(1)
        first = similarity.where(counted, -torch.inf).argmax(1, keepdim=True)
        rows.append(
            {
                "Searched among": among,
                "First is right": 100 * right.gather(1, first)[asked].float().mean().item(),
                "By chance": 100 * ((right & counted).sum(1) / counted.sum(1))[asked].mean().item(),
            }
        )
    return pd.DataFrame(rows)

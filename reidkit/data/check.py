"""`reidkit data check`: is a data set on disk whole, readable, and what its authors published?"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from reidkit.data.decoding import read_image
from reidkit.data.errors import DatasetError
from reidkit.data.layouts import Dataset, Split, read_dataset


@dataclass(frozen=True)
class Counts:
    """Published numbers of a data set: (images, identities) per split, and the rest."""

    train: tuple[int, int]
    query: tuple[int, int]
    gallery: tuple[int, int]
    cameras: int
    distractors: int = 0
    junk: int = 0


PUBLISHED: dict[str, Counts] = {
    # readme.txt of Market-1501-v15.09.15; 19,732 test images = 13,115 good + distractors + junk
    "market1501": Counts((12936, 751), (3368, 750), (15913, 751), cameras=6, distractors=2798, junk=3819),
    # Zheng et al., ICCV 2017; the gallery holds 408 people more than the queries
    "dukemtmcreid": Counts((16522, 702), (2228, 702), (17661, 1110), cameras=8),
    # Wei et al., CVPR 2018
    "msmt17": Counts((32621, 1041), (11659, 3060), (82161, 3060), cameras=15),
}


@dataclass
class Report:
    """What a check found: `lines` to print, each beginning with ok, FAIL or note; `ok` if none is FAIL."""

    name: str
    root: Path
    lines: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(line.startswith("FAIL") for line in self.lines)

    def __str__(self) -> str:
        verdict = "nothing is wrong" if self.ok else "not as it should be: see the lines marked FAIL"
        return "\n".join([f"{self.name} at {self.root}", *self.lines, f"{self.name}: {verdict}"])

    def add(self, good: bool, text: str) -> None:
        self.lines.append(f"{'ok  ' if good else 'FAIL'}  {text}")

    def note(self, text: str) -> None:
        self.lines.append(f"note  {text}")


def check(name: str, root: str | Path, *, progress: bool = True) -> Report:
    """Check a data set and list everything that is wrong with it; nothing is raised for bad data.

    Counts per split against the published ones; every image decoded in full; no identity and no image in both
    training and test; a match from another camera for the queries; attributes for exactly the people in the
    images. What was passed over, because it is no image, is noted.
    """
    report = Report(name, Path(root))
    try:
        reading = read_dataset(name, root)
    except DatasetError as error:
        report.add(False, str(error))
        return report
    report.root = reading.dataset.root
    for problem in reading.problems:
        report.add(False, problem)
    for note in reading.notes:
        report.note(note)
    _check_counts(report, reading.dataset, reading.junk)
    _check_images(report, reading.dataset, reading.junk, progress)
    _check_leakage(report, reading.dataset)
    _check_matches(report, reading.dataset)
    _check_attributes(report, reading.dataset)
    return report


def _check_counts(report: Report, dataset: Dataset, junk: Split) -> None:
    published = PUBLISHED.get(dataset.name)
    for split_name in ("train", "query", "gallery"):
        split: Split = getattr(dataset, split_name)
        counts = len(split), len(split.identities)
        expected = getattr(published, split_name) if published else counts
        cameras = torch.unique(split.cameras).tolist()
        text = f"{split_name}: {counts[0]:,} images of {counts[1]:,} identities from {len(cameras)} cameras"
        if published:
            text += f" (published: {expected[0]:,} of {expected[1]:,} from {published.cameras})"
        report.add(counts == expected and (not published or len(cameras) == published.cameras), text)
    distractors = int(dataset.distractors.sum())
    if distractors or len(junk) or (published and published.junk):
        total, good = len(dataset.gallery) + len(junk), len(dataset.gallery) - distractors
        text = f"bounding_box_test: {total:,} = {good:,} good + {distractors:,} distractors + {len(junk):,} junk"
        if published:
            text += f" (published: {published.distractors:,} distractors, {published.junk:,} junk)"
        report.add(not published or (distractors, len(junk)) == (published.distractors, published.junk), text)


def _check_images(report: Report, dataset: Dataset, junk: Split, progress: bool) -> None:
    """Decode every image once, and compare the files' contents: a copy under another name is found too."""
    train, test = dataset.train.paths, dataset.query.paths + dataset.gallery.paths + junk.paths
    with ThreadPoolExecutor() as pool:
        reads = pool.map(_read, train + test)
        results = list(tqdm(reads, desc="images", total=len(train + test), disable=not progress))
    unreadable = [reason for reason, _ in results if reason]
    report.add(not unreadable, f"unreadable images: {len(unreadable):,} of {len(results):,}")
    for reason in unreadable:
        report.add(False, f"  {reason}")
    trained = {digest: path for path, (_, digest) in zip(train, results[: len(train)], strict=True)}
    found = [(path, digest) for path, (_, digest) in zip(test, results[len(train) :], strict=True)]
    copies = [(trained[digest], path) for path, digest in found if digest in trained]
    report.add(not copies, f"images in both training and test: {len(copies):,}")
    for path, copy in copies:
        report.add(False, f"  {path} and {copy} are the same image")


def _read(path: Path) -> tuple[str, bytes]:
    """Why the image cannot be read ("" if it can), and a digest of the file."""
    try:
        read_image(path)
        return "", hashlib.sha256(path.read_bytes()).digest()
    except (DatasetError, OSError) as error:
        return str(error).splitlines()[0], str(path).encode()  # without the advice that follows


def _check_leakage(report: Report, dataset: Dataset) -> None:
    if dataset.name == "msmt17":
        report.note("identities in both training and test cannot be told by number: each split is numbered from 0")
        return
    test = torch.unique(torch.cat([dataset.query.ids, dataset.gallery.ids]))
    both = [identity for identity in test[torch.isin(test, dataset.train.ids)].tolist() if identity > 0]
    report.add(not both, f"identities in both training and test: {_listed(both)}")
    alone = dataset.query.identities[~torch.isin(dataset.query.identities, dataset.gallery.ids)].tolist()
    report.add(not alone, f"query identities that the gallery lacks: {_listed(alone)}")


def _check_matches(report: Report, dataset: Dataset) -> None:
    """The protocol counts a query's matches from other cameras only, and leaves out a query that has none."""
    queries, answerable = len(dataset.query), int(dataset.answerable.sum())
    text = f"queries with a match from another camera: {answerable:,} of {queries:,}"
    if queries and not answerable:
        cameras = torch.unique(torch.cat([dataset.query.cameras, dataset.gallery.cameras])).tolist()
        only = f" and camera {cameras[0]} is the only one" if len(cameras) == 1 else ""
        text += f": nothing can be measured, since matches from the query's own camera do not count{only}"
    report.add(answerable > 0, text)
    if 0 < answerable < queries:
        report.note(f"  {queries - answerable:,} queries without one are left out of every measure")


def _check_attributes(report: Report, dataset: Dataset) -> None:
    attributes = dataset.attributes
    if attributes is None:
        report.note("attributes: none read (they are needed for attribute learning only)")
        return
    test = torch.cat([dataset.query.ids, dataset.gallery.ids])
    for name, split, ids in (("train", attributes.train, dataset.train.ids), ("test", attributes.test, test)):
        extra = split.ids[~torch.isin(split.ids, ids)].tolist()
        groups, missing = split.labels.shape[1], int((split.labels < 0).sum())
        text = f"{name} attributes: {groups} groups for {len(split.ids):,} identities, {missing} labels missing"
        report.add(not extra, f"{text}, identities without an image: {_listed(extra)}")
    for note in attributes.notes:
        report.note(f"  {note}")


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(f"{identity:04d}" for identity in ids) or "none"

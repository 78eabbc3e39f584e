"""Which part of a person each pixel shows, where a data set knows it, as shares of the parts in coarse cells."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from reidkit.data.decoding import read_image
from reidkit.data.errors import DatasetError
from reidkit.data.layouts import Dataset
from reidkit.data.synthped import PARTS

PERSON = tuple(part for part in PARTS if part not in {"background", "occluder"})
BODY: dict[str, tuple[str, ...]] = {
    "head": ("head", "hair", "hat"),
    "upper": ("upper", "sleeves", "arms"),
    "lower": ("lower", "legs"),
    "shoes": ("shoes",),
}
"""The body from top to bottom, as parsing networks divide it. Luggage is of the person and of no part of the body."""

CELL = 8  # pixels of the stored map, in height and width


def part_map_file(image: Path) -> Path:
    """Where the part map of an image is kept, in a data set that has them."""
    return image.parents[1] / "parts" / image.parent.name / f"{image.stem}.png"


def part_map(image: Path) -> Tensor:
    """The part map (H, W) uint8 of an image: the numbers of `PARTS`. Raises DatasetError where it cannot be read."""
    return read_image(part_map_file(image))[0]


def read_part_maps(images: Sequence[Path]) -> Tensor:
    """The part maps (N, H, W) uint8 of N images, as of `part_map`."""
    with ThreadPoolExecutor() as pool:
        return torch.stack(list(pool.map(part_map, images)))


def showing(maps: Tensor, parts: Iterable[str]) -> Tensor:
    """Which pixels of part maps (N, H, W) show one of some parts, bool (N, H, W)."""
    return torch.isin(maps, torch.tensor([PARTS[part] for part in parts], dtype=maps.dtype))


def has_part_maps(dataset: Dataset) -> bool:
    """Whether the data set says what each pixel of its test images shows: SynthPed does, no real one does."""
    return (dataset.root / "parts" / "query").is_dir()


class PartMaps:
    """The part maps of N images: `part_maps[indexes]` is {"parts": float32 (B, P, h, w)}, shares in a cell's pixels.

    P parts are those of `PARTS`, by their number; h and w are an eighth of the image's. They are held on `device`.
    Raises DatasetError where an image has none.
    """

    def __init__(self, images: Sequence[Path], device: torch.device | str = "cpu") -> None:
        if missing := [file for image in images if not (file := part_map_file(image)).is_file()]:
            raise DatasetError(
                f"{missing[0]}: no part map here ({len(missing)} of {len(images)} are missing); this run needs to know "
                "which part of a person each pixel shows, as SynthPed does and no real data set"
            )
        self.labels = read_part_maps(images).to(device)  # uint8 (N, H, W)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indexes: Tensor) -> dict[str, Tensor]:
        chosen = self.labels.index_select(0, indexes.to(self.labels.device, non_blocking=True))  # (B, H, W)
        part = torch.arange(len(PARTS), dtype=torch.uint8, device=chosen.device)
        shown = chosen.unsqueeze(1) == part[:, None, None]  # (B, P, H, W)
        return {"parts": F.avg_pool2d(shown.float(), CELL)}

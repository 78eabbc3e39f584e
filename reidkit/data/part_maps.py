"""Which part of a person each pixel shows, where a data set knows it, as shares of the parts in coarse cells."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import decode_image, read_file

from reidkit.data.errors import DatasetError
from reidkit.data.synthped import PARTS

CELL = 8  # pixels of the stored map, in height and width


class PartMaps:
    """The part maps of N images: `part_maps[indexes]` is {"parts": float32 (B, P, h, w)}, shares in a cell's pixels.

    P parts are those of `PARTS`, by their number; h and w are an eighth of the image's. They are held on `device`.
    Raises DatasetError where an image has none.
    """

    def __init__(self, root: Path, images: Sequence[Path], device: torch.device | str = "cpu") -> None:
        paths = [root / "parts" / path.parent.name / f"{path.stem}.png" for path in images]
        if missing := [path for path in paths if not path.is_file()]:
            raise DatasetError(
                f"{missing[0]}: no part map here ({len(missing)} of {len(paths)} are missing); this run needs to know "
                "which part of a person each pixel shows, as SynthPed does and no real data set"
            )
        with ThreadPoolExecutor() as pool:
            labels = [map_[0] for map_ in pool.map(lambda path: decode_image(read_file(str(path))), paths)]
        self.labels = torch.stack(labels).to(device)  # uint8 (N, H, W)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indexes: Tensor) -> dict[str, Tensor]:
        chosen = self.labels.index_select(0, indexes.to(self.labels.device, non_blocking=True))  # (B, H, W)
        part = torch.arange(len(PARTS), dtype=torch.uint8, device=chosen.device)
        shown = chosen.unsqueeze(1) == part[:, None, None]  # (B, P, H, W)
        return {"parts": F.avg_pool2d(shown.float(), CELL)}

"""Small trees laid out exactly like the originals, of random images."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000301_01.jpg", "0007_c6s6_023071_12.jpg"],
    "query": ["0001_c1s1_001051_00.jpg", "1488_c1s6_023021_00.jpg.jpg"],
    "bounding_box_test": [
        "0001_c2s1_000301_02.jpg", "1488_c6s3_094992_01.jpg.jpg", "0000_c3s2_000077_05.jpg",
        "-1_c1s1_000401_03.jpg", "-1_c4s6_022316_11.jpg.jpg",
    ],
}  # fmt: skip
DUKE = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0008_c8_f0046302.jpg"],
    "query": ["0005_c2_f0046985.jpg"],
    "bounding_box_test": ["0002_c1_f0044158.jpg", "0005_c6_f0091440.jpg"],
}
MSMT = {
    "train": (
        "train",
        ["0000/0000_000_01_0303morning_0015_0_ex.jpg 0", "0001/0001_002_15_0113noon_0002_1.jpg 1"],
    ),
    "val": ("train", ["0000/0000_001_07_0302afternoon_0100_2.jpg 0"]),
    "query": ("test", ["0000/0000_000_01_0303morning_0008_0_ex.jpg 0"]),
    "gallery": (
        "test",
        ["0003/0003_000_04_0114morning_0015_0.jpg 3", "0000/0000_001_02_0303noon_0001_0.jpg 0"],
    ),
}


def write_image(path: Path) -> None:
    """A JPEG that no other has: its pixels are drawn from its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = random.Random(str(path)).getrandbits(32)
    pixels = np.random.default_rng(seed).integers(256, size=(16, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def write_folders(root: Path, folders: dict[str, list[str]]) -> Path:
    for folder, names in folders.items():
        for name in names:
            write_image(root / folder / name)
        (root / folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")  # the Market-1501 archive has one in each
    return root


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A Market-1501-v15.09.15 with odds and ends of the original: Thumbs.db, names that end in .jpg.jpg."""
    root = write_folders(tmp_path / "Market-1501-v15.09.15", MARKET)
    (root / "readme.txt").write_text("Market-1501")
    (root / "gt_query").mkdir()
    return root


@pytest.fixture
def duke(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "DukeMTMC-reID", DUKE)


@pytest.fixture
def msmt(tmp_path: Path) -> Path:
    root = tmp_path / "MSMT17_V1"
    for name, (folder, lines) in MSMT.items():
        for line in lines:
            write_image(root / folder / line.split()[0])
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def image() -> Callable[[Path], None]:
    return write_image

"""A batch augmented from memory against per-image transforms: `python -m tests.benchmarks.images [--rounds 30]`.

Ours gathers 64 uint8 images of 128×64 from memory and resizes, flips, pads, crops, normalises and erases them as one
batch. The peer does the same to each image as a data loader commonly does: PIL decodes the JPEG, torchvision's
transforms follow one by one. Both on one core, on the same files of SynthPed. A ratio is our time over the peer's.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from reidkit.data import load_dataset
from reidkit.data.resident import IMAGENET_MEAN, IMAGENET_STD, Augmentation, ResidentImages
from reidkit.data.synthped import render
from tests.benchmarks.harness import best_times, conditions, markdown, verdict

SIZES, BATCH = ((128, 64), (256, 128)), 64  # the pictures' own, and the papers'


class FromMemory:
    """Ours: random draws included, decoding not, as that happened once before the first epoch."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.images, self.augmentation = ResidentImages(paths, size), Augmentation(size)
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self) -> Tensor:
        chosen = torch.randperm(len(self.images), generator=self.generator)[:BATCH]
        pixels = next(self.images.batches([chosen]))
        return self.augmentation(pixels, self.augmentation.draw(BATCH, self.generator))


class PerImage:
    """The peer: PIL and torchvision's transforms, with the strong baseline's settings."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths, self.generator = paths, torch.Generator().manual_seed(0)
        self.transform = transforms.Compose(
            [
                transforms.Resize(size),
                transforms.RandomHorizontalFlip(),
                transforms.Pad(10),
                transforms.RandomCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                transforms.RandomErasing(),
            ]
        )

    def __call__(self) -> Tensor:
        chosen = torch.randperm(len(self.paths), generator=self.generator)[:BATCH]
        return torch.stack([self.load(self.paths[index]) for index in chosen.tolist()])

    def load(self, path: Path) -> Tensor:
        with Image.open(path) as image:
            transformed: Tensor = self.transform(image.convert("RGB"))
        return transformed


def measure(paths: list[Path], size: tuple[int, int], rounds: int) -> list[object]:
    functions: dict[str, Callable[[], Tensor]] = {
        "per image": PerImage(paths, size),
        "ours": FromMemory(paths, size),
    }
    for function in functions.values():
        assert function().shape == (BATCH, 3, *size)
    best = best_times(functions, rounds)
    speeds = [f"{best[which] * 1e3:.1f} ms, {BATCH / best[which]:.0f} images/s" for which in ("per image", "ours")]
    ratio = best["ours"] / best["per image"]
    return [f"{BATCH} of 128×64 → {size[0]}×{size[1]}", *speeds, f"{1 / ratio:.1f} ×", verdict(ratio, 1 / 5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(conditions(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        root = render(
            Path(folder) / "synthped", train_identities=16, test_identities=1, distractors=0, junk=0, progress=False
        )
        paths = list(load_dataset("market1501", root).train.paths)
        rows = [measure(paths, size, options.rounds) for size in SIZES]
    columns = ["augmented images", "PIL, per image", "from memory", "speed-up (bar 5 ×)", "ours / per image"]
    print(markdown(columns, rows), end="\n\n")
    print(conditions())


if __name__ == "__main__":
    main()

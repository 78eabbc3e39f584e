"""Images as uint8 tensors in memory, and augmentation of whole batches on the training device.

A Market-1501 crop is natively 128×64, so the training set takes 318 MB as uint8: it is decoded once, kept at its
native size and resized on the device that trains. Random numbers are drawn per image and apart from their use, so
that one draw moves an image and anything that lies over it (a heat map, a part map) alike.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from reidkit.data.decoding import read_image as read_image

# Of red, green and blue, 0 to 1: what torchvision's networks were trained with.
IMAGENET_MEAN: tuple[float, ...] = (0.485, 0.456, 0.406)
IMAGENET_STD: tuple[float, ...] = (0.229, 0.224, 0.225)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (N, 3, h, w) to uint8 (N, 3, H, W): antialiased bilinear, as torchvision's and PIL's."""
    if tuple(images.shape[-2:]) == size:
        return images
    if images.device.type == "cuda":  # uint8 is not interpolated on CUDA
        return F.interpolate(images.float(), size, mode="bilinear", antialias=True).round_().clamp_(0, 255).byte()
    return F.interpolate(images, size, mode="bilinear", antialias=True)


class ResidentImages:
    """The images of a split in memory, as one uint8 tensor (N, 3, h, w) on a device.

    They keep their native size where all share one (Market-1501, SynthPed); a data set of mixed sizes
    (DukeMTMC-reID, MSMT17) is resized to `size` = (height, width) while it is read.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(read_image, paths))
            if len({image.shape for image in images}) > 1:
                images = list(pool.map(lambda image: resize(image[None], size)[0], images))
        stacked = torch.stack(images) if images else torch.empty(0, 3, *size, dtype=torch.uint8)
        # channels_last: both the resize and the gather below read whole pixels
        self.pixels = stacked.contiguous(memory_format=torch.channels_last).to(device)

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, indexes: Sequence[Tensor]) -> Iterator[Tensor]:
        """One uint8 (B, 3, h, w) per entry of `indexes`, each an int64 (B,)."""
        for chosen in indexes:
            chosen = chosen.to(self.pixels.device, non_blocking=True)
            yield self.pixels.permute(0, 2, 3, 1).index_select(0, chosen).permute(0, 3, 1, 2)  # channels_last, again


class StreamedImages:
    """The same interface for a split that does not fit in memory: decoded batch by batch, one batch ahead."""

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.paths, self.size, self.device = tuple(paths), size, device
        self.pool = ThreadPoolExecutor()

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Tensor:
        """One of them, uint8 (3, H, W)."""
        return resize(read_image(self.paths[index])[None], self.size)[0]

    def batches(self, indexes: Sequence[Tensor]) -> Iterator[Tensor]:
        def submit(chosen: Tensor) -> list[Future[Tensor]]:
            return [self.pool.submit(self.load, index) for index in chosen.tolist()]

        ahead = submit(indexes[0]) if len(indexes) else []
        for step in range(len(indexes)):
            current, ahead = ahead, submit(indexes[step + 1]) if step + 1 < len(indexes) else []
            batch = torch.stack([future.result() for future in current])
            yield batch.contiguous(memory_format=torch.channels_last).to(self.device, non_blocking=True)


Images = ResidentImages | StreamedImages


def load_images(
    paths: Sequence[Path], size: tuple[int, int], device: torch.device | str = "cpu", memory_limit: float = 8e9
) -> Images:
    """ResidentImages where they fit into `memory_limit` bytes, StreamedImages where they do not."""
    if not paths:
        return ResidentImages(paths, size, device)
    height, width = read_image(paths[0]).shape[-2:]
    largest = max(height * width, size[0] * size[1])
    return (ResidentImages if 3 * largest * len(paths) <= memory_limit else StreamedImages)(paths, size, device)


def normalise(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) to float32 of ImageNet's mean 0 and standard deviation 1 per channel."""
    normal = images.float()  # first: a CPU takes four times as long for uint8 - float32
    mean, std = mean_and_std(normal[:1])
    return normal.sub_(mean).div_(std)


def mean_and_std(like: Tensor) -> tuple[Tensor, Tensor]:
    """ImageNet's, 0 to 255, as images `like` (…, 3, H, W): whole images are faster to read than three numbers."""
    mean, std = (torch.empty_like(like).copy_(constant) for constant in channel_constants(like.device))
    return mean, std


@functools.cache
def channel_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and standard deviation, 0 to 255, (3, 1, 1): copied to a device once, which is waited for."""
    with torch.inference_mode(False):  # the first to ask may be in it, the next one not
        mean, std = (
            torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
    return mean, std


@dataclass(frozen=True)
class Draw:
    """What was drawn for each of N images; indexing it with a slice or a tensor selects images."""

    flip: Tensor  # (N,) bool
    shift: Tensor  # (N, 2) int64: rows down and columns right, in [-padding, padding]
    erase: Tensor  # (N, 4) int64: top, left, bottom, right of the erased box, empty where none

    def __getitem__(self, chosen: slice | Tensor) -> "Draw":
        return Draw(self.flip[chosen], self.shift[chosen], self.erase[chosen])

    def to(self, device: torch.device | str) -> "Draw":
        return Draw(self.flip.to(device), self.shift.to(device), self.erase.to(device))


def place(image: Tensor, target: Tensor, flip: bool, down: int, right: int) -> None:
    """Writes an image (C, H, W) into `target`, of any dtype, flipped and shifted by pixels, with zeros moved in."""
    height, width = image.shape[1:]
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    seen = (image.flip(2) if flip else image)[:, max(-down, 0) :, max(-right, 0) :][:, :rows, :columns]
    target.zero_()[:, max(down, 0) :, max(right, 0) :][:, :rows, :columns] = seen


def move_at_once(images: Tensor, draw: Draw, padding: int) -> Tensor:
    """Images (N, C, H, W), flipped and shifted as drawn by up to `padding` pixels, with zeros moved in.

    Without a look at what was drawn, for which a GPU would have to be waited for.
    """
    height, width = images.shape[-2:]
    flipped = torch.where(draw.flip[:, None, None, None], images.flip(3), images)
    windows = F.pad(flipped, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2p + 1, 2p + 1, H, W)
    top, left = (padding - draw.shift).unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


@dataclass(frozen=True)
class Augmentation:
    """Resize, flip, pad and crop, random erasing: the strong baseline's recipe (Luo et al. 2019).

    `size` is (height, width) of the result; `padding` is in pixels of the result; erasing (Zhong et al. 2020) covers
    2 to 40 % of the image with an aspect ratio of 0.3 to 3.3, and fills with the mean colour, 0 after normalisation.
    """

    size: tuple[int, int]
    flip_probability: float = 0.5
    padding: int = 10
    erasing_probability: float = 0.5
    erasing_area: tuple[float, float] = (0.02, 0.4)
    erasing_ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def draw(self, count: int, generator: torch.Generator) -> Draw:
        """Random numbers for `count` images from a CPU generator."""
        height, width = self.size
        flip = torch.rand(count, generator=generator) < self.flip_probability
        shift = torch.randint(-self.padding, self.padding + 1, (count, 2), generator=generator)
        erased = torch.rand(count, generator=generator) < self.erasing_probability
        # Ten candidate boxes an image, of which the first that fits is taken (the original retries a hundred times).
        area, ratio, top, left = torch.rand(4, count, 10, generator=generator)
        area = height * width * (self.erasing_area[0] + area * (self.erasing_area[1] - self.erasing_area[0]))
        ratio = self.erasing_ratio[0] + ratio * (self.erasing_ratio[1] - self.erasing_ratio[0])
        rows, columns = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()  # (count, 10)
        fits = (rows < height) & (columns < width)
        top, left = (top * (height - rows)).floor(), (left * (width - columns)).floor()
        boxes = torch.stack([top, left, top + rows, left + columns], dim=-1)  # (count, 10, 4)
        first = fits.int().argmax(dim=1)  # 0 where none fits, excluded below
        chosen = boxes[torch.arange(count), first].long()
        return Draw(flip, shift, torch.where((erased & fits.any(dim=1))[:, None], chosen, torch.zeros(4).long()))

    def move(self, images: Tensor, draw: Draw) -> Tensor:
        """The geometry alone: (N, C, H, W), flipped and shifted by up to `padding`, with zeros moved in."""
        if images.device.type != "cpu":
            return move_at_once(images, draw, self.padding)
        moved = torch.empty_like(images)
        for image, target, flip, shift in zip(images, moved, draw.flip.tolist(), draw.shift.tolist(), strict=True):
            place(image, target, flip, *shift)
        return moved

    def erased(self, draw: Draw) -> Tensor:
        """The erased box of each image as a mask, bool (N, H, W)."""
        rows = torch.arange(self.size[0], device=draw.erase.device)
        columns = torch.arange(self.size[1], device=draw.erase.device)
        top, left, bottom, right = draw.erase.unbind(1)
        inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])  # (N, H)
        inside_columns = (columns >= left[:, None]) & (columns < right[:, None])  # (N, W)
        return inside_rows[:, :, None] & inside_columns[:, None, :]

    def move_maps(self, maps: Tensor, draw: Draw) -> Tensor:
        """Maps (N, K, h, w) of the images before the draw, floating, as maps of the images after it.

        At their own resolution: a shift of s pixels is one of s·h/H cells, bilinear, with zeros moved in, and a cell
        keeps the share of its value that the erased box leaves of its area. `draw` is on the maps' device.
        """
        height, width = maps.shape[-2:]
        rows, erased_rows = self._moved_cells(height, 0, draw)
        columns, erased_columns = self._moved_cells(width, 1, draw)
        columns = torch.where(draw.flip[:, None, None], columns.flip(2), columns)  # the flip comes before the shift
        kept = 1 - erased_rows[:, :, None] * erased_columns[:, None, :]  # (N, h, w)
        with torch.autocast(maps.device.type, enabled=False):  # a product here, but not one of the network's
            moved = torch.einsum("nij,nkjl->nkil", rows.to(maps.dtype), maps)
            moved = moved.flatten(1, 2) @ columns.mT.to(maps.dtype)  # (N, K·h, w)
        return moved.view(maps.shape).mul_(kept[:, None].to(maps.dtype))

    def _moved_cells(self, cells: int, axis: int, draw: Draw) -> tuple[Tensor, Tensor]:
        """Along one axis: weights (N, cells, cells) of the old cells in each new one, its share (N, cells) erased."""
        cell = torch.arange(cells, device=draw.shift.device)
        shift = draw.shift[:, axis, None, None] * cells / self.size[axis]  # (N, 1, 1) in cells
        weights = (1 - (cell[:, None] - shift - cell).abs()).clamp(min=0)
        low, high = (draw.erase[:, corner, None] * cells / self.size[axis] for corner in (axis, axis + 2))  # (N, 1)
        return weights, (torch.minimum(high, cell + 1) - torch.maximum(low, cell)).clamp(min=0)

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """uint8 (N, 3, h, w) to augmented, normalised float32 (N, 3, H, W), on the images' device.

        Padding is black, as the strong baseline's.
        """
        if images.device.type != "cpu":
            return normalise(self.move(resize(images, self.size), draw)).mul_(~self.erased(draw)[:, None])
        # A few at a time, so that an image goes through all of it while it is in the cache.
        resized = itertools.chain.from_iterable(resize(few, self.size) for few in images.split(8))
        augmented = torch.empty(len(images), 3, *self.size, memory_format=torch.channels_last)
        mean, std = mean_and_std(augmented[:1])
        drawn = zip(draw.flip.tolist(), draw.shift.tolist(), draw.erase.tolist(), strict=True)
        for image, target, (flip, shift, (top, left, bottom, right)) in zip(resized, augmented, drawn, strict=True):
            place(image, target, flip, *shift)
            target.sub_(mean[0]).div_(std[0])[:, top:bottom, left:right] = 0
        return augmented

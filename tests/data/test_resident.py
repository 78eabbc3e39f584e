import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import functional as TF

from reidkit.data.resident import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    Draw,
    ResidentImages,
    StreamedImages,
    load_images,
    move_at_once,
    normalise,
    resize,
)


def test_the_constants_are_those_of_torchvisions_networks() -> None:
    recipe = ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert list(IMAGENET_MEAN) == recipe.mean
    assert list(IMAGENET_STD) == recipe.std


def random_images(count: int, height: int = 16, width: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(seed)).byte()


def save(folder: Path, images: torch.Tensor) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return paths


def draw_of(flip: bool = False, down: int = 0, right: int = 0, erase: tuple[int, ...] = (0, 0, 0, 0)) -> Draw:
    return Draw(torch.tensor([flip]), torch.tensor([[down, right]]), torch.tensor([erase]))


def naive(image: torch.Tensor, augmentation: Augmentation, draw: Draw, i: int) -> torch.Tensor:
    """One image by torchvision's own functions: flip, pad and crop, normalise, erase."""
    padding = augmentation.padding
    image = TF.hflip(image) if draw.flip[i] else image
    down, right = draw.shift[i].tolist()
    image = TF.crop(TF.pad(image, [padding]), padding - down, padding - right, *augmentation.size)
    image = TF.normalize(image / 255, IMAGENET_MEAN, IMAGENET_STD)
    top, left, bottom, right = draw.erase[i].tolist()
    return TF.erase(image, top, left, bottom - top, right - left, torch.zeros(3, 1, 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 5))
def test_a_batch_is_augmented_as_each_image_would_be(seed: int, padding: int, count: int) -> None:
    images = random_images(count, seed=seed)
    augmentation = Augmentation((16, 8), padding=padding)
    draw = augmentation.draw(count, torch.Generator().manual_seed(seed))
    result = augmentation(images, draw)
    assert result.shape == (count, 3, 16, 8)
    for i in range(count):
        torch.testing.assert_close(result[i], naive(images[i], augmentation, draw, i), atol=1e-5, rtol=0)


def test_augmentation_leaves_its_input_alone() -> None:
    images = random_images(3)
    before = images.clone()
    augmentation = Augmentation((16, 8))
    augmentation(images, augmentation.draw(3, torch.Generator().manual_seed(0)))
    assert torch.equal(images, before)


def test_each_image_has_a_draw_of_its_own() -> None:
    draw = Augmentation((64, 32)).draw(400, torch.Generator().manual_seed(0))
    assert 0.4 < draw.flip.float().mean() < 0.6
    assert len(draw.shift.unique(dim=0)) > 200
    erased = (draw.erase[:, 2] > draw.erase[:, 0]).float().mean()
    assert 0.4 < erased < 0.6
    area = (draw.erase[:, 2] - draw.erase[:, 0]) * (draw.erase[:, 3] - draw.erase[:, 1])
    share = area[area > 0] / (64 * 32)
    assert share.min() > 0.01
    assert share.max() < 0.42
    assert (draw.erase[:, 2] <= 64).all()
    assert (draw.erase[:, 3] <= 32).all()


def test_a_mask_moves_as_its_image_does() -> None:
    """A marked pixel in an image and in a map over it land in the same place."""
    augmentation = Augmentation((16, 8), padding=3)
    draw = augmentation.draw(20, torch.Generator().manual_seed(1))
    images = torch.zeros(20, 3, 16, 8)
    images[:, :, 5, 2] = 1
    moved, maps = augmentation.move(images, draw), augmentation.move(images[:, :1], draw)
    assert torch.equal(moved[:, :1], maps)
    assert moved[:, 0].sum() > 10  # most are still inside


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [0, 3, 20])  # 20: some images are moved out of sight
def test_images_moved_at_once_are_those_moved_one_by_one(dtype: torch.dtype, padding: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (60, 3, 12, 6), generator=generator).to(dtype)
    augmentation = Augmentation((12, 6), padding=padding)
    draw = augmentation.draw(60, generator)
    assert draw.flip.any()
    expected = torch.zeros_like(images)
    for n, (flip, (down, right)) in enumerate(zip(draw.flip, draw.shift.tolist(), strict=True)):
        for i, j in itertools.product(range(12), range(6)):
            if 0 <= i - down < 12 and 0 <= j - right < 6:
                expected[n, :, i, j] = images[n, :, i - down, 5 - (j - right) if flip else j - right]
    assert torch.equal(augmentation.move(images, draw), expected)
    assert torch.equal(move_at_once(images, draw, padding), expected)


@pytest.mark.parametrize("size", [(16, 8), (32, 24)])
def test_a_gpu_and_a_cpu_do_the_same_in_their_own_way(size: tuple[int, int]) -> None:
    """The steps that a GPU takes for the whole batch, taken on the CPU, against its own way, image by image."""
    augmentation, images = Augmentation(size, padding=3), random_images(20)
    draw = augmentation.draw(20, torch.Generator().manual_seed(0))
    at_once = normalise(move_at_once(resize(images, size), draw, 3)) * ~augmentation.erased(draw)[:, None]
    torch.testing.assert_close(augmentation(images, draw), at_once, rtol=0, atol=0)


def cells_of(images: torch.Tensor, cell: int) -> torch.Tensor:
    """The share (N, h, w) of each cell that is white in augmented images; erased pixels are the mean colour."""
    white = images * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1) > 0.99
    return torch.nn.functional.avg_pool2d(white.all(1).float(), cell)


def blobs(count: int, cell: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (N, 2, 8, 4), 1 in a random rectangle and nothing, and black images in which that rectangle is white."""
    maps = torch.zeros(count, 2, 8, 4)
    for heat in maps[:, 0]:
        top, left = int(torch.randint(0, 7, (), generator=generator)), int(torch.randint(0, 3, (), generator=generator))
        heat[top : top + 2, left : left + 2] = 1
    images = maps[:, :1].repeat_interleave(cell, 2).repeat_interleave(cell, 3) * 255
    return maps, images.expand(-1, 3, -1, -1).byte()


@pytest.mark.parametrize("seed", range(3))
def test_a_map_lies_where_its_blob_is_rendered(seed: int) -> None:
    """Without erasing, a moved map is the share of each cell that is white in the augmented image: exactly so."""
    generator = torch.Generator().manual_seed(seed)
    maps, images = blobs(200, 8, generator)
    augmentation = Augmentation((64, 32), padding=10, erasing_probability=0)
    draw = augmentation.draw(200, generator)
    moved = augmentation.move_maps(maps, draw)
    torch.testing.assert_close(moved[:, 0], cells_of(augmentation(images, draw), 8), atol=1e-5, rtol=0)
    assert (moved[:, 1] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_erased_of_a_blob_is_erased_of_its_map(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps, images = blobs(300, 8, generator)
    augmentation = Augmentation((64, 32), padding=10, erasing_probability=0.8)
    draw = augmentation.draw(300, generator)
    moved, seen = augmentation.move_maps(maps, draw)[:, 0], cells_of(augmentation(images, draw), 8)
    erased = torch.nn.functional.avg_pool2d(augmentation.erased(draw).float(), 8)
    # In a cell that is erased in part, the map does not know which part of it the blob was in.
    assert ((moved - seen).abs() <= torch.minimum(erased, 1 - erased) + 1e-5).all()
    mass, seen_mass = moved.sum((1, 2)), seen.sum((1, 2))
    assert (mass - seen_mass).abs().max() < 1  # of 4 cells
    assert (mass - seen_mass).abs().mean() < 0.1
    assert (seen_mass < 3.9).float().mean() > 0.5  # most have lost something
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(4.0), indexing="ij"))
    there = seen_mass > 0.25
    centroid, seen_centroid = (
        (x[there, None] * grid).sum((2, 3)) / x[there].sum((1, 2))[:, None] for x in (moved, seen)
    )
    assert (centroid - seen_centroid).norm(dim=1).max() < 1
    assert (centroid - seen_centroid).norm(dim=1).mean() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([(8, 4), (24, 8), (7, 3)]))
def test_flips_and_shifts_by_whole_cells_are_exact(flip: bool, down: int, right: int, cells: tuple[int, int]) -> None:
    """As a map of one pixel to the cell is moved; (0, 0) without a flip is the identity."""
    maps = torch.rand(1, 5, *cells, generator=torch.Generator().manual_seed(0))
    before = maps.clone()
    moved = Augmentation(cells).move(maps, draw_of(flip, down, right))
    augmentation = Augmentation((cells[0] * 16, cells[1] * 16))
    result = augmentation.move_maps(maps, draw_of(flip, down * 16, right * 16))
    assert torch.equal(result, moved)
    assert torch.equal(maps, before)
    if not (flip or down or right):
        assert torch.equal(result, maps)


def test_a_map_is_shifted_and_erased_by_parts_of_cells() -> None:
    maps = torch.tensor([[4.0, 0], [0, 8]]).view(1, 1, 2, 2)
    augmentation = Augmentation((8, 8))  # a cell of 4 pixels
    assert augmentation.move_maps(maps, draw_of(down=1))[0, 0].tolist() == [[3, 0], [1, 6]]
    assert augmentation.move_maps(maps, draw_of(right=-2))[0, 0].tolist() == [[2, 0], [4, 4]]
    assert augmentation.move_maps(maps, draw_of(flip=True, right=2))[0, 0].tolist() == [[0, 2], [4, 4]]
    assert augmentation.move_maps(maps, draw_of(erase=(2, 3, 8, 8)))[0, 0].tolist() == [[3.5, 0], [0, 0]]
    assert augmentation.move_maps(maps, draw_of(down=8))[0, 0].tolist() == [[0, 0], [0, 0]]


def test_each_map_has_its_own_draw_and_its_own_precision() -> None:
    augmentation = Augmentation((64, 32))
    generator = torch.Generator().manual_seed(0)
    draw, maps = augmentation.draw(12, generator), torch.rand(12, 3, 8, 4, generator=generator)
    moved = augmentation.move_maps(maps, draw)
    for i in range(12):
        torch.testing.assert_close(moved[i : i + 1], augmentation.move_maps(maps[i : i + 1], draw[i : i + 1]))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as in a training step
        assert torch.equal(augmentation.move_maps(maps, draw), moved)
    half = augmentation.move_maps(maps.bfloat16(), draw)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), moved, atol=0.02, rtol=0)
    assert augmentation.move_maps(maps[:0], draw[:0]).shape == (0, 3, 8, 4)


def test_flip_and_shift_by_hand() -> None:
    image = torch.arange(4 * 2).view(1, 1, 4, 2).expand(1, 3, 4, 2).contiguous()
    moved = Augmentation((4, 2), padding=1).move(image, draw_of(flip=True, down=1, right=0))
    assert moved[0, 0].tolist() == [[0, 0], [1, 0], [3, 2], [5, 4]]


def test_erased_pixels_are_the_mean_colour() -> None:
    result = Augmentation((16, 8), padding=0)(random_images(1), draw_of(erase=(2, 1, 6, 5)))
    assert (result[0, :, 2:6, 1:5] == 0).all()
    assert (result != 0).float().mean() > 0.8


def test_resize_and_normalise_match_torchvision() -> None:
    images = random_images(4, 32, 16)
    torch.testing.assert_close(
        resize(images, (16, 8)), TF.resize(images, [16, 8], antialias=True), atol=1, rtol=0
    )  # rounding
    torch.testing.assert_close(normalise(images), TF.normalize(images / 255, IMAGENET_MEAN, IMAGENET_STD))


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
def test_images_come_as_they_are_on_disk(tmp_path: Path, kind: type) -> None:
    images = random_images(7)
    store = kind(save(tmp_path, images), (16, 8))
    order = [torch.tensor([3, 1]), torch.tensor([6]), torch.tensor([0, 3, 3])]
    assert len(store) == 7
    for chosen, batch in zip(order, store.batches(order), strict=True):
        assert torch.equal(batch, images[chosen])
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_native_size_is_kept_and_mixed_sizes_are_resized(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    same = save(tmp_path / "same", random_images(2, 20, 10))
    other = save(tmp_path / "other", random_images(1, 24, 12))
    assert ResidentImages(same, (16, 8)).pixels.shape[-2:] == (20, 10)
    assert ResidentImages(same + other, (16, 8)).pixels.shape[-2:] == (16, 8)


def test_what_does_not_fit_in_memory_is_streamed(tmp_path: Path) -> None:
    paths = save(tmp_path, random_images(4))
    assert isinstance(load_images(paths, (16, 8)), ResidentImages)
    assert isinstance(load_images(paths, (16, 8), memory_limit=100), StreamedImages)
    assert len(load_images([], (16, 8))) == 0

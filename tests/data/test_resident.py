from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as TF

from reidkit.data import DatasetError
from reidkit.data.resident import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    Draw,
    ResidentImages,
    StreamedImages,
    load_images,
    normalise,
    read_image,
    resize,
)


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
    moved, outside = augmentation.move(images, draw)
    maps, _ = augmentation.move(images[:, :1], draw)
    assert torch.equal(moved[:, :1], maps)
    assert moved[:, 0].masked_fill(outside, 0).sum() > 10  # most are still inside


def test_flip_and_shift_by_hand() -> None:
    image = torch.arange(4 * 2).view(1, 1, 4, 2).expand(1, 3, 4, 2).contiguous()
    moved, outside = Augmentation((4, 2), padding=1).move(image, draw_of(flip=True, down=1, right=0))
    assert moved[0, 0, 1:].tolist() == [[1, 0], [3, 2], [5, 4]]
    assert outside[0].tolist() == [[True, True], [False, False], [False, False], [False, False]]


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


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "0002_c1s1_000451_03.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    with pytest.raises(DatasetError, match="0002_c1s1_000451_03.jpg"):
        read_image(bad)

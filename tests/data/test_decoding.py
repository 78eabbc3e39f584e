"""Every kind of image file becomes uint8 RGB, or is refused with its path and the reason."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.data import DatasetError
from reidkit.data.decoding import FORMATS, read_image

PIXELS = np.random.default_rng(0).integers(256, size=(12, 6, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: not a readable image (")
    return str(caught.value)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height: int, width: int, depth: int, kind: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


MODES = {
    "JPEG": "L RGB CMYK",
    "BMP": "1 L P RGB RGBA",
    "GIF": "1 L LA P RGB RGBA",
    "PNG": "1 L LA P RGB RGBA",
    "TIFF": "1 L LA P RGB RGBA CMYK",
    "WEBP": "1 L LA P RGB RGBA CMYK",
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in MODES for mode in MODES[kind].split()])
def test_any_colours_in_any_format(tmp_path: Path, kind: str, mode: str) -> None:
    """The suffix says nothing; what RGB it becomes is Pillow's word."""
    PICTURE.convert(mode).save(path := tmp_path / "0002_c1s1_000451_03.jpg", kind)
    image = read_image(path)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 12, 6)
    assert set(MODES) == {"JPEG", *FORMATS}
    expected = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(image, expected)


def test_transparency_is_left_out(tmp_path: Path) -> None:
    palette = PICTURE.convert("P")
    palette.save(tmp_path / "opaque.png")
    palette.save(tmp_path / "transparent.png", transparency=bytes(range(256)))
    assert torch.equal(read_image(tmp_path / "transparent.png"), read_image(tmp_path / "opaque.png"))


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_16_bits_become_their_upper_8(tmp_path: Path, kind: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(2**16, size=(12, 6, channels), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (path := tmp_path / "deep.png").write_bytes(png(12, 6, 16, kind, rows))
    colours = values[..., : 3 if channels > 2 else 1] >> 8
    np.testing.assert_array_equal(read_image(path).permute(1, 2, 0), np.broadcast_to(colours, (12, 6, 3)))


@pytest.mark.parametrize(("dtype", "name"), [(np.float32, "floats"), (np.int32, "32-bit integers")])
def test_numbers_of_no_known_range_are_refused(tmp_path: Path, dtype: type, name: str) -> None:
    Image.fromarray(PIXELS[..., 0].astype(dtype)).save(path := tmp_path / "range.tif")
    assert f"its pixels are {name}, of no known range" in refusal(path)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_frames_are_refused(tmp_path: Path, kind: str) -> None:
    PICTURE.save(path := tmp_path / "film.jpg", kind, save_all=True, append_images=[PICTURE.rotate(180), PICTURE])
    assert "it holds 3 frames; expected one picture" in refusal(path)


def test_what_is_no_image(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("html", b"<html>"), ("apple", b"\0\5\x16\7" + bytes(100))):
        (path := tmp_path / f"{name}.jpg").write_bytes(content)
        assert "it begins as neither JPEG nor BMP, GIF, PNG, TIFF, WEBP" in refusal(path)
    assert "No such file or directory" in refusal(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "Is a directory" in refusal(tmp_path / "folder.jpg")
    (path := tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    assert ".cpp" not in refusal(path)


def test_postscript_is_never_run(tmp_path: Path) -> None:
    PICTURE.save(path := tmp_path / "program.jpg", "EPS")
    with patch("subprocess.check_call", side_effect=AssertionError("an interpreter was called")):
        assert "it begins as neither" in refusal(path)


def jpeg_of_size(path: Path, height: int, width: int) -> None:
    PICTURE.save(path, "JPEG")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    path.write_bytes(data[:2] + b"\xff" + data[2:])  # a marker may be filled up


def png_of_size(path: Path, height: int, width: int) -> None:
    path.write_bytes(png(height, width, 8, 2, b"few"))


@pytest.mark.parametrize("write", [jpeg_of_size, png_of_size])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_header_that_asks_for_gigabytes_is_refused(tmp_path: Path, write: Callable[[Path, int, int], None]) -> None:
    write(path := tmp_path / "huge.jpg", 8193, 8192)
    assert "its header says 8,193 × 8,192 pixels; expected 67,108,864 at most" in refusal(path)
    write(path, 65500, 65500)
    assert "pixels" in refusal(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(60, 260), bit=st.integers(0, 7))
def test_a_png_with_one_wrong_bit_is_refused_and_the_process_lives(tmp_path: Path, position: int, bit: int) -> None:
    """In torchvision's decoder a wrong bit among the pixels is a segmentation fault."""
    PICTURE.save(path := tmp_path / "bit.png")
    data = bytearray(path.read_bytes())
    data[position % (len(data) - 80) + 60] ^= 1 << bit  # neither the header nor the end
    path.write_bytes(data)
    refusal(path)

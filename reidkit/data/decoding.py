"""One image file as pixels, whatever it holds: uint8 (3, H, W) in RGB, or a refusal that names it."""

import io
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from reidkit.data.errors import DatasetError

# Without this list Pillow tries everything it knows, and hands PostScript to an interpreter that runs it.
FORMATS = ("BMP", "GIF", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 2**26  # beyond any camera's; a damaged header may ask for gigabytes


def read_image(path: Path) -> Tensor:
    """One image file as uint8 (3, H, W) in RGB.

    What it is, is told by its content and not by its name: JPEG, PNG, WebP, GIF, BMP or TIFF. Grey, palettes and CMYK
    become RGB, 16 bits the upper 8 of them, and transparency is left out; a mark of rotation (EXIF) is not followed.

    Raises DatasetError, naming the file and the reason, where it cannot be decoded in full, where it holds several
    frames, and where its numbers have no known range (32-bit integers, floats).
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        return _decode_jpeg(data) if data.startswith(b"\xff\xd8") else _decode(data)
    except Exception as error:  # a damaged file makes Pillow raise anything: OSError, SyntaxError, struct.error, …
        raise DatasetError(
            f"{path}: not a readable image ({_reason(error)})\n"
            "`reidkit data check` lists every bad file of a data set; extract or download the set again."
        ) from error


def _decode_jpeg(data: bytes) -> Tensor:
    """By torchvision, in half of Pillow's time, and with the pixels that Pillow would find."""
    from torchvision.io import ImageReadMode, decode_jpeg  # three seconds, which not every command needs

    _refuse_huge(*_size_of_jpeg(data))
    image: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return image


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    """Height and width, from the header of the first frame; (0, 0) where there is none, which the decoder will tell."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 9 <= len(data):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame; those three are tables
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])  # one of several 0xFF, or a segment
    return 0, 0


def _decode(data: bytes) -> Tensor:
    """By Pillow: in torchvision's PNG decoder (0.29) one wrong bit among the pixels ends the process."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _refuse_huge(image.height, image.width)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise ValueError(f"it holds {frames} frames; expected one picture")
        if image.mode.startswith("I;16"):
            pixels = np.asarray(image) >> 8
        elif image.mode in ("I", "F"):
            kind = "floats" if image.mode == "F" else "32-bit integers"
            raise ValueError(f"its pixels are {kind}, of no known range; convert it to 8 bits")
        else:
            image.info.pop("transparency", None)  # of which a conversion to RGB would warn
            pixels = np.asarray(image.convert("RGB"))
    pixels = np.atleast_3d(pixels).astype(np.uint8)  # (H, W, 3), or 1 where grey
    return torch.from_numpy(np.repeat(pixels, 3 // pixels.shape[2], axis=2)).permute(2, 0, 1)


def _refuse_huge(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise ValueError(f"its header says {height:,} × {width:,} pixels; expected {MOST_PIXELS:,} at most")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it begins as neither JPEG nor {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^.*\.cpp:\d+,? ?", "", text)  # not where in torchvision it was found

"""MATLAB files (version 5 to 7), read by scipy, but only once their structure is known to be sound.

At an element of no known type, as one wrong bit can make it, scipy's reader (1.17) reads where it must not and ends the
process. So the elements are walked through first, as "MAT-File Format" of The MathWorks describes them.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scipy.io

INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15  # types of elements
NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # those of numbers, with their bytes
TEXT = {16, 17, 18}  # UTF-8, UTF-16, UTF-32
CELL, STRUCT, CHARACTERS = 1, 2, 4  # classes of arrays
NUMERIC = range(6, 16)  # classes too: double, single, int8 … uint64
MOST_BYTES = 2**26  # uncompressed: an attribute file has 100 kB
DEEPEST = 8  # an attribute file's identities are at 4: variable, split, field, cell


def read_matlab(path: Path) -> dict[str, Any]:
    """The variables of a file, structs as dictionaries and cells as lists or arrays. No code in it is ever run.

    Raises OSError or ValueError, or whatever scipy does, where it cannot be read.
    """
    data = path.read_bytes()
    check_structure(data)
    content: dict[str, Any] = scipy.io.loadmat(io.BytesIO(data), simplify_cells=True)  # type: ignore[arg-type]
    return content


def check_structure(data: bytes) -> None:
    """Raises ValueError where the file is not made of structs, cells, numbers and text that are whole."""
    mark = data[124:128]
    if mark in (b"\x00\x02IM", b"\x02\x00MI"):
        raise ValueError("it is of MATLAB 7.3 (HDF5); save it again with '-v7'")
    if mark not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ValueError("it does not begin as one of MATLAB 5 to 7 does")
    order = "<" if mark.endswith(b"IM") else ">"
    for kind, content in _elements(memoryview(data)[128:], order):
        if kind == COMPRESSED:
            whole = zlib.decompressobj().decompress(content, MOST_BYTES)
            if len(whole) == MOST_BYTES:
                raise ValueError(f"a variable has {MOST_BYTES:,} bytes or more")
            ((kind, content),) = _elements(memoryview(whole), order)
        _check_array(kind, content, order, DEEPEST)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the elements that follow one another in `data`."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # at most 4 bytes, which lie where the size would
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            fits = size <= 4
        else:
            start = at + 8
            end = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
            fits = start + size <= len(data)
        if not fits:
            raise ValueError(f"an element of {size:,} bytes does not fit into what it is part of")
        yield kind, data[start : start + size]
        at = end


def _check_array(kind: int, content: memoryview, order: str, depth: int) -> None:
    _must(kind == MATRIX and depth > 0, "an element is no array")
    if not content:  # an empty array may be nothing at all
        return
    elements = list(_elements(content, order))
    _must(len(elements) >= 3, "an array has no name")
    (flags, dimensions, name), rest = elements[:3], elements[3:]
    _must(flags[0] == UINT32 and len(flags[1]) == 8, "the flags of an array are damaged")
    _must(dimensions[0] == INT32 and 8 <= len(dimensions[1]) <= 128, "the dimensions of an array are damaged")
    _must(name[0] == INT8, "the name of an array is damaged")
    (word,) = struct.unpack_from(order + "I", flags[1])
    class_, is_complex = word & 0xFF, bool(word & 0x800)
    shape = struct.unpack(f"{order}{len(dimensions[1]) // 4}i", dimensions[1])
    _must(min(shape) >= 0, "an array has a negative dimension")
    size = math.prod(shape)
    if class_ == STRUCT:
        _must(len(rest) >= 2, "a struct has no fields")
        ((length_kind, length), (names_kind, names)), rest = rest[:2], rest[2:]
        _must(length_kind == INT32 and len(length) == 4 and names_kind == INT8, "the fields of a struct are damaged")
        (letters,) = struct.unpack(order + "i", length)
        _must(letters > 0 and len(names) % letters == 0, "the fields of a struct are damaged")
        size *= len(names) // letters
    if class_ in (CELL, STRUCT):
        _must(len(rest) == size, f"{len(rest):,} arrays in a cell or struct, where {size:,} are expected")
        for kind, inner in rest:
            _check_array(kind, inner, order, depth - 1)
    elif class_ == CHARACTERS:
        _must([kind in NUMBERS or kind in TEXT for kind, _ in rest] == [True], "a text is damaged")
    elif class_ in NUMERIC:
        sound = [len(part) == size * NUMBERS.get(kind, -1) for kind, part in rest]
        _must(sound == [True] * (1 + is_complex), f"an array of {size:,} numbers is damaged")
    else:
        raise ValueError(f"an array is of class {class_}; expected structs, cells, numbers and text only")


def _must(sound: bool, otherwise: str) -> None:
    if not sound:
        raise ValueError(otherwise)

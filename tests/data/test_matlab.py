"""MATLAB files that are sound are read as scipy reads them; damaged ones are refused, and the process lives."""

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from reidkit.data.matlab import check_structure, read_matlab

numbers = npst.arrays(
    st.sampled_from([np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64, np.complex128, np.bool_]),
    npst.array_shapes(max_dims=3, min_side=0, max_side=4),
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
cells = st.lists(numbers | texts, max_size=4).map(lambda values: np.array([*values, None], dtype=object)[:-1])
names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
structs = st.recursive(
    st.dictionaries(names, numbers | texts | cells, max_size=4),
    lambda inner: st.dictionaries(names, inner | numbers, min_size=1, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variables=st.dictionaries(names, structs | numbers | cells, max_size=3), compressed=st.booleans())
def test_what_scipy_writes_is_sound(tmp_path: Path, variables: dict[str, Any], compressed: bool) -> None:
    path = tmp_path / "any.mat"
    scipy.io.savemat(path, variables, do_compression=compressed)
    read, expected = read_matlab(path), scipy.io.loadmat(path, simplify_cells=True)
    assert repr(read) == repr(expected)  # NumPy compares no arrays of empty arrays
    assert set(read) >= set(variables)


def element(kind: int, content: bytes, order: str, small: bool = False) -> bytes:
    if small and len(content) <= 4:
        return struct.pack(order + "I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack(order + "II", kind, len(content)) + content + bytes(-len(content) % 8)


def array(class_: int, shape: tuple[int, ...], name: bytes, rest: bytes, order: str) -> bytes:
    flags = element(6, struct.pack(order + "II", class_, 0), order)
    dimensions = element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return element(14, flags + dimensions + element(1, name, order, small=True) + rest, order)


def file(order: str, compressed: bool) -> bytes:
    """As MATLAB writes: doubles in the fewest bytes, short elements small, an empty cell of nothing, in any order."""
    ones = array(6, (1, 3), b"", element(2, bytes([1, 2, 1]), order, small=True), order)
    ids = [array(4, (1, 4), b"", element(4, text.encode(f"utf-16-{'lb'[order == '>']}e"), order), order) for text in
           ("0002", "0007")]  # fmt: skip
    cell = array(1, (1, 3), b"", b"".join(ids) + element(14, b"", order), order)
    fields = element(5, struct.pack(order + "i", 32), order, small=True) + element(
        1, b"".join(field.ljust(32, b"\0") for field in (b"hat", b"image_index")), order
    )
    whole = array(2, (1, 1), b"people", fields + ones + cell, order)
    if compressed:
        packed = zlib.compress(whole)
        whole = struct.pack(order + "II", 15, len(packed)) + packed
    mark = struct.pack(order + "H", 0x0100) + (b"IM" if order == "<" else b"MI")
    return b"MATLAB 5.0 MAT-file".ljust(124) + mark + whole


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
def test_what_matlab_writes_is_sound(tmp_path: Path, order: str, compressed: bool) -> None:
    (path := tmp_path / "people.mat").write_bytes(file(order, compressed))
    people = read_matlab(path)["people"]
    assert people["hat"].tolist() == [1, 2, 1]
    assert [str(text) for text in people["image_index"][:2]] == ["0002", "0007"]
    assert len(people["image_index"][2]) == 0


def test_wrong_bits_are_survived(tmp_path: Path) -> None:
    """Two bits of each byte of a small file, one after the other; without the check, every thirtieth is the end."""
    path, whole = tmp_path / "people.mat", file("<", compressed=False)
    refused = 0
    for position in range(124, len(whole)):
        for bit in (position % 8, (position + 3) % 8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                read_matlab(path)
            except Exception:  # whatever scipy raises
                refused += 1
    assert refused > len(whole) / 2  # of 2 a byte; the others change a number, a letter or what is filled up


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as one of MATLAB 5 to 7"),
        (
            struct.pack("<iiiii", 0, 1, 1, 0, 2) + b"x\0" + bytes(8) + bytes(200),
            "does not begin as one of MATLAB 5 to 7",
        ),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(9), "MATLAB 7.3 .HDF5.; save it again with '-v7'"),
    ],
    ids=["nothing", "MATLAB 4", "MATLAB 7.3"],
)
def test_other_files(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_structure(content)


def test_code_is_refused(tmp_path: Path) -> None:
    """A function is of a class that no attribute file has; so are objects and what MATLAB does not document."""
    whole = bytearray(file("<", compressed=False))
    at = whole.index(element(6, struct.pack("<II", 2, 0), "<")) + 8
    for class_ in (3, 5, 16, 17, 0, 200):
        whole[at] = class_
        with pytest.raises(ValueError, match=f"of class {class_}; expected structs, cells, numbers and text only"):
            check_structure(bytes(whole))


def test_what_unpacks_to_gigabytes_is_refused() -> None:
    packed = zlib.compress(bytes(2**27), 9)
    content = file("<", compressed=False)[:128] + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(ValueError, match="a variable has 67,108,864 bytes or more"):
        check_structure(content)


def test_cells_within_cells_end() -> None:
    inner = b""
    for _ in range(2000):
        inner = array(1, (1, 1), b"", inner or element(14, b"", "<"), "<")
    with pytest.raises(ValueError, match="an element is no array"):
        check_structure(file("<", compressed=False)[:128] + inner)


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_file_is_refused(seed: int) -> None:
    whole = file("<", compressed=bool(seed % 2))
    for length in random.Random(seed).sample(range(129, len(whole) - 8), 40):
        with pytest.raises((ValueError, struct.error, zlib.error)):
            check_structure(whole[:length])

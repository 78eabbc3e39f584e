"""Attribute heat maps of a split, made once per image and network and read from a memory map.

A folder holds, per stage of the network, `<stage>.npy` (uint8, (N, K, h, w)) and `<stage>.peaks.npy` (float32, (N, K)):
a map is byte / 255 · peak, so that it can be read raw or scaled to 0…1. `meta.json` says which network made the maps,
for which images, and how many are done.

A byte is exact to 1/510 of the map's peak and takes half of what half precision takes. The size is N·K·Σ h·w bytes:
Market-1501's training set with its 27 attributes at 256×128, where the stages are 32×16, 16×8 and 16×8 (last stride 1),
takes 12,936 · 27 · 768 B = 268 MB, and 4 MB of peaks.
"""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

import filelock
import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor
from tqdm.auto import tqdm

from reidkit.data.errors import DatasetError
from reidkit.data.resident import Images
from reidkit.places import LOCK_MODE, replace_file

_ADVICE = "delete this folder to make them anew"

SYNC_SECONDS = 10.0  # between two times that maps are forced to the disk: the work that a power cut costs


class HeatMapError(DatasetError):
    """Stored heat maps that are missing, unfinished, damaged or not the ones asked for; or maps that are none."""


class _Meta(BaseModel, extra="forbid"):
    """meta.json, written after the rows that it vouches for."""

    format: Literal[1] = 1
    key: dict[str, str]  # what determines the maps
    count: int  # N
    layers: dict[str, tuple[int, int, int]]  # stage -> (K, h, w)
    done: int  # images whose maps are on the disk


class HeatMaps:
    """The stored heat maps of N images: `heat_maps[indexes]` is {stage: float32 (B, K, h, w)}, raw.

    On the CPU they stay on the disk and are read where they are needed; on another device they are held as bytes.
    """

    def __init__(self, maps: Mapping[str, Tensor], peaks: Mapping[str, Tensor], device: torch.device | str) -> None:
        self.maps = {stage: bytes_.to(device) for stage, bytes_ in maps.items()}  # uint8 (N, K, h, w)
        self.peaks = {stage: peak.to(device) for stage, peak in peaks.items()}  # float32 (N, K)

    @classmethod
    def open(cls, directory: Path, key: Mapping[str, str], device: torch.device | str = "cpu") -> Self:
        """The maps in `directory`, if they are whole and were made for `key` (see `store_heat_maps`).

        Raises HeatMapError where they are missing, unfinished or truncated, or where a part of the key does not fit.
        """
        meta = _read_meta(directory, key)
        if meta is None:
            raise HeatMapError(f"{directory}: no heat maps here (no meta.json); make them first")
        if meta.done < meta.count:
            raise HeatMapError(
                f"{directory}: unfinished, {meta.done} of {meta.count} images have heat maps; "
                "make them again, and it goes on from there"
            )
        maps = {
            stage: _map(directory / f"{stage}.npy", (meta.count, *shape), np.uint8)
            for stage, shape in meta.layers.items()
        }
        peaks = {
            stage: _map(directory / f"{stage}.peaks.npy", (meta.count, shape[0]), np.float32)
            for stage, shape in meta.layers.items()
        }
        return cls(maps, peaks, device)

    def __len__(self) -> int:
        return len(next(iter(self.maps.values())))

    def __getitem__(self, indexes: Tensor) -> dict[str, Tensor]:
        """Raw maps {stage: float32 (B, K, h, w)} of the images `indexes`, int64 (B,), in any order, repeats allowed.

        Raises IndexError for an index that is out of range, negative ones included.
        """
        read = {}
        for stage, maps in self.maps.items():
            # Of a copy to a GPU nothing need be waited for; one from it has to arrive.
            chosen = indexes.to(maps.device, non_blocking=maps.device.type == "cuda")
            unit = self.peaks[stage].index_select(0, chosen) / 255  # (B, K)
            read[stage] = maps.index_select(0, chosen) * unit[:, :, None, None]  # many times as fast as maps[chosen]
        return read

    @property
    def nbytes(self) -> int:
        """What the maps take on the disk, or on a device."""
        return sum(tensor.nbytes for tensor in (*self.maps.values(), *self.peaks.values()))


def store_heat_maps(
    directory: Path,
    images: Images,
    produce: Callable[[Tensor, Tensor], Mapping[str, Tensor]],
    *,
    key: Mapping[str, str],
    batch_size: int | None = None,
    progress: bool = True,
    name: str = "heat maps",
    device: torch.device | str = "cpu",
    sync_seconds: float = SYNC_SECONDS,
) -> HeatMaps:
    """Makes the heat maps of `images` that `directory` lacks, and opens them on `device`.

    `produce` makes {stage: float (B, K, h, w), at least 0} of the indexes (B,) int64 and the pixels, uint8 (B, 3, H, W)
    as they are stored, of a batch of images.
    `key` names all that determines the maps: {"network": hash of its weights, "images": checksum of the file names}
    and, say, the input size. Where all are made, nothing is done; an interrupted run goes on after its last batch of
    `batch_size` images, by default 32 and on CUDA 128; one that is killed loses what it has made since the maps were
    last forced to the disk, at most `sync_seconds` before. A second process that makes the same maps waits for the
    first.

    Raises HeatMapError where the folder holds maps of another key or is damaged, where there is no image, and where
    `produce` gives what is no heat map, naming stage and image; OSError where the disk is full. What was finished
    before an error is kept, and no unfinished maps can be opened.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory, f"{name}: another process is making {directory}; waiting for it" if progress else None):
        meta = _read_meta(directory, key) or _Meta(key=dict(key), count=len(images), layers={}, done=0)
        if not len(images):
            raise HeatMapError(f"{directory}: there is no image to make heat maps of")
        if meta.count != len(images):
            raise HeatMapError(f"{directory}: holds heat maps of {meta.count} images, not of {len(images)}; {_ADVICE}")
        batch_size = batch_size or (128 if torch.device(device).type == "cuda" else 32)
        batches = torch.arange(meta.done, meta.count).split(batch_size) if meta.done < meta.count else ()
        hidden = not progress or not batches  # nothing to wait for
        with (
            _Writer(directory, meta, sync_seconds) as writer,
            tqdm(desc=name, initial=meta.done, total=meta.count, unit="image", disable=hidden) as bar,
        ):
            for indexes, pixels in zip(batches, images.batches(batches), strict=True):
                writer.add(_checked(produce(indexes, pixels), len(pixels), int(indexes[0])))
                bar.update(len(pixels))
    return HeatMaps.open(directory, key, device)


def _checked(maps: Mapping[str, Tensor], count: int, first: int) -> dict[str, Tensor]:
    """The maps of `count` images from index `first` on, as float32; HeatMapError where they are no heat maps."""
    checked = {}
    for stage, given in maps.items():
        if given.ndim != 4 or len(given) != count or not given.numel():
            raise HeatMapError(f"{stage}: heat maps of shape {tuple(given.shape)}; expected ({count}, maps, h, w)")
        values = given.detach().float()
        bad = ~((values >= 0) & values.isfinite()).flatten(1).all(1)  # nan is not >= 0
        if bad.any():
            row = int(bad.nonzero()[0])
            lowest, highest = values[row].min().item(), values[row].max().item()
            raise HeatMapError(
                f"{stage}: the heat maps of image {first + row} range from {lowest:g} to {highest:g}; expected finite "
                "numbers of at least 0: look at the network that made them"
            )
        checked[stage] = values
    if not checked:
        raise HeatMapError("no stage was given heat maps")
    return checked


class _Writer:
    """Adds maps to a folder. They reach the disk before the meta.json that vouches for them, and both by the clock.

    What was added before an error reaches the disk too, unless it is the disk that fails.
    """

    def __init__(self, directory: Path, meta: _Meta, sync_seconds: float) -> None:
        self.directory, self.meta, self.sync_seconds = directory, meta, sync_seconds
        self.synced, self.synced_at = meta.done, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()

    def add(self, maps: Mapping[str, Tensor]) -> None:
        """Maps {stage: float32 (B, K, h, w)} of the next B images."""
        layers = {stage: (k, h, w) for stage, (_, k, h, w) in ((s, m.shape) for s, m in maps.items())}
        meta = self.meta
        if layers != (meta.layers or layers):
            raise HeatMapError(
                f"{self.directory}: the maps so far are of {meta.layers}, those that follow of {layers}; {_ADVICE}"
            )
        for stage, values in maps.items():
            peaks = values.amax((2, 3))  # (B, K)
            scaled = values / torch.where(peaks > 0, peaks, 1)[:, :, None, None]  # 0…1
            _write_rows(self.directory / f"{stage}.npy", scaled.mul(255).round().byte(), meta.done, meta.count)
            _write_rows(self.directory / f"{stage}.peaks.npy", peaks, meta.done, meta.count)
        self.meta = meta.model_copy(update={"layers": layers, "done": meta.done + len(peaks)})
        if time.monotonic() - self.synced_at >= self.sync_seconds:
            self.sync()

    def sync(self) -> None:
        done, self.synced_at = self.meta.done, time.monotonic()
        if done == self.synced:
            return
        self.synced = done  # also where it fails: nobody knows what is left of the rows, so they are not vouched for
        for stage in self.meta.layers:
            for path in (self.directory / f"{stage}.npy", self.directory / f"{stage}.peaks.npy"):
                with path.open("r+b") as file:
                    os.fsync(file.fileno())
        replace_file(self.directory / "meta.json", f"{self.meta.model_dump_json(indent=2)}\n".encode())


def _write_rows(path: Path, rows: Tensor, start: int, count: int) -> None:
    """Writes rows from `start` on of an .npy file of `count` rows; they are not yet on the disk when this returns.

    By ordinary writes: a full disk makes them an error, where it would end a process that writes to a memory map.
    """
    array = rows.cpu().contiguous().numpy()
    header = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(array) | {"shape": (count, *array.shape[1:])}
    np.lib.format.write_array_header_1_0(header, described)
    position = header.tell() + start * array[0].nbytes
    if start and (not path.exists() or path.stat().st_size < position):
        raise HeatMapError(f"{path}: shorter than the {start} images that it should hold; {_ADVICE}")
    with path.open("r+b" if start else "wb") as file:
        file.write(header.getvalue())
        file.seek(position)
        file.write(array.data)


def _read_meta(directory: Path, key: Mapping[str, str]) -> _Meta | None:
    """meta.json, None where there is none; HeatMapError where it is damaged or of another key."""
    path = directory / "meta.json"
    try:
        meta = _Meta.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "meta.json"
        raise HeatMapError(f"{path}: damaged, or of another version ({where}: {first['msg']}); {_ADVICE}") from error
    unlike = [
        f"{part} is {meta.key.get(part, 'not given')}, expected {key.get(part, 'none')}"
        for part in sorted(meta.key.keys() | key.keys())
        if meta.key.get(part) != key.get(part)
    ]
    if unlike:
        raise HeatMapError(f"{directory}: these heat maps are others ({'; '.join(unlike)}); {_ADVICE}")
    return meta


def _map(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
    """An .npy file as a tensor that reads from the disk."""
    try:
        array = np.load(path, mmap_mode="c")  # copy on write: torch has no read-only tensors
    except Exception as error:  # numpy reads the header as Python, and raises whatever that does
        raise HeatMapError(f"{path}: missing, truncated or no array ({error}); {_ADVICE}") from error
    if array.shape != shape or array.dtype != dtype:
        raise HeatMapError(f"{path}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}; {_ADVICE}")
    return torch.from_numpy(array)


@contextlib.contextmanager
def _alone(directory: Path, waiting: str | None) -> Iterator[None]:
    """One process at a time writes a folder; the others say so and wait."""
    lock = filelock.FileLock(directory / "lock", mode=LOCK_MODE)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        if waiting:
            tqdm.write(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

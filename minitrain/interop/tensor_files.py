"""Safetensors files from others: one file, or several with an index.

The file is the length of the header (8 bytes, little-endian), the header (JSON), and the data::

    {"name": {"dtype": "BF16", "shape": [5, 3], "data_offsets": [0, 30]}, ...}

`minitrain.checkpoint` reads its own files through the safetensors library. This reader takes one array at a time, so a
model in bfloat16 never lies in memory as a whole beside its float32 weights, and it knows bfloat16. It believes
nothing: an array has the size that its shape and type say, arrays lie side by side, and together they fill the file.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..checkpoint.tensor_header import DTYPES
from ..checkpoint.tensors import tensor_pieces
from ..errors import CheckpointError
from ..files import FileError, open_atomically, open_regular, parse_json, read_file, write_atomically

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
LONGEST_HEADER = 16_000_000  # bytes: one array takes about 150
MOST_CONTAINERS = 600_000  # lists and objects in a header: one array has three
LARGEST_INDEX = 32_000_000  # bytes
LARGEST_SHARD = 5_000_000_000  # bytes of arrays in a file that is written: what others write too


def bfloat16() -> np.dtype[Any]:
    """NumPy's type for bfloat16, from ``ml_dtypes``."""
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _types() -> dict[str, np.dtype[Any]]:
    """NumPy's type for each of the format's names."""
    return {name: np.dtype(dtype) for dtype, name in DTYPES.items()} | {"BF16": bfloat16()}


class Entry(NamedTuple):
    """Where an array lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # in bytes, from the beginning of the file
    size: int  # in bytes


class TensorFile:
    """A safetensors file whose header was checked.

    Args:
        path: the file. A link is followed: caches of downloads are made of links.

    Attributes:
        path: the file.
        entries: the arrays by name.

    Raises:
        CheckpointError: if the file is missing, damaged, or declares more than it has.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
                if length > min(size - 8, LONGEST_HEADER):
                    raise CheckpointError(
                        f"{path} is damaged: its header would be longer than the file, or than allowed"
                    )
                header = parse_json(file.read(length), containers=MOST_CONTAINERS)
            self.entries = dict(_entries(header, 8 + length, size))
        except (FileError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged: its header describes no arrays ({error!s:.200})") from error

    def read(self, name: str) -> Array:
        """The array of that name, in the file's type.

        Raises:
            CheckpointError: if the file has changed or cannot be read.
        """
        dtype, shape, start, size = self.entries[name]
        array = np.empty(shape, dtype.newbyteorder("<"))
        read_into(self.path, start, array.reshape(-1).view(np.uint8), size)
        return array.astype(dtype, copy=False)


def _entries(header: Any, base: int, file_size: int) -> Iterator[tuple[str, Entry]]:
    """The checked entries of a header, whose data begin at byte ``base``."""
    found, types = [], _types()
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in types:
            raise ValueError(f"{name:.100} has the type {entry['dtype']!r:.20}, which is not read here")
        dtype, shape, (start, end) = types[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, end]
        if any(type(number) is not int or number < 0 for number in numbers) or len(shape) > 8:
            raise ValueError(f"{name:.100} has no sizes or offsets")
        if end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name:.100} does not have the size of its shape")
        found.append((start, end, name, Entry(dtype, tuple(shape), base + start, end - start)))
    place = 0
    for start, end, name, entry in sorted(found, key=lambda one: one[:2]):
        if start != place:
            raise ValueError(f"{name:.100} does not begin where the array before it ends")
        place = end
        yield name, entry
    if base + place != file_size:
        raise ValueError(f"its arrays end at byte {base + place} of {file_size}")


def read_into(path: Path, start: int, target: Array, size: int) -> None:
    """Fill ``target``, ``size`` bytes as uint8, from byte ``start`` of a file.

    Raises:
        CheckpointError: if the file is shorter now, or cannot be read.
    """
    view, done = target.data.cast("B") if size else memoryview(b""), 0
    try:
        with open_regular(path) as file:
            file.seek(start)
            while done < size:
                count = file.readinto(view[done:])
                if not count:
                    raise CheckpointError(f"{path} has become shorter while it was read")
                done += count
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def open_tensors(folder: str | Path) -> dict[str, TensorFile]:
    """The file of each array in a folder with ``model.safetensors``, or with several files and their index.

    Raises:
        CheckpointError: if there are none, they are damaged, or there are pickles alone.
    """
    folder = Path(folder)
    if (folder / SINGLE).exists():
        file = TensorFile(folder / SINGLE)
        return dict.fromkeys(file.entries, file)
    if (folder / INDEX).exists():
        return _open_shards(folder)
    for name in PICKLES:
        if (folder / name).exists():
            raise CheckpointError(
                f"{folder} has its weights in {name}, a pickle, which can run any code when it is opened. Get the "
                "model as safetensors, or convert it where you trust the file: "
                "transformers.AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)"
            )
    raise CheckpointError(f"{folder} has no weights: there is no {SINGLE} and no {INDEX} in it")


def _open_shards(folder: Path) -> dict[str, TensorFile]:
    path = folder / INDEX
    try:
        index = parse_json(read_file(path, LARGEST_INDEX))
        names = dict(index["weight_map"])
    except (FileError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: it does not say where the arrays are ({error!s:.200})") from error
    files: dict[str, TensorFile] = {}
    for file in names.values():
        if not isinstance(file, str) or not file.endswith(".safetensors") or Path(file).name != file or "\0" in file:
            raise CheckpointError(f"{path} names {file!r:.100}, which is not a safetensors file in this folder")
        if file not in files:
            files[file] = TensorFile(folder / file)
    held = {name: file for file, opened in files.items() for name in opened.entries}
    if sum(len(opened.entries) for opened in files.values()) != len(held):
        raise CheckpointError(f"{folder} has an array in two of its files")
    if held != names:
        other = sorted(held.keys() ^ names.keys()) or sorted(name for name in held if held[name] != names[name])
        raise CheckpointError(
            f"{path} does not fit its files: {other[0]!r:.100} is in one of them and not in the other"
        )
    return {name: files[file] for name, file in names.items()}


def write_tensors(folder: str | Path, arrays: Mapping[str, Array], *, largest: int = LARGEST_SHARD) -> None:
    """Write arrays as ``model.safetensors``, or as several files with an index.

    Args:
        folder: the folder to write to; it is made if it is missing.
        arrays: float32, float16, bfloat16 or integer arrays by name.
        largest: bytes of arrays in one file; more arrays are several files.

    Raises:
        FileError: if a file cannot be written.
    """
    folder, shards, size = Path(folder), [{}], 0  # type: ignore[var-annotated]
    for name, array in arrays.items():
        if size and size + array.nbytes > largest:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    if len(shards) == 1:
        _write(folder / SINGLE, shards[0])
        return
    files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        _write(folder / file, shard)
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    total = sum(int(array.nbytes) for array in arrays.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_atomically(folder / INDEX, json.dumps(index, indent=2, sort_keys=True).encode() + b"\n")


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    with open_atomically(path) as file:
        for piece in tensor_pieces(arrays, metadata={"format": "pt"}):
            file.write(piece if isinstance(piece, bytes) else piece.data)


def to_float32(array: Array, what: str) -> Array:
    """An array of float32, float16 or bfloat16 as float32, which is exact.

    Raises:
        CheckpointError: if it has another type.
    """
    if array.dtype == np.float32:
        return array
    if array.dtype not in (np.dtype(np.float16), bfloat16()):
        raise CheckpointError(f"{what} has the type {array.dtype}; weights are float32, float16 or bfloat16")
    return array.astype(np.float32)


def rounded(array: Array, dtype: str, what: str) -> Array:
    """A weight rounded to ``"float32"``, ``"float16"`` or ``"bfloat16"``, on the CPU.

    Raises:
        CheckpointError: if there is no such type, or a finite number would become infinite.
    """
    types: dict[str, Any] = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": bfloat16()}
    if dtype not in types:
        raise CheckpointError(f"dtype={dtype!r}: weights are written as {', '.join(types)}")
    host: Array = to_numpy(array)
    with np.errstate(over="ignore"):
        out: Array = host.astype(types[dtype], copy=False)
    if dtype != "float32" and not np.array_equal(np.isfinite(out), np.isfinite(host)):
        raise CheckpointError(f"{what} has numbers that are too large for {dtype}; use dtype='float32' or 'bfloat16'")
    return out

"""IDX files, the format of MNIST and data sets like it (LeCun, Cortes and Burges: "The MNIST database", 1998)."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...files import FileError, file_error, open_regular
from .arrays import ImageArrays

MAX_BYTES = 1 << 33
"""A header that says more than 8 GiB is damaged, or its file is not meant to be read into memory."""
_UINT8 = 8
_PIECE = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes, packed by gzip if the name ends in ``.gz``.

    A file that is not packed is mapped into memory, not read.

    Returns:
        uint8 array with 1 to 4 dimensions.

    Raises:
        DataError: if the file cannot be read, is no such file, or has another size than its header says.
    """
    path = Path(os.path.expanduser(path))
    try:
        with open_regular(path) as raw:
            if path.suffix != ".gz":
                shape, start = _header(raw, path)
                found, expected = os.fstat(raw.fileno()).st_size, start + math.prod(shape)
                if found != expected:
                    raise _damaged(path, f"it has {found:,} bytes, and its header says {expected:,}")
                return np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=shape)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                shape, _ = _header(unpacked, path)
                return _unpacked(unpacked, shape, path)
    except FileError as error:
        raise DataError(str(error)) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, f"gzip cannot unpack it: {error}") from error
    except OSError as error:
        raise DataError(str(file_error("read", path, error))) from error


def read_idx_images(images: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> ImageArrays:
    """The images of an IDX file, with those of another as the column ``label``.

    Args:
        images: a file with the shape (N, H, W) or (N, H, W, C).
        labels: a file with the shape (N,).

    Raises:
        DataError: if a file cannot be read, or they do not fit together.
    """
    pixels = read_idx(images)
    if labels is None:
        return ImageArrays(pixels)
    classes = read_idx(labels)
    if classes.ndim != 1:
        raise DataError(f"{os.fspath(labels)} has shape {classes.shape}, and labels are (N,)")
    return ImageArrays(pixels, label=classes)


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], int]:
    """The shape, and the number of bytes of the header."""
    start = _exactly(file, 4, path)
    if start[:2] != b"\0\0":
        raise _damaged(path, "it does not begin like one")
    if start[2] != _UINT8:
        raise _damaged(path, f"its numbers have type {start[2]:#04x}, and only bytes (0x08) are read")
    if not 1 <= start[3] <= 4:
        raise _damaged(path, f"it has {start[3]} dimensions, and 1 to 4 are read")
    shape = struct.unpack(f">{start[3]}I", _exactly(file, 4 * start[3], path))
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise _damaged(path, f"its shape is {shape}, and it should have 1 to {MAX_BYTES:,} bytes")
    return shape, 4 + 4 * start[3]


def _unpacked(file: gzip.GzipFile, shape: tuple[int, ...], path: Path) -> NDArray[np.uint8]:
    """The bytes after the header; memory grows with what is there, not with what the header says."""
    size, content = math.prod(shape), bytearray()
    while len(content) < size and (piece := file.read(min(_PIECE, size - len(content)))):
        content += piece
    if len(content) < size or file.read(1):
        more = "less" if len(content) < size else "more"
        raise _damaged(path, f"it holds {more} than the {size:,} bytes that its header says")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _exactly(file: Any, count: int, path: Path) -> bytes:
    content: bytes = file.read(count)
    if len(content) < count:
        raise _damaged(path, "it ends within its header")
    return content


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is no IDX file that can be read: {reason}")

"""The header of a GGUF file: its settings, and where its arrays lie.

::

    "GGUF"  version  number of arrays  number of settings
    settings:   name, type, value            a list: type of its elements, their number, the elements
    arrays:     name, sizes (the last axis first), type, offset
    padding up to a multiple of general.alignment, then the arrays

All numbers are little-endian. The ``gguf`` package takes seconds for this; here it is one pass over a buffered file,
and every length is compared with what is left of the file before anything is made of it.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import CheckpointError
from ...files import FileError, open_regular
from ..tensor_files import read_into
from .blocks import block_of, dequantize

MAGIC = b"GGUF"
VERSIONS = (2, 3)
LONGEST_HEADER = 256_000_000  # bytes: a vocabulary of a million tokens takes about 30 MB
LONGEST_NAME = 65_535  # bytes of the name of a setting or an array
MOST_AXES = 4

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
"""struct's letter for each type of number."""
_FLOAT32, _TRUTH, _TEXT, _LIST = 6, 7, 8, 9


class Tensor(NamedTuple):
    """Where an array lies in a file.

    Attributes:
        kind: its type, a number of GGUF.
        shape: its sizes, the last axis last, as NumPy has them.
        start: its first byte in the file.
        size: its bytes.
    """

    kind: int
    shape: tuple[int, ...]
    start: int
    size: int


class GGUFFile:
    """A GGUF file whose header was checked.

    Args:
        path: the file.

    Attributes:
        path: the file.
        metadata: its settings by name: numbers, truth values, texts, and lists of them (numbers as arrays).
        tensors: where its arrays lie, by name.

    Raises:
        CheckpointError: if the file is missing, damaged, or declares more than it has.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with open_regular(path) as raw:
                size = os.fstat(raw.fileno()).st_size
                file = _Header(io.BufferedReader(raw, 1 << 20), size)
                self.metadata, self.tensors = _read(file)
        except FileNotFoundError:
            raise CheckpointError(f"there is no file {path}") from None
        except (FileError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except _Damaged as error:
            raise CheckpointError(f"{path} is no GGUF file, or damaged: {error}") from error

    def read(self, name: str) -> Array:
        """The array of that name in float32.

        Raises:
            CheckpointError: if the file has changed, or the array has a type that cannot be read.
        """
        kind, shape, start, size = self.tensors[name]
        raw = np.empty(size, np.uint8)
        read_into(self.path, start, raw, size)
        return dequantize(raw, kind, f"{self.path}: {name}").reshape(shape)


class _Damaged(Exception):
    """A file is damaged; the message says how."""


class _Header:
    """Reads a file from its beginning, and never past its end.

    Args:
        file: at its beginning.
        size: bytes of it.
    """

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self.file, self.size, self.place = file, size, 0
        self.left = min(size, LONGEST_HEADER)

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if count > self.left:
            raise _Damaged("it ends within its header, or its header is longer than allowed")
        content = self.file.read(count)
        if len(content) != count:
            raise _Damaged("it ends within its header")
        self.left -= count
        self.place += count
        return content

    def number(self, letter: str) -> Any:
        """The next number, of a type of ``struct``."""
        return struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]

    def count(self, least: int) -> int:
        """The next number of things, each of at least so many bytes."""
        count: int = self.number("Q")
        if count * least > self.left:
            raise _Damaged(f"it would have {count:,} things of {least} bytes or more in {self.left:,} bytes")
        return count

    def text(self, longest: int | None = None) -> str:
        """The next text, in UTF-8; what is not becomes a replacement character, except in names."""
        length = self.count(1)
        if longest is not None and length > longest:
            raise _Damaged(f"a name would have {length:,} bytes")
        try:
            return self.take(length).decode("utf-8", "strict" if longest is not None else "surrogateescape")
        except UnicodeDecodeError as error:
            raise _Damaged("a name is not UTF-8") from error

    def value(self, kind: int) -> Any:
        """The next value of a setting."""
        if kind == _FLOAT32:  # 1e-05 rather than 9.999999747378752e-06, which is the same float32
            return float(str(np.float32(self.number("f"))))
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _TRUTH:
            return self.number("B") != 0
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            raise _Damaged(f"a setting has the unknown type {kind}")
        inner = self.number("I")
        if inner == _TEXT:
            return [self.text() for _ in range(self.count(8))]
        if inner == _TRUTH:
            return np.frombuffer(self.take(self.count(1)), np.uint8) != 0
        if inner not in _NUMBERS:
            raise _Damaged(f"a list has elements of the type {inner}")
        dtype = np.dtype("<" + _NUMBERS[inner])
        return np.frombuffer(self.take(self.count(dtype.itemsize) * dtype.itemsize), dtype)


def _read(file: _Header) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if file.take(4) != MAGIC:
        raise _Damaged("it does not begin with GGUF")
    version = file.number("I")
    if version not in VERSIONS:
        raise _Damaged(f"it has version {version}; versions {' and '.join(map(str, VERSIONS))} are read")
    arrays, settings = file.count(24), file.count(13)  # after the other: the least bytes of each
    metadata = _named(settings, file, lambda: file.value(file.number("I")))
    places = _named(arrays, file, lambda: _place(file))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise _Damaged(f"general.alignment is {alignment!r:.50}")
    base = -(-file.place // alignment) * alignment
    tensors, used = {}, []
    for name, (kind, shape, offset) in places.items():
        try:
            elements, size = block_of(kind)
        except KeyError:
            raise _Damaged(f"{name:.100} has the unknown type {kind}") from None
        if (shape[-1] if shape else 1) % elements:
            raise _Damaged(f"the rows of {name:.100} are no multiple of {elements}, the block of its type")
        length = math.prod(shape) // elements * size
        if offset % alignment or base + offset + length > file.size:
            raise _Damaged(f"{name:.100} lies outside of the file, or not on a multiple of {alignment}")
        tensors[name] = Tensor(kind, shape, base + offset, length)
        used.append((offset, offset + length, name))
    used.sort()
    for (_, end, _), (start, _, name) in itertools.pairwise(used):
        if start < end:
            raise _Damaged(f"{name:.100} lies over another array")
    return metadata, tensors


def _named(count: int, file: _Header, read: Callable[[], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(count):
        name = file.text(LONGEST_NAME)
        if name in found:
            raise _Damaged(f"{name!r:.100} stands in it twice")
        found[name] = read()
    return found


def _place(file: _Header) -> tuple[int, tuple[int, ...], int]:
    """Type, shape and offset of an array."""
    axes = file.number("I")
    if axes > MOST_AXES:
        raise _Damaged(f"an array would have {axes} axes")
    shape = tuple(file.number("Q") for _ in range(axes))
    return file.number("I"), shape[::-1], file.number("Q")

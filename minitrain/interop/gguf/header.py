"""Writes the header of a GGUF file; `minitrain.interop.gguf.reader` describes it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...errors import CheckpointError
from .blocks import block_of
from .reader import MAGIC

ALIGNMENT = 32


def header_of(metadata: Mapping[str, Any], arrays: Mapping[str, Array], kinds: Mapping[str, int]) -> Iterator[bytes]:
    """The header's bytes: its settings, and the names, shapes and types of the arrays."""
    yield MAGIC + struct.pack("<IQQ", 3, len(arrays), len(metadata))
    for key, value in metadata.items():
        kind, content = _value(key, value)
        yield _text(key) + struct.pack("<I", kind) + content
    offset = 0
    for name, array in arrays.items():
        kind, shape = kinds[name], array.shape[::-1]
        yield _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        elements, size = block_of(kind)
        offset += -(-(array.size // elements * size) // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(encoded)) + encoded


_TYPES = {"uint8": 0, "int8": 1, "uint16": 2, "int16": 3, "uint32": 4, "int32": 5, "float32": 6}
_TYPES |= {"bool": 7, "uint64": 10, "int64": 11, "float64": 12}


def _value(key: str, value: Any) -> tuple[int, bytes]:
    """The type of a setting, and its bytes."""
    if isinstance(value, str):
        return 8, _text(value)
    if isinstance(value, bool):
        return 7, bytes([value])
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, int):
        return 11, struct.pack("<q", value)
    if isinstance(value, np.ndarray | np.generic) and value.ndim <= 1 and value.dtype.name in _TYPES:
        kind, content = _TYPES[value.dtype.name], value.astype(value.dtype.newbyteorder("<")).tobytes()
        return (kind, content) if value.ndim == 0 else (9, struct.pack("<IQ", kind, value.size) + content)
    if isinstance(value, Sequence) and all(isinstance(one, str) for one in value):  # an empty list is one of texts
        return 9, struct.pack("<IQ", 8, len(value)) + b"".join(map(_text, value))
    raise CheckpointError(f"the setting {key} is a {type(value).__name__}, which GGUF does not hold")

"""The header of a safetensors file, checked before anything is read or allocated on its word.

The file is the length of the header (8 bytes, little-endian), the header (JSON), and the data::

    {"name": {"dtype": "F32", "shape": [5, 3], "data_offsets": [0, 60]}, ...}

The offsets count from the end of the header. The arrays lie side by side: no gap, no overlap, nothing left over, so
all arrays together are as large as the file and no larger.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
"""The format's name for each of NumPy's types."""

_ITEM_SIZES = {name: np.dtype(dtype).itemsize for dtype, name in DTYPES.items()}
_LONGEST = 100_000_000  # bytes of a header, a limit of the format
_MOST_AXES = 64  # NumPy's limit


def check_tensor_file(path: str | Path) -> None:
    """Check that the header of a safetensors file describes exactly the data behind it.

    Raises:
        CheckpointError: if the file cannot be read, the header is not JSON, or it declares what the file does not hold.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
            if length > min(size - 8, _LONGEST):
                raise CheckpointError(f"{path} is damaged: its header would be longer than the file, or than allowed")
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
        spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its header describes no arrays ({error})") from error
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise CheckpointError(f"{path} is damaged: {name} begins at byte {start} of the data instead of {end}")
        end = stop
    if end != size - 8 - length:
        raise CheckpointError(f"{path} is damaged: its arrays have {end} bytes, its data {size - 8 - length}")


def _span(name: str, entry: dict[str, Any]) -> tuple[int, int, str]:
    """First byte of an array, the byte behind its last one, and its name.

    Raises:
        ValueError: if type, shape and bytes do not fit each other; also KeyError and TypeError.
    """
    shape, (start, stop) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in _ITEM_SIZES:
        raise ValueError(f"{name} has the type {entry['dtype']!r:.20}, which NumPy does not have")
    if len(shape) > _MOST_AXES or any(type(size) is not int or not 0 <= size < 2**63 for size in [*shape, start, stop]):
        raise ValueError(f"the shape or the place of {name} is impossible")
    item = _ITEM_SIZES[entry["dtype"]]
    if math.prod(size for size in shape if size) * item >= 2**63:  # NumPy refuses (0, 2**62) too
        raise ValueError(f"the shape of {name} is impossible")
    if stop - start != math.prod(shape) * item:
        raise ValueError(f"the shape of {name} does not fit its bytes")
    return start, stop, name


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(members := dict(pairs)) != len(pairs):
        raise ValueError("a name stands in it twice")
    return members

"""Checks of a file's header that the safetensors library leaves out, before it reads the arrays.

The file is the length of the header (8 bytes, little-endian), the header (JSON), and the data::

    {"name": {"dtype": "F32", "shape": [5, 3], "data_offsets": [0, 60]}, ...}

The library makes sure that arrays lie side by side, fit their shapes and fill the file, so they are never larger than
it. It misses three things. It takes headers of up to 100 MB, which cost many times their size in memory. It takes the
second of two entries with one name. And it hands types that NumPy lacks, such as BF16, to code that fails in its own
ways.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ..errors import CheckpointError
from ..files import FileError, open_regular, parse_json

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
FOR_OTHERS = {"bfloat16": "BF16"}
"""A type that checkpoints do not have, for files that other programs read."""

_KNOWN = frozenset(DTYPES.values())
_LONGEST = 8_000_000  # bytes of a header: one array takes about 150
_MOST = 300_000  # lists and objects in it: one array has three


def check_tensor_header(path: str | Path) -> None:
    """Check what the library does not in the header of a safetensors file.

    Raises:
        CheckpointError: if the file is not regular or cannot be read, its header is too long or no JSON, a name stands
            in it twice, or an array has a type that NumPy lacks.
    """
    try:
        with open_regular(path, links=False) as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
            if length > min(size - 8, _LONGEST):
                raise CheckpointError(f"{path} is damaged: its header would be longer than the file, or than allowed")
            text = file.read(length)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        header = parse_json(text, containers=_MOST)
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] not in _KNOWN:
                raise ValueError(f"{name:.100} has the type {entry['dtype']!r:.20}, which NumPy does not have")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: its header describes no arrays ({error})") from error

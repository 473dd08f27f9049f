"""Named arrays in the safetensors format: a JSON header and the bytes, nothing that could run.

Writing is done here rather than by the library because it goes array by array: there is never a second copy of the
model in memory, and whoever receives the pieces can hash them on their way. Reading is the library's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import Array, to_numpy
from ..errors import CheckpointError

_TYPES = {
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


def tensor_pieces(arrays: Mapping[str, Array]) -> Iterator[bytes | NDArray[np.uint8]]:
    """The bytes of a safetensors file with ``arrays`` in it, header first, then one piece per array.

    Args:
        arrays: arrays by name, on any device, of any layout; fetched from a GPU one at a time.

    Yields:
        Pieces to be written one after the other.

    Raises:
        CheckpointError: if an array's dtype has no name in the format.
    """
    header, end = {}, 0
    for name, array in arrays.items():
        if array.dtype.name not in _TYPES:
            raise CheckpointError(f"cannot save {name}: safetensors has no {array.dtype}; convert it to float32")
        start, end = end, end + int(array.nbytes)
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants the data to start on a multiple of 8
    yield struct.pack("<Q", len(text)) + text
    for array in arrays.values():
        host = to_numpy(array)
        little = host.astype(host.dtype.newbyteorder("<"), copy=False)
        yield np.ascontiguousarray(little).reshape(-1).view(np.uint8)


def read_tensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, by name.

    Raises:
        CheckpointError: if the file is missing or not of that format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error

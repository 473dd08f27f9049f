"""Named arrays in the safetensors format: a JSON header and the bytes, nothing that could run.

Writing is done here rather than by the library because it goes array by array: there is never a second copy of the
model in memory, and whoever receives the pieces can hash them on their way. Reading is the library's, after
`tensor_header` has checked what the library does not.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import Array, is_array, to_numpy
from ..errors import CheckpointError
from .tensor_header import DTYPES, FOR_OTHERS, check_tensor_header

ARRAY = "__array__"
"""Key of what stands in JSON for an array that lies in a safetensors file."""


def tensor_pieces(
    arrays: Mapping[str, Array], *, metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | NDArray[np.uint8]]:
    """The bytes of a safetensors file with ``arrays`` in it, header first, then one piece per array.

    Args:
        arrays: arrays by name, on any device, of any layout; fetched from a GPU one at a time.
        metadata: texts by name, for files that others read.

    Yields:
        Pieces to be written one after the other.

    Raises:
        CheckpointError: if an array's dtype has no name in the format.
    """
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end, names = 0, DTYPES if metadata is None else DTYPES | FOR_OTHERS
    for name, array in arrays.items():
        if array.dtype.name not in names:
            raise CheckpointError(f"cannot save {name}: safetensors has no {array.dtype}; convert it to float32")
        start, end = end, end + int(array.nbytes)
        header[name] = {
            "dtype": names[array.dtype.name],
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
        CheckpointError: if the file is missing or not of that format, or its arrays are not what its header says.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    check_tensor_header(path)
    try:
        return load_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (SafetensorError, ValueError) as error:  # ValueError: a shape that NumPy cannot have
        raise CheckpointError(f"{path} is damaged: {error}") from error


def split_arrays(tree: Any) -> tuple[Any, dict[str, Array]]:
    """Nested dictionaries, lists and values in two: plain values for JSON, and the arrays by their dotted paths.

    Where an array was, ``{"__array__": path}`` stands.

    Raises:
        CheckpointError: if something is neither an array nor a value that JSON gives back as it was.
    """
    arrays: dict[str, Array] = {}
    return _plain(tree, "", arrays), arrays


def _plain(tree: Any, path: str, arrays: dict[str, Array]) -> Any:
    """``tree`` without its arrays, which are put into ``arrays``."""
    if is_array(tree):
        while path in arrays:  # {"a.b": …, "a": {"b": …}}
            path += "'"
        arrays[path] = tree
        return {ARRAY: path}
    if isinstance(tree, Mapping):
        for name in tree:
            if not isinstance(name, str):
                raise CheckpointError(f"cannot save {path or 'the state'}: its key {name!r} is not text; use str(...)")
        return {name: _plain(value, f"{path}.{name}" if path else name, arrays) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value, f"{path}.{i}", arrays) for i, value in enumerate(tree)]
    value = tree.item() if isinstance(tree, np.generic) else tree
    if value is not None and not isinstance(value, bool | int | float | str):
        kinds = "numbers, text, lists, dictionaries and arrays"
        raise CheckpointError(f"cannot save {path}: it is a {type(value).__name__}, and a checkpoint holds {kinds}")
    return value


def join_arrays(plain: Any, arrays: Mapping[str, Array]) -> Any:
    """The inverse of `split_arrays`, with tuples as lists.

    Raises:
        CheckpointError: if an array is missing.
    """
    if isinstance(plain, dict):
        if plain.keys() == {ARRAY}:
            if str(plain[ARRAY]) not in arrays:
                raise CheckpointError(f"the array {plain[ARRAY]!s:.100} is missing")
            return arrays[str(plain[ARRAY])]
        return {name: join_arrays(value, arrays) for name, value in plain.items()}
    if isinstance(plain, list):
        return [join_arrays(value, arrays) for value in plain]
    return plain

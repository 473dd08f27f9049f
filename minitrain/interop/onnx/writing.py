"""A graph becomes a file.

A file of ONNX is one protobuf message, which cannot have 2 GiB. Larger weights lie in a second file beside it, which
the first one names: ``model.onnx.<digest>.data``, with the digest of its bytes. So an older export stays whole until
the new ``model.onnx`` takes its place. The two files can be moved together into any folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import Array, to_numpy
from ...errors import ConfigError
from ...files import make_room, open_atomically
from ...versions import VERSION
from .graph import Graph, Port

IR_VERSIONS = {23: 11, 17: 8}
"""The version of the file format that came with each operator set. onnx itself would write its newest one, which older
programs refuse."""
LARGEST_INSIDE = 2**31 - 2**24
"""Weights of more bytes than this lie in a file of their own. The rest of a message of 2 GiB is for the nodes."""
SMALL = 4096
"""Constants of at most this many bytes are always inside."""
ALIGNMENT = 4096
"""Arrays in the second file begin at multiples of this, so that programs can map them into memory."""


class Outside(NamedTuple):
    """Where the large arrays of a graph are."""

    file: str
    spans: dict[str, tuple[int, int]]  # of each array: where it begins, and its number of bytes


def import_onnx() -> Any:
    """The package ``onnx``.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("exporting to ONNX needs the package onnx: pip install 'minitrain[onnx]'") from error
    return onnx


@contextlib.contextmanager
def writing(graph: Graph, path: Path, metadata: dict[str, str]) -> Iterator[Path]:
    """Write a graph. It can be read in the ``with`` block, and is at ``path`` if that ends without an error.

    Args:
        graph: the graph.
        path: the file.
        metadata: texts about the model, kept in the file.

    Yields:
        Where the graph can be read during the block.

    Raises:
        FileError: if it cannot be written.
    """
    path = make_room(path)
    before = {other.name for other in _second_files(path)}
    outside = _write_outside(graph, path) if _bytes(graph) > LARGEST_INSIDE else None
    new = {outside.file} if outside else set()
    try:
        with open_atomically(path) as file:
            file.write(message(graph, metadata, outside).SerializeToString(deterministic=True))
            file.flush()
            yield Path(file.name)
    except BaseException:
        _remove(path, new - before)
        raise
    _remove(path, before - new)


def message(graph: Graph, metadata: dict[str, str], outside: Outside | None) -> Any:
    """A graph as a ``ModelProto``."""
    onnx = import_onnx()
    helper = onnx.helper

    def port(port: Port) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
        return helper.make_tensor_value_info(port.name, kind, port.shape)

    nodes = [
        helper.make_node(node.op, node.inputs, node.outputs, name=node.outputs[0], **node.attributes)
        for node in graph.finished()
    ]
    tensors = [_tensor(onnx, name, array, outside) for name, array in graph.constants.items()]
    body = helper.make_graph(nodes, graph.name, [*map(port, graph.inputs)], [*map(port, graph.outputs)], tensors)
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=IR_VERSIONS[graph.opset],
        producer_name="minitrain",
        producer_version=VERSION,
    )
    helper.set_model_props(model, metadata)
    return model


def _tensor(onnx: Any, name: str, array: Array, outside: Outside | None) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype))
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=kind)
    if outside is None or name not in outside.spans:
        tensor.raw_data = _host(array).tobytes()
        return tensor
    start, length = outside.spans[name]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", outside.file), ("offset", str(start)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _host(array: Array) -> NDArray[Any]:
    """The array on the CPU, in one piece, in the byte order that ONNX has."""
    host = np.ascontiguousarray(to_numpy(array))
    return host.astype(host.dtype.newbyteorder("<"), copy=False)


def _bytes(graph: Graph) -> int:
    return sum(int(array.nbytes) for array in graph.constants.values())


def _write_outside(graph: Graph, path: Path) -> Outside:
    """Write the large arrays beside ``path``."""
    large = {name: array for name, array in graph.constants.items() if array.nbytes > SMALL}
    spans, end = {}, 0
    for name, array in large.items():
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + int(array.nbytes)
        spans[name] = (start, int(array.nbytes))

    def pieces() -> Iterator[bytes | memoryview]:
        written = 0
        for name, array in large.items():
            yield bytes(spans[name][0] - written)
            yield _host(array).reshape(-1).view(np.uint8).data
            written = sum(spans[name])

    digest = hashlib.sha256()
    for piece in pieces():
        digest.update(piece)
    name = f"{path.name}.{digest.hexdigest()[:16]}.data"
    with open_atomically(path.with_name(name)) as file:
        for piece in pieces():
            file.write(piece)
    return Outside(name, spans)


def _second_files(path: Path) -> list[Path]:
    """The second files of exports to ``path``, whether or not they are in use."""
    pattern = re.compile(re.escape(path.name) + r"\.[0-9a-f]{16}\.data")
    return [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]


def _remove(path: Path, names: Set[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            path.with_name(name).unlink()

"""Indices of arrays of the emulated device: what CuPy does differently from NumPy, and what moves data silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import record


def parts(index: Any) -> tuple[Any, ...]:
    """An index as a tuple."""
    return index if isinstance(index, tuple) else (index,)


def is_array(x: Any) -> bool:
    """Whether ``x`` is an array of the device."""
    return type(x).__module__ == "cupy"


def arrays_of(index: Any) -> list[Any]:
    """The arrays of the device in an index."""
    return [part for part in parts(index) if is_array(part)]


def has_mask(index: Any) -> bool:
    """Whether an index selects by a mask, so that only the device knows how much."""
    return any(is_array(part) and part.dtype.kind == "b" for part in parts(index))


def prepared(index: Any, shape: tuple[int, ...], unwrap: Callable[[Any], Any]) -> tuple[Any, bool]:
    """An index for NumPy, and whether it selects by arrays.

    Indices beyond the end wrap around, as in CuPy, which does not check them.

    Raises:
        TypeError: if a list or a NumPy array is among them: CuPy would copy it to the device at each use.
    """
    found, computes, axis = [], False, 0
    given = parts(index)
    taken = sum(_axes(part) for part in given)
    for part in given:
        if isinstance(part, list | np.ndarray | tuple | bool | np.bool_):
            raise TypeError(
                f"{record.caller()}: an index of type {type(part).__name__} would be copied to the GPU at each use: "
                "move it there with minitrain.backend.to_device"
            )
        if is_array(part):
            computes = True
            host = unwrap(part)
            if host.dtype.kind == "b":
                found.append(host)
            elif host.dtype.kind in "iu":
                size = shape[axis] if axis < len(shape) else 1
                found.append(host.astype(np.int64) % max(size, 1) if host.size else host.astype(np.int64))
            else:
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {host.dtype})")
        else:
            found.append(part)
        axis += len(shape) - taken if part is Ellipsis else _axes(part)
    return (tuple(found) if isinstance(index, tuple) else found[0]), computes


class Part:
    """The memory of an array in an index, without the array: a graph looks there again in each launch."""

    __module__ = "cupy"

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self.host, self.dtype, self.ndim = host, host.dtype, host.ndim


def kept(index: Any, unwrap: Callable[[Any], Any]) -> Any:
    """An index for later, which holds no array of the device but knows where its numbers are."""
    found = tuple(Part(unwrap(part)) if is_array(part) else part for part in parts(index))
    return found if isinstance(index, tuple) else found[0]


def pick(host: np.ndarray[Any, Any], index: Any) -> Any:
    """``host[index]`` for a `kept` index."""
    return host[prepared(index, host.shape, lambda part: part.host)[0]]


def put(host: np.ndarray[Any, Any], index: Any, content: Any) -> None:
    """``host[index] = content`` for a `kept` index."""
    host[prepared(index, host.shape, lambda part: part.host)[0]] = content


def combine(ufunc: np.ufunc, host: np.ndarray[Any, Any], index: Any, values: Any) -> None:
    """``ufunc.at(host, index, values)`` for a `kept` index."""
    ufunc.at(host, prepared(index, host.shape, lambda part: part.host)[0], values)


def _axes(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return int(part.ndim) if is_array(part) and part.dtype.kind == "b" else 1


def check_written(host: np.ndarray[Any, Any], index: Any, content: Any) -> None:
    """Raise an error if several values went to one element: on a device, their order is not known.

    Raises:
        RuntimeError: if what was written is not what is there.
    """
    there = host[index]
    meant = np.broadcast_to(np.asarray(content).astype(host.dtype, copy=False), there.shape)
    if not ((there == meant) | ((there != there) & (meant != meant))).all():  # NaN equals NaN here
        raise RuntimeError(
            f"{record.caller()}: several different values are assigned to one element; which one stays is not known "
            "on a GPU"
        )

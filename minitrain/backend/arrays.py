"""Which library an array belongs to, and moving arrays between CPU and GPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from ..errors import ShapeError
from .deferred import settle

Array: TypeAlias = np.ndarray[Any, Any]
"""A NumPy array, or a CuPy array, which has the same interface."""


def is_cupy(x: object) -> bool:
    """Whether ``x`` is a CuPy array (never imports CuPy)."""
    return type(x).__module__.partition(".")[0] == "cupy"


def is_array(x: object) -> bool:
    """Whether ``x`` is a NumPy or CuPy array."""
    return isinstance(x, np.ndarray) or is_cupy(x)


def check_array(what: str, x: object) -> None:
    """Raise an error unless ``x`` is an array that the operations can compute with.

    Args:
        what: the function and the argument, for the message.
        x: anything.

    Raises:
        ShapeError: if ``x`` is not a NumPy or CuPy array, or is a masked array or a matrix.
    """
    if not is_array(x):
        raise ShapeError(f"{what} must be a NumPy or CuPy array, got {type(x).__name__}; numpy.asarray makes one")
    check_plain(what, x)


def check_plain(what: str, x: object) -> None:
    """Raise an error for NumPy arrays with rules of their own, which the operations here do not follow.

    Args:
        what: name of the array, for the message.
        x: anything; only masked arrays and matrices are refused.

    Raises:
        ShapeError: if ``x`` is a masked array (its mask would be lost) or a matrix (its ``*`` is a product).
    """
    if type(x) is np.ndarray:
        return
    if isinstance(x, np.ma.MaskedArray):
        raise ShapeError(
            f"{what} is a masked array, and its mask would be lost: fill the masked places, such as by "
            "x.filled(0), and mark targets that do not count by -100"
        )
    if isinstance(x, np.matrix):
        raise ShapeError(f"{what} is a numpy.matrix, whose * is a matrix product: pass numpy.asarray(x)")


def array_module(x: object) -> Any:
    """The library that owns ``x``: ``cupy`` for a CuPy array, ``numpy`` for anything else.

    Reference code begins with ``xp = array_module(x)`` and then runs on either.
    """
    return sys.modules["cupy"] if is_cupy(x) else np


def device_of(x: object) -> str:
    """The device that holds ``x``: ``"cpu"``, or ``"cuda:0"`` and so on."""
    return f"cuda:{x.device.id}" if is_cupy(x) else "cpu"  # type: ignore[attr-defined]


def to_numpy(x: Any) -> Array:
    """Copy ``x`` to the CPU as a NumPy array; a NumPy array comes back as it is.

    From a GPU, this waits until all work before it is done. Errors that the GPU found meanwhile are raised here.

    Raises:
        ShapeError: if ``x`` is a masked array or a matrix.
        TokenError: if an operation on the GPU has met an id out of range, see `minitrain.backend.deferred`.
    """
    check_plain("the array", x)
    if not is_cupy(x):
        return np.asarray(x)
    settle(x.device.id)
    return x.get()  # type: ignore[no-any-return]


def to_number(x: Any) -> float:
    """A number, or the one element of an array on any device, as a Python float; from a GPU, see `to_numpy`."""
    return float(to_numpy(x)) if is_cupy(x) else float(x)


def to_device(x: Any, device: str) -> Array:
    """Move ``x`` to ``device``; an array already there comes back as it is.

    Args:
        x: an array of any device.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``, see `library_for`.

    Raises:
        DeviceError: if ``device`` is unknown, or a GPU is asked for and none can be used.
    """
    return library_for(device).asarray(x) if device != "cpu" else to_numpy(x)


def constant(numbers: tuple[float, ...], like: Array) -> Array:
    """A float64 array of numbers that stay the same, on the device of ``like``; moved to a GPU once, not in each call.

    Nobody may write to it.
    """
    if not is_cupy(like):
        return np.asarray(numbers, np.float64)
    key = (id(sys.modules["cupy"]), device_of(like), numbers)
    if key not in _constants:
        if len(_constants) >= 1000:
            _constants.clear()
        _constants[key] = array_module(like).asarray(np.asarray(numbers, np.float64))
    return _constants[key]


_constants: dict[tuple[int, str, tuple[float, ...]], Array] = {}


def library_for(device: str) -> ModuleType:
    """The array library that serves ``device``: NumPy for ``"cpu"``, CuPy for a GPU.

    Args:
        device: ``"cpu"``, ``"cuda"`` for the current GPU, or ``"cuda:N"``, which becomes the current one of this
            thread: CuPy computes with arrays of the current GPU alone.

    Raises:
        DeviceError: if ``device`` is neither, or if there is no usable GPU; the message says why.
    """
    if device == "cpu":
        return np
    from .cuda.device import use_gpu

    return use_gpu(device)

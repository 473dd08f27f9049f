"""The functions of the emulated library: those of CuPy that minitrain calls, computed by NumPy.

What is not listed here does not exist, so a new function is first looked up in CuPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import record
from .array import NAMES, _note, arrays_in, checked_dtype, compute, fresh, ndarray, touch, unwrap, wrap
from .capture import refuse
from .indexing import arrays_of, check_written, combine, kept, prepared
from .memory import empty_pinned
from .names import CONSTANTS, PLAIN, SELECTIONS, UFUNCS
from .streams import current_device, current_stream, recording

UNORDERED = {"add", "subtract"}


class ufunc:
    """A function of each element.

    Args:
        name: of NumPy's function.
    """

    def __init__(self, name: str) -> None:
        self._numpy: np.ufunc = getattr(np, name)
        self.__name__, self.nin = name, self._numpy.nin

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        """Compute it; as in CuPy, the output may be the last positional argument."""
        if len(args) > self.nin:
            *args, out = args  # type: ignore[assignment]
        if isinstance(out, tuple):
            (out,) = out
        options = {} if dtype is None else {"dtype": dtype}
        if not isinstance(out, ndarray | None):
            raise TypeError(f"{record.caller()}: Unsupported type {type(out)} for out")
        return compute(self.__name__, self._numpy, *args, out=out, casting=casting, **options)

    def at(self, array: ndarray, index: Any, values: Any) -> None:
        """Combine ``values`` into the elements that ``index`` names, one after the other in no fixed order."""
        if self.__name__ in UNORDERED and array.dtype.kind == "f":
            record.count("unordered")
        touch([*arrays_of(index), *arrays_in(values)], [array])
        host, _ = prepared(index, array.shape, unwrap)
        record.called(f"{self.__name__}.at", array.shape, array.dtype)
        with np.errstate(all="ignore"):
            self._numpy.at(unwrap(array), host, unwrap(values))
        _note(
            f"{self.__name__}.at", combine, (self._numpy, unwrap(array), kept(index, unwrap), unwrap(values)), {}, None
        )


def _plain(name: str) -> Any:
    function = getattr(np, name)

    def call(*args: Any, **options: Any) -> Any:
        return compute(name, function, *args, **options)

    call.__name__ = name
    return call


def _selecting(name: str) -> Any:
    function = getattr(np, name)

    def call(*args: Any, **options: Any) -> Any:
        refuse(recording(), name)
        record.synchronised()
        return compute(name, function, *args, **options)

    return call


def asarray(x: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False) -> Any:
    """An array of the device: ``x`` itself if it is one already, otherwise a copy, which is a transfer."""
    if isinstance(x, ndarray):
        if dtype is not None and np.dtype(dtype) != x.dtype:
            return x.astype(dtype)  # type: ignore[attr-defined]
        if x.data.device_id != current_device():
            return fresh(x._host)  # a copy from one device to the other
        return compute("copy", np.array, x) if copy else x
    if any(isinstance(part, ndarray) for part in (x if isinstance(x, list | tuple) else ())):
        return compute("stack", np.stack, list(x))
    host = np.asarray(x, dtype)
    checked_dtype(host.dtype)
    refuse(recording(), "a copy from the host")
    record.copied("to_device", host.nbytes)
    current_stream().work()
    return fresh(np.array(host, order=order or "K"))


def array(x: Any, dtype: Any = None, copy: bool = True, order: str = "K", *, ndmin: int = 0, **options: Any) -> Any:
    """A new array of the device."""
    found = asarray(x, dtype, copy=copy)
    return found if found.ndim >= ndmin else found.reshape((1,) * (ndmin - found.ndim) + found.shape)


def ascontiguousarray(x: Any, dtype: Any = None) -> Any:
    """``x`` in C order: itself if it is already."""
    if not isinstance(x, ndarray):
        return asarray(np.ascontiguousarray(x, dtype))
    found = asarray(x, dtype)
    return found if found.flags.c_contiguous else compute("copy", np.ascontiguousarray, found)


def asnumpy(x: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    """A NumPy array with the elements of ``x``."""
    return x.get(stream, order, out, blocking) if isinstance(x, ndarray) else np.asarray(x)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """New memory, which is NaN everywhere here."""
    return ndarray(shape, dtype, order=order)


def _filled(value: Any, name: str) -> Any:
    def call(shape: Any, dtype: Any = float, order: str = "C") -> Any:
        found = ndarray(shape, dtype, order=order)
        touch([], [found])
        record.called(name, found.shape, found.dtype)
        found._host[...] = value
        _note(name, found._host.fill, (value,), {}, None)
        return found

    return call


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> Any:
    """``fill_value`` everywhere."""
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, ndarray) else np.asarray(fill_value).dtype
    found = ndarray(shape, dtype, order=order)
    found[...] = fill_value
    return found


def _like(function: Any) -> Any:
    def call(x: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> Any:
        host = np.empty_like(x._host, shape=shape)
        kind = x.dtype if dtype is None else dtype
        return function(host.shape, kind, order="F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C")

    return call


def full_like(
    x: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> Any:
    """``fill_value`` everywhere, in the shape of ``x``."""
    return full(x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    """Numbers in equal steps."""
    if any(isinstance(x, ndarray) for x in (start, stop, step)):
        raise TypeError(f"{record.caller()}: arange takes numbers of the host")
    first, last = (0, start) if stop is None else (start, stop)
    numbers: Any = np.arange
    return _made("arange", numbers(first, last, step, dtype))


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None) -> Any:
    """``num`` numbers from ``start`` to ``stop``."""
    return _made("linspace", np.linspace(start, stop, num, endpoint, dtype=dtype))


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C") -> Any:
    """The unit matrix."""
    return _made("eye", np.eye(N, M, k, dtype))


def _made(name: str, host: Any) -> Any:
    current_stream().work()
    record.called(name, host.shape, host.dtype)
    found = fresh(host)
    _note(name, np.copyto, (found._host, host), {}, None)
    return found


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """``x`` where the condition holds, ``y`` elsewhere; with the condition alone, the places where it holds."""
    if x is None and y is None:
        return NAMESPACE["nonzero"](condition)
    if np.isscalar(condition):  # CuPy broadcasts arrays only
        condition = asarray(condition)
    return compute("where", np.where, condition, x, y)


def bincount(x: Any, weights: Any = None, minlength: Any = None) -> Any:
    """How often each number occurs; the host waits for the largest."""
    refuse(recording(), "bincount")
    record.synchronised()
    return compute("bincount", np.bincount, x, weights, 0 if minlength is None else minlength)


def put_along_axis(arr: Any, indices: Any, values: Any, axis: int) -> None:
    """Write ``values`` at ``indices`` along an axis."""
    touch([*arrays_in(indices), *arrays_in(values)], [arr])
    record.called("put_along_axis", arr.shape, arr.dtype)
    where_to = unwrap(indices)
    np.put_along_axis(unwrap(arr), where_to, unwrap(values), axis)
    _note("put_along_axis", np.put_along_axis, (unwrap(arr), where_to, unwrap(values), axis), {}, None)
    there = np.take_along_axis(unwrap(arr), where_to, axis)
    check_written(there, ..., unwrap(values))


def take_along_axis(a: Any, indices: Any, axis: int) -> Any:
    """The elements that ``indices`` names along an axis; those beyond the end wrap around."""

    def take(host: Any, places: Any) -> Any:
        return np.take_along_axis(host, places % max(host.shape[axis], 1), axis)

    return compute("take_along_axis", take, a, indices)


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """The matrix product.

    Raises:
        TypeError: for batched bfloat16 arrays, where CuPy 14's product crashes.
    """
    for x in (a, b):
        if isinstance(x, ndarray) and x.ndim > 2 and x.dtype.itemsize == 2:
            raise TypeError(
                f"{record.caller()}: cupy.matmul of batches in {x.dtype} crashes or is slow in CuPy 14: use the "
                "product of minitrain.backend.cuda"
            )
    return compute("matmul", np.matmul, a, b, out=out)


def may_share_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    """Whether two arrays overlap; nothing is computed on the device."""
    return bool(np.shares_memory(unwrap(a), unwrap(b)))


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """Windows of an array as a view."""
    return wrap(np.lib.stride_tricks.sliding_window_view(unwrap(x), window_shape, axis), [x])


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    """A view with other sizes and strides."""
    return wrap(np.lib.stride_tricks.as_strided(unwrap(x), shape, strides), [x])


NAMESPACE: dict[str, Any] = {name: ufunc(name) for name in UFUNCS}
NAMESPACE |= {name: _plain(name) for name in PLAIN}
NAMESPACE |= {name: _selecting(name) for name in SELECTIONS}
NAMESPACE |= {name: getattr(np, name) for name in CONSTANTS}
NAMESPACE |= {
    function.__name__: function
    for function in (
        *(arange, array, as_strided, asarray, ascontiguousarray, asnumpy, bincount, empty, empty_pinned, eye, full),
        *(
            full_like,
            linspace,
            matmul,
            may_share_memory,
            ndarray,
            put_along_axis,
            sliding_window_view,
            take_along_axis,
            where,
        ),
    )
}
NAMESPACE |= {
    "shares_memory": may_share_memory,
    "bool": np.bool_,
    "ones": _filled(1, "ones"),
    "zeros": _filled(0, "zeros"),
    "amax": NAMESPACE["max"],
    "amin": NAMESPACE["min"],
    "ufunc": ufunc,
}
NAMESPACE |= {f"{name}_like": _like(NAMESPACE[name]) for name in ("empty", "ones", "zeros")}
for _name in ("empty_pinned", "as_strided", "sliding_window_view"):
    NAMESPACE.pop(_name)  # of other modules of CuPy
"""The names of the module ``cupy`` that exist here."""
NAMES.update(NAMESPACE)

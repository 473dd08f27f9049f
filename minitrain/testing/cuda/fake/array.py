"""The array of the emulated device: it lies in host memory, and nothing on the host can read it unasked.

CuPy converts nothing to NumPy on its own, but ``float(x)``, ``bool(x)``, ``x.item()``, ``x.tolist()`` and the use of a
list or a NumPy array as an index move data without a word. Here these are errors too, so whatever moves data says so,
with ``minitrain.backend.to_numpy`` or ``to_device``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import indexing, record
from .capture import again, refuse
from .interface import Known, Refuses
from .memory import Memory, MemoryPointer, alloc, is_pinned
from .streams import PENDING, Stream, Stretch, current_device, current_stream, recording

KINDS = "biufc"
NAMES: dict[str, Any] = {}
"""The functions of the library, which ``np.exp(x)`` is passed on to."""


class ndarray(Known, Refuses):
    """An array on the emulated device.

    Args:
        shape: its shape.
        dtype: of its elements.
        memptr: memory to lie in; new memory by default.
        strides: bytes from one element to the next along each axis.
        order: ``"C"`` or ``"F"``.
    """

    __module__ = "cupy"
    __slots__ = ("__weakref__", "_host", "base", "data")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    _host: np.ndarray[Any, Any]
    data: MemoryPointer
    base: ndarray | None

    def __init__(
        self,
        shape: int | tuple[int, ...],
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: tuple[int, ...] | None = None,
        order: str = "C",
    ) -> None:
        dtype = checked_dtype(dtype)
        sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        self.data = alloc(int(np.prod(sizes, dtype=np.int64)) * dtype.itemsize) if memptr is None else memptr
        self.base = None
        # NumPy wants room for an element even where there is none
        room = self.data.mem.raw if self.data.mem.size else np.empty(dtype.itemsize, np.uint8)
        self._host = np.ndarray(sizes, dtype, room, self.data.offset, strides, order)  # type: ignore[arg-type]

    @property
    def T(self) -> ndarray:
        """Its axes in reverse."""
        return view(self, self._host.T)

    def __iter__(self) -> Iterator[ndarray]:
        if self.ndim < 2:
            raise self._refuse("iteration")
        return (self[i] for i in range(len(self)))  # views: nothing moves

    # Explicit transfers.

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        """Copy it to the host, which waits for all work of the stream before."""
        stream = current_stream() if stream is None else stream
        refuse(stream.recording, "a copy to the host")
        self.data.mem.marks.read(stream, stream.work(), stretch(self))
        record.copied("to_host", self.nbytes)
        if blocking:
            record.synchronised()
            stream.finish(stream.done, stream.seen)
        if out is None:
            return np.array(self._host, order=order if order in ("C", "F") else "C")  # type: ignore[call-overload]
        out[...] = self._host
        return out

    def set(self, array: Any, stream: Any = None) -> None:
        """Copy a NumPy array of the same shape and dtype here; from pinned memory, beside the host."""
        if not isinstance(array, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != array.dtype:
            raise TypeError(f"{array.dtype} array cannot be set to {self.dtype} array")
        if self.shape != array.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {array.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        stream = current_stream() if stream is None else stream
        refuse(stream.recording, "a copy from the host")
        number = stream.work()
        self.data.mem.marks.write(stream, number, stretch(self))
        record.copied("to_device", self.nbytes)
        if is_pinned(array):
            PENDING.add(stream, number, array)
        self._host[...] = array

    def __copy__(self) -> ndarray:
        return fresh(self._host)

    def __deepcopy__(self, memo: Any) -> ndarray:
        return compute("copy", np.array, self)  # type: ignore[no-any-return]

    # Indexing.

    def __getitem__(self, index: Any) -> ndarray:
        touch(indexing.arrays_of(index))
        host, computes = indexing.prepared(index, self.shape, unwrap)
        if not computes:
            return self._part(host)
        found = self._host[host]
        touch([self])
        record.called("getitem", np.shape(found), self.dtype)
        if indexing.has_mask(index):
            refuse(recording(), "a selection whose size only the device knows")
            record.synchronised()  # the host must know how many are selected
        result = fresh(found)
        _note("getitem", indexing.pick, (self._host, indexing.kept(index, unwrap)), {}, result._host)
        return result

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError(f"{record.caller()}: non-scalar numpy.ndarray cannot be used for fill")
        if isinstance(value, list | tuple):
            raise TypeError(f"{record.caller()}: a {type(value).__name__} cannot be assigned to a part of an array")
        host, computes = indexing.prepared(index, self.shape, unwrap)
        place = self if computes else self._part(host)
        touch([*indexing.arrays_of(index), *([value] if isinstance(value, ndarray) else [])], [place])
        if indexing.has_mask(index) and isinstance(value, ndarray) and value.size != 1:
            record.synchronised()
        content = unwrap(value)
        record.called("setitem", self.shape, self.dtype)
        with np.errstate(all="ignore"):
            self._host[host] = content
        _note("setitem", indexing.put, (self._host, indexing.kept(index, unwrap), content), {}, None)
        if computes and not indexing.has_mask(index):
            indexing.check_written(self._host, host, content)

    def _part(self, index: Any) -> ndarray:
        """The view that an index without arrays selects."""
        found = self._host[index]
        return view(self, found if isinstance(found, np.ndarray) else self._host[(*_tuple(index), Ellipsis)])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        function = NAMES.get(ufunc.__name__)
        return function(*inputs, **options) if method == "__call__" and function is not None else NotImplemented

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        ours = NAMES.get(function.__name__)
        return NotImplemented if ours is None else ours(*args, **options)


def _tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """A dtype that a device has.

    Raises:
        ValueError: for texts, objects and dates, in CuPy's words.
    """
    found: np.dtype[Any] = np.dtype(dtype)
    if found.kind not in KINDS and found.name != "bfloat16":
        raise ValueError(f"Unsupported dtype {found}")
    return found


def unwrap(x: Any) -> Any:
    """The NumPy value of an argument of a call.

    Raises:
        TypeError: if it is a NumPy array, in CuPy's words.
    """
    if isinstance(x, ndarray):
        if x.data.device_id != current_device():
            raise ValueError(
                f"{record.caller()}: Array device must be same as the current device: array device = "
                f"{x.data.device_id} while current = {current_device()}"
            )
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError(f"{record.caller()}: Unsupported type {type(x)}")
    if isinstance(x, tuple | list):
        return type(x)(map(unwrap, x)) if not hasattr(x, "_fields") else tuple(map(unwrap, x))
    return x


def arrays_in(x: Any) -> list[ndarray]:
    """The arrays of the device in an argument."""
    if isinstance(x, ndarray):
        return [x]
    return [array for part in x for array in arrays_in(part)] if isinstance(x, tuple | list) else []


def stretch(array: ndarray) -> Stretch:
    """The addresses that the elements of an array are at; between them there may be other bytes."""
    start = stop = array.data.ptr
    if not array.size:
        return start, start
    for length, stride in zip(array.shape, array.strides, strict=True):
        reach = (length - 1) * stride
        start, stop = start + min(reach, 0), stop + max(reach, 0)
    return start, stop + array.dtype.itemsize


def touch(reads: list[ndarray], writes: list[ndarray] = []) -> None:  # noqa: B006  (never changed)
    """Enqueue work that reads and writes these arrays, after a check that nothing else is at them."""
    stream: Stream = current_stream()
    number = stream.work()
    for array in reads:
        array.data.mem.marks.read(stream, number, stretch(array))
    for array in writes:
        array.data.mem.marks.write(stream, number, stretch(array))
        if stream.recording is not None:
            stream.recording.keep(array.data.mem)


def _note(name: str, function: Any, args: Any, options: dict[str, Any], result: Any) -> None:
    """Note a call, if the current stream is captured, so that its graph can make it again."""
    if (noted := recording()) is not None:
        noted.add(name, again(function, args, options, result))


def fresh(host: Any) -> ndarray:
    """A new array with a copy of ``host``; axes that NumPy has in another order in memory stay in that order."""
    host = np.asarray(host)
    layout = np.empty_like(host, subok=False).strides if host.ndim > 1 and not host.flags.c_contiguous else None
    array = ndarray(host.shape, host.dtype, strides=layout)
    stream = current_stream()
    if stream.recording is not None:
        stream.recording.keep(array.data.mem)
    array._host[...] = host
    array.data.mem.marks.write(stream, stream.done, stretch(array))
    return array


def view(array: ndarray, host: np.ndarray[Any, Any]) -> ndarray:
    """A part of ``array``, which lies in the same memory."""
    part = ndarray.__new__(ndarray)
    memory: Memory = array.data.mem
    part.data = MemoryPointer(memory, host.ctypes.data - memory.ptr if host.size else array.data.offset)
    part.base = array if array.base is None else array.base
    part._host = host
    return part


def wrap(result: Any, inputs: list[ndarray]) -> Any:
    """The result of a call: views stay views, and everything that was computed is an array, numbers too."""
    if isinstance(result, tuple | list):
        return type(result)(wrap(part, inputs) for part in result)
    if not isinstance(result, np.ndarray | np.generic):
        return result
    if isinstance(result, np.ndarray) and result.size:
        address = result.ctypes.data
        for array in inputs:
            if array.data.mem.ptr <= address < array.data.mem.ptr + array.data.mem.size:
                return view(array, result)
    return fresh(result)


def _made(result: Any) -> Any:
    """The memory that a call's results went to, ``None`` where they are views; ``None`` if nothing was computed."""
    if isinstance(result, tuple | list):
        places = [_made(part) for part in result]
        return places if any(place is not None for place in places) else None
    return result._host if isinstance(result, ndarray) and result.base is None else None


def compute(name: str, function: Any, *args: Any, out: ndarray | None = None, **options: Any) -> Any:
    """Call a function of NumPy on arrays of the device.

    Args:
        name: for the record.
        function: of NumPy.
        args: arrays of the device, numbers, and tuples and lists of them.
        out: where the result goes.
        options: more arguments.
    """
    inputs = [array for x in (*args, *options.values()) for array in arrays_in(x)]
    host = [unwrap(x) for x in args]
    named = {key: unwrap(x) for key, x in options.items()}
    touch(inputs, [] if out is None else [out])
    with np.errstate(all="ignore"):  # a device warns of nothing
        if out is not None:
            function(*host, out=unwrap(out), **named)
            result: Any = out
        else:
            result = wrap(function(*host, **named), inputs)
    if out is not None:
        _note(name, function, host, {**named, "out": unwrap(out)}, None)
    elif (made := _made(result)) is not None:
        _note(name, function, host, named, made)
    first = result[0] if isinstance(result, tuple | list) and result else result
    if isinstance(first, ndarray) and not (first.base is not None and out is None):
        record.called(name, first.shape, first.dtype)
    return result

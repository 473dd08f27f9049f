"""Methods and operators of the array, made of the functions: ``x.sum(axis=0)``, ``x + y``, ``x += y``."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import record
from .array import _note, compute, ndarray, touch, unwrap, view
from .functions import NAMESPACE
from .names import METHODS

BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}


def _binary(function: Any) -> tuple[Any, Any, Any]:
    return (
        lambda self, other: function(self, other),
        lambda self, other: function(other, self),
        lambda self, other: function(self, other, out=self),
    )


def _method(name: str) -> Any:
    def call(self: ndarray, *args: Any, **options: Any) -> Any:
        return compute(name, lambda host, *rest, **named: getattr(host, name)(*rest, **named), self, *args, **options)

    call.__name__ = name
    return call


def astype(
    self: ndarray, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
) -> ndarray:
    """The elements as another type."""
    if np.dtype(dtype) == self.dtype and not copy:
        return self
    return compute("astype", lambda host: host.astype(dtype, order), self)  # type: ignore[no-any-return]


def reshape(self: ndarray, *shape: Any, order: str = "C") -> Any:
    """The elements in another shape: a view where the memory allows it."""
    return compute("copy", lambda host: host.reshape(*shape, order=order), self)


def transpose(self: ndarray, *axes: Any) -> ndarray:
    """A view with the axes in another order."""
    return view(self, unwrap(self).transpose(*axes))


def view_as(self: ndarray, dtype: Any = None) -> ndarray:
    """The same memory, as another type."""
    return view(self, unwrap(self).view() if dtype is None else unwrap(self).view(dtype))


def fill(self: ndarray, value: Any) -> None:
    """Set all elements."""
    self[...] = value


def sort(self: ndarray, axis: int = -1, kind: Any = None) -> None:
    """Sort in place."""
    touch([self], [self])
    record.called("sort", self.shape, self.dtype)
    unwrap(self).sort(axis)
    _note("sort", unwrap(self).sort, (axis,), {}, None)


def nonzero(self: ndarray) -> Any:
    """Where the elements are not zero; the host waits for their number."""
    return NAMESPACE["nonzero"](self)


def install() -> None:
    """Give the array its methods and operators."""
    for name, ufunc in BINARY.items():
        plain, reflected, in_place = _binary(NAMESPACE[ufunc])
        for prefix, method in (("", plain), ("r", reflected), ("i", in_place)):
            setattr(ndarray, f"__{prefix}{name}__", method)
    for name, ufunc in COMPARISONS.items():
        setattr(ndarray, f"__{name}__", _binary(NAMESPACE[ufunc])[0])
    for name, ufunc in UNARY.items():
        setattr(ndarray, f"__{name}__", lambda self, function=NAMESPACE[ufunc]: function(self))
    matmul, reflected, _ = _binary(NAMESPACE["matmul"])
    setattr(ndarray, "__matmul__", matmul)  # noqa: B010  (the type checker reads an attribute as the operator)
    setattr(ndarray, "__rmatmul__", reflected)  # noqa: B010
    for name in METHODS:
        setattr(ndarray, name, _method(name))
    for method in (astype, reshape, transpose, fill, sort, nonzero):
        setattr(ndarray, method.__name__, method)
    ndarray.view = view_as  # type: ignore[attr-defined]


install()

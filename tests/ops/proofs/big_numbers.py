"""Arrays of seventy digits: the reference code runs on them as it is.

A `Big` is an array of objects whose elements are mpmath numbers. NumPy's functions reach it through
``__array_ufunc__``; everything else of the reference is sums, products and indexing, which work on any object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from mpmath import MPContext

from minitrain.backend.pool import POOL
from minitrain.backend.targets import deliver
from minitrain.ops.activations import gelu
from minitrain.ops.contract.op import observe

DIGITS = 70
CONTEXT = MPContext()  # of its own: the digits of mpmath.mp belong to everybody
CONTEXT.dps = DIGITS
Number = CONTEXT.mpf

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": CONTEXT.exp,
    "log": CONTEXT.log,
    "log1p": CONTEXT.log1p,
    "expm1": CONTEXT.expm1,
    "sqrt": CONTEXT.sqrt,
    "tanh": CONTEXT.tanh,
    "sin": CONTEXT.sin,
    "cos": CONTEXT.cos,
    "erfc": CONTEXT.erfc,
    "sign": lambda x: CONTEXT.sign(x),
    "isfinite": lambda x: bool(CONTEXT.isfinite(x)),
    "isnan": lambda x: bool(CONTEXT.isnan(x)),
    "isinf": lambda x: bool(CONTEXT.isinf(x)),
    "signbit": lambda x: bool(x < 0),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
}
BOOLEAN = {"isfinite", "isnan", "isinf", "signbit"}


for _name, _function in FUNCTIONS.items():  # for plain arrays of numbers, on which NumPy calls methods
    setattr(Number, _name, _function)


class Big(np.ndarray):
    """An array of numbers with seventy digits."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Big) else x for x in inputs]
        options.pop("dtype", None)  # a wider sum: it is wide enough
        options.pop("casting", None)
        options.pop("subok", None)
        name = ufunc.__name__
        if name in FUNCTIONS and method == "__call__":
            numbers = big(plain[0])
            values = [FUNCTIONS[name](value) for value in numbers.ravel().tolist()]
            kind = bool if name in BOOLEAN else object
            result = np.fromiter(values, kind, len(values)).reshape(numbers.shape)
        else:
            result = getattr(ufunc, method)(*plain, **options)
        if out is not None:
            out[0][...] = result
            return out[0]
        return result if result is None or np.asarray(result).dtype == bool else big(result)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        result = super().__array_function__(function, [Big], args, options)
        return result.view(Big) if type(result) is np.ndarray and result.dtype == object else result

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Stays as it is where floats are asked for: they would lose the digits."""
        return self.copy() if np.dtype(dtype).kind == "f" else super().astype(dtype, *args, **options)


def big(x: Any) -> Big:
    """An array with the same numbers, exactly."""
    array = np.asarray(x, object)
    values = [_number(value) for value in array.ravel()]
    made = np.fromiter(values, object, len(values)).reshape(array.shape)
    return made.view(Big)


def _number(value: Any) -> Any:
    if type(value) is Number:
        return value
    return CONTEXT.mpf(0 if value is None else value.item() if isinstance(value, np.generic) else value)


def _filled(make: Callable[..., Any]) -> Callable[..., Any]:
    """``numpy.zeros`` and the like, which make arrays of numbers where floats or objects are asked for."""

    def filled(*arguments: Any, **options: Any) -> Any:
        made = make(*arguments, **options)
        if made.dtype != object and made.dtype.kind != "f":
            return made
        return big(made)

    return filled


@contextmanager
def reference_code() -> Iterator[None]:
    """Operations run their reference, unchecked, inside of other operations too, with constants of seventy digits."""
    before = observe(_by_reference)
    made = {name: _filled(getattr(np, name)) for name in ("zeros", "empty", "full")}
    # It would give a plain array, whose sum in float64 has sixteen digits.
    made["asarray"] = lambda x, *args, _=np.asarray, **options: x if isinstance(x, Big) else _(x, *args, **options)
    constants = {
        "SQRT_HALF": CONTEXT.sqrt(CONTEXT.mpf("0.5")),
        "INV_SQRT_2PI": 1 / CONTEXT.sqrt(2 * CONTEXT.pi),
        "SQRT_2_OVER_PI": CONTEXT.sqrt(2 / CONTEXT.pi),
        "CUBIC": CONTEXT.mpf("0.044715"),
    }
    try:
        # The pool gives memory that was used before, which is no place for objects.
        with (
            mock.patch.multiple(np, **made),
            mock.patch.multiple(gelu, **constants),
            mock.patch.object(type(POOL), "empty", lambda self, shape, dtype: np.empty(shape, dtype)),
        ):
            yield
    finally:
        observe(before)


def _by_reference(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run the reference, and write gradients where the caller wants them."""
    into = options.pop("into", None)
    result = function.reference(*args, **options)
    if into is None:
        return result
    many = result if isinstance(result, tuple) else (result,)
    return tuple(None if g is None else deliver(g, t) for g, t in zip(many, into, strict=True))

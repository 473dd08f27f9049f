"""Precision: whether the operands of matrix products have 32 bits, 16 or 8.

The policy is one word for a whole computation. Under ``"bfloat16"`` or ``"float16"``:

- Every product rounds its operands to 16 bits, to the nearest value and ties to even, and sums in float32.
- What an operation keeps of an operand for its backward, it keeps in 16 bits.
- Everything else stays in float32: weights, their gradients, optimizer state, norms, softmax sums, losses.

Under ``"float8"`` the products of feed-forward layers have operands of 8 bits (``cuda/float8.py``), and all others are
those of ``"bfloat16"``.

The policy decides in the forward. The backward follows its cache: where the kept operand has 16 bits, the gradients
that are multiplied with it are rounded the same way. So a backward outside the ``with`` block still fits its forward.

Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740; Kalamkar et al., A Study of BFLOAT16 for Deep
Learning Training, 2019, arXiv:1905.12322.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..errors import ConfigError, nearest
from .arrays import Array, is_array

PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float8", "float64")
"""``tf32`` is ``float32`` on a CPU; a GPU will round the operands of products to 11 significant bits. ``float8`` trains
on a GPU only. ``float64`` rounds nothing: it goes with a model of ``dtype="float64"``."""
HALF = ("bfloat16", "float16")

_precision: ContextVar[str] = ContextVar("precision", default="float32")
_before_rounding: ContextVar[Callable[[Array, np.dtype[Any]], Array] | None] = ContextVar("before", default=None)


def current_precision() -> str:
    """The policy in force, one of ``PRECISIONS``."""
    return _precision.get()


def operand_precision() -> str:
    """The precision of operands in general: that in force, and ``"bfloat16"`` under ``"float8"``."""
    name = _precision.get()
    return "bfloat16" if name == "float8" else name


@contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Compute products in another precision inside a ``with`` block.

    In float16, NumPy does not warn there of overflow and of what comes of it: loss scaling looks for both.

    Raises:
        ConfigError: if ``name`` is no precision.
    """
    token = _precision.set(check_precision(name))
    try:
        with np.errstate(over="ignore", invalid="ignore") if name == "float16" else nullcontext():
            yield
    finally:
        _precision.reset(token)


def check_precision(name: str) -> str:
    """``name`` itself.

    Raises:
        ConfigError: if it is no precision.
    """
    if name not in PRECISIONS:
        near = nearest(str(name), PRECISIONS)
        hint = f"did you mean {near!r}?" if near else f"choose from {', '.join(PRECISIONS)}"
        raise ConfigError(f"precision {name!r} is unknown; {hint}")
    return name


@functools.cache
def half_dtype(name: str) -> np.dtype[Any]:
    """The dtype of ``"bfloat16"`` (of the package ml_dtypes: NumPy has none) or ``"float16"``."""
    if name == "float16":
        return np.dtype(np.float16)
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def is_half(x: object) -> bool:
    """Whether ``x`` is an array of 16-bit floating-point numbers."""
    return is_array(x) and x.dtype.itemsize == 2 and x.dtype.name in HALF  # type: ignore[attr-defined]


def operand(x: Array) -> Array:
    """``x`` as the operand of a product: float32 numbers are rounded as the policy says, others stay as they are."""
    name = operand_precision()
    return rounded(x, half_dtype(name)) if name in HALF and x.dtype == np.float32 else x


def operand_like(x: Array, kept: Array) -> Array:
    """``x`` as the other operand of a product with ``kept``: rounded if ``kept`` has 16 bits."""
    return rounded(x, kept.dtype) if is_half(kept) and x.dtype == np.float32 else x


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """``x`` rounded to ``dtype``, to nearest and ties to even. float16 turns numbers above 65,504 into infinity."""
    x = changed(x, dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def changed(x: Array, dtype: np.dtype[Any]) -> Array:
    """``x``, or the array that ``before_rounding`` puts in its place before it is rounded to ``dtype``."""
    change = _before_rounding.get()
    return x if change is None else change(x, dtype)


@contextmanager
def before_rounding(change: Callable[[Array, np.dtype[Any]], Array]) -> Iterator[None]:
    """Inside the ``with`` block, round ``change(x, dtype)`` in place of each ``x`` (reference code only).

    ``minitrain.testing.check_half_gradients`` rounds at random with this.
    """
    token = _before_rounding.set(change)
    try:
        yield
    finally:
        _before_rounding.reset(token)


def wide(x: Array) -> Array:
    """``x`` as float32 if it has 16 bits, else ``x`` itself. Every 16-bit number is a float32 number."""
    return x.astype(np.float32) if is_half(x) else x

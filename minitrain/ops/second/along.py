"""Derivatives of a whole computation along a direction, to the last digits.

Layers add, slice and stack arrays between operations, and nothing records that. So the direction travels with the
arrays: a complex number ``x + i h u`` holds a value x and its change u. With ``h = 2^-330`` the square of h is nothing
beside any value. Then sums and products of complex numbers are the rules of differentiation, and Python's own code
between the operations needs no change (Squire, Trapp, SIAM Review 40(1), 1998).

Operations are not run on complex numbers. They get the values, and their changes follow from the backward of the
backward: ``J u`` in the forward, and in the backward, which is linear in its gradients::

    change of J^T dout  =  J^T (change of dout)  +  (change of J)^T dout

For a model's loss and its gradient, the changes of the gradient are the product of the Hessian with u (Pearlmutter,
Fast exact multiplication by the Hessian, 1994).
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend.arrays import array_module, is_array
from ...backend.targets import deliver
from ...errors import MinitrainError
from ..contract.loss import Loss
from ..contract.op import Observer, observe, registry
from .found import second_order_registry

STEP = 2.0**-330


class NoSecondOrderError(MinitrainError):
    """An operation has no backward of its backward, so nothing can be carried through it exactly."""


def carried(value: Any, direction: Any) -> Any:
    """A value and its change as one complex array (or number)."""
    return value + 1j * (STEP * direction)


def value_of(x: Any) -> Any:
    """The value: the real part, in its own memory. Anything that is not complex comes back as it is."""
    if not np.iscomplexobj(x):
        return x
    return array_module(x).ascontiguousarray(x.real) if is_array(x) else x.real


def direction_of(x: Any) -> Any:
    """The change: zeros for a real floating-point array, ``None`` for anything without one."""
    if np.iscomplexobj(x):
        return x.imag / STEP
    if is_array(x):
        return array_module(x).zeros_like(x) if x.dtype.kind == "f" else None
    return 0.0 if isinstance(x, float | np.floating) else None


class Along:
    """Inside the ``with`` block, operations carry directions: complex arrays go in, and come out.

    Arrays that are not complex stand still. It is for float64, and one thread at a time.

    Raises:
        NoSecondOrderError: from an operation that has no pair in `second_order_registry`.

    Example:
        >>> from minitrain.ops import softmax_forward
        >>> x, u = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]])
        >>> with Along():
        ...     p, _ = softmax_forward(carried(x, u))
        >>> print(direction_of(p).round(4))
        [[ 0.1966 -0.1966]]
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Any, list[Any]]] = {}  # by the cache that was given out
        self._second = second_order_registry()
        self._before: Observer | None = None
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> Along:
        self._warnings.__enter__()
        warnings.simplefilter("error", np.exceptions.ComplexWarning)  # a cast that would lose the direction
        self._before = observe(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        observe(self._before)
        self._warnings.__exit__(None, None, None)
        self._kept.clear()

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        observe(None)  # an operation inside another is a part of it
        try:
            name = function.__name__
            if name.endswith("_forward"):
                return self._forward(function, name.removesuffix("_forward"), args, options)
            if name.endswith("_backward"):
                return self._backward(function, name.removesuffix("_backward"), args, options["into"])
            if any(map(np.iscomplexobj, args)):
                raise NoSecondOrderError(f"{name} is no operation with a backward: nothing is carried through it")
            return function(*args, **options)
        finally:
            observe(self._call)

    def _forward(self, function: Callable[..., Any], op: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        bound = inspect.signature(function).bind(*args, **options)
        bound.apply_defaults()
        args, options = bound.args, bound.kwargs
        if not any(map(np.iscomplexobj, (*args, *options.values()))):
            return function(*args, **options)
        second = self._find(op)
        values, directions = [value_of(x) for x in args], [direction_of(x) for x in args]
        *outputs, cache = function(*values, **options)
        loss = outputs[0] if isinstance(outputs[0], Loss) else None
        outputs = outputs if loss is None else [loss.total]
        changes = second(*directions, *(array_module(out).zeros_like(out) for out in outputs), cache)[: len(outputs)]
        given = [carried(out, change) for out, change in zip(outputs, changes, strict=True)]
        shown = _with(cache, [*values, *outputs], [*args, *given])
        self._kept[id(shown)] = shown, cache, directions
        return (*(given if loss is None else [Loss(given[0], loss.count)]), shown)

    def _backward(self, function: Callable[..., Any], op: str, args: tuple[Any, ...], into: Any) -> Any:
        *douts, shown = args
        _, cache, directions = self._kept.get(id(shown)) or self._recalled(op, shown)
        if directions is None and not any(map(np.iscomplexobj, douts)):
            return function(*args, into=into)
        values = [value_of(d) for d in douts]
        result = function(*values, cache)
        gradients = list(result) if isinstance(result, tuple) else [result]
        changes: list[Any] = [0.0] * len(gradients)
        if any(map(np.iscomplexobj, douts)):
            moved = function(*(None if d is None else direction_of(d) for d in douts), cache)
            changes = list(moved) if isinstance(moved, tuple) else [moved]
        if directions is not None:
            bent = self._find(op)(*directions, *values, cache)[len(douts) :]
            changes = [a if b is None else a + b for a, b in zip(changes, bent, strict=True)]
        delivered = [
            None if g is None else deliver(carried(g, change), target)
            for g, change, target in zip(gradients, changes, into or [None] * len(gradients), strict=True)
        ]
        return tuple(delivered) if isinstance(result, tuple) else delivered[0]

    def _find(self, op: str) -> Callable[..., Any]:
        if op not in self._second:
            raise NoSecondOrderError(
                f"{op} has no backward of its backward; there are {', '.join(sorted(self._second))}. Write "
                f"{op}_backward_backward under @second_order, see minitrain.ops.second.pairs"
            )
        return self._second[op].backward

    def _recalled(self, op: str, shown: Any) -> tuple[Any, Any, list[Any] | None]:
        """A cache that a layer has put together from parts, or one of a forward in which nothing moved."""
        if not any(map(np.iscomplexobj, shown)):
            return shown, shown, None
        forward = inspect.signature(registry()[op].forward)
        inputs = [p.name for p in forward.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        if missing := [name for name in inputs if not hasattr(shown, name)]:
            raise NoSecondOrderError(
                f"{op}_backward was given a cache that {op}_forward did not return, without the input {missing[0]}"
            )
        return shown, type(shown)(*map(value_of, shown)), [direction_of(getattr(shown, name)) for name in inputs]


def _with(cache: Any, values: list[Any], replaced: list[Any]) -> Any:
    """The cache with carried arrays where it holds inputs or outputs: layers may read those."""
    found = {id(v): r for v, r in zip(values, replaced, strict=True) if is_array(v)}
    return type(cache)(*(found.get(id(field), field) for field in cache))

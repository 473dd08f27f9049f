"""Second order by name: ``softmax_backward_backward`` is the backward of ``softmax_backward``.

A backward is a function of the gradients of the outputs and of the inputs, which it reads from its cache. Its own
backward has one argument ``ddx`` for each gradient that the backward returns, and then the arguments of the backward.
It returns the gradients of these arguments: one for each ``dout``, and one for each input of the forward::

    ddout, dx = softmax_backward_backward(ddx, dout, cache)

With ``u`` for ``ddx`` and J for the Jacobian of the forward, both results have a second meaning:

- ``ddout = J u`` is the change of the output when the input moves along u. It does not depend on ``dout``.
- ``dx`` is the change of the gradient ``J^T dout`` when the input moves along u and ``dout`` stays. As a map of u it is
  the Hessian of ``sum(dout * out)``, so it is symmetric.

So these functions also carry a direction through a forward and its backward (``along.py``). They are readable array
code without kernels, and meant for float64 and float32: nothing is rounded to 16 bits on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...backend.arrays import Array, array_module

F = TypeVar("F", bound=Callable[..., Any])
SUFFIX = "_backward_backward"
FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""By the name of the operation. `second_order_registry` has them all."""


def second_order(function: F) -> F:
    """Register ``op_backward_backward`` as the backward of ``op_backward``.

    Args:
        function: takes one ``ddx`` for each entry of the tuple that ``op_backward`` returns, then the arguments of
            ``op_backward``. A ``ddx`` is ``None`` for an input that has no gradient or was not given. It returns one
            gradient for each ``dout``, and one for each input of the forward, ``None`` for an input without one.

    Raises:
        TypeError: if the name does not end in ``_backward_backward``.
    """
    name = function.__name__
    if not name.endswith(SUFFIX):
        raise TypeError(f"@second_order: {name} must end in {SUFFIX}")
    FUNCTIONS[name.removesuffix(SUFFIX)] = function
    return function


def zeros_like(x: Array) -> Array:
    """Zeros of the shape, dtype and device of ``x``."""
    return array_module(x).zeros_like(x)  # type: ignore[no-any-return]

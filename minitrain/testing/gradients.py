"""Check a forward/backward pair, or a layer, against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .adapters.detect import checker_for
from .modules import check_module
from .pairs import Parameters, check
from .report import GradientCheckError, GradientReport
from .settings import DEFAULT, CheckSettings


def check_gradients(
    pair_or_layer: Any, *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any
) -> GradientReport:
    """Check that a backward is the derivative of its forward.

    The check runs in float64 with random cotangents; with all ones, a wrong softmax backward would pass. Each
    gradient is compared with finite differences along random directions. Small arrays are also checked element by
    element. The step is fitted to the function: the derivative of log(x) at 1e-5 needs a shorter one than that of
    sin(x) at 1. Where the derivatives from both sides differ (ReLU at 0, max of equal elements), any value between
    them passes, and the report names the element.

    ``forward(*inputs, **options)`` returns ``(out, cache)``, or ``(out1, out2, ..., cache)`` with several outputs.
    ``backward(dout, cache)`` returns one gradient per input, ``None`` or nothing for an integer one. Neither may write
    to what it is given. Only a module's backward may reuse the memory of its cache.

    Args:
        pair_or_layer: ``(forward, backward)``, or anything with those two methods or attributes. If it has
            ``named_parameters``, they are checked too, as in ``check_module``. A PyTorch ``autograd.Function`` or
            module goes to ``adapters.check_torch``, and a JAX ``custom_vjp`` to ``adapters.check_jax``.
        inputs: the arguments of the forward. Real floating-point arrays of any dtype are copied to float64 and
            checked, except their infinite elements. Everything else is passed on unchanged.
        settings: how closely to check, and which arguments have no gradient.
        options: keyword arguments of the forward.

    Returns:
        The worst relative error of each argument. Printed, it is a table.

    Raises:
        GradientMismatch: if a gradient is wrong. It names each wrong argument and its worst element, with a hint.
        GradientCheckError: if the gradients cannot be checked: the forward is random, not finite or not in float64,
            an input is complex, no step gives a derivative, or the forward or backward overwrites its arguments.

    Example:
        >>> import numpy as np
        >>> def square(x): return x * x, x
        >>> def square_backward(dout, x): return 2 * x * dout
        >>> check_gradients((square, square_backward), np.array([1.0, 2.0])).worst < 1e-8
        True
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    if checker := checker_for(pair_or_layer, inputs):
        return checker(pair_or_layer, *inputs, settings=settings, **options)  # type: ignore[no-any-return]
    if hasattr(pair_or_layer, "named_parameters"):
        return check_module(pair_or_layer, *inputs, settings=settings, **options)
    forward, backward = functions_of(pair_or_layer)
    return check(forward, backward, inputs, options, Parameters(), settings)


def functions_of(pair_or_layer: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two functions of a pair, or of anything with a ``forward`` and a ``backward``."""
    if hasattr(pair_or_layer, "forward") and hasattr(pair_or_layer, "backward"):
        return pair_or_layer.forward, pair_or_layer.backward
    if isinstance(pair_or_layer, tuple) and len(pair_or_layer) == 2 and all(map(callable, pair_or_layer)):
        return pair_or_layer
    raise GradientCheckError(
        f"check_gradients takes (forward, backward) or an object with both, not a {type(pair_or_layer).__name__}"
    )

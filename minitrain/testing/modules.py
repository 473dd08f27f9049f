"""Check a layer or a whole model: the gradients of all its parameters and inputs at once."""

from __future__ import annotations

import copy
import functools
from typing import Any

from ..backend.arrays import array_module
from ..nn.core.module import Module
from .pairs import Parameters, check
from .report import GradientReport
from .settings import DEFAULT, CheckSettings


def check_module(module: Module, *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any) -> GradientReport:
    """Check the gradients of all trainable parameters and of all inputs of a module.

    The check works on a copy in float64, or in the precision of ``settings``. The module itself does not change.

    Args:
        module: its ``forward(*inputs, **options)`` returns ``(out, cache)`` and its ``backward(dout, cache)``
            the gradients of the inputs, or ``None`` if all are integers. Frozen parameters are not checked.
        inputs: the arguments of the forward. Floating-point arrays are copied to float64.
        settings: how closely to check.
        options: keyword arguments of the forward, such as a fixed ``rng``.

    Returns:
        The worst relative error of each input and parameter, by its dotted path.

    Raises:
        GradientMismatch: if a gradient is wrong. It names each wrong input and parameter.
        GradientCheckError: if the gradients cannot be checked, see ``check_gradients``.
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    given, module = module, copy.deepcopy(module)
    for parameter in module.parameters():
        shape, xp = parameter.data.shape, array_module(parameter.data)
        parameter.rebind(xp.empty(shape, settings.precision), xp.empty(shape, settings.precision))
    module.zero_grad()
    trainable = {path: parameter for path, parameter in module.named_parameters() if parameter.trainable}

    @functools.wraps(module.backward)  # type: ignore[attr-defined]
    def backward(*cotangents_and_cache: Any) -> Any:
        gradients = module.backward(*cotangents_and_cache)  # type: ignore[attr-defined]
        return (None,) * len(inputs) if gradients is None else gradients

    def forward_as_given(*inputs: Any, **options: Any) -> Any:
        return copy.deepcopy(given).forward(*inputs, **options)  # type: ignore[attr-defined]

    parameters = Parameters(
        values={path: parameter.data for path, parameter in trainable.items()},
        gradients=lambda: {path: parameter.grad for path, parameter in trainable.items()},
        forget_gradients=module.zero_grad,
        forward=forward_as_given,
    )
    return check(module.forward, backward, inputs, options, parameters, settings)  # type: ignore[attr-defined]

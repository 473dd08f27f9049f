"""Which framework a function belongs to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from .jax_functions import check_jax
from .torch_functions import check_torch, is_function_class


def checker_for(subject: Any, inputs: Sequence[Any]) -> Callable[..., Any] | None:
    """``check_torch`` or ``check_jax`` for what belongs there, else ``None``. Never imports either.

    Args:
        subject: what is to be checked.
        inputs: its arguments: a tensor among them decides for a plain function.
    """
    if isinstance(subject, tuple):
        return None
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and hasattr(torch, "autograd"):
        if is_function_class(torch, subject):
            return check_torch
        if isinstance(subject, torch.nn.Module) or any(isinstance(x, torch.Tensor) for x in inputs):
            return check_torch
    if jax is not None and hasattr(jax, "custom_vjp"):
        rules = (jax.custom_vjp, jax.custom_jvp)
        if isinstance(subject, rules) or any(isinstance(x, jax.Array) for x in inputs):
            return check_jax
    return None

"""Launches of element-wise kernels: flat arguments, memory for the result, and the number of threads.

A kernel gets its arrays as (n,) vectors, then its settings, then the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....backend.arrays import Array
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from .targets import flat, full_slot, slot


def launch_forward(kernel: Callable[..., Any], x: Array, *settings: Any) -> Array:
    """The output of ``kernel(x, out, *settings, threads)``."""
    out = empty(x.shape)
    kernel(flat(x), out.reshape(-1), *settings, threads_for(x.size))
    return out


def launch_backward(kernel: Callable[..., Any], dout: Array, saved: Array, target: Target, *settings: Any) -> Any:
    """The gradient that ``kernel(dout, saved, dx, beta, *settings, threads)`` computes, unless it is skipped."""
    dx = slot(target, dout.shape)
    if dx.array.size:
        kernel(flat(dout), flat(saved), dx.array.reshape(-1), dx.beta, *settings, threads_for(dout.size))
    return dx.result()


def launch_forward_of_two(kernel: Callable[..., Any], x: Array, y: Array, *settings: Any) -> Array:
    """The output of ``kernel(x, y, out, *settings, threads)``."""
    out = empty(x.shape)
    kernel(flat(x), flat(y), out.reshape(-1), *settings, threads_for(x.size))
    return out


def launch_gated_backward(
    kernel: Callable[..., Any], dout: Array, gate: Array, up: Array, into: tuple[Target, Target], *settings: Any
) -> Any:
    """The gradients that ``kernel(dout, gate, up, dgate, its beta, dup, its beta, *settings, threads)`` computes."""
    dgate, dup = full_slot(into[0], dout.shape), full_slot(into[1], dout.shape)
    kernel(
        flat(dout), flat(gate), flat(up), dgate.array.reshape(-1), dgate.beta, dup.array.reshape(-1), dup.beta,
        *settings, threads_for(gate.size),
    )  # fmt: skip
    return dgate.result(), dup.result()

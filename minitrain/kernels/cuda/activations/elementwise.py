"""Launches of ``elementwise.cu``, for the twins of this folder: flat arrays, a functor, and memory for the results."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.targets import Target
from ..common.sizes import THREADS, blocks_for, vector_width
from ..common.targets import contiguous, slot

SILU, GELU_TANH, GELU_EXACT = "Silu", "GeluTanh", "GeluExact"
"""Functors of ``activations.cuh``."""
_SOURCE = Source("activations/elementwise.cu")
_SIGNATURES = {
    "activation_forward": "f4* x, f4* out, i8 n",
    "activation_backward": "f4* dout, f4* x, f4* dx, i8 n, i4 accumulate",
    "gated_forward": "f4* gate, f4* up, f4* out, i8 n",
    "gated_backward": "f4* dout, f4* gate, f4* up, f4* dgate?, f4* dup?, i8 n, i4 accumulate_gate, i4 accumulate_up",
}
_KERNELS = {
    (name, functor, V): _SOURCE.kernel(f"{name}<{functor}, {V}>", signature)
    for name, signature in _SIGNATURES.items()
    for functor in (SILU, GELU_TANH, GELU_EXACT)
    for V in (1, 4)
}


def gelu_functor(approximate: str) -> str:
    """The functor of a form of GELU."""
    return GELU_TANH if approximate == "tanh" else GELU_EXACT


def forward(functor: str, *inputs: Array) -> Any:
    """``f(x)``, or ``f(gate) * up``; ``NotImplemented`` for no elements."""
    n = inputs[0].size
    if n == 0:
        return NotImplemented
    flat = [contiguous(x) for x in inputs]
    out = array_module(inputs[0]).empty(inputs[0].shape, inputs[0].dtype)
    name = "activation_forward" if len(inputs) == 1 else "gated_forward"
    V = vector_width(n, *flat, out)
    _KERNELS[name, functor, V](blocks_for(n // V), THREADS, *flat, out, n)
    return out


def backward(functor: str, dout: Array, x: Array, target: Target) -> Any:
    """``dout * f'(x)``; ``NotImplemented`` for no elements."""
    if x.size == 0:
        return NotImplemented
    dx = slot(target, x.shape, x)
    if dx.array is not None:
        dout, x = contiguous(dout), contiguous(x)
        V = vector_width(x.size, dout, x, dx.array)
        kernel = _KERNELS["activation_backward", functor, V]
        kernel(blocks_for(x.size // V), THREADS, dout, x, dx.array, x.size, dx.accumulate)
    return dx.result()


def gated_backward(functor: str, dout: Array, gate: Array, up: Array, into: tuple[Target, Target]) -> Any:
    """``dout * up * f'(gate)`` and ``dout * f(gate)``; ``NotImplemented`` for no elements."""
    if gate.size == 0:
        return NotImplemented
    dgate, dup = slot(into[0], gate.shape, gate), slot(into[1], gate.shape, gate)
    dout, gate, up = contiguous(dout), contiguous(gate), contiguous(up)
    V = vector_width(gate.size, dout, gate, up, dgate.array, dup.array)
    _KERNELS["gated_backward", functor, V](
        blocks_for(gate.size // V), THREADS, dout, gate, up, dgate.array, dup.array, gate.size, dgate.accumulate,
        dup.accumulate,
    )  # fmt: skip
    return dgate.result(), dup.result()

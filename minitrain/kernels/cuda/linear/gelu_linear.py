"""CUDA twins of ``ops.linear.gelu_linear``: the activation exists only as the operand of a product."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.gemm import matmul
from ....backend.cuda.launch import Source
from ....backend.targets import SKIP, Target
from ..activations.elementwise import gelu_functor
from ..common.sizes import blocks_for, vector_width
from ..common.targets import contiguous, optional, slot
from .column_sums import operand_and_bias_sums
from .operands import CODES, operand, operand_like, rows

_SOURCE = Source("linear/gelu_linear.cu")
_FORMS = ("GeluTanh", "GeluExact")
_KINDS = [(form, name, V) for form in _FORMS for name in CODES for V in (1, 4)]
_FORWARD = {
    (form, name, V): _SOURCE.kernel(
        f"activate<{form}, {CODES[name][0]}, {V}>", "{0}* hidden, {0}* activation, i8 n".format(CODES[name][1])
    )
    for form, name, V in _KINDS
}
BACKWARD = {
    (form, name, V): _SOURCE.kernel(
        f"activate_backward<{form}, {CODES[name][0]}, {V}>",
        "f4* dactivation?, {0}* hidden, f4* dhidden?, {0}* activation?, i8 n, i4 accumulate".format(CODES[name][1]),
    )
    for form, name, V in _KINDS
}


def gelu_linear_forward(hidden: Array, weight: Array, bias: Array | None, *, approximate: str = "tanh") -> Any:
    """See ``ops.linear.gelu_linear.gelu_linear_forward``."""
    if hidden.size == 0 or weight.size == 0:
        return NotImplemented
    kept = operand(hidden)
    xp = array_module(hidden)
    activation = xp.empty(kept.shape, kept.dtype)
    V = vector_width(kept.size, kept, activation)
    _FORWARD[gelu_functor(approximate), kept.dtype.name, V](
        blocks_for(kept.size // V), 256, kept, activation, kept.size
    )
    out = xp.empty((*hidden.shape[:-1], weight.shape[0]), "float32")
    matmul(rows(activation), operand_like(operand(weight), kept), transpose_b=True, bias=optional(bias), out=rows(out))
    return out, (kept, weight, bias, approximate)


def gelu_linear_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.linear.gelu_linear.gelu_linear_backward``."""
    hidden, weight, bias, approximate = cache
    if dout.size == 0 or hidden.size == 0:
        return NotImplemented
    xp = array_module(hidden)
    dhidden, dweight = slot(into[0], hidden.shape, dout), slot(into[1], weight.shape, dout)
    dbias = slot(SKIP if bias is None else into[2], weight.shape[:1], dout)
    factor = operand_and_bias_sums(dout, hidden, dhidden.array is not None or dweight.array is not None, dbias)
    if factor is not None:
        kept = contiguous(hidden)
        upstream = None if dhidden.array is None else matmul(factor, operand_like(weight, hidden))  # (R, K)
        activation = None if dweight.array is None else xp.empty(kept.shape, kept.dtype)
        V = vector_width(kept.size, kept, upstream, dhidden.array, activation)
        BACKWARD[gelu_functor(approximate), kept.dtype.name, V](
            blocks_for(kept.size // V), 256, upstream, kept, dhidden.array, activation, kept.size, dhidden.accumulate
        )
        if activation is not None:
            matmul(factor, rows(activation), transpose_a=True, out=dweight.array, beta=dweight.accumulate)
    return dhidden.result(), dweight.result(), dbias.result()

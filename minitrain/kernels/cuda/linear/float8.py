"""Operands of 8 bits on a GPU: the scale of an array, and its rounded numbers as products take them."""

from __future__ import annotations

from ....backend.arrays import Array, array_module
from ....backend.cuda.float8 import E4M3, E5M2, MULTIPLE, Float8Format
from ....backend.cuda.float8_gemm import Float8
from ....backend.cuda.launch import Source
from ..activations.elementwise import GELU_EXACT, GELU_TANH, gelu_functor
from ..common.sizes import THREADS, blocks_for, ceil_div, vector_width
from .operands import CODES

PLAIN = "Plain"
_FORMS = {E4M3.name: "E4M3", E5M2.name: "E5M2"}
_SOURCE = Source("linear/float8.cu")
_KINDS = [(PLAIN, "float32"), *((functor, "bfloat16") for functor in (GELU_TANH, GELU_EXACT))]
"""The operation before a product, and the dtype that it reads: GELU's input is kept as an operand."""
_LARGEST = {
    (functor, name, V): _SOURCE.kernel(
        f"largest<{functor}, {CODES[name][0]}, {V}>", f"{CODES[name][1]}* x, u4* partial, i8 n"
    )
    for functor, name in _KINDS
    for V in (1, 4)
}
_SCALE = {
    name: _SOURCE.kernel(f"scale_of<{form}>", "u4* partial, f4* scale, i4 parts") for name, form in _FORMS.items()
}
_USED = [(E4M3.name, *kind) for kind in _KINDS] + [(E5M2.name, *_KINDS[0])]  # gradients are e5m2
_ROUND = {
    (form, functor, name, V): _SOURCE.kernel(
        f"round_float8<{_FORMS[form]}, {functor}, {CODES[name][0]}, {V}>",
        f"{CODES[name][1]}* x, f4* scale, u1* codes, i8 n",
    )
    for form, functor, name in _USED
    for V in (1, 4)
}
_TURN = {
    (form, functor, name): _SOURCE.kernel(
        f"turn_float8<{_FORMS[form]}, {functor}, {CODES[name][0]}>",
        f"{CODES[name][1]}* x, f4* scale, u1* codes?, u1* turned, i4 rows, i4 columns, i4 padded",
    )
    for form, functor, name in _USED
}


def functor_of(gelu: str | None) -> str:
    """The functor of what comes before a product: GELU in a form, or nothing."""
    return PLAIN if gelu is None else gelu_functor(gelu)


def float8_scale(x: Array, form: Float8Format, functor: str = PLAIN) -> Array:
    """The scale of f(x), see ``backend.cuda.float8.float8_scale``: () float32. ``x`` is C-contiguous and not empty."""
    xp = array_module(x)
    V = vector_width(x.size, x)
    parts = blocks_for(x.size // V)
    partial, scale = xp.empty(parts, "uint32"), xp.empty((), "float32")
    _LARGEST[functor, x.dtype.name, V](parts, THREADS, x, partial, x.size)
    _SCALE[form.name](1, THREADS, partial, scale, parts)
    return scale  # type: ignore[no-any-return]


def to_float8(x: Array, scale: Array, form: Float8Format, functor: str = PLAIN) -> Float8:
    """f(x) as an operand: x (R, C), C-contiguous, to codes (R, C)."""
    codes = array_module(x).empty(x.shape, "uint8")
    V = vector_width(x.size, x, codes)
    _ROUND[form.name, functor, x.dtype.name, V](blocks_for(x.size // V), THREADS, x, scale, codes, x.size)
    return Float8(codes, scale, form)


def turned_float8(
    x: Array, scale: Array, form: Float8Format, functor: str = PLAIN, *, both: bool = False
) -> tuple[Float8 | None, Float8]:
    """f(x) as an operand whose rows are the columns of x.

    Args:
        x: (R, C), C-contiguous.
        scale: () its scale.
        form: the format.
        functor: what f is.
        both: whether f(x) is wanted as it lies, too.

    Returns:
        Codes (R, C), or ``None``; and codes (C, P), where P is R rounded up to a multiple of 16 and what is added is 0.
    """
    xp, (R, C) = array_module(x), x.shape
    P = MULTIPLE * ceil_div(R, MULTIPLE)
    codes, turned = xp.empty((R, C), "uint8") if both else None, xp.empty((C, P), "uint8")
    _TURN[form.name, functor, x.dtype.name](
        (ceil_div(C, 32), ceil_div(P, 128)), (32, 8), x, scale, codes, turned, R, C, P
    )
    return None if codes is None else Float8(codes, scale, form), Float8(turned, scale, form)

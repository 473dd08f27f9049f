"""The operand of a product that was forgotten and is made again."""

from __future__ import annotations

from ...backend.arrays import Array
from ...backend.precision import half_dtype, rounded
from ..contract.op import with_twin


@with_twin
def as_operand(x: Array, *, name: str) -> Array:
    """``x`` rounded to 16 bits, whatever precision is in force.

    Args:
        x: float32 array of any shape.
        name: ``"bfloat16"`` or ``"float16"``.
    """
    return rounded(x, half_dtype(name))

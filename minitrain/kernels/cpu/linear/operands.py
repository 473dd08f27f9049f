"""numba twin of ``ops.linear.operands``."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ..common.half import narrow


def as_operand(x: Array, *, name: str) -> Any:
    """See ``ops.linear.operands.as_operand``."""
    return narrow(x) if name == "bfloat16" else NotImplemented

"""Special functions that NumPy lacks: SciPy has them on the CPU, CuPy's ``cupyx`` on the GPU."""

from __future__ import annotations

import importlib

from ...backend.arrays import Array, is_cupy


def erfc(x: Array) -> Array:
    """``1 - erf(x)`` of each element, in the dtype of ``x``; keeps its digits where ``erf(x)`` is nearly 1."""
    special = importlib.import_module("cupyx.scipy.special" if is_cupy(x) else "scipy.special")
    return special.erfc(x)  # type: ignore[no-any-return]

"""Special functions that NumPy lacks, from SciPy on the CPU and from CuPy's ``cupyx`` on the GPU."""

from __future__ import annotations

import importlib

from ...backend.arrays import Array, is_cupy


def erf(x: Array) -> Array:
    """The error function of each element, in the dtype of ``x``."""
    special = importlib.import_module("cupyx.scipy.special" if is_cupy(x) else "scipy.special")
    return special.erf(x)  # type: ignore[no-any-return]

"""Copies of an array in different memory layouts."""

from __future__ import annotations

from ..backend.arrays import Array, array_module

LAYOUTS = ("contiguous", "transposed", "strided", "reversed", "offset", "readonly")
"""The layouts of ``with_layout``: C order; Fortran order; every second element of a wider array; negative
strides; a slice out of the middle of each axis, whose rows do not touch; and C order that may not be written to."""


def with_layout(x: Array, layout: str) -> Array:
    """A copy of ``x`` in another memory layout.

    Args:
        x: any array; 0-d arrays have one layout only.
        layout: one of ``LAYOUTS``.

    Returns:
        An array that shares no memory with ``x``.

    Raises:
        ValueError: if ``layout`` is unknown.
    """
    xp = array_module(x)
    if layout in ("contiguous", "readonly"):
        copy: Array = xp.array(x, order="C")
        if layout == "readonly" and xp.__name__ == "numpy":  # CuPy has no such flag
            copy.flags.writeable = False
        return copy
    if layout == "transposed":
        return xp.array(x, order="F")  # type: ignore[no-any-return]
    host, inside = list(x.shape), [slice(None)] * x.ndim
    if layout == "strided" and x.ndim:
        host[-1], inside[-1] = 2 * host[-1], slice(None, None, 2)
    elif layout == "reversed":
        inside = [slice(None, None, -1)] * x.ndim
    elif layout == "offset":
        host, inside = [n + 2 for n in host], [slice(1, -1)] * x.ndim
    elif layout != "strided":
        raise ValueError(f"unknown layout {layout!r}: use one of {', '.join(LAYOUTS)}")
    around = xp.empty(host, x.dtype)
    around[...] = -77 if x.dtype.kind == "i" else xp.nan if x.dtype.kind == "f" else 1  # must not be read
    view: Array = around[(..., *inside)]
    view[...] = x
    return view

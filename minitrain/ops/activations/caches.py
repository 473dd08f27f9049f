"""Caches of element-wise functions: the input, or the output if the derivative follows from it."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array


class InputCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (...,) the input


class OutputCache(NamedTuple):
    """Saved for the backward."""

    out: Array  # (...,) the output

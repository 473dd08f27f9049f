"""What backwards of element-wise functions keep: the input, or the output where the derivative follows from it."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array


class InputCache(NamedTuple):
    """What the backward needs."""

    x: Array  # (...,) the input


class OutputCache(NamedTuple):
    """What the backward needs."""

    out: Array  # (...,) the output

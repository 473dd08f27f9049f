"""Shared part of norms with a weight and a bias for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.checks import check_sizes
from ..core.module import Module
from ..core.parameter import Parameter


class ScaleAndShift(Module):
    """The parameters of a norm.

    Args:
        width: number C of channels.
        bias: whether to shift.
        eps: added to the variance.
        dtype: dtype of the weights.

    Attributes:
        weight: (C,), ones at first.
        bias: (C,), zeros at first, or ``None``.
    """

    def __init__(self, width: int, *, bias: bool = True, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        check_sizes(type(self).__name__, width=width)
        self.weight = Parameter(np.ones(width, dtype))
        self.bias = Parameter(np.zeros(width, dtype)) if bias else None
        self.eps = eps

"""A learned temperature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError
from ...ops.contract.op import Target
from ...ops.linear.scale import ScaleCache, scale_backward, scale_forward
from ..core.module import Module
from ..core.parameter import Parameter


class Temperature(Module):
    """Multiply by ``exp(log_scale)``, learned and clipped as in CLIP (Radford et al., 2021, arXiv:2103.00020).

    A temperature is a divisor, so the factor is one over it, initially 1/0.07. After each update the factor is clipped
    to the limit: above it, its gradient would be zero, and it could not decrease again.

    Args:
        initial: initial factor.
        limit: the largest factor.
        dtype: dtype of the weight.

    Attributes:
        log_scale: () logarithm of the factor.

    Raises:
        ConfigError: unless ``0 < initial <= limit``.
    """

    def __init__(self, initial: float = 1 / 0.07, *, limit: float = 100.0, dtype: Any = np.float32) -> None:
        if not 0 < initial <= limit:
            raise ConfigError(f"Temperature: initial = {initial} must be positive and at most limit = {limit}")
        upper = None if math.isinf(limit) else math.log(limit)
        self.log_scale = Parameter(np.array(math.log(initial), dtype), upper=upper)
        self.limit = limit

    def forward(self, x: Array) -> tuple[Array, ScaleCache]:
        """Map x (..., C) to out (..., C)."""
        return scale_forward(x, self.log_scale.data, limit=self.limit)

    def backward(self, dout: Array, cache: ScaleCache, *, dx: Target = None) -> Array:
        """Map dout (..., C) to dx (..., C), which goes where the target ``dx`` says."""
        return scale_backward(dout, cache, into=(dx, self.log_scale.into()))[0]

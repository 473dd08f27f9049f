"""The root-mean-square norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..ops.contract import Target
from ..ops.residual import residual_forward
from ..ops.rms_norm import RMSNormCache, rms_norm_backward, rms_norm_forward
from .checks import check_sizes
from .module import Module
from .parameter import Parameter, into


class RMSNorm(Module):
    """Scale the last axis to a mean square of one, then by a weight.

    Args:
        width: size C of the last axis.
        eps: added to the mean square.
        dtype: dtype of the weight.

    Attributes:
        weight: (C,), ones at first.
    """

    def __init__(self, width: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        check_sizes("RMSNorm", width=width)
        self.weight = Parameter(np.ones(width, dtype))
        self.eps = eps

    def forward(self, x: Array) -> tuple[Array, RMSNormCache]:
        """Map x (..., C) to out (..., C)."""
        return rms_norm_forward(x, self.weight.data, eps=self.eps)

    def backward(self, dout: Array, cache: RMSNormCache, *, dx: Target = None) -> Array:
        """Map dout (..., C) to dx (..., C), which goes where the target ``dx`` says."""
        return rms_norm_backward(dout, cache, into=(dx, into(self.weight)))[0]

    def forward_residual(self, x: Array, branch: Array) -> tuple[Array, Array, RMSNormCache]:
        """Add ``branch`` to ``x`` first: returns the sum (..., C), its normalised copy (..., C) and the cache."""
        total, _ = residual_forward(x, branch)
        out, cache = self.forward(total)
        return total, out, cache

    def backward_residual(self, dtotal: Array | None, dout: Array, cache: RMSNormCache) -> Array:
        """Map the gradients of both outputs to the one gradient (..., C) that ``x`` and ``branch`` share."""
        dx = self.backward(dout, cache)
        if dtotal is not None:
            dx += dtotal
        return dx

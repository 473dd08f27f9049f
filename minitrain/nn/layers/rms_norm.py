"""The root-mean-square norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...ops.contract.op import SKIP, Target
from ...ops.norms.residual_rms_norm import ResidualRMSNormCache, residual_rms_norm_backward, residual_rms_norm_forward
from ...ops.norms.rms_norm import RMSNormCache, rms_norm_backward, rms_norm_forward
from ..core.checks import check_sizes
from ..core.module import Module
from ..core.parameter import Parameter, into


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

    def forward_residual(self, x: Array, branch: Array) -> tuple[Array, Array, ResidualRMSNormCache]:
        """Add ``branch`` to ``x`` first: returns the sum (..., C), its normalised copy (..., C) and the cache."""
        return residual_rms_norm_forward(x, branch, self.weight.data, eps=self.eps)

    def backward_residual(self, dtotal: Array | None, dout: Array, cache: ResidualRMSNormCache) -> Array:
        """Map the gradients of both outputs to the one gradient (..., C) that ``x`` and ``branch`` share."""
        return residual_rms_norm_backward(dtotal, dout, cache, into=(None, SKIP, into(self.weight)))[0]

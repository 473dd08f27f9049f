"""The layer norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...ops.contract.op import SKIP, Target
from ...ops.norms.layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from ...ops.norms.residual_layer_norm import (
    ResidualLayerNormCache,
    residual_layer_norm_backward,
    residual_layer_norm_forward,
)
from ..core.checks import check_sizes
from ..core.module import Module
from ..core.parameter import Parameter, into


class LayerNorm(Module):
    """Normalise the last axis, then scale and shift it.

    Args:
        width: size C of the last axis.
        bias: whether to shift.
        eps: added to the variance.
        dtype: dtype of the weights.

    Attributes:
        weight: (C,), ones at first.
        bias: (C,), zeros at first, or ``None``.
    """

    def __init__(self, width: int, *, bias: bool = True, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        check_sizes("LayerNorm", width=width)
        self.weight = Parameter(np.ones(width, dtype))
        self.bias = Parameter(np.zeros(width, dtype)) if bias else None
        self.eps = eps

    def forward(self, x: Array) -> tuple[Array, LayerNormCache]:
        """Map x (..., C) to out (..., C)."""
        return layer_norm_forward(x, self.weight.data, self.bias.data if self.bias else None, eps=self.eps)

    def backward(self, dout: Array, cache: LayerNormCache, *, dx: Target = None) -> Array:
        """Map dout (..., C) to dx (..., C), which goes where the target ``dx`` says."""
        return layer_norm_backward(dout, cache, into=(dx, into(self.weight), into(self.bias)))[0]

    def forward_residual(self, x: Array, branch: Array) -> tuple[Array, Array, ResidualLayerNormCache]:
        """Add ``branch`` to ``x`` first: returns the sum (..., C), its normalised copy (..., C) and the cache."""
        bias = self.bias.data if self.bias else None
        return residual_layer_norm_forward(x, branch, self.weight.data, bias, eps=self.eps)

    def backward_residual(self, dtotal: Array | None, dout: Array, cache: ResidualLayerNormCache) -> Array:
        """Map the gradients of both outputs to the one gradient (..., C) that ``x`` and ``branch`` share."""
        targets = (None, SKIP, into(self.weight), into(self.bias))
        return residual_layer_norm_backward(dtotal, dout, cache, into=targets)[0]

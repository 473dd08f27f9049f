"""The layer norm."""

from __future__ import annotations

from ...backend.arrays import Array
from ...ops.contract.op import SKIP, Target
from ...ops.norms.layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from ...ops.norms.residual_layer_norm import (
    ResidualLayerNormCache,
    residual_layer_norm_backward,
    residual_layer_norm_forward,
)
from ..core.parameter import into
from .scale_and_shift import ScaleAndShift


class LayerNorm(ScaleAndShift):
    """Normalise the last axis, of size ``width``, then scale and shift it; for its settings see `ScaleAndShift`."""

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

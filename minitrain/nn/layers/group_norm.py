"""The group norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError
from ...ops.contract.op import Target
from ...ops.norms.group_norm import GroupNormCache, group_norm_backward, group_norm_forward
from ..core.checks import check_sizes
from ..core.parameter import into
from .scale_and_shift import ScaleAndShift


class GroupNorm(ScaleAndShift):
    """Normalise groups of channels of each sample, then scale and shift each channel.

    Args:
        channels: size C of the axis after the batch.
        groups: number of groups, a divisor of C.
        bias, eps, dtype: see `ScaleAndShift`.

    Raises:
        ConfigError: if the channels cannot be split into that many groups.
    """

    def __init__(
        self, channels: int, groups: int, *, bias: bool = True, eps: float = 1e-5, dtype: Any = np.float32
    ) -> None:
        check_sizes("GroupNorm", channels=channels, groups=groups)
        if channels % groups:
            raise ConfigError(f"GroupNorm: groups={groups} must divide channels={channels}")
        super().__init__(channels, bias=bias, eps=eps, dtype=dtype)
        self.groups = groups

    def forward(self, x: Array) -> tuple[Array, GroupNormCache]:
        """Map x (B, C, ...) to out (B, C, ...)."""
        bias = self.bias.data if self.bias else None
        return group_norm_forward(x, self.weight.data, bias, groups=self.groups, eps=self.eps)

    def backward(self, dout: Array, cache: GroupNormCache, *, dx: Target = None) -> Array:
        """Map dout (B, C, ...) to dx (B, C, ...), which goes where the target ``dx`` says."""
        return group_norm_backward(dout, cache, into=(dx, into(self.weight), into(self.bias)))[0]

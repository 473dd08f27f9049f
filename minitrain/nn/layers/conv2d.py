"""The convolution layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...backend.windows import Size, pair
from ...errors import ConfigError
from ...ops.contract.op import Target
from ...ops.images.conv2d import Conv2dCache, conv2d_backward, conv2d_forward
from ..core.init import normal
from ..core.module import Module
from ..core.parameter import Parameter, into


class Conv2d(Module):
    """Slide kernels over images.

    Args:
        in_channels: channels C of the images.
        out_channels: channels O of the output.
        kernel: height and width of the kernels; here and below, one number or a pair (vertical, horizontal).
        init_rng: source of the initial weights.
        stride: distance between windows.
        padding: rows and columns of zeros added on either side.
        dilation: distance between the elements of a window.
        groups: number of parts that the channels are split into; divides C and O.
        bias: whether to add a bias, which starts at 0.
        std: standard deviation of the initial weights; by default ``sqrt(2 / fan_in)``, which keeps the size of
            activations under ReLU (He et al., 2015, arXiv:1502.01852).
        dtype: dtype of the weights.

    Attributes:
        weight: (O, C / groups, kh, kw).
        bias: (O,) or ``None``.

    Raises:
        ConfigError: if the channels cannot be split into that many groups.
        ShapeError: if ``kernel`` is not a size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size,
        init_rng: np.random.Generator,
        *,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        std: float | None = None,
        dtype: Any = np.float32,
    ) -> None:
        if min(groups, in_channels, out_channels) < 1 or in_channels % groups or out_channels % groups:
            raise ConfigError(
                f"Conv2d: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}, "
                "and all must be 1 or more"
            )
        shape = (out_channels, in_channels // groups, *pair("Conv2d", "kernel", kernel, 1))
        std = math.sqrt(2 / math.prod(shape[1:])) if std is None else std
        self.weight = Parameter(normal(init_rng, shape, std, dtype))
        self.bias = Parameter(np.zeros(out_channels, dtype)) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Array) -> tuple[Array, Conv2dCache]:
        """Map x (B, C, H, W) to out (B, O, Ho, Wo)."""
        return conv2d_forward(
            x,
            self.weight.data,
            self.bias.data if self.bias else None,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def backward(self, dout: Array, cache: Conv2dCache, *, dx: Target = None) -> Array:
        """Map dout (B, O, Ho, Wo) to dx (B, C, H, W), which goes where the target ``dx`` says."""
        return conv2d_backward(dout, cache, into=(dx, into(self.weight), into(self.bias)))[0]

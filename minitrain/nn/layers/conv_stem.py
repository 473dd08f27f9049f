"""Images as sequences by a few convolutions, in place of one cut into patches.

Small vision transformers learn faster behind it, from few images above all (Xiao et al., 2021, "Early Convolutions Help
Transformers See Better", arXiv:2106.14881; here without batch normalisation).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError, ShapeError
from ...ops.activations.relu import ReluCache, relu_backward, relu_forward
from ...ops.contract.op import Skip
from ...ops.images.conv2d import Conv2dCache
from ...ops.linear.linear import LinearCache
from ..core.module import Module
from .conv2d import Conv2d
from .linear import Linear


class ConvStemCache(NamedTuple):
    """Saved for the backward."""

    convolutions: list[tuple[Conv2dCache, ReluCache]]
    project: LinearCache


class ConvStem(Module):
    """Map an image (B, C, H, W) to N = (H / patch) (W / patch) vectors, row by row from the top left.

    Each convolution with ReLU halves height and width, and the next one has twice as many channels, ``width`` at the
    end. ``depth`` more follow each and keep the size. Then a linear map is applied to each vector. Vectors overlap in
    what they see, unlike patches.

    Args:
        channels: number C of the image's channels.
        patch: pixels from one vector to the next, a power of 2 from 2 on.
        width: size of the vectors.
        init_rng: source of the initial weights.
        depth: convolutions after each that halves.
        dtype: dtype of the weights.

    Attributes:
        convolutions: log2(patch) layers, 3 x 3 with stride 2, and after each ``depth`` with stride 1.
        project: Linear, width -> width.

    Raises:
        ConfigError: if ``patch`` is not such a number, or ``width`` cannot be halved as often as it has to be.
    """

    def __init__(
        self,
        channels: int,
        patch: int,
        width: int,
        init_rng: np.random.Generator,
        *,
        depth: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        count = patch.bit_length() - 1
        if patch < 2 or patch != 1 << count:
            raise ConfigError(f"ConvStem: patch={patch} must be a power of 2: 2, 4, 8, …")
        if width % (patch // 2):
            raise ConfigError(f"ConvStem: width={width} must be a multiple of patch / 2 = {patch // 2}")
        self.channels, self.patch = channels, patch
        sizes = [channels, *(width >> (count - 1 - i) for i in range(count))]
        self.convolutions: list[Conv2d] = []
        for before, after in pairwise(sizes):
            self.convolutions.append(Conv2d(before, after, 3, init_rng, stride=2, padding=1, dtype=dtype))
            self.convolutions += [Conv2d(after, after, 3, init_rng, padding=1, dtype=dtype) for _ in range(depth)]
        self.project = Linear(width, width, init_rng, dtype=dtype)

    def forward(self, x: Array) -> tuple[Array, ConvStemCache]:
        """Map x (B, C, H, W) to out (B, N, width).

        Raises:
            ShapeError: if x has other channels, or its height or width is not a multiple of ``patch``.
        """
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ShapeError(
                f"ConvStem.forward: x has shape {x.shape}, expected (B, C, H, W) with C = {self.channels} and H and W "
                f"multiples of patch = {self.patch}; resize, crop or pad the images"
            )
        caches = []
        for layer in self.convolutions:
            x, convolution = layer.forward(x)  # (B, c, h, w) -> (B, 2 c, h / 2, w / 2), or the same shape
            x, relu = relu_forward(x)
            caches.append((convolution, relu))
        B, width, h, w = x.shape
        rows = x.reshape(B, width, h * w).swapaxes(1, 2)  # (B, width, H/P, W/P) -> (B, N, width)
        out, project = self.project.forward(rows)
        return out, ConvStemCache(caches, project)

    def backward(self, dout: Array, cache: ConvStemCache, *, dx: Skip | None = None) -> Array | None:
        """Map dout (B, N, width) to dx (B, C, H, W), or to ``None`` with ``dx=SKIP``: images need no gradient."""
        drows = self.project.backward(dout, cache.project)  # (B, N, width)
        last = cache.convolutions[-1][1].out.shape  # (B, width, H/P, W/P)
        dimage = drows.swapaxes(1, 2).reshape(last)
        for i in reversed(range(len(self.convolutions))):
            convolution, relu = cache.convolutions[i]
            target = None if i else dx  # only the gradient of the image itself may be skipped
            dimage = self.convolutions[i].backward(relu_backward(dimage, relu), convolution, dx=target)
        return dimage

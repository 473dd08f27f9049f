"""Images as sequences: an image is cut into patches, and a linear map turns each into a vector.

It is part of the vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929). It equals a convolution with stride
equal to the kernel size, written as a change of shape and one product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError, ShapeError
from ...ops.contract.op import Skip
from ...ops.linear.linear import LinearCache
from ..core.module import Module
from .linear import Linear


class PatchEmbeddingCache(NamedTuple):
    """Saved for the backward."""

    project: LinearCache
    shape: tuple[int, ...]  # of the images, (B, C, H, W)


class PatchEmbedding(Module):
    """Map an image (B, C, H, W) to N = (H / patch) (W / patch) vectors, row by row from the top left.

    The linear map reads the elements of a patch in the order (C, patch, patch). So its weight, reshaped to
    (width, C, patch, patch), is that of the equivalent convolution, as in published weights.

    Args:
        channels: number C of the image's channels.
        patch: height and width of a patch, in pixels.
        width: size of the vectors.
        init_rng: source of the initial weights.
        bias: whether to add a bias.
        std: standard deviation of the initial weights.
        dtype: dtype of the weights.

    Attributes:
        project: Linear, C patch patch -> width.

    Raises:
        ConfigError: if ``channels`` or ``patch`` is not positive.
    """

    def __init__(
        self,
        channels: int,
        patch: int,
        width: int,
        init_rng: np.random.Generator,
        *,
        bias: bool = True,
        std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        if channels < 1 or patch < 1:
            raise ConfigError(f"PatchEmbedding: channels={channels} and patch={patch} must be 1 or more")
        self.channels, self.patch = channels, patch
        self.project = Linear(channels * patch * patch, width, init_rng, bias=bias, std=std, dtype=dtype)

    def forward(self, x: Array) -> tuple[Array, PatchEmbeddingCache]:
        """Map x (B, C, H, W) to out (B, N, width).

        Raises:
            ShapeError: if x has other channels, or its height or width is not a multiple of ``patch``.
        """
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ShapeError(
                f"PatchEmbedding.forward: x has shape {x.shape}, expected (B, C, H, W) with C = {self.channels} and H "
                f"and W multiples of patch = {self.patch}; resize, crop or pad the images"
            )
        B, C, H, W = x.shape
        P = self.patch
        tiles = x.reshape(B, C, H // P, P, W // P, P).transpose(0, 2, 4, 1, 3, 5)  # (B, H/P, W/P, C, P, P)
        out, project = self.project.forward(tiles.reshape(B, (H // P) * (W // P), C * P * P))  # (B, N, width)
        return out, PatchEmbeddingCache(project, x.shape)

    def backward(self, dout: Array, cache: PatchEmbeddingCache, *, dx: Skip | None = None) -> Array | None:
        """Map dout (B, N, width) to dx (B, C, H, W), or to ``None`` with ``dx=SKIP``: images need no gradient."""
        dpatches = self.project.backward(dout, cache.project, dx=dx)  # (B, N, C P P)
        if dx is not None:
            return None
        B, C, H, W = cache.shape
        P = self.patch
        tiles = dpatches.reshape(B, H // P, W // P, C, P, P).transpose(0, 3, 1, 4, 2, 5)  # (B, C, H/P, P, W/P, P)
        return tiles.reshape(B, C, H, W)

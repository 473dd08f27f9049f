"""Max pooling: the largest element of each window. Backward: that element gets the whole gradient.

Of several largest elements the first, row by row, is chosen, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...backend.windows import Size, Windows, make_windows
from ...errors import ShapeError
from ..contract.op import op
from .windows import fold, slide


class MaxPool2dCache(NamedTuple):
    """Saved for the backward."""

    chosen: Array  # (B, C, Ho, Wo) integers: which element of its window, counted row by row
    shape: tuple[int, ...]  # of x, (B, C, H, W)
    windows: Windows


@op("x: B C H W")
def max_pool2d_forward(
    x: Array, *, kernel: Size, stride: Size | None = None, padding: Size = 0
) -> tuple[Array, MaxPool2dCache]:
    """Maximum of each window; a window with a NaN in it gives NaN.

    Args:
        x: (B, C, H, W) images.
        kernel: size of a window; here and below one number, or a pair (vertical, horizontal).
        stride: distance between windows; ``kernel`` by default, so that windows are adjacent and do not overlap.
        padding: rows and columns added on either side, which are never the maximum; at most half the kernel.

    Returns:
        out (B, C, Ho, Wo) and the cache.
    """
    xp = array_module(x)
    windows = make_windows("max_pool2d_forward", x, kernel, kernel if stride is None else stride, padding)
    if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
        raise ShapeError(
            f"max_pool2d_forward: padding = {padding} is more than half of kernel = {kernel}: "
            "a window could consist of padding alone, which has no maximum"
        )
    view = slide(x, windows, fill=-xp.inf)
    rows = view.reshape(*view.shape[:4], math.prod(windows.kernel))  # (B, C, Ho, Wo, kh kw)
    chosen = rows.argmax(axis=-1)
    out = xp.take_along_axis(rows, chosen[..., None], axis=-1)[..., 0]
    return out, MaxPool2dCache(chosen, x.shape, windows)


@op("cache.chosen: int B C Ho Wo; dout: B C Ho Wo")
def max_pool2d_backward(dout: Array, cache: MaxPool2dCache) -> Array:
    """Gradient of max pooling: dout (B, C, Ho, Wo) to dx (B, C, H, W)."""
    xp, (kh, kw) = array_module(dout), cache.windows.kernel
    places = xp.arange(kh * kw).reshape(kh, kw)
    dwindows = xp.where(cache.chosen[..., None, None] == places, dout[..., None, None], 0)  # (B, C, Ho, Wo, kh, kw)
    return fold(dwindows, cache.shape, cache.windows)

"""Average pooling: the mean of each window. Backward: each element of a window gets the same share of its gradient."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...backend.windows import Size, Windows, make_windows
from ...errors import ShapeError
from ..contract.op import op
from .windows import fold, slide


class AvgPool2dCache(NamedTuple):
    """Saved for the backward."""

    shape: tuple[int, ...]  # of x, (B, C, H, W)
    windows: Windows


@op("x: B C H W")
def avg_pool2d_forward(
    x: Array, *, kernel: Size, stride: Size | None = None, padding: Size = 0
) -> tuple[Array, AvgPool2dCache]:
    """Mean of each window.

    Args:
        x: (B, C, H, W) images.
        kernel: size of a window; here and below one number, or a pair (vertical, horizontal).
        stride: distance between windows; ``kernel`` by default, so that windows are adjacent and do not overlap.
        padding: rows and columns of zeros added on either side. They count in the mean, as in PyTorch by default.

    Returns:
        out (B, C, Ho, Wo) and the cache.
    """
    windows = make_windows("avg_pool2d_forward", x, kernel, kernel if stride is None else stride, padding)
    return slide(x, windows).mean(axis=(-2, -1)), AvgPool2dCache(x.shape, windows)


@op("dout: B C Ho Wo")
def avg_pool2d_backward(dout: Array, cache: AvgPool2dCache) -> Array:
    """Gradient of average pooling: dout (B, C, Ho, Wo) to dx (B, C, H, W)."""
    shape, windows = cache
    wanted = (*shape[:2], *windows.counts(shape))
    if dout.shape != wanted:
        raise ShapeError(f"avg_pool2d_backward: dout has shape {dout.shape}, expected {wanted} as the output")
    kh, kw = windows.kernel
    share = (dout / (kh * kw))[..., None, None]  # (B, C, Ho, Wo, 1, 1)
    return fold(array_module(dout).broadcast_to(share, (*wanted, kh, kw)), shape, windows)

"""Two-dimensional convolution (LeCun et al., 1989; strictly a cross-correlation, as is usual in deep learning).

Every window of the image is one row of a matrix, and the kernels of all output channels are another matrix. The
convolution is their product ("im2col": Chellapilla et al., 2006). With ``columns`` the matrix of windows::

    out      = columns @ weight.T + bias
    dweight  = dout.T @ columns
    dcolumns = dout @ weight              which ``fold`` sums where the windows overlapped

With groups there are G such products: the input and output channels are split into G independent parts.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...backend.precision import operand, operand_like
from ...backend.windows import Size, Windows, make_windows
from ...errors import ShapeError
from ..contract.op import op
from ..contract.products import dot_rows, product
from ..contract.sums import sum_over
from .windows import fold, slide


class Conv2dCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (B, C, H, W)
    weight: Array  # (O, C / G, kh, kw)
    bias: Array | None  # (O,)
    shape: tuple[int, ...]  # of the output, (B, O, Ho, Wo)
    windows: Windows
    groups: int


def _check_channels(x: Array, weight: Array, bias: Array | None = None, *, groups: int = 1, **windows: Size) -> None:
    C, (O, part) = x.shape[1], weight.shape[:2]
    if groups < 1 or O % groups:
        raise ShapeError(f"conv2d_forward: groups = {groups} must divide the O = {O} output channels of weight")
    if groups * part != C:
        raise ShapeError(
            f"conv2d_forward: x has C = {C} channels, but weight of shape {weight.shape} takes {part} in each of "
            f"groups = {groups}, so {groups * part}"
        )


@op("x: half B C H W; weight: half O I kh kw; bias: O", check=_check_channels)
def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    """Slide kernels over images.

    Args:
        x: (B, C, H, W) images.
        weight: (O, C / groups, kh, kw), one kernel for each output channel.
        bias: (O,), or ``None`` for none.
        stride: distance between windows; here and below one number, or a pair (vertical, horizontal).
        padding: rows and columns of zeros added on either side.
        dilation: distance between the elements of a window.
        groups: number of parts that the channels are split into; it divides C and O.

    Returns:
        out (B, O, Ho, Wo) and the cache.
    """
    (B, *_), (O, _, *kernel) = x.shape, weight.shape
    windows = make_windows("conv2d_forward", x, tuple(kernel), stride, padding, dilation)
    factor = operand(x)
    shape = (B, O, *windows.counts(x.shape))
    out = convolved(factor, operand(weight), shape, windows, groups)
    if bias is not None:
        out = out + bias[:, None, None]
    return out, Conv2dCache(factor, weight, bias, shape, windows, groups)


@op("cache.x: half B C H W; cache.weight: half O I kh kw; dout: B O Ho Wo")
def conv2d_backward(dout: Array, cache: Conv2dCache) -> tuple[Array, Array, Array | None]:
    """Gradients of the convolution.

    Maps dout (B, O, Ho, Wo) to dx (B, C, H, W), dweight (O, C / groups, kh, kw), dbias (O,) or ``None`` without a
    bias.
    """
    x, weight, bias, shape, windows, groups = cache
    if dout.shape != shape:
        raise ShapeError(f"conv2d_backward: dout has shape {dout.shape}, expected {shape} as the output")
    B, C, Ho, Wo = len(x), x.shape[1], *shape[2:]
    rows = _to_rows(operand_like(dout, x), groups)  # (G, B Ho Wo, O/G)
    columns = _columns(x, windows, groups)  # (G, B Ho Wo, K)
    dweight = dot_rows(rows, columns).reshape(weight.shape)
    kernels = operand_like(weight, x).reshape(groups, shape[1] // groups, columns.shape[-1])  # (G, O/G, K)
    dcolumns = product(rows, kernels)
    dwindows = dcolumns.reshape(groups, B, Ho, Wo, C // groups, *windows.kernel)
    dwindows = dwindows.transpose(1, 0, 4, 2, 3, 5, 6).reshape(B, C, Ho, Wo, *windows.kernel)  # (B, C, Ho, Wo, kh, kw)
    dbias = None if bias is None else sum_over(dout, (0, 2, 3))
    return fold(dwindows, x.shape, windows), dweight, dbias


def convolved(x: Array, weight: Array, shape: tuple[int, ...], windows: Windows, groups: int) -> Array:
    """The convolution without a bias: (B, C, H, W) with (O, C / groups, kh, kw) to ``shape``, (B, O, Ho, Wo)."""
    columns = _columns(x, windows, groups)  # (G, B Ho Wo, K)
    kernels = weight.reshape(groups, shape[1] // groups, columns.shape[-1])  # (G, O/G, K)
    return _to_images(product(columns, kernels.swapaxes(1, 2)), shape)


def _columns(x: Array, windows: Windows, groups: int) -> Array:
    """A row for each window: (B, C, H, W) -> (G, B Ho Wo, K) with K = C/G kh kw."""
    view = slide(x, windows)
    B, C, Ho, Wo, kh, kw = view.shape
    split = view.reshape(B, groups, C // groups, Ho, Wo, kh, kw)
    return split.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, B * Ho * Wo, C // groups * kh * kw)


def _to_images(rows: Array, shape: tuple[int, ...]) -> Array:
    """(G, B Ho Wo, O/G) -> (B, O, Ho, Wo)."""
    B, O, Ho, Wo = shape
    groups = len(rows)
    return rows.reshape(groups, B, Ho, Wo, O // groups).transpose(1, 0, 4, 2, 3).reshape(shape)


def _to_rows(images: Array, groups: int) -> Array:
    """(B, O, Ho, Wo) -> (G, B Ho Wo, O/G)."""
    B, O, Ho, Wo = images.shape
    split = images.reshape(B, groups, O // groups, Ho, Wo).transpose(1, 0, 3, 4, 2)  # (G, B, Ho, Wo, O/G)
    return split.reshape(groups, B * Ho * Wo, O // groups)

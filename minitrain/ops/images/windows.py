"""The elements of windows that slide over images, and where their gradients go; see `minitrain.backend.windows`."""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ...backend.windows import Windows


def slide(x: Array, windows: Windows, fill: float = 0.0) -> Array:
    """Extract the windows.

    Args:
        x: (B, C, H, W) images.
        windows: the windows' geometry.
        fill: padding value.

    Returns:
        (B, C, Ho, Wo, kh, kw), a read-only view of the padded images.
    """
    xp = array_module(x)
    (ph, pw), (sh, sw), (dh, dw) = windows.padding, windows.stride, windows.dilation
    if ph or pw:
        x = xp.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    everywhere = xp.lib.stride_tricks.sliding_window_view(x, (windows.span(0), windows.span(1)), axis=(2, 3))
    return everywhere[:, :, ::sh, ::sw, ::dh, ::dw]  # type: ignore[no-any-return]


def fold(dwindows: Array, shape: tuple[int, ...], windows: Windows) -> Array:
    """The backward of ``slide``: an element gets the sum over all windows that contain it.

    Args:
        dwindows: (B, C, Ho, Wo, kh, kw) gradients of the windows' elements.
        shape: (B, C, H, W) of the images.
        windows: the windows' geometry.

    Returns:
        dx (B, C, H, W).
    """
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = windows
    B, C, H, W = shape
    Ho, Wo = dwindows.shape[2:4]
    dpadded = array_module(dwindows).zeros((B, C, H + 2 * ph, W + 2 * pw), dwindows.dtype)
    for i in range(kh):
        for j in range(kw):  # element (i, j) of every window: these are different elements of the image
            rows, columns = slice(i * dh, i * dh + sh * Ho, sh), slice(j * dw, j * dw + sw * Wo, sw)
            dpadded[:, :, rows, columns] += dwindows[..., i, j]
    return dpadded[:, :, ph : ph + H, pw : pw + W]  # type: ignore[no-any-return]

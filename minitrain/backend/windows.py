"""Windows that slide over images, for convolution and pooling.

A window has ``kernel`` elements of the padded image, ``dilation`` apart; windows are ``stride`` apart. All of these are
pairs (vertical, horizontal). H rows have ``(H + 2 padding - dilation (kernel - 1) - 1) // stride + 1`` windows.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from ..errors import ShapeError
from .arrays import Array

Size: TypeAlias = int | tuple[int, int]
"""A pair (vertical, horizontal), or one number for both."""


class Windows(NamedTuple):
    """The geometry of windows."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def span(self, axis: int) -> int:
        """The extent of a window from its first to its last element, vertically (0) or horizontally (1)."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def counts(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """How many windows fit into images (B, C, H, W): (Ho, Wo)."""
        Ho, Wo = ((shape[2 + i] + 2 * self.padding[i] - self.span(i)) // self.stride[i] + 1 for i in (0, 1))
        return Ho, Wo


def pair(function: str, name: str, size: Any, least: int) -> tuple[int, int]:
    """A size as (vertical, horizontal).

    Args:
        function: the calling function, for the error.
        name: the argument, for the error.
        size: one integer or a tuple of two.
        least: the smallest valid value.

    Raises:
        ShapeError: if it is not such a size.
    """
    both = (size, size) if isinstance(size, int) else size
    if not isinstance(both, tuple) or len(both) != 2 or not all(isinstance(n, int) and n >= least for n in both):
        raise ShapeError(f"{function}: {name} = {size!r} must be an integer of at least {least}, or a tuple of two")
    return both


def make_windows(function: str, x: Array, kernel: Size, stride: Size, padding: Size, dilation: Size = 1) -> Windows:
    """Windows over images x (B, C, H, W).

    Args:
        function: the calling function, for the errors.
        x: the images.
        kernel: elements in a window.
        stride: distance between windows.
        padding: elements added on either side.
        dilation: distance between the elements of a window.

    Raises:
        ShapeError: if a size is invalid, or if no window fits.
    """
    sizes = Windows(
        pair(function, "kernel", kernel, 1),
        pair(function, "stride", stride, 1),
        pair(function, "padding", padding, 0),
        pair(function, "dilation", dilation, 1),
    )
    if min(sizes.counts(x.shape)) < 1 or 0 in x.shape[2:]:  # no windows of padding alone
        raise ShapeError(
            f"{function}: x has shape {x.shape}: with padding = {sizes.padding} no window of {sizes.span(0)} x "
            f"{sizes.span(1)} fits into {x.shape[2]} x {x.shape[3]}; pad more or take a smaller kernel"
        )
    return sizes

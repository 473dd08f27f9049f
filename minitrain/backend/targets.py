"""Where a backward writes a gradient: to a fresh array, nowhere, or to memory from the caller."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from ..errors import ShapeError
from .arrays import Array


class Into(NamedTuple):
    """Write a gradient to ``buffer``: overwrite it or add to it (BLAS's beta 0 and 1).

    Two gradients of a call may go to the same buffer if the second is added. Otherwise the buffer must not overlap any
    array of the call, with one exception: ``dlogits`` of a cross-entropy may overwrite its logits.
    """

    buffer: Array
    accumulate: bool = False


class Skip:
    """The type of ``SKIP``."""

    def __repr__(self) -> str:
        return "SKIP"


SKIP: Final = Skip()
"""This gradient is not needed; ``None`` is returned in its place and twins do not compute it."""

Target: TypeAlias = Into | Skip | None
"""Where one gradient goes; ``None`` means a fresh array."""


class TargetError(ShapeError):
    """A buffer given in ``into`` does not fit its gradient."""


def check_fits(buffer: Array, shape: tuple[int, ...]) -> None:
    """Raise ``TargetError`` if a gradient of ``shape`` does not fit ``buffer``: nothing is broadcast."""
    if buffer.shape != shape:
        raise TargetError(f"into has a buffer of shape {buffer.shape} for a gradient of shape {shape}")


def deliver(gradient: Array, target: Target) -> Array | None:
    """Write a freshly computed ``gradient`` to ``target``, and return what the caller gets."""
    if target is None:
        return gradient
    if isinstance(target, Skip):
        return None
    check_fits(target.buffer, gradient.shape)
    buffer = target.buffer
    if target.accumulate:
        buffer += gradient
    else:
        buffer[...] = gradient
    return buffer

"""Numbers of a training step that stay on a GPU until a record is written, and the errors that come with them."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import array_module, is_cupy
from ..backend.deferred import watch
from ..errors import DataError, NonFiniteError

NOTHING_COUNTS = "no target of this batch counts: all are masked out, there is nothing to learn from it"


def as_double(x: Any) -> Any:
    """An array () of a GPU as float64, which stays there; anything else as a Python float."""
    return x.astype("float64") if is_cupy(x) else float(x)


def check_total(total: Any, count: Any) -> None:
    """Raise an error if nothing counts, or the loss is not finite; for arrays of a GPU, with the next transfer.

    Raises:
        DataError: if ``count`` is 0.
    """
    if is_cupy(count):
        missing = (count == 0).astype("int64")
        watch(array_module(count), "no target", missing, 0, lambda _: DataError(NOTHING_COUNTS))
    elif not count:
        raise DataError(NOTHING_COUNTS)
    if is_cupy(total):
        xp = array_module(total)
        message = (
            "the loss was NaN or infinite in an update since the GPU was last waited for, and the weights were updated "
            "with it; with trainer.log_every=1, or on a CPU, the error names the array"
        )
        watch(xp, "the loss", (~xp.isfinite(total)).astype("int64"), 0, lambda _: NonFiniteError(message))

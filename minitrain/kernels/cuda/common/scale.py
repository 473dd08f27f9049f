"""The factor of the gradients: a number of the host, or one that a kernel reads on the device."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, is_cupy


def scale_arguments(grad_scale: Any) -> tuple[float, Array | None]:
    """What a kernel gets for its parameters ``f4 scale, f4* on_device?``.

    The norm of the gradient is known on the device alone, and so is the factor that clips it. A factor there that is
    NaN or infinite leaves the weights and moments as they are: the host, which would refuse it, does not see it.
    """
    return (1.0, grad_scale.astype("float32")) if is_cupy(grad_scale) else (float(grad_scale), None)

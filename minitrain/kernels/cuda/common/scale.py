"""The factor of the gradients in an update, as kernels take it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend.arrays import Array, is_array


def scale_arguments(grad_scale: Any) -> tuple[Array | None, float]:
    """The factor as an array () of float64 on the device, or ``None`` and a number of the host."""
    return (grad_scale.astype(np.float64, copy=False), 0.0) if is_array(grad_scale) else (None, float(grad_scale))

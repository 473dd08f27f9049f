"""The machine's limit: the product of two square float32 matrices, by the fastest library.

Efficiency is useful arithmetic over this limit, so a slow product would make it look too good. Three are tried, each
in its own process and with all threads: that of minitrain's linear layer, NumPy's, and PyTorch's if it is installed.
The fastest single product of all is the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SGEMM_SIZE = 2048
SGEMM_FLOPS = 2 * SGEMM_SIZE**3

Product = Callable[[], Any]


def _matrices() -> list[np.ndarray[Any, Any]]:
    """Two factors, ``(SGEMM_SIZE, SGEMM_SIZE)``."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((SGEMM_SIZE, SGEMM_SIZE), np.float32) for _ in range(2)]


def minitrain_product() -> Product:
    """The product in minitrain's linear layer, on the BLAS that the kernels use."""
    from ..ops import linear_forward

    a, b = _matrices()
    return lambda: linear_forward(a, b, None)


def numpy_product() -> Product:
    """NumPy's ``matmul``."""
    a, b = _matrices()
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def torch_product() -> Product:
    """PyTorch's ``mm``."""
    import torch

    a, b = map(torch.from_numpy, _matrices())
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


SGEMMS: dict[str, Callable[[], Product]] = {
    "sgemm-minitrain": minitrain_product,
    "sgemm-numpy": numpy_product,
    "sgemm-torch": torch_product,
}
"""Prepares a product, by the name of its program."""

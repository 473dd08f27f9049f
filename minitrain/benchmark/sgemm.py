"""The machine's own limit: products of two square float32 matrices, by whatever library is fastest.

Efficiency is useful arithmetic over this limit, so a slow product would flatter it. Three are tried, each in a
process of its own and with all threads: the one that minitrain's linear layer runs on, NumPy's, and PyTorch's if it
is installed. The fastest single product of them all is the limit.
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
"""Makes a product ready, by the name of its program."""

"""The largest eigenvalue of the Hessian, by Lanczos's method."""

from __future__ import annotations

import numpy as np

from .hessian import HessianProducts


def sharpness(products: HessianProducts, *, tolerance: float = 1e-3, seed: int = 0) -> float:
    """The largest eigenvalue of the Hessian.

    Args:
        products: multiplies by the Hessian.
        tolerance: relative error of the eigenvalue.
        seed: of the first vector.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = products.size
    if size < 3:  # too few for Lanczos
        rows = np.stack([products(row) for row in np.eye(size)])
        return float(np.linalg.eigvalsh((rows + rows.T) / 2)[-1])
    operator = LinearOperator((size, size), matvec=products, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    values = eigsh(operator, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
    return float(values[0])

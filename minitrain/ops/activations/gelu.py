r"""Gaussian error linear unit (Hendrycks, Gimpel, 2016, arXiv:1606.08415): ``x * P(Z <= x)`` for a standard normal Z.

The exact form is ``0.5 x (1 + erf(x / sqrt 2))``, with derivative ``cdf(x) + x pdf(x)``. GPT-2's tanh form replaces
the distribution function by ``0.5 (1 + tanh(u))`` with ``u = sqrt(2/pi) (x + 0.044715 x^3)``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.op import op
from .logistic import sigmoid
from .special import erfc

SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715
FORMS = ("tanh", "exact", "none")
"""The values of ``approximate``. ``"none"`` is PyTorch's name for ``"exact"``."""


class GeluCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (...,) the input
    approximate: str


def _check_form(x: Array, *, approximate: str = "tanh") -> None:
    if approximate not in FORMS:
        raise ShapeError(f"gelu_forward: approximate={approximate!r}; use 'tanh' (GPT-2's) or 'exact' (erf)")


@op("x: *N", check=_check_form)
def gelu_forward(x: Array, *, approximate: str = "tanh") -> tuple[Array, GeluCache]:
    """GELU of each element.

    Args:
        x: (...,) input.
        approximate: ``"tanh"`` for GPT-2's form; ``"exact"``, or ``"none"`` as in PyTorch, for the exact one.

    Returns:
        out (...,) and the cache.
    """
    return x * distribution(x, approximate), GeluCache(x, approximate)


@op("cache.x: *N; dout: *N")
def gelu_backward(dout: Array, cache: GeluCache) -> Array:
    """Gradient of GELU: dout (...,) to dx (...,)."""
    x, approximate = cache
    cdf = distribution(x, approximate)
    return dout * (cdf + x * slope_of_distribution(x, cdf, approximate))  # type: ignore[no-any-return]


def distribution(x: Array, approximate: str) -> Array:
    """``P(Z <= x)``; ``1 + tanh(u)`` and ``1 + erf(u)`` would lose their digits where x is far below 0."""
    if approximate != "tanh":
        return 0.5 * erfc(-SQRT_HALF * x)
    return sigmoid(2 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x))  # 0.5 (1 + tanh(u)) = sigmoid(2 u)


def slope_of_distribution(x: Array, cdf: Array, approximate: str) -> Array:
    """The derivative of ``distribution`` at x, where it is ``cdf``."""
    if approximate != "tanh":
        return array_module(x).exp(-0.5 * x * x) * INV_SQRT_2PI  # type: ignore[no-any-return]  # the normal density
    return 2 * cdf * (1 - cdf) * SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x)  # type: ignore[no-any-return]

"""Check your own layers: gradients against finite differences, and Hypothesis strategies for inputs.

>>> from minitrain.ops import registry
>>> import numpy as np
>>> print(check_gradients(registry()["gelu"], np.linspace(-2, 2, 8)))  # doctest: +SKIP
x  (8,)  worst relative error 2.1e-12

The strategies lie in ``minitrain.testing.strategies``, which needs Hypothesis; the checker needs NumPy alone.
"""

from .gradients import check_gradients
from .layouts import LAYOUTS, with_layout
from .modules import check_module
from .report import ArgumentReport, GradientCheckError, GradientMismatch, GradientReport, Mismatch
from .settings import CheckSettings

__all__ = [
    "LAYOUTS",
    "ArgumentReport",
    "CheckSettings",
    "GradientCheckError",
    "GradientMismatch",
    "GradientReport",
    "Mismatch",
    "check_gradients",
    "check_module",
    "with_layout",
]

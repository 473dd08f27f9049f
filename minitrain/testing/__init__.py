"""Check your own layers: gradients against finite differences, and Hypothesis strategies for inputs.

Examples:
    >>> import numpy as np
    >>> from minitrain.ops import registry
    >>> report = check_gradients(registry()["gelu"], np.linspace(-2, 2, 8))
    >>> report.worst < 1e-8
    True

``print(report)`` shows a table. A wrong gradient raises ``GradientMismatch``, which names the argument, its worst
element, and what the mistake looks like.

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

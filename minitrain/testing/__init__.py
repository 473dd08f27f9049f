"""Check your own layers: gradients against finite differences, and Hypothesis strategies for inputs.

Examples:
    >>> import numpy as np
    >>> from minitrain.ops import registry
    >>> report = check_gradients(registry()["gelu"], np.linspace(-2, 2, 8))
    >>> report.worst < 1e-8
    True

``print(report)`` shows a table. A wrong gradient raises ``GradientMismatch``. It names the argument and its worst
element, and suggests what the mistake may be.

The checker needs only NumPy. ``minitrain.testing.strategies`` needs Hypothesis. ``minitrain.testing.mutants``, which
shows whether your tests would notice a mistake, needs pytest as well.
"""

from .gradients import check_gradients as check_gradients
from .half import HalfReport as HalfReport
from .half import HalfResult as HalfResult
from .half import check_half_gradients as check_half_gradients
from .layouts import LAYOUTS as LAYOUTS
from .layouts import with_layout as with_layout
from .modules import check_module as check_module
from .report import ArgumentReport as ArgumentReport
from .report import GradientCheckError as GradientCheckError
from .report import GradientMismatch as GradientMismatch
from .report import GradientReport as GradientReport
from .report import Mismatch as Mismatch
from .settings import SINGLE as SINGLE
from .settings import CheckSettings as CheckSettings

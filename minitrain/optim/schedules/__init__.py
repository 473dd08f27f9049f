"""Learning-rate schedules: pure functions of the step, ``schedule(step) -> lr``, for the update with that number.

Steps count from 0. The rate is set before the update it governs, so the first update already runs at the warm-up's
first rate. After its last step a schedule stays where it is.
"""

from .cosine import CosineRestarts, WarmupCosine
from .cycle import OneCycle, WarmupStableDecay
from .decay import Exponential, MultiStep, StepDecay
from .ramp import InverseSqrt, Linear, Polynomial
from .warmup import Constant, Schedule, Warmup

__all__ = [
    "Constant",
    "CosineRestarts",
    "Exponential",
    "InverseSqrt",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Schedule",
    "StepDecay",
    "Warmup",
    "WarmupCosine",
    "WarmupStableDecay",
]

"""Learning-rate schedules: pure functions of the step, ``schedule(step) -> lr``, for the update with that number.

Steps count from 0. The rate is set before the update that uses it: update 0 already has the first rate of the warm-up.
After its last step a schedule keeps its last rate.
"""

from .cosine import CosineRestarts, WarmupCosine
from .cycle import OneCycle, WarmupStableDecay
from .decay import Exponential, MultiStep, StepDecay
from .drawn import Drawn
from .ramp import InverseSqrt, Linear, Polynomial
from .warmup import Constant, Schedule, Warmup

__all__ = [
    "Constant",
    "CosineRestarts",
    "Drawn",
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

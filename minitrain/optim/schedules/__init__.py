"""Learning-rate schedules: pure functions ``schedule(step) -> lr`` of the number of the update.

Steps count from 0. The rate is set before the update that uses it: update 0 already has the first rate of the warm-up.
After its last step a schedule keeps its last rate.
"""

from .cosine import CosineRestarts as CosineRestarts
from .cosine import WarmupCosine as WarmupCosine
from .cycle import OneCycle as OneCycle
from .cycle import WarmupStableDecay as WarmupStableDecay
from .decay import Exponential as Exponential
from .decay import MultiStep as MultiStep
from .decay import StepDecay as StepDecay
from .drawn import Drawn as Drawn
from .ramp import InverseSqrt as InverseSqrt
from .ramp import Linear as Linear
from .ramp import Polynomial as Polynomial
from .warmup import Constant as Constant
from .warmup import Schedule as Schedule
from .warmup import Warmup as Warmup

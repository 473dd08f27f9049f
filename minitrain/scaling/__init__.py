"""How training on many ranks scales: a model, a simulator that checks it, and a fit to this machine.

``minitrain bench --scaling`` is the command; ``docs/scaling.md`` has the figures.
"""

from .cluster import CLUSTERS as CLUSTERS
from .cluster import Cluster as Cluster
from .events import Simulator as Simulator
from .events import Timeline as Timeline
from .links import LINKS as LINKS
from .links import Link as Link
from .sharding import smallest_stage as smallest_stage
from .step import Plan as Plan
from .step import Step as Step
from .step import efficiency as efficiency
from .step import step_on as step_on

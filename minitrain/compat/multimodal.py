"""A trainer for images and texts, its checkpoint manager and its metrics.

All names and signatures are minitrain's own; this module only has them in one place.
"""

from ..checkpoint import CheckpointManager as CheckpointManager
from ..records import MetricsCollector as MetricsCollector
from ..trainers import MultimodalTrainer as MultimodalTrainer

"""A trainer out of parts, the parts themselves, and factories that read a configuration.

All names and signatures are minitrain's own; this module only has them in one place. A learning-rate schedule is made
for an optimizer and a number of steps, ``create_scheduler(cfg, optimizer, total_steps)``, and
``create_optimizer(cfg, model)`` for a model.
"""

from ..generation import TextGenerator as TextGenerator
from ..generation import batch_generate as batch_generate
from ..generation import generate_text_sampling as generate_text_sampling
from ..generation import sample_text as sample_text
from ..nn import checkpoint_activations as checkpoint_activations
from ..probes import compile_kernels as compile_kernels
from ..training import Callback as Callback
from ..training import CallbackList as CallbackList
from ..training import CheckpointManager as CheckpointManager
from ..training import EarlyStopping as EarlyStopping
from ..training import Evaluator as Evaluator
from ..training import JsonlLogger as JsonlLogger
from ..training import ProgressTracker as ProgressTracker
from ..training import Trainer as Trainer
from ..training import TrainingConfig as TrainingConfig
from ..training import TrainingLoop as TrainingLoop
from ..training import create_optimizer as create_optimizer
from ..training import create_scheduler as create_scheduler

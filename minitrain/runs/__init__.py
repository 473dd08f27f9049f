"""Runs on a text: from settings to a folder with a trained model, and back.

`RunConfig` is the tree of all settings, and `recipe` gives those that the package has by a name. `start_run` begins a
run, `resume_run` continues one, `load_run` opens its model.
"""

from ..tasks.settings.data import DataConfig as DataConfig
from ..tasks.settings.data import ShardsConfig as ShardsConfig
from ..tasks.settings.generation import GenerationConfig as GenerationConfig
from ..tasks.settings.model import GPTModelConfig as GPTModelConfig
from ..tasks.settings.model import LlamaModelConfig as LlamaModelConfig
from ..tasks.settings.model import ModelConfig as ModelConfig
from ..tasks.settings.model import register_model as register_model
from ..tasks.settings.objective import register_loss as register_loss
from ..tasks.settings.objective import register_metric as register_metric
from ..tasks.text.validation import TokenWindows as TokenWindows
from ..tasks.text.validation import Validation as Validation
from ..tasks.text.validation import evaluate as evaluate
from .comparison.noise import Noise as Noise
from .comparison.noise import compare_evaluations as compare_evaluations
from .comparison.side_by_side import Comparison as Comparison
from .comparison.side_by_side import compare_runs as compare_runs
from .comparison.side_by_side import plot_comparison as plot_comparison
from .config import RunConfig as RunConfig
from .load import LoadedRun as LoadedRun
from .load import evaluate_run as evaluate_run
from .load import load_run as load_run
from .load import plot_run as plot_run
from .opened import OpenedModel as OpenedModel
from .opened import open_model as open_model
from .optimizer_config import AdamWConfig as AdamWConfig
from .optimizer_config import OptimizerConfig as OptimizerConfig
from .optimizer_config import SchedulerConfig as SchedulerConfig
from .recipes import recipe as recipe
from .report import RunResult as RunResult
from .run import Run as Run
from .run import resume_run as resume_run
from .run import start_run as start_run

"""Callbacks from a configuration: a name, and settings that are checked.

Names, types and defaults of the settings are read from the callback's signature. One of your own has
``@register_callback("name")`` before its class, or an entry point of the group ``minitrain.callbacks``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...settings.declared import Setting, arguments, read_config, settings_of
from ...settings.registry import Registry
from .averaging.ema import EMA, SWA
from .base import Callback
from .control.checkpointing import Checkpointing
from .control.clipping import AdaptiveClipping, ValueClipping
from .control.early_stopping import EarlyStopping, TimeLimit
from .control.guards import NaNGuard, SpikeGuard
from .loggers.csv_logger import CsvLogger
from .loggers.jsonl import JsonlLogger
from .loggers.mlflow import MLflowLogger
from .loggers.run_info import RunInfo
from .loggers.tensorboard import TensorBoardLogger
from .loggers.wandb import WandbLogger
from .monitors.curvature import Sharpness
from .monitors.plots import Plots
from .monitors.progress_tracker import ProgressTracker
from .monitors.samples import SampleGeneration
from .monitors.statistics import (
    ActivationStatistics,
    GradientStatistics,
    Histograms,
    LearningRateMonitor,
    WeightStatistics,
)
from .monitors.throughput import Throughput

_OWN: dict[str, type[Callback]] = {
    "activation_statistics": ActivationStatistics,
    "adaptive_clipping": AdaptiveClipping,
    "checkpointing": Checkpointing,
    "csv": CsvLogger,
    "early_stopping": EarlyStopping,
    "ema": EMA,
    "gradient_statistics": GradientStatistics,
    "histograms": Histograms,
    "jsonl": JsonlLogger,
    "learning_rate_monitor": LearningRateMonitor,
    "mlflow": MLflowLogger,
    "nan_guard": NaNGuard,
    "plots": Plots,
    "progress": ProgressTracker,
    "run_info": RunInfo,
    "sample_generation": SampleGeneration,
    "sharpness": Sharpness,
    "spike_guard": SpikeGuard,
    "swa": SWA,
    "tensorboard": TensorBoardLogger,
    "throughput": Throughput,
    "time_limit": TimeLimit,
    "value_clipping": ValueClipping,
    "wandb": WandbLogger,
    "weight_statistics": WeightStatistics,
}
CALLBACKS: Registry[type[Callback]] = Registry("callback", "minitrain.callbacks")
register_callback = CALLBACKS.register
"""``@register_callback("name")`` before the class."""
for _name, _kind in _OWN.items():
    register_callback(_name)(_kind)


def callback_settings(name: str) -> dict[str, Setting]:
    """The settings of a callback of ``CALLBACKS``; what can be anything, such as a batch, is for Python alone."""
    settings = settings_of(CALLBACKS[name])
    return {key: setting for key, setting in settings.items() if setting.hint is not Any}


def create_callbacks(configs: Iterable[Mapping[str, Any] | str]) -> list[Callback]:
    """The callbacks that a configuration names, in its order.

    The second one of a kind is called ``EMA-2``, the third one ``EMA-3``, so that each finds its state in a checkpoint.

    Args:
        configs: for each a mapping, such as a dictionary or Hydra's: ``name``, one of ``CALLBACKS``, and its settings;
            or the name alone.

    Raises:
        ConfigError: for an unknown name or setting (names the nearest valid one), a wrong type, or a value out of
            range.

    Example:
        >>> create_callbacks([{"name": "early_stopping", "patience": 3}, "throughput"])  # doctest: +SKIP
    """
    callbacks = []
    kinds: Counter[str] = Counter()
    for config in configs:
        values = read_config({"name": config} if isinstance(config, str) else config, "callback")
        name = values.pop("name")
        kind = CALLBACKS.look_up(name)
        callback: Callback = kind(**arguments(f"callback {name}", callback_settings(name), values))
        kinds[name] += 1
        if kinds[name] > 1:
            callback.name = f"{kind.__name__}-{kinds[name]}"
        callbacks.append(callback)
    return callbacks

"""The loss and the metrics that a configuration names, the library's and those of your own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...losses import CrossEntropyLoss, FocalLoss, LabelSmoothing, UnlikelihoodLoss
from ...measures import Accuracy, CalibrationError, Perplexity, TopK
from ...measures.base import Measures
from ...settings.declared import Setting, arguments, read_config, settings_of
from ...settings.registry import Registry

LOSSES: Registry[type[Any]] = Registry("loss", "minitrain.losses")
register_loss = LOSSES.register
"""``@register_loss("name")`` before a class with ``forward(outputs, targets)`` and ``backward(dloss, cache)``."""

METRICS: Registry[Measures] = Registry("metric", "minitrain.metrics")
register_metric = METRICS.register
"""``@register_metric("name")`` before a function ``metric(outputs, batch) -> (total, count)``, or before a class of a
measure that can be made without arguments."""

for _name, _kind in {
    "cross_entropy": CrossEntropyLoss,
    "label_smoothing": LabelSmoothing,
    "focal": FocalLoss,
    "unlikelihood": UnlikelihoodLoss,
}.items():
    register_loss(_name)(_kind)
for _name, _metric in {
    "accuracy": Accuracy,
    "top5": TopK,
    "perplexity": Perplexity,
    "calibration": CalibrationError,
}.items():
    register_metric(_name)(_metric)


def loss_settings(name: str) -> dict[str, Setting]:
    """The settings of a loss of ``LOSSES``, as they are for a run on a text.

    Sums over micro-batches leave no choice of the reduction. Such a text has no padding: its token 0 is a character
    like any other, and counts unless ``pad_idx`` is given.
    """
    settings = settings_of(LOSSES[name], without=("reduction",))
    return {key: one._replace(default=None) if key == "pad_idx" else one for key, one in settings.items()}


def create_loss(config: Mapping[str, Any] | str | None) -> Any:
    """The loss that a configuration names; ``None`` stands for the model's own.

    Args:
        config: a name, or a mapping of ``name`` and the settings of the loss.

    Raises:
        ConfigError: for an unknown name or setting (names the nearest one), or a wrong value.
    """
    if config is None:
        return None
    values = read_config({"name": config} if isinstance(config, str) else config, "loss")
    name = values.pop("name")
    kind, settings = LOSSES.look_up(name), loss_settings(name)
    given = {"pad_idx": None} | values if "pad_idx" in settings else values
    return kind(**arguments(f"loss {name}", settings, given))


def create_metrics(names: Iterable[str]) -> dict[str, Measures]:
    """The metrics of these names.

    Raises:
        ConfigError: for an unknown name; names the nearest one.
    """
    return {name: METRICS.look_up(name) for name in names}

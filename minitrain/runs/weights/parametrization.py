"""The setting ``parametrization``: initial weights and rates as usual, or those of `minitrain.optim.mup`."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError
from ...nn.core.module import Module
from ...optim.mup import ADAM_LIKE, base_config, use_mup
from ...tasks.settings.model import MODELS

DECOUPLED = ("adamw", "lion")
"""Those of ``ADAM_LIKE`` whose decay is apart from the gradient."""


def check_parametrization(config: Any) -> None:
    """Check that a run's model and optimizer have a maximal update parametrization, if it asks for one.

    Args:
        config: a `RunConfig`.

    Raises:
        ConfigError: if they have none.
    """
    if config.parametrization == "standard":
        return
    if config.optimizer.name not in ADAM_LIKE:
        raise ConfigError(
            "parametrization=mup is for optimizers whose steps do not grow with the gradient "
            f"({', '.join(ADAM_LIKE)}), not for optimizer={config.optimizer.name}"
        )
    if config.adapter is not None:
        raise ConfigError("parametrization=mup is for models whose own weights are trained: leave out the adapter")
    base_config(config.model.shape(**MODELS.look_up(config.model.name).from_run), config.base_width)


def parametrize(model: Module, config: Any) -> None:
    """Give a fresh model the initial weights and the groups of parameters that a run asks for."""
    if config.parametrization == "mup":
        decay = config.optimizer.weight_decay if config.optimizer.name in DECOUPLED else 0.0
        use_mup(model, config.base_width, weight_decay=decay)

"""The optimizers and schedulers that a configuration can name. Each registers itself where it is defined."""

from __future__ import annotations

from typing import Any

from ..settings.registry import Registry
from .optimizer import Optimizer

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", "minitrain.optimizers")
SCHEDULERS: Registry[Any] = Registry("scheduler", "minitrain.schedules")

register_optimizer = OPTIMIZERS.register
"""``@register_optimizer("name")`` before the class. Its settings are the arguments of its constructor."""
register_schedule = SCHEDULERS.register
"""``@register_schedule("name")`` before the class. It is called with the number of an update and returns its rate."""

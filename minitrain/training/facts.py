"""What should be known of a run besides its figures: its settings, and what it was made with."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..backend import kernels_mode, thread_count
from ..versions import versions

if TYPE_CHECKING:
    from .trainer import Trainer

Plain = str | int | float | bool | None


def hyperparameters(trainer: Trainer) -> dict[str, Any]:
    """The settings of a run as nested dictionaries of plain values.

    Those that the trainer was told, such as the whole configuration of ``minitrain train``; else what it knows: its
    own, the optimizer's, and those of a model that has a dataclass as ``config``.
    """
    if trainer.hyperparameters is not None:
        return dict(trainer.hyperparameters)
    optimizer = {"name": type(trainer.optimizer).__name__, "learning_rate": trainer.optimizer.get_lr()}
    model: dict[str, Any] = {"name": type(trainer.model).__name__}
    config = getattr(trainer.model, "config", None)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        model |= dataclasses.asdict(config)
    return {"model": model, "optimizer": optimizer, "trainer": dataclasses.asdict(trainer.config)}


def facts(trainer: Trainer) -> dict[str, Plain]:
    """Sizes, versions and surroundings; no names of machines, users or folders."""
    sizes = [(p.data.size, p.trainable) for _, p in trainer.model.named_parameters()]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trainable_parameters": sum(size for size, trainable in sizes if trainable),
        **versions(),
        "system": platform.system(),
        "machine": platform.machine(),
        "device": trainer.device,
        "kernels": kernels_mode(),
        "threads": thread_count(),
    }


def flat(settings: Mapping[str, Any]) -> dict[str, Plain]:
    """Nested settings as one level, with dotted names: ``model.n_layer``, ``callbacks.0.name``."""
    return dict(_leaves("", settings))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, Mapping):
        inner = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(str(i), part) for i, part in enumerate(value)]
    else:
        yield name, value if isinstance(value, Plain) else str(value)
        return
    for key, part in inner:
        yield from _leaves(f"{name}.{key}" if name else key, part)

"""Facts about a run besides its metrics: its settings, sizes, versions and surroundings."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping
from typing import Any

from ..backend import kernels_mode, thread_count
from ..backend.product_choice import in_use
from ..versions import versions

Plain = str | int | float | bool | None


def settings_of(model: Any, optimizer: Any, config: Any) -> dict[str, Any]:
    """The settings of a training that was put together in Python, as nested dictionaries of plain values.

    Args:
        model: its name is noted, and the fields of its ``config`` if that is a dataclass.
        optimizer: its name and rate are noted.
        config: the trainer's dataclass of settings.
    """
    described: dict[str, Any] = {"name": type(model).__name__}
    sizes = getattr(model, "config", None)
    if dataclasses.is_dataclass(sizes) and not isinstance(sizes, type):
        described |= dataclasses.asdict(sizes)
    rule = {"name": type(optimizer).__name__, "learning_rate": optimizer.get_lr()}
    return {"model": described, "optimizer": rule, "trainer": dataclasses.asdict(config)}


def facts(model: Any, device: str, precision: str = "float32") -> dict[str, Plain]:
    """Sizes, versions and surroundings of a run; no names of machines, users or folders."""
    sizes = [(p.data.size, p.trainable) for _, p in model.named_parameters()]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trainable_parameters": sum(size for size, trainable in sizes if trainable),
        **versions(),
        "system": platform.system(),
        "machine": platform.machine(),
        "device": device,
        "kernels": kernels_mode(),
        "threads": thread_count(),
        **{f"products_{dtype}": str(product) for dtype, product in in_use(device, precision).items()},
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

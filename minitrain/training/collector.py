"""The history of a training in memory: every figure with the step it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import DataError


class MetricsCollector:
    """Collects scalars by name, each with its step.

    Nested dictionaries become names with an underscore: ``{"recalls": {"top1": 0.8}}`` under the prefix ``"val"`` is
    ``val_recalls_top1``. Zero-dimensional arrays of any device are taken as numbers.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._steps: dict[str, list[int]] = {}

    def update(self, metrics: Mapping[str, Any], prefix: str = "", step: int | None = None) -> None:
        """Append figures.

        Args:
            metrics: numbers by name, nested as you like.
            prefix: put before each name, with an underscore.
            step: where training is; by default one more than the name's last one.

        Raises:
            DataError: if a value is not a number.
        """
        for name, value in _flat(metrics, prefix):
            steps = self._steps.setdefault(name, [])
            steps.append((steps[-1] + 1 if steps else 0) if step is None else int(step))
            self._values.setdefault(name, []).append(value)

    def get_metric(self, name: str) -> list[float]:
        """All values of a figure, oldest first; empty if there is none of that name."""
        return list(self._values.get(name, ()))

    def get_steps(self, name: str) -> list[int]:
        """The steps of these values."""
        return list(self._steps.get(name, ()))

    def get_latest(self, name: str) -> float | None:
        """The last value of a figure, or ``None``."""
        values = self._values.get(name)
        return values[-1] if values else None

    def names(self) -> list[str]:
        """The names of all figures, in the order in which they came."""
        return list(self._values)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._steps.clear()

    def to_dict(self) -> dict[str, Any]:
        """The history as plain values, for JSON: ``{name: {"steps": [...], "values": [...]}}``."""
        return {name: {"steps": self.get_steps(name), "values": self.get_metric(name)} for name in self._values}

    def from_dict(self, history: Mapping[str, Any]) -> None:
        """Take back what ``to_dict`` gave, in place of what is there.

        Raises:
            DataError: if it is no history; nothing is changed then.
        """
        try:
            values = {str(name): [float(x) for x in one["values"]] for name, one in history.items()}
            steps = {str(name): [int(x) for x in one["steps"]] for name, one in history.items()}
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"this is no history of metrics: {error!r}") from error
        for name in values:
            if len(values[name]) != len(steps[name]):
                raise DataError(f"the history of {name} has {len(values[name])} values for {len(steps[name])} steps")
        self._values, self._steps = values, steps


def _flat(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Full names and numbers of nested dictionaries."""
    for key, value in metrics.items():
        name = f"{prefix}_{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
            continue
        try:
            yield name, float(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"the metric {name} is {value!r}, not a number") from error

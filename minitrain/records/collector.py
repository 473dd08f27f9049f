"""The history of a training in memory: every metric with the step it belongs to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..display.markup import block, element, shown, table
from ..errors import DataError
from ..settings.better import best_of, check_mode
from .diagnosis import Diagnosis, LossLevels, diagnose
from .loss_curves import loss_curves

_LESS = ("loss", "error", "perplexity", "calibration", "bits_per", "norm", "rank", "gap")
_ERROR_RATES = ("per", "wer", "cer", "ter")


class MetricsCollector:
    """Collects scalars by name, each with its step.

    Nested dictionaries become names with an underscore: ``{"recalls": {"top1": 0.8}}`` under the prefix ``"val"`` is
    ``val_recalls_top1``. Arrays with one element, of any device, are taken as numbers.

    Args:
        directions: ``"min"`` or ``"max"`` by name, for metrics of which less or more is better; by default less is
            better if the name has "loss", "error", "perplexity", "calibration", "bits_per", "norm", "rank" or "gap" in
            it, or ends with "per", "wer", "cer" or "ter". Of ``alignment_gap``, more is better.
        counted: the unit of ``tokens_per_second``, for the title of its picture.

    Attributes:
        levels: losses known beforehand, for `diagnose_training_issues`; set them if you know them.

    Raises:
        ConfigError: if a direction is neither.
    """

    def __init__(self, directions: Mapping[str, str] | None = None, *, counted: str = "tokens") -> None:
        self.directions, self.counted = dict(directions or {}), counted
        for name, mode in self.directions.items():
            check_mode(f"MetricsCollector: {name}", mode)
        self.levels = LossLevels()
        self._values: dict[str, list[float]] = {}
        self._steps: dict[str, list[int]] = {}

    def update(self, metrics: Mapping[str, Any], prefix: str = "", step: int | None = None) -> None:
        """Append metrics.

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

    def log_metrics(self, metrics: Mapping[str, Any], prefix: str = "", step: int | None = None) -> None:
        """Append metrics as ``update`` does, and print them on one line."""
        self.update(metrics, prefix, step)
        line = "  ".join(f"{name} {value:.6g}" for name, value in _flat(metrics, prefix))
        print(line if step is None else f"step {step}  {line}", flush=True)

    def update_alignment_metrics(
        self, step: int, diag_mean: float, sim_mean: float, alignment_gap: float, alignment_snr: float
    ) -> None:
        """Append how well two modalities are aligned: the similarity of pairs, of all, their gap, and its noise.

        Args:
            step: where training is.
            diag_mean: mean similarity of matching pairs, the diagonal of the similarity matrix.
            sim_mean: mean similarity of all pairs.
            alignment_gap: the difference of the two.
            alignment_snr: the gap in standard deviations of the similarities.
        """
        metrics = {"diag_mean": diag_mean, "sim_mean": sim_mean, "gap": alignment_gap, "snr": alignment_snr}
        self.update(metrics, "alignment", step)

    def get_metric(self, name: str) -> list[float]:
        """All values of a metric, oldest first; empty if there is none of that name."""
        return list(self._values.get(name, ()))

    def get_steps(self, name: str) -> list[int]:
        """The steps of these values."""
        return list(self._steps.get(name, ()))

    def get_latest(self, name: str) -> float | None:
        """The last value of a metric, or ``None``."""
        values = self._values.get(name)
        return values[-1] if values else None

    def get_at(self, step: int) -> dict[str, float]:
        """The metrics whose last value belongs to ``step``."""
        return {name: self._values[name][-1] for name, steps in self._steps.items() if steps[-1] == step}

    def names(self) -> list[str]:
        """The names of all metrics, in the order in which they came."""
        return list(self._values)

    def get_summary(self) -> dict[str, dict[str, float]]:
        """Latest, best, mean and standard deviation of every metric, of its finite values; NaN if it has none."""
        summary = {}
        for name, values in self._values.items():
            finite = np.array([value for value in values if math.isfinite(value)] or [math.nan])
            summary[name] = {
                "latest": values[-1],
                "best": best_of(values, self.direction(name)),
                "mean": float(finite.mean()),
                "std": float(finite.std()),
            }
        return summary

    def direction(self, name: str) -> str:
        """``"min"`` if less of a metric is better, ``"max"`` if more is."""
        less = any(word in name for word in _LESS) or name.rpartition("_")[2] in _ERROR_RATES
        return self.directions.get(name, "min" if less and not name.endswith("alignment_gap") else "max")

    def diagnose_training_issues(self) -> list[Diagnosis]:
        """The troubles that the history shows, each with its evidence, cause and advice; see `diagnose`."""
        return diagnose(self._values, self.levels)

    def plot_history(self, save_dir: str | Path) -> list[Path]:
        """Draw every metric over the steps, one picture for each kind: losses, accuracies, rates and so on.

        Args:
            save_dir: folder of the PNG files; made if it is not there.

        Returns:
            The files.

        Raises:
            DataError: if there is nothing to draw.
            FileError: if a file cannot be written.
        """
        from ..plotting.by_kind import plot_history

        return plot_history(self.curves(), save_dir, counted=self.counted)

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """The steps and the values of every metric by name. They are those in use, not copies."""
        return {name: (self._steps[name], values) for name, values in self._values.items()}

    @shown
    def _repr_html_(self) -> str:
        columns = ("latest", "best", "mean", "std")
        rows = [
            [name, *(f"{row[column]:,.5g}" for column in columns)] for name, row in self.get_summary().items() if name
        ]
        metrics = table(["metric", *columns], rows, right=(1, 2, 3, 4))
        summary = element("summary", "all metrics", style="cursor:pointer")
        return block(loss_curves(self.curves()), element("details", summary, metrics, class_="minitrain"))

    def until(self, step: int) -> MetricsCollector:
        """A history with the metrics up to ``step``."""
        cut = MetricsCollector(self.directions, counted=self.counted)
        cut.levels = self.levels
        for name, steps in self._steps.items():
            kept = [(at, value) for at, value in zip(steps, self._values[name], strict=True) if at <= step]
            if kept:
                cut._steps[name], cut._values[name] = [at for at, _ in kept], [value for _, value in kept]
        return cut

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
            yield name, float(value.item() if hasattr(value, "item") else value)
        except (TypeError, ValueError) as error:
            raise DataError(f"the metric {name} is {value!r}, not a number") from error

"""Figures of single parameters and layers, added to the records: gradients, weights, activations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backend.arrays import Array, array_module, to_numpy
from ...errors import ConfigError
from ...folder import RunFolder
from ...folder.names import PLOTS
from ..callback import Callback
from ..feed import batch_to
from ..nonfinite import named_arrays

if TYPE_CHECKING:
    from ..step import Gradient, Update
    from ..trainer import Trainer


class LearningRateMonitor(Callback):
    """Adds the rate of each group of parameters to the records, where groups have rates of their own.

    The rate of the schedule is in every record as ``lr``; here comes ``lr.<group>``, the rate times the group's factor.
    """

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Add the rates."""
        for i, scale in enumerate(getattr(trainer.optimizer, "lr_scales", ())):
            record[f"lr.{i}"] = record["lr"] * scale


class GradientStatistics(Callback):
    """Adds the norm of each parameter's mean gradient to the records, as ``grad_norm.<path>``.

    Args:
        parameters: pattern of the paths, such as ``"blocks.0.*"``.
    """

    def __init__(self, parameters: str = "*") -> None:
        self.parameters = parameters
        self._norms: dict[str, float] = {}

    def on_before_optimizer_step(self, trainer: Trainer, gradient: Gradient) -> None:
        """Measure, in steps that will be logged."""
        if trainer.will_log():
            count = gradient.loss.count
            self._norms = {
                f"grad_norm.{path}": norm(parameter.grad) / count
                for path, parameter in chosen(trainer.model, self.parameters)
                if parameter.trainable
            }

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Add the figures."""
        record.update(self._norms)


class WeightStatistics(Callback):
    """Adds the norm of each parameter to the records, as ``weight_norm.<path>``, and by how much an update changed it.

    ``update_ratio.<path>`` is the norm of the last update over that of the weights; about 1e-3 is usual, much more is a
    rate that is too high for this parameter, much less one that is too low.

    Args:
        parameters: pattern of the paths, such as ``"*.weight"``.
    """

    def __init__(self, parameters: str = "*") -> None:
        self.parameters = parameters
        self._before: dict[str, Array] = {}

    def on_before_optimizer_step(self, trainer: Trainer, gradient: Gradient) -> None:
        """Keep the weights, in steps that will be logged."""
        if trainer.will_log():
            self._before = {path: p.data.copy() for path, p in chosen(trainer.model, self.parameters)}

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Add the figures."""
        for path, parameter in chosen(trainer.model, self.parameters):
            size = record[f"weight_norm.{path}"] = norm(parameter.data)
            if path in self._before and parameter.trainable:
                record[f"update_ratio.{path}"] = norm(parameter.data - self._before[path]) / max(size, 1e-30)
        self._before = {}


class ActivationStatistics(Callback):
    """Adds standard deviations of activations to the records, and the share of units that are always zero.

    One batch is run without dropout for it: ``activation_std.<path>`` and ``dead.<path>``, with paths in the model's
    cache, such as ``blocks.0.feed_forward.up``.

    Args:
        batch: the batch; by default the first one of the validation data.
        activations: pattern of the paths.
    """

    def __init__(self, batch: Any = None, activations: str = "*") -> None:
        self.batch, self.activations = batch, activations

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Run the batch and add the figures.

        Raises:
            ConfigError: if there is neither a batch nor validation data.
        """
        if self.batch is None:
            if trainer.evaluator is None:
                raise ConfigError("ActivationStatistics needs a batch: give it one, or the trainer val_data")
            self.batch = next(iter(trainer.evaluator.data))
        _, cache = trainer.objective.loss(batch_to(self.batch, trainer.device))
        weights = {id(parameter.data) for parameter in trainer.model.parameters()}
        for path, array in named_arrays(cache):
            if id(array) in weights or array.dtype.kind != "f" or array.ndim < 2:
                continue
            if fnmatchcase(path, self.activations):
                rows = array.reshape(-1, array.shape[-1])  # (..., C) -> (N, C)
                record[f"activation_std.{path}"] = float(rows.std())
                record[f"dead.{path}"] = float((rows == 0).all(axis=0).mean())


class Histograms(Callback):
    """Keeps histograms of weights over the steps, and draws them at the end as ``plots/histograms.png``.

    Args:
        every: steps between two.
        parameters: pattern of the paths.
        most: number of parameters, the first ones that fit.
        bins: number of bins, between plus and minus ``reach`` standard deviations of the first weights.
        reach: how wide the histograms are.
    """

    def __init__(
        self, *, every: int = 100, parameters: str = "*.weight", most: int = 9, bins: int = 61, reach: float = 6.0
    ) -> None:
        if every < 1 or most < 1 or bins < 2 or reach <= 0:
            raise ConfigError(
                f"Histograms: every={every} and most={most} must be at least 1, bins={bins} 2, reach={reach} above 0"
            )
        self.every, self.parameters, self.most, self.bins, self.reach = every, parameters, most, bins, reach
        self.steps: list[int] = []
        self.edges: dict[str, Any] = {}
        self.counts: dict[str, list[Any]] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """The histograms of the beginning."""
        if not self.steps:
            self._take(trainer)

    def on_step_end(self, trainer: Trainer, update: Update) -> None:
        """Take histograms, if it is time."""
        if trainer.state.step % self.every == 0:
            self._take(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        """Draw them, if there is a run folder."""
        if trainer.run_dir is not None and self.edges:
            from ...plotting.by_kind import plot_histograms

            place = RunFolder(trainer.run_dir).make(PLOTS) / "histograms.png"
            plot_histograms(self.steps, self.edges, self.counts, place)

    def state_dict(self) -> dict[str, Any]:
        """The histograms so far."""
        counts = {path: np.stack(columns) for path, columns in self.counts.items()}
        return {"steps": self.steps, "edges": self.edges, "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.steps, self.edges = list(state.get("steps", ())), dict(state.get("edges", {}))
        self.counts = {path: list(columns) for path, columns in state.get("counts", {}).items()}

    def _take(self, trainer: Trainer) -> None:
        self.steps.append(trainer.state.step)
        for path, parameter in list(chosen(trainer.model, self.parameters))[: self.most]:
            values = to_numpy(parameter.data).reshape(-1)
            if path not in self.edges:
                width = self.reach * max(float(values.std()), 1e-3)
                self.edges[path] = float(values.mean()) + np.linspace(-width, width, self.bins + 1)
            low, high = self.edges[path][0], self.edges[path][-1]
            counts = np.histogram(np.clip(values, low, high), self.edges[path])[0]  # what lies outside goes to the ends
            self.counts.setdefault(path, []).append(counts)


def chosen(model: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """The parameters whose paths fit a pattern."""
    return ((path, p) for path, p in model.named_parameters() if fnmatchcase(path, pattern))


def norm(x: Array) -> float:
    """Euclidean norm, summed in float64."""
    return math.sqrt(float(array_module(x).square(x, dtype=np.float64).sum()))

"""Metrics of single parameters and layers, added to the records: gradients, weights, activations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from ....backend.arrays import Array, array_module, to_number, to_numpy
from ....backend.precision import use_precision, wide
from ....errors import CheckpointError, ConfigError
from ....folder import RunFolder
from ....folder.names import PLOTS
from ....states import Kind, ListOf, OneArray, TableOf, Whole
from ...feed import batch_to
from ...nonfinite import named_arrays
from ...setup import RunContext, Setup, StepView
from ...state import Gradient, Update
from ..base import Callback


class LearningRateMonitor(Callback):
    """Adds the rate of each group of parameters to the records, where groups have rates of their own.

    The rate of the schedule is in every record as ``lr``; here comes ``lr.<group>``, the rate times the group's factor.
    """

    def __init__(self) -> None:
        self._optimizer: Any = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the optimizer."""
        self._optimizer = setup.optimizer

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Add the rates."""
        for i, scale in enumerate(getattr(self._optimizer, "lr_scales", ())):
            record[f"lr.{i}"] = record["lr"] * scale


class _OfParameters(Callback):
    """Looks at the parameters of the model whose paths match a pattern, in steps that will be logged.

    Args:
        parameters: pattern of the paths, such as ``"*.weight"`` or ``"blocks.0.*"``.
    """

    reads_numbers = False

    def __init__(self, parameters: str = "*") -> None:
        self.parameters = parameters
        self._model: Any = None
        self._kept: dict[str, Any] = {}  # in steps that will be logged

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the model."""
        self._model = setup.model


class GradientStatistics(_OfParameters):
    """Adds the norm of each parameter's mean gradient to the records, as ``grad_norm.<path>``.

    The ``parameters`` are a pattern of their paths.
    """

    def on_before_optimizer_step(self, view: StepView, gradient: Gradient) -> None:
        """Measure, in steps that will be logged."""
        if view.will_log:
            count = to_number(gradient.loss.count)
            self._kept = {
                f"grad_norm.{path}": norm(parameter.grad) / count
                for path, parameter in chosen(self._model, self.parameters)
                if parameter.trainable
            }

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Add the metrics."""
        record.update(self._kept)


class WeightStatistics(_OfParameters):
    """Adds the norm of each parameter to the records, as ``weight_norm.<path>``, and by how much an update changed it.

    ``update_ratio.<path>`` is the norm of the last update over that of the weights; about 1e-3 is usual, much more is a
    rate that is too high for this parameter, much less one that is too low.

    The ``parameters`` are a pattern of their paths.
    """

    reads_gradients = False

    def on_before_optimizer_step(self, view: StepView, gradient: Gradient) -> None:
        """Keep the weights, in steps that will be logged."""
        if view.will_log:
            self._kept = {path: p.data.copy() for path, p in chosen(self._model, self.parameters)}

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Add the metrics."""
        for path, parameter in chosen(self._model, self.parameters):
            size = record[f"weight_norm.{path}"] = norm(parameter.data)
            if path in self._kept and parameter.trainable:
                record[f"update_ratio.{path}"] = norm(parameter.data - self._kept[path]) / max(size, 1e-30)
        self._kept = {}


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
        self._setup: Setup | None = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Choose the batch.

        Raises:
            ConfigError: if there is neither a batch nor validation data.
        """
        self._setup = setup
        if self.batch is None:
            if run.evaluator is None:
                raise ConfigError("ActivationStatistics needs a batch: give it one, or the trainer val_data")
            self.batch = next(iter(run.evaluator.data))

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Run the batch and add the statistics."""
        setup = self._setup
        assert setup is not None  # since training has begun
        with use_precision(setup.arithmetic.precision):
            _, cache = setup.objective.loss(batch_to(self.batch, setup.device))
        weights = {id(parameter.data) for parameter in setup.model.parameters()}
        for path, kept in named_arrays(cache):
            array = wide(kept)
            if id(array) in weights or array.dtype.kind != "f" or array.ndim < 2:
                continue
            if fnmatchcase(path, self.activations):
                rows = array.reshape(-1, array.shape[-1])  # (..., C) -> (N, C)
                record[f"activation_std.{path}"] = to_number(rows.std())
                record[f"dead.{path}"] = to_number((rows == 0).all(axis=0).mean())


class Histograms(Callback):
    """Keeps histograms of weights over the steps, and draws them at the end as ``plots/histograms.png``.

    Args:
        every: steps between two.
        parameters: pattern of the paths.
        most: number of parameters, the first ones that fit.
        bins: number of bins, between plus and minus ``reach`` standard deviations of the first weights.
        reach: how wide the histograms are.
    """

    reads_numbers = False

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
        self._model: Any = None
        self._folder: Path | None = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """The histograms of the beginning."""
        self._model, self._folder = setup.model, run.folder
        if not self.steps:
            self._take(view.step)

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Take histograms, if it is time."""
        if view.step % self.every == 0:
            self._take(view.step)

    def on_train_end(self, view: StepView) -> None:
        """Draw them, if there is a run folder."""
        if self._folder is not None and self.edges:
            from ....plotting.by_kind import plot_histograms

            place = RunFolder(self._folder).make(PLOTS) / "histograms.png"
            plot_histograms(self.steps, self.edges, self.counts, place)

    def state_dict(self) -> dict[str, Any]:
        """The histograms so far."""
        counts = {path: np.stack(columns) for path, columns in self.counts.items()}
        return {"steps": self.steps, "edges": self.edges, "counts": counts}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        edges, counts = OneArray((self.bins + 1,)), OneArray((None, self.bins), sort="iu")
        return {"steps": ListOf(Whole()), "edges": TableOf(edges), "counts": TableOf(counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        columns = {len(counts) for counts in state.get("counts", {}).values()}
        if state and (state["edges"].keys() != state["counts"].keys() or columns - {len(state["steps"])}):
            raise CheckpointError("Histograms: edges, counts and steps do not belong together")
        self.steps, self.edges = list(state.get("steps", ())), dict(state.get("edges", {}))
        self.counts = {path: list(columns) for path, columns in state.get("counts", {}).items()}

    def _take(self, step: int) -> None:
        self.steps.append(step)
        for path, parameter in list(chosen(self._model, self.parameters))[: self.most]:
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
    return math.sqrt(to_number(array_module(x).square(x, dtype=np.float64).sum()))

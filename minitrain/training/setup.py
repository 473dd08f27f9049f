"""The parts that a training works with: the setup of a step, the context of a run, the view of a hook."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..random import Key
from ..records.collector import MetricsCollector
from ..records.facts import Plain, facts
from .evaluator import Evaluator
from .feed import Feed
from .loss_scale import Arithmetic
from .privacy.settings import DPSGD
from .state import Control, TrainerState, due


@dataclass
class Setup:
    """The parts that a training step needs. The loop, the finders and the memory estimate all take this.

    Attributes:
        model: the model.
        optimizer: its optimizer.
        objective: has ``loss`` and ``loss_backward``; often the model itself.
        schedule: learning rate of update number ``step``, counted from 0.
        data: the loader of the training data.
        key: random key of the dropout masks.
        accumulation: number of micro-batches in a batch.
        max_grad_norm: longer gradients are scaled down to this length; ``None`` leaves them.
        device: the model's device.
        arithmetic: the precision of products, and the scaler that float16 needs.
    """

    model: Any
    optimizer: Any
    objective: Any
    schedule: Any
    data: Any
    key: Key
    accumulation: int = 1
    max_grad_norm: float | None = None
    device: str = "cpu"
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    _feed: Feed | None = field(default=None, init=False, repr=False)

    def batch(self, number: int) -> list[tuple[int, Any]]:
        """Batch ``number`` as pairs of the index of the first sample and the micro-batch, on the model's device."""
        parts = self.data.micro_batches(number, self.accumulation)
        if self._feed is None:
            self._feed = Feed(self.device)
        placed = self._feed.place([part for _, part in parts])
        return [(first, part) for (first, _), part in zip(parts, placed, strict=True)]


class HasSetup(Protocol):
    """A training that is ready to go, such as a trainer: a setup, and how far it is."""

    setup: Setup
    state: TrainerState

    @property
    def total_steps(self) -> int:
        """Number of updates in all."""


def setup_of(training: Setup | HasSetup) -> Setup:
    """The setup itself, or that of a trainer."""
    return training if isinstance(training, Setup) else training.setup


def facts_of_setup(setup: Setup) -> dict[str, Plain]:
    """Sizes, versions and surroundings of a training, for its loggers."""
    return facts(setup.model, setup.device, setup.arithmetic.precision)


class EvaluationWeights:
    """The weights that validation and samples use: those that are trained, or an average of them.

    Attributes:
        name: name of the callback that keeps the average; empty for the trained weights.
    """

    def __init__(self) -> None:
        self.name = ""
        self._applied: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext

    def use(self, name: str, applied: Callable[[], AbstractContextManager[Any]]) -> None:
        """From now on, evaluate with other weights.

        Args:
            name: who keeps them.
            applied: ``with applied():`` gives the model these weights, and takes them back at the end.
        """
        self.name, self._applied = name, applied

    def applied(self) -> AbstractContextManager[Any]:
        """Within the ``with`` block, the model has the weights to evaluate with."""
        return self._applied()


@dataclass
class RunContext:
    """Where a training runs and where its results go.

    Attributes:
        folder: the run folder; ``None`` if nothing is written.
        settings: the settings of the run, nested dictionaries of plain values.
        history: everything that was logged.
        evaluator: measures on the validation data; ``None`` without such data.
        tokenizer: for text; may be ``None``.
        weights: the weights that evaluations use.
        resumed: whether this session goes on from a checkpoint.
        products: a sentence about what multiplies as it did before that checkpoint; empty if nothing does.
        privacy: the mechanism that makes the training differentially private; ``None`` if it is not.
        command: the command line that continues the run; ``None`` for a run whose data and loop are in a script.
    """

    folder: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    history: MetricsCollector = field(default_factory=MetricsCollector)
    evaluator: Evaluator | None = None
    tokenizer: Any = None
    weights: EvaluationWeights = field(default_factory=EvaluationWeights)
    resumed: bool = False
    products: str = ""
    privacy: DPSGD | None = None
    command: str | None = None


class StepView:
    """A training in progress as a hook sees it: what it may read, and what it may request.

    Args:
        state: the progress of the training.
        control: the requests of callbacks.
        total_steps: number of updates in all.
        log_every: updates from one record to the next.
        warn: called with a sentence when something is wrong but training can go on.

    Attributes:
        control: set ``log``, ``evaluate``, ``save``, ``skip``, ``rollback`` or ``stop`` to request something.
        total_steps: number of updates in all.
        warn: tells the user a sentence.
    """

    def __init__(
        self, state: TrainerState, control: Control, total_steps: int, log_every: int, warn: Callable[[str], object]
    ) -> None:
        self._state, self._log_every = state, log_every
        self.control, self.total_steps, self.warn = control, total_steps, warn

    @property
    def step(self) -> int:
        """Number of updates done."""
        return self._state.step

    @property
    def epoch(self) -> int:
        """Number of epochs completed."""
        return self._state.epoch

    @property
    def seconds(self) -> float:
        """Time spent on this run up to now, over all its sessions."""
        return self._state.clock()

    @property
    def best_step(self) -> int | None:
        """The step with the lowest validation loss so far."""
        return self._state.best_step

    @property
    def stopped(self) -> str:
        """Why training ended early; empty if it did not."""
        return self._state.stopped

    @property
    def will_log(self) -> bool:
        """Whether the configuration asks for a record after the present step."""
        step = self._state.step + 1
        return step == 1 or step == self.total_steps or due(step, self._log_every)

    @property
    def is_over(self) -> bool:
        """Whether all updates are done, or a stop was requested."""
        return self._state.step >= self.total_steps or bool(self.control.stop)

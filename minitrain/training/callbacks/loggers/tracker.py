"""The base of loggers to experiment trackers."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar

from ....errors import ConfigError
from ....states import Kind, Text
from ...setup import RunContext, Setup, StepView
from ..base import Callback


class Tracker(Callback):
    """Sends settings, facts, records and evaluations to an experiment tracker.

    A resumed run goes on in the tracker's run that it began: the id of that run is in every checkpoint.

    A tracker is a spectator. When it fails (a network that is gone, a full disk), the user is warned once, nothing
    more is sent in this session, and training goes on; ``metrics.jsonl`` has everything all the same. Only a package
    that is not installed stops the training, before its first step.

    Attributes:
        id: of the tracker's run; ``None`` until it has begun.
    """

    on_every_rank = False

    package: ClassVar[str]
    """what has to be installed"""
    service: ClassVar[str]
    """what people call it"""

    def __init__(self) -> None:
        self.id: str | None = None
        self._failed = self._open = False
        self._error: BaseException | None = None  # that ended the training
        self._warn: Callable[[str], object] = print

    @abstractmethod
    def _begin(self, step: int, setup: Setup, run: RunContext) -> None:
        """Begin a run, or go on with the run ``self.id``; sets ``self.id``."""

    @abstractmethod
    def _write(self, step: int, metrics: dict[str, float]) -> None:
        """Send metrics."""

    def _go_back(self, step: int) -> None:
        """Steps after ``step`` will be done again, by a rollback."""

    def _end(self, error: BaseException | None) -> None:
        """End the run, with the error that ended the training, if any did."""

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Begin or go on with a run of the tracker.

        Raises:
            ConfigError: if its package is not installed.
        """
        self._warn, self._failed, self._error = view.warn, False, None
        self._open = True
        try:
            importlib.import_module(self.package)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{type(self).__name__} needs the package {self.package}, which is not installed: "
                "pip install 'minitrain[track]'"
            ) from error
        except Exception as error:  # installed, but it does not work with the other packages here
            self._give_up(error)
        self._try(self._begin, view.step, setup, run)

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Send a record."""
        self._try(self._write, record["step"], _metrics(record))

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Send an evaluation."""
        self._try(self._write, metrics["step"], _metrics(metrics))

    def on_load(self, view: StepView) -> None:
        """Say that some steps will be done again."""
        self._try(self._go_back, view.step)

    def on_exception(self, view: StepView, error: BaseException) -> None:
        """Remember how it ended."""
        self._error = error

    def close(self) -> None:
        """End the tracker's run."""
        self._try(self._end, self._error)
        self._open = False

    def state_dict(self) -> dict[str, Any]:
        """The id of the tracker's run."""
        return {} if self.id is None else {"id": self.id}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"id": Text(longest=200)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back, unless a run has begun: a rollback stays in it."""
        if not self._open:
            self.id = state.get("id")

    def _try(self, action: Callable[..., None], *arguments: Any) -> None:
        """Do something at the tracker, if it has not failed so far."""
        if self._failed or not self._open:
            return
        try:
            action(*arguments)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Leave the tracker alone from now on, and say so."""
        self._failed = True
        reason = " ".join(str(error).split()) or "no reason given"
        self._warn(
            f"{self.service} failed, {type(error).__name__}: {reason}; from here on nothing is logged there, training "
            "goes on"
        )


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record but for the step."""
    return {name: float(value) for name, value in record.items() if name != "step" and isinstance(value, Real)}

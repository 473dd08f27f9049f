"""All state of a training, into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from ...backend.arrays import Array
from ...checkpoint.format import Checkpoint, Contents
from ...checkpoint.products import DECLARED as DECLARED_PRODUCTS
from ...checkpoint.products import PRODUCTS, go_on_with, saved_products
from ...errors import CheckpointError, MinitrainError
from ...records.collector import MetricsCollector
from ...records.facts import flat
from ...records.history import read_history
from ...states import Anything, Group, Kind, ListOf, OneArray, TableOf, Text, Whole, checked
from ...versions import versions
from ..callbacks.base import CallbackList
from ..callbacks.loggers.jsonl import JsonlLogger
from ..setup import RunContext, Setup
from ..state import TrainerState

DECLARED: dict[str, Kind] = {
    "callbacks": TableOf(TableOf(Anything())),  # each checks its own
    "evaluation_weights": Text(1000),
    "random": Group({"key": ListOf(Whole(high=2**32 - 1), length=2)}),
    "config": TableOf(Anything()),  # for people to read
    "versions": TableOf(Text()),
    PRODUCTS: DECLARED_PRODUCTS,
}
"""The values that the state of a checkpoint may hold beside the parts that check their own."""


class Capture:
    """Captures everything that a training needs to go on exactly here, and restores it.

    Args:
        setup: model, optimizer, schedule and data.
        run: the history, the settings, and the weights that evaluations use.
        state: the progress of the training; restored in place.
        callbacks: those whose states are kept.
    """

    def __init__(self, setup: Setup, run: RunContext, state: TrainerState, callbacks: CallbackList) -> None:
        self.setup, self.run, self.state, self.callbacks = setup, run, state, callbacks

    def contents(self) -> Contents:
        """The content of a checkpoint; the arrays are those of the training, not copies."""
        setup, run, state = self.setup, self.run, self.state
        rest: dict[str, Any] = {
            "trainer": state.to_dict(),
            "callbacks": self.callbacks.state_dict(),
            "evaluation_weights": run.weights.name,
            "random": {"key": [setup.key.k0, setup.key.k1]},
            "config": flat(run.settings),
            "versions": versions(),
            PRODUCTS: saved_products(setup.device, setup.arithmetic.precision),
        }
        for name, part in self._parts().items():
            if hasattr(part, "state_dict"):
                rest[name] = part.state_dict()
        metrics = run.history.get_at(state.step)
        return Contents(state.step, setup.model.state_dict(), setup.optimizer.state_dict(), rest, metrics)

    def restore(self, checkpoint: Checkpoint, warn: Callable[[str], object]) -> None:
        """Take up what `contents` gave.

        Raises:
            CheckpointError: if it belongs to another model, or a part of it does not fit. Nothing is changed then.
        """
        setup, run = self.setup, self.run
        checkpoint.check_fits(setup.model.state_dict())
        saved, before = checkpoint.state, deepcopy(self._states())
        state = _read(checkpoint, "trainer", lambda: TrainerState.from_dict(saved["trainer"]))
        if state.step != checkpoint.step:
            raise CheckpointError(
                f"{checkpoint.path} is of step {checkpoint.step}, its trainer's state of {state.step}"
            )
        for name, kind in DECLARED.items():
            if name in saved or name in ("callbacks", "versions"):  # which every trainer has written
                _read(checkpoint, name, partial(checked, name, {name: saved.get(name)}, {name: kind}))
        history = _read(checkpoint, "metrics", lambda: self._history(saved, state.step))
        try:
            states = dict(saved["callbacks"])
            _read(checkpoint, "callbacks", lambda: self.callbacks.load_state_dict(states, setup.model))
            for name, part in self._parts().items():
                if name in saved and hasattr(part, "load_state_dict"):
                    _read(checkpoint, name, partial(part.load_state_dict, saved[name]))
            _read(checkpoint, "optimizer", lambda: setup.optimizer.load_state_dict(checkpoint.optimizer))
        except CheckpointError:
            self._put_back(before)
            raise
        setup.model.load_state_dict(checkpoint.model)
        self.state.take(state)
        run.history.from_dict(history.to_dict())
        run.products = go_on_with(saved, setup.device, warn)
        match saved.get("random"):
            case {"key": list(key)} if key != [setup.key.k0, setup.key.k1]:
                warn(
                    f"{checkpoint.path} was made with another random key: from here on the dropout masks are not those "
                    "of an uninterrupted run; give the trainer the key it was started with"
                )

    def _history(self, saved: Mapping[str, Any], step: int) -> MetricsCollector:
        """The history at a checkpoint: from the run's file, as an older version saved it, or as far as it is known."""
        run = self.run
        if saved.get("metrics"):
            history = MetricsCollector(run.history.directions)
            history.from_dict(saved["metrics"])
            return history
        for name, logger in self.callbacks.callbacks.items():
            if isinstance(logger, JsonlLogger) and (logger.path or run.folder):
                end = saved["callbacks"].get(name, {}).get("offset", 0)
                checked(name, {"offset": end}, {"offset": Whole()})
                return read_history(logger.place(run.folder), end, run.history.directions)
        return run.history.until(step)

    def _parts(self) -> dict[str, Any]:
        """Parts that may have a state, by their name in a checkpoint."""
        setup = self.setup
        parts = {"scheduler": setup.schedule, "scaler": setup.arithmetic.scaler, "data": setup.data}
        return parts | {"privacy": self.run.privacy}

    def _states(self) -> dict[str, Any]:
        parts = self._parts().items()
        states = {name: part.state_dict() for name, part in parts if hasattr(part, "state_dict")}
        return {**states, "callbacks": self.callbacks.state_dict()}

    def _put_back(self, states: Mapping[str, Any]) -> None:
        self.callbacks.load_state_dict(states["callbacks"])
        for name, part in self._parts().items():
            if name in states:
                part.load_state_dict(states[name])


def evaluation_weights(checkpoint: Checkpoint) -> tuple[dict[str, Array], str]:
    """The weights that the run itself evaluated with: averaged ones where a callback keeps some.

    Returns:
        The arrays of a model's ``state_dict``, and the name of the callback; empty for the trained weights.

    Raises:
        CheckpointError: if the averages do not belong to this model.
    """
    name = checkpoint.state.get("evaluation_weights", "")  # version 0.1 did not say
    if not name:
        return checkpoint.model, ""
    states = checkpoint.state.get("callbacks")
    averages = states.get(name) if isinstance(states, Mapping) and isinstance(name, str) else None
    if not isinstance(averages, Mapping):
        raise CheckpointError(f"{checkpoint.path} has no averaged weights of {name!r:.50}, which it was evaluated with")
    own = {path: array for path, array in averages.items() if path in checkpoint.model}
    checked(name, own, {path: OneArray(checkpoint.model[path]) for path in own})
    return {**checkpoint.model, **own}, name


def _read(checkpoint: Checkpoint, name: str, take_up: Callable[[], Any]) -> Any:
    """The result of ``take_up``; any error (a callback may be a user's own) names the part that does not fit."""
    try:
        return take_up()
    except Exception as error:
        reason = str(error) if isinstance(error, MinitrainError) else repr(error)
        raise CheckpointError(
            f"{checkpoint.path} was not saved by a trainer like this one: its {name} cannot be restored: {reason:.500}"
        ) from error

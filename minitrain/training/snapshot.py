"""All state of a trainer, into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from ..checkpoint.format import Checkpoint, Contents
from ..errors import CheckpointError, MinitrainError
from ..records.collector import MetricsCollector
from ..records.history import read_history
from ..states import Anything, Group, Kind, ListOf, TableOf, Text, Whole, checked
from ..versions import versions
from .callbacks.jsonl import JsonlLogger
from .facts import flat, hyperparameters
from .state import TrainerState

if TYPE_CHECKING:
    from .trainer import Trainer


def contents_of(trainer: Trainer) -> Contents:
    """Everything that training needs to go on exactly here; the arrays are those of the trainer, not copies."""
    state = trainer.state
    state.stopped = trainer.control.stop
    rest: dict[str, Any] = {
        "trainer": state.to_dict(),
        "callbacks": trainer.callbacks.state_dict(),
        "random": {"key": [trainer.key.k0, trainer.key.k1]},
        "config": flat(hyperparameters(trainer)),
        "versions": versions(),
    }
    for name, part in _parts(trainer).items():
        if hasattr(part, "state_dict"):
            rest[name] = part.state_dict()
    return Contents(
        state.step,
        trainer.model.state_dict(),
        trainer.optimizer.state_dict(),
        rest,
        trainer.history.get_at(state.step),
    )


def load_snapshot(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Take up what `contents_of` gave.

    Raises:
        CheckpointError: if it belongs to another model, or a part of it does not fit; the trainer stays as it was.
    """
    checkpoint.check_fits(trainer.model.state_dict())
    rest, before = checkpoint.state, deepcopy(_state_of_parts(trainer))
    state = _read(checkpoint, "trainer", lambda: TrainerState.from_dict(rest["trainer"]))
    if state.step != checkpoint.step:
        raise CheckpointError(f"{checkpoint.path} is of step {checkpoint.step}, its trainer's state of {state.step}")
    for name, kind in DECLARED.items():
        if name in rest or name == "callbacks":
            _read(checkpoint, name, partial(checked, name, {name: rest.get(name)}, {name: kind}))
    history = _read(checkpoint, "metrics", lambda: _history(trainer, rest, state.step))
    try:
        _read(checkpoint, "callbacks", lambda: trainer.callbacks.load_state_dict(dict(rest["callbacks"])))
        for name, part in _parts(trainer).items():
            if name in rest and hasattr(part, "load_state_dict"):
                _read(checkpoint, name, partial(part.load_state_dict, rest[name]))
        _read(checkpoint, "optimizer", lambda: trainer.optimizer.load_state_dict(checkpoint.optimizer))
    except CheckpointError:
        _put_back(trainer, before)
        raise
    trainer.model.load_state_dict(checkpoint.model)
    trainer.state, trainer.history = state, history
    match rest.get("random"):
        case {"key": list(key)} if key != [trainer.key.k0, trainer.key.k1]:
            trainer.warn(
                f"{checkpoint.path} was made with another random key: from here on the dropout masks are not those of "
                "an uninterrupted run; give the trainer the key it was begun with"
            )


DECLARED: dict[str, Kind] = {
    "callbacks": TableOf(TableOf(Anything())),  # each checks its own
    "random": Group({"key": ListOf(Whole(high=2**32 - 1), length=2)}),
    "config": TableOf(Anything()),  # for people to read
    "versions": TableOf(Text()),
}
"""What the state of a checkpoint may hold beside the parts that check their own."""


def _history(trainer: Trainer, rest: Mapping[str, Any], step: int) -> MetricsCollector:
    """The history at a checkpoint: as an older version saved it, from the run's file, or what the trainer remembers."""
    history = MetricsCollector(trainer.history.directions)
    if rest.get("metrics"):
        history.from_dict(rest["metrics"])
        return history
    for name, logger in trainer.callbacks.callbacks.items():
        if isinstance(logger, JsonlLogger) and (logger.path or trainer.run_dir):
            end = rest["callbacks"].get(name, {}).get("offset", 0)
            checked(name, {"offset": end}, {"offset": Whole()})
            return read_history(logger.place(trainer.run_dir), end, trainer.history.directions)
    return trainer.history.until(step)


def _parts(trainer: Trainer) -> dict[str, Any]:
    """What has a state if it wants to, by its name in a checkpoint."""
    return {"scheduler": trainer.schedule, "scaler": trainer.scaler, "data": trainer.train_data}


def _state_of_parts(trainer: Trainer) -> dict[str, Any]:
    states = {name: part.state_dict() for name, part in _parts(trainer).items() if hasattr(part, "state_dict")}
    return {**states, "callbacks": trainer.callbacks.state_dict()}


def _put_back(trainer: Trainer, states: Mapping[str, Any]) -> None:
    trainer.callbacks.load_state_dict(states["callbacks"])
    for name, part in _parts(trainer).items():
        if name in states:
            part.load_state_dict(states[name])


def _read(checkpoint: Checkpoint, name: str, take_up: Callable[[], Any]) -> Any:
    """What ``take_up`` returns; whatever it raises, since a callback may be anybody's, names the part at fault."""
    try:
        return take_up()
    except Exception as error:
        reason = str(error) if isinstance(error, MinitrainError) else repr(error)
        raise CheckpointError(
            f"{checkpoint.path} was not saved by a trainer like this one, its {name} cannot be taken up: {reason:.500}"
        ) from error

"""The hooks into training, and the list that calls them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, NonFiniteError

if TYPE_CHECKING:
    from ..ops.contract.loss import Loss
    from .step import Gradient, Update
    from .trainer import Trainer


class Callback:
    """Something that happens at certain points of training; override the hooks you need.

    A hook finds everything on the trainer: ``trainer.state`` says how far it is, ``trainer.model``,
    ``trainer.optimizer``, ``trainer.run_dir``, and on ``trainer.control`` it may ask to stop, save, evaluate or log.

    A callback that remembers something between steps gives it as ``state_dict`` and takes it back, so that a resumed
    run goes on as if it had never stopped.

    Attributes:
        name: under which its state is saved; the class's name by default.
    """

    name: str = ""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step of this session."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last step, its evaluation and its checkpoint."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before the first step of an epoch, or of what is left of it after a resume."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After the last step of an epoch; ``trainer.state.epoch`` counts it already."""

    def on_step_begin(self, trainer: Trainer) -> None:
        """Before the batch of a step is read."""

    def on_substep_end(self, trainer: Trainer, loss: Loss) -> None:
        """After the backward of a micro-batch, with its summed loss."""

    def on_before_optimizer_step(self, trainer: Trainer, gradient: Gradient) -> None:
        """When the gradient is complete and the weights are untouched: the last moment to set ``control.skip``."""

    def on_step_end(self, trainer: Trainer, update: Update) -> None:
        """After an update; the trainer then logs, evaluates and saves as ``control`` says."""

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """A record is about to be kept; a callback may add to it, those after it see that."""

    def on_evaluate(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """The validation data was measured: ``val_loss`` and whatever else."""

    def on_save(self, trainer: Trainer, path: str) -> None:
        """A checkpoint was saved, or with asynchronous saving, is being written."""

    def on_load(self, trainer: Trainer) -> None:
        """The trainer has taken up a checkpoint, the state of the callbacks included."""

    def on_nan(self, trainer: Trainer, error: NonFiniteError) -> None:
        """A loss or gradient is not finite. Unless ``control.skip`` or ``control.rollback`` is set, training stops."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Training ends early, by an error or by a signal."""

    def close(self) -> None:
        """Give back files and the screen: called once a session, however it ended."""

    def state_dict(self) -> dict[str, Any]:
        """What to keep in a checkpoint: numbers, text, lists, dictionaries, arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave; ``{}`` if the checkpoint knows nothing of this callback."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class CallbackList:
    """Callbacks in the order in which they are called.

    Only hooks that a callback overrides are called: a step costs what is used.

    Args:
        callbacks: the callbacks; two of a class need names.

    Raises:
        ConfigError: if two have the same name, or one is not a callback.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks: dict[str, Callback] = {}
        for callback in callbacks:
            self.add(callback)

    def add(self, callback: Callback) -> None:
        """Append a callback."""
        if not isinstance(callback, Callback):
            raise ConfigError(f"{callback!r} is no callback: give an object whose class inherits from Callback")
        name = callback.name or type(callback).__name__
        if name in self.callbacks:
            raise ConfigError(f"there are two callbacks named {name}: set another .name on one of them")
        self.callbacks[name] = callback
        self._overridden = {
            hook: [getattr(one, hook) for one in self.callbacks.values() if _overrides(one, hook)] for hook in HOOKS
        }

    def __iter__(self) -> Any:
        return iter(self.callbacks.values())

    def __len__(self) -> int:
        return len(self.callbacks)

    def fire(self, hook: str, trainer: Trainer, *arguments: Any) -> None:
        """Call a hook of all callbacks, e.g. ``fire("on_step_end", trainer, update)``."""
        if self.callbacks:
            for method in self._overridden[hook]:
                method(trainer, *arguments)

    def close(self) -> None:
        """Close all, the last one first; one that fails does not keep the others open."""
        errors = []
        for callback in reversed(list(self)):
            try:
                callback.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def state_dict(self) -> dict[str, Any]:
        """The states of those that have one, by name."""
        states = {name: callback.state_dict() for name, callback in self.callbacks.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Give each callback its state; one that the checkpoint does not know gets ``{}``."""
        for name, callback in self.callbacks.items():
            callback.load_state_dict(states.get(name, {}))


def _overrides(callback: Callback, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)

"""The hooks into training, and the list that calls them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ...errors import ConfigError, NonFiniteError
from ...ops.contract.loss import Loss
from ...states import Kind, checked
from ..setup import RunContext, Setup, StepView
from ..state import Gradient, Update


class Callback:
    """Something that happens at certain points of a training; override the hooks you need.

    Each hook gets a `StepView`: how far the training is, and ``view.control``, on which a callback requests to stop,
    save, evaluate or log. What is trained and where results go (`Setup`, `RunContext`) is handed over once, in
    ``on_train_begin``; keep what you need of it.

    A callback that remembers something between steps returns it from ``state_dict`` and takes it back in
    ``load_state_dict``, so that a resumed run goes on as if it had never stopped.

    Attributes:
        name: the name under which its state is saved; by default that of the class.
        on_every_rank: whether it runs on all ranks of a training on several. What changes the training, or remembers
            something of it, must; what only writes or shows runs on rank 0 alone. The requests of rank 0 count.
        reads_numbers: whether its hooks within a step look at a loss or a norm, or measure the time of a step. A
            training on a GPU then waits for them in each step. ``False`` lets it run ahead: these numbers are then
            arrays (), which `minitrain.backend.arrays.to_number` reads.
        reads_gradients: whether its hooks within a step look at gradients. With ``zero=2`` no rank has all of them, so
            such a callback is refused then.

    Raises:
        ConfigError: if a setting is out of range.
    """

    name: str = ""
    on_every_rank: ClassVar[bool] = True
    reads_numbers: bool = True
    reads_gradients: bool = True

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Before the first step of this session."""

    def on_train_end(self, view: StepView) -> None:
        """After the last step, its evaluation and its checkpoint."""

    def on_epoch_begin(self, view: StepView) -> None:
        """Before the first step of an epoch, or of what is left of it after a resume."""

    def on_epoch_end(self, view: StepView) -> None:
        """After the last step of an epoch; ``view.epoch`` counts it already."""

    def on_step_begin(self, view: StepView) -> None:
        """Before the batch of a step is read."""

    def on_substep_end(self, view: StepView, loss: Loss) -> None:
        """After the backward of a micro-batch, with its summed loss."""

    def on_before_optimizer_step(self, view: StepView, gradient: Gradient) -> None:
        """When the gradient is complete and the weights are untouched: the last moment to set ``control.skip``."""

    def on_step_end(self, view: StepView, update: Update) -> None:
        """After an update; the trainer then logs, evaluates and saves as ``view.control`` requests."""

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Before a record is kept. A callback may add to it; the callbacks after it see what was added."""

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """After the validation data was measured: ``val_loss`` and the other metrics."""

    def on_save(self, view: StepView, path: str) -> None:
        """After a checkpoint is durable; with asynchronous saving, some steps later."""

    def on_load(self, view: StepView) -> None:
        """After the trainer has loaded a checkpoint, the state of the callbacks included."""

    def on_nan(self, view: StepView, error: NonFiniteError) -> None:
        """A loss or gradient is not finite. Training stops unless ``control.skip`` or ``control.rollback`` is set."""

    def on_exception(self, view: StepView, error: BaseException) -> None:
        """Training ends early, by an error or by a signal."""

    def close(self) -> None:
        """Close files and restore the screen. Called once a session, however it ended."""

    def result(self) -> str:
        """Its findings, in lines for the result of the training; empty for nothing."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Its state for a checkpoint: numbers, text, lists, dictionaries, arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave; ``{}`` if the checkpoint knows nothing of this callback."""

    def state_kinds(self, model: Any) -> Mapping[str, Kind] | None:
        """The kind of each entry of the state, see `minitrain.states`.

        A checkpoint may come from anybody, so a state is compared with this before it is taken up. ``None`` leaves the
        check to ``load_state_dict``.

        Args:
            model: the model that is trained.
        """
        return None


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
OF_STEPS = ("on_substep_end", "on_before_optimizer_step", "on_step_end", "on_nan")
"""Hooks that see the loss or the norm of a single step."""


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

    def add(self, callback: Any) -> None:
        """Append a callback."""
        if not isinstance(callback, Callback):
            if isinstance(callback, type):
                name = callback.__name__
                raise ConfigError(f"callbacks has the class {name}: give an object of it, {name}(...)")
            raise ConfigError(f"{callback!r} is no callback: give an object whose class inherits from Callback")
        name = callback.name or type(callback).__name__
        if name in self.callbacks:
            raise ConfigError(f"there are two callbacks named {name}: set another .name on one of them")
        self.callbacks[name] = callback
        self._overridden = {
            hook: [getattr(one, hook) for one in self.callbacks.values() if _overrides(one, hook)] for hook in HOOKS
        }

    @property
    def reads_numbers(self) -> bool:
        """Whether one of them looks at the loss or the norm of each step."""
        return bool(self.readers())

    def readers(self) -> list[Callback]:
        """Those of them."""
        return [one for one in self if one.reads_numbers and any(_overrides(one, hook) for hook in OF_STEPS)]

    def overriding(self, hook: str) -> list[str]:
        """The names of those that have a hook, such as ``"on_substep_end"``."""
        return [name for name, one in self.callbacks.items() if _overrides(one, hook)]

    def __iter__(self) -> Any:
        return iter(self.callbacks.values())

    def __len__(self) -> int:
        return len(self.callbacks)

    def fire(self, hook: str, view: StepView, *arguments: Any) -> None:
        """Call a hook of all callbacks, e.g. ``fire("on_step_end", view, update)``."""
        if self.callbacks:
            for method in self._overridden[hook]:
                method(view, *arguments)

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

    def results(self) -> tuple[str, ...]:
        """The findings of those that found something."""
        return tuple(filter(None, (callback.result() for callback in self)))

    def state_dict(self) -> dict[str, Any]:
        """The states of those that have one, by name."""
        states = {name: callback.state_dict() for name, callback in self.callbacks.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any], model: Any = None) -> None:
        """Give each callback its state; one that the checkpoint does not know gets ``{}``.

        Raises:
            CheckpointError: if a state is not one that its callback would write; none is taken up then.
        """
        for name, callback in self.callbacks.items():
            kinds = callback.state_kinds(model) if states.get(name, {}) != {} else None
            if kinds is not None:
                checked(name, states[name], kinds)
        for name, callback in self.callbacks.items():
            callback.load_state_dict(states.get(name, {}))


def missing(kinds: Sequence[type[Callback]], given: Sequence[Callback]) -> list[Callback]:
    """A callback of each kind that is not among those given."""
    return [kind() for kind in kinds if not any(isinstance(one, kind) for one in given)]


def sees_gradients(callback: Callback) -> bool:
    """Whether a callback may read gradients: it has a hook that is called while there are some."""
    return sees_gradients_of_parts(callback) or (
        callback.reads_gradients and _overrides(callback, "on_before_optimizer_step")
    )


def sees_gradients_of_parts(callback: Callback) -> bool:
    """Whether a callback may read those of each micro-batch, which other ranks may not change meanwhile."""
    return callback.reads_gradients and _overrides(callback, "on_substep_end")


def _overrides(callback: Callback, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)

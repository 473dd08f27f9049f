"""The training loop: from a batch to the update of the weights, and from one step to the next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..backend.precision import use_precision
from ..errors import NonFiniteError
from .callbacks.base import CallbackList
from .parallel.together import Together
from .privacy.settings import DPSGD
from .setup import Setup, StepView
from .state import Gradient, TrainerState, Update
from .steps.choice import GraphChoice
from .steps.plain import train_step


class TrainingLoop:
    """Makes the updates of a training and yields each; whoever iterates records, evaluates and saves in between.

    Args:
        setup: the model, the data and everything else that a step needs.
        state: the progress of the training; the loop counts in it.
        view: the training as hooks see it; its ``control`` has their requests to skip or to roll back.
        callbacks: whose hooks are called within a step.
        roll_back: goes back to an older state when a callback requests it.
        privacy: makes the updates differentially private; ``None`` if they are not.
        together: joins this training with those on other ranks; ``None`` if it is alone.
        graphs: whether a step on a GPU is one graph: ``"auto"``, ``"on"`` or ``"off"``, see `TrainingConfig`.

    Attributes:
        midway: whether weights may have changed in a step whose record is not complete; whoever iterates resets it.
        graphs: makes a step with one launch where that is possible.
    """

    def __init__(
        self,
        setup: Setup,
        state: TrainerState,
        view: StepView,
        callbacks: CallbackList,
        roll_back: Callable[[], None] = lambda: None,
        privacy: DPSGD | None = None,
        together: Together | None = None,
        graphs: str = "off",
    ) -> None:
        self.setup, self.state, self.view = setup, state, view
        self.callbacks, self.roll_back, self.privacy, self.together = callbacks, roll_back, privacy, together
        self.midway = False
        others = "several ranks add up their gradients before the update" if together is not None else ""
        others = "differential privacy looks at the gradient of each sample" if privacy is not None else others
        self.graphs = GraphChoice(graphs, setup, callbacks, others, lambda message: view.warn(message))

    def steps(self, last_step: int) -> Iterator[Update]:
        """Update until ``last_step`` updates are done or a callback requests a stop.

        Raises:
            NonFiniteError: if a loss or gradient is not finite and no callback requests to skip or to roll back.
        """
        state, control = self.state, self.view.control
        while state.step < last_step and not control.stop:
            control.begin_step()
            self.callbacks.fire("on_step_begin", self.view)
            started = time.perf_counter()
            update = self._update_or_skip()
            if control.rollback:
                self.roll_back()
                continue
            state.step += 1
            update = update._replace(step=state.step, seconds=time.perf_counter() - started)
            state.count(update)
            yield update

    def update(self, micro_batches: Iterable[tuple[int, Any]], *, wait: bool = True) -> Update:
        """Forward, backward and update on the micro-batches of the present step, with the hooks on the way.

        Args:
            micro_batches: see `train_step`.
            wait: see `train_step`.
        """
        setup, fire, control = self.setup, self.callbacks.fire, self.view.control

        def go_on(gradient: Gradient) -> bool:
            fire("on_before_optimizer_step", self.view, gradient)
            self._agree()
            self.midway = not (control.skip or control.rollback)
            return self.midway

        lr, key = setup.schedule(self.state.step), setup.key.fold(self.state.step)
        micro_batches = list(micro_batches)
        if not wait:
            before, self.midway = self.midway, True  # a graph contains the update
            if (update := self.graphs.step(micro_batches, lr=lr, key=key, go_on=go_on)) is not None:
                return update
            self.midway = before
        with use_precision(setup.arithmetic.precision):
            return train_step(
                setup.model,
                setup.optimizer,
                micro_batches,
                lr=lr,
                key=key,
                max_grad_norm=setup.max_grad_norm,
                objective=setup.objective,
                scaler=setup.arithmetic.scaler,
                private=None if self.privacy is None else self.privacy.step(self.state.step),
                together=self.together,
                on_substep=lambda loss: fire("on_substep_end", self.view, loss),
                go_on=go_on,
                wait=wait,
            )

    def must_wait(self) -> bool:
        """Whether the host looks at the loss and the norm of each step: on a CPU, and where somebody needs them then.

        That is a callback, the scale of a float16 loss, differential privacy, or other ranks. Otherwise a GPU is waited
        for when a record is written.
        """
        needed = (self.setup.arithmetic.scaler, self.privacy, self.together) != (None, None, None)
        return self.setup.device == "cpu" or needed or self.callbacks.reads_numbers

    def _update_or_skip(self) -> Update:
        state, control, together = self.state, self.view.control, self.together
        number = state.step + state.data_offset
        try:
            batch = self.setup.batch(number) if together is None else together.batch(self.setup, number)
            if wait := self.must_wait():
                self.graphs.say_why_not()
            return self.update(batch, wait=wait)
        except NonFiniteError as error:
            self.callbacks.fire("on_nan", self.view, error)
            self._agree()
            if not (control.skip or control.rollback):
                raise type(error)(f"step {state.step + 1}: {error}") from error
            return Update(math.nan, 0.0, self.setup.schedule(state.step), math.nan, skipped=True)

    def _agree(self) -> None:
        """All ranks skip, or roll back, or none does."""
        if self.together is not None:
            self.together.agree(self.view.control)

"""The work between two updates: records, evaluations, checkpoints."""

from __future__ import annotations

import math
import signal
from typing import Any

from ..backend.arrays import to_number
from ..checkpoint.manifest import Location
from ..errors import ConfigError, NonFiniteError
from ..nn.core.nonfinite import first_bad_parameter
from .callbacks.base import CallbackList
from .config import TrainingConfig
from .parallel.together import Together
from .saving.saver import CheckpointSaver
from .setup import RunContext, Setup, StepView
from .signals import Interrupted
from .state import TrainerState, Update, due


class BetweenSteps:
    """Records, evaluates and saves after each update, as the configuration and the callbacks request.

    Args:
        config: how often to do what.
        setup: the model and the data.
        run: the history, the evaluator and the run folder.
        state: the progress of the training.
        view: its ``control`` has the requests of callbacks.
        callbacks: whose hooks are called.
        saver: saves checkpoints.
        together: joins this training with those on other ranks; ``None`` if it is alone.
    """

    def __init__(
        self,
        config: TrainingConfig,
        setup: Setup,
        run: RunContext,
        state: TrainerState,
        view: StepView,
        callbacks: CallbackList,
        saver: CheckpointSaver,
        together: Together | None = None,
    ) -> None:
        self.config, self.setup, self.run, self.state = config, setup, run, state
        self.view, self.callbacks, self.saver, self.together = view, callbacks, saver, together

    def begin(self) -> None:
        """Evaluate before the first step, if a callback asked for that in ``on_train_begin``."""
        control = self.view.control
        self._agree()
        if control.evaluate and not self.state.step and self.run.evaluator is not None:
            self.validate(self.config.eval_batches)
            control.save = False  # the weights of the first step are not those that were measured

    def record(self, update: Update) -> None:
        """Count the epoch, log and evaluate."""
        config, control, state, fire = self.config, self.view.control, self.state, self.callbacks.fire
        last, epoch = state.step == self.view.total_steps, self.setup.data.steps_per_epoch
        control.log |= state.step == 1 or last or due(state.step, config.log_every)  # as StepView.will_log says
        # The last evaluation is the final one, unless the last checkpoint is to be compared with the best.
        compared = not last or config.keep_best_checkpoints > 0
        control.evaluate |= compared and due(state.step, config.validation_frequency)
        control.save |= last or due(state.step, config.save_every)
        fire("on_step_end", self.view, update)
        if epoch and state.step % epoch == 0:
            state.epoch += 1
            fire("on_epoch_end", self.view)
        if control.log:
            self._log(update)
        self._agree()
        if control.evaluate and self.run.evaluator is not None:
            self.validate(config.eval_batches)

    def keep(self, signal_number: int) -> None:
        """Save if it is time, or if a signal came.

        Args:
            signal_number: the signal that came; 0 for none.

        Raises:
            Interrupted: if a signal came, after saving.
        """
        control = self.view.control
        signal_number = self._agree(signal_number)
        self.saver.poll()
        if self.saver.store is not None and (control.save or control.stop or signal_number):
            self.save()
        if signal_number:
            self.saver.finish()
            raise self._interrupted(signal_number)

    def validate(self, max_batches: int | None = None) -> dict[str, Any]:
        """Measure on the validation data, keep the metrics and remember the best; see `Trainer.validate`."""
        run, state = self.run, self.state
        if run.evaluator is None:
            raise ConfigError("the trainer has no val_data to validate on")
        with run.weights.applied():
            measured = run.evaluator.run(max_batches)
            mean = measured["val_loss"]
            if not math.isfinite(mean):
                reason = first_bad_parameter(self.setup.model) or "the parameters are finite, an activation overflows"
                raise NonFiniteError(f"step {state.step}: the validation loss is {mean}: {reason}")
        if state.best_val_loss is None or mean < state.best_val_loss:
            state.best_val_loss, state.best_step = mean, state.step
        run.history.update(measured, step=state.step)
        self.view.control.save |= self.saver.is_among_best(measured)
        self.callbacks.fire("on_evaluate", self.view, {"step": state.step, **measured, "seconds": self.view.seconds})
        return measured

    def save(self, path: Location | None = None) -> Location:
        """Save a checkpoint; see `Trainer.save_checkpoint`.

        Raises:
            NonFiniteError: if a parameter is not finite.
        """
        if bad := first_bad_parameter(self.setup.model):
            raise NonFiniteError(f"step {self.state.step}: not saved, {bad}")
        if self.together is not None:
            self.together.refuse_other_weights(self.setup.model, self.state.step)
        self.state.seconds, self.state.stopped = self.view.seconds, self.view.control.stop
        return self.saver.save(path)

    def _log(self, update: Update) -> None:
        """Keep the record of all steps since the last one."""
        try:
            loss, speed = self.state.take_window()
        except NonFiniteError as error:  # of a GPU that ran ahead
            raise NonFiniteError(f"step {update.step} or shortly before: {error}") from error
        record = {
            "step": update.step,
            "loss": loss,
            "lr": update.lr,
            "grad_norm": to_number(update.grad_norm),
            "tokens_per_second": speed,
            "seconds": self.view.seconds,
        }
        self.callbacks.fire("on_log", self.view, record)
        metrics = {"train_loss" if name == "loss" else name: value for name, value in record.items() if name != "step"}
        self.run.history.update(metrics, step=update.step)

    def _interrupted(self, number: int) -> Interrupted:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        done = f"stopped by {name} after step {self.state.step} of {self.view.total_steps}"
        if self.saver.store is None:
            return Interrupted(f"{done}; without a run_dir nothing was saved", number)
        if self.run.folder is None:
            return Interrupted(f"{done}, everything is saved in {self.saver.store.directory}", number)
        if self.run.command is None:
            return Interrupted(
                f"{done}, everything is saved in {self.run.folder}; go on with trainer.train(), in a new process with "
                "trainer.resume() before it",
                number,
            )
        return Interrupted(f"{done}, everything is saved; go on with: {self.run.command}", number)

    def _agree(self, signal_number: int = 0) -> int:
        """Have all ranks follow the requests of rank 0, and a signal to any of them; returns the signal."""
        return signal_number if self.together is None else self.together.agree(self.view.control, signal_number)

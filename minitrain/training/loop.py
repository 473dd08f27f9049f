"""The loop over the steps of an epoch, and what happens between two of them."""

from __future__ import annotations

import math
import shlex
import signal
import time
from typing import TYPE_CHECKING

from ..errors import NonFiniteError
from .signals import Interrupted, StopSignals
from .state import due
from .step import Update

if TYPE_CHECKING:
    from .trainer import Trainer


class TrainingLoop:
    """One epoch: batches, forward, backward, accumulation, clipping, update; then records, evaluations, checkpoints.

    Args:
        trainer: owns what is trained, the state, and the callbacks.
        signals: tells of a request to stop from outside; none comes by default.
    """

    def __init__(self, trainer: Trainer, signals: StopSignals | None = None) -> None:
        self.trainer, self.signals = trainer, signals or StopSignals()

    def run(self, last_step: int) -> None:
        """Go on until ``last_step`` updates are done or somebody asks to stop.

        Raises:
            Interrupted: if a signal asked to stop, after saving.
            NonFiniteError: if a loss or gradient is not finite and no callback asks to skip or to roll back.
        """
        trainer, control = self.trainer, self.trainer.control
        fire = trainer.callbacks.fire
        while trainer.state.step < last_step and not control.stop:
            control.begin_step()
            fire("on_step_begin", trainer)
            started = time.perf_counter()
            update = self._update_or_skip()
            if control.rollback:
                trainer.roll_back()
                continue
            state = trainer.state
            state.step += 1
            state.count(update, time.perf_counter() - started)
            self._request_what_is_due()
            fire("on_step_end", trainer, update)
            if self._epoch_is_over():
                state.epoch += 1
                fire("on_epoch_end", trainer)
            self._between_steps(update)

    def _update_or_skip(self) -> Update:
        """The update of the present step, with its batch, rate and dropout masks."""
        trainer, step, control = self.trainer, self.trainer.state.step, self.trainer.control
        lr = trainer.schedule(step)
        try:
            parts = trainer.train_data.micro_batches(step + trainer.state.data_offset, trainer.accumulation)
            return trainer.update(parts, lr=lr, key=trainer.key.fold(step))
        except NonFiniteError as error:
            trainer.callbacks.fire("on_nan", trainer, error)
            if not (control.skip or control.rollback):
                raise trainer.stopped_by(error, step + 1) from error
            return Update(math.nan, 0.0, lr, math.nan, skipped=True)

    def _request_what_is_due(self) -> None:
        """Ask for the records, evaluations and checkpoints that the configuration wants after this step."""
        trainer = self.trainer
        config, control, step = trainer.config, trainer.control, trainer.state.step
        last = step == trainer.total_steps
        control.log |= step == 1 or last or due(step, config.log_every)  # as will_log says
        # The last evaluation is the final one, unless the last checkpoint is to be compared with the best.
        control.evaluate |= due(step, config.validation_frequency) and (not last or config.keep_best_checkpoints > 0)
        control.save |= last or due(step, config.save_every)

    def _epoch_is_over(self) -> bool:
        """Whether the present step is the last of an epoch."""
        length = self.trainer.train_data.steps_per_epoch
        return bool(length) and self.trainer.state.step % length == 0

    def _between_steps(self, update: Update) -> None:
        """Log, evaluate and save as asked, and stop if a signal came.

        Raises:
            Interrupted: after saving.
        """
        trainer, control = self.trainer, self.trainer.control
        trainer.saver.poll()
        if control.log:
            self._log(update)
        if control.evaluate and trainer.evaluator is not None:
            trainer.validate(trainer.config.eval_batches)
        received = self.signals.received
        if trainer.checkpoints is not None and (control.save or control.stop or received):
            trainer.save_checkpoint()
        if received:
            trainer.finish_saving()
            raise self._interrupted(received)

    def _log(self, update: Update) -> None:
        """Keep the record of all steps since the last one."""
        trainer = self.trainer
        loss, speed = trainer.state.take_window()
        record = {
            "step": trainer.state.step,
            "loss": loss,
            "lr": update.lr,
            "grad_norm": update.grad_norm,
            "tokens_per_second": speed,
            "seconds": trainer.clock(),
        }
        trainer.callbacks.fire("on_log", trainer, record)
        figures = {"train_loss" if name == "loss" else name: value for name, value in record.items() if name != "step"}
        trainer.history.update(figures, step=trainer.state.step)

    def _interrupted(self, number: int) -> Interrupted:
        trainer = self.trainer
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        done = f"stopped by {name} after step {trainer.state.step} of {trainer.total_steps}"
        if trainer.checkpoints is None:
            return Interrupted(f"{done}; without a run_dir nothing was saved", number)
        if trainer.run_dir is None:
            return Interrupted(f"{done}, everything is saved in {trainer.checkpoints.directory}", number)
        command = f"minitrain train --resume {shlex.quote(str(trainer.run_dir))}"
        return Interrupted(f"{done}, everything is saved; go on with: {command}", number)

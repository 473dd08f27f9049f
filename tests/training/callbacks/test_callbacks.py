"""The hooks: which are called when, what callbacks may ask for, and how their state survives."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.errors import CheckpointError, ConfigError, NonFiniteError
from minitrain.records import read_metrics
from minitrain.training import Callback, CallbackList
from minitrain.training.callbacks.base import HOOKS
from tests.helpers.small_trainers import Asking, Counting, Poisoned, fingerprint, first_parts_of, make


class Recorder(Callback):
    """Writes down every call of a hook, with the step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        for hook in HOOKS:
            setattr(self, hook, self._writing(hook))

    def _writing(self, hook: str) -> Any:
        return lambda view, *arguments: self.calls.append((hook, view.step))

    def close(self) -> None:
        self.calls.append(("close", -1))


def test_every_hook_in_its_order(tmp_path: Path) -> None:
    recorder = Recorder()
    make(tmp_path / "run", recorder).train()

    def step(before: int, *after: str) -> list[tuple[str, int]]:
        middle = ["on_step_begin", "on_substep_end", "on_substep_end", "on_before_optimizer_step"]
        return [(hook, before) for hook in middle] + [(hook, before + 1) for hook in ("on_step_end", *after)]

    assert recorder.calls == [
        ("on_train_begin", 0),
        ("on_epoch_begin", 0),
        *step(0, "on_log"),
        *step(1, "on_log"),
        *step(2, "on_evaluate"),
        *step(3, "on_log", "on_save"),
        *step(4),
        *step(5, "on_epoch_end", "on_log", "on_evaluate"),
        ("on_epoch_begin", 6),
        *step(6),
        *step(7, "on_log", "on_save"),
        ("on_evaluate", 8),
        ("on_train_end", 8),
        ("close", -1),
    ]


def test_an_exception_reaches_the_callbacks_and_closes_them(tmp_path: Path) -> None:
    class Failing(Callback):
        def on_step_end(self, view: Any, update: Any) -> None:
            raise RuntimeError("a bug of mine")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="a bug of mine"):
        make(tmp_path / "run", Failing(), recorder).train()
    assert recorder.calls[-2:] == [("on_exception", 1), ("close", -1)]


def test_a_callback_asks_to_log_evaluate_save_and_stop(tmp_path: Path) -> None:
    settings = {"validation_frequency": 0, "save_every": 0, "log_every": 100}
    result = make(tmp_path / "run", Asking(log=2, evaluate=3, save=4, stop=5), **settings).train()
    assert (result.step, result.stopped) == (5, "enough")
    assert result.history.get_steps("train_loss") == [1, 2]
    assert result.history.get_steps("val_loss") == [3, 5]
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000005"]
    assert "stopped early: enough" in result.describe()


def test_a_run_that_was_stopped_stays_stopped(tmp_path: Path) -> None:
    make(tmp_path / "run", Asking(stop=5)).train()
    again = make(tmp_path / "run")
    assert again.resume() == 5
    assert (again.train().step, again.state.stopped) == (5, "enough")


def test_the_state_of_callbacks_is_resumed(tmp_path: Path) -> None:
    whole = Counting()
    make(tmp_path / "whole", whole).train()
    make(tmp_path / "parts", Counting(), Asking(stop=3)).train()
    resumed = Counting()
    trainer = make(tmp_path / "parts", resumed)
    trainer.resume()
    assert resumed.steps == 3
    trainer.state.stopped = ""  # go on all the same
    trainer.train()
    assert resumed.steps == whole.steps == 8
    assert resumed.sums.tobytes() == whole.sums.tobytes()


def test_two_callbacks_of_a_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"two callbacks named Counting: set another \.name"):
        CallbackList([Counting(), Counting()])
    named = Counting()
    named.name = "second"
    assert list(CallbackList([Counting(), named]).state_dict()) == ["Counting", "second"]
    with pytest.raises(ConfigError, match="is no callback"):
        CallbackList([SimpleNamespace()])  # type: ignore[list-item]


def test_a_callback_that_fails_to_close_keeps_none_open() -> None:
    closed: list[int] = []

    class Closing(Callback):
        def __init__(self, number: int) -> None:
            self.number, self.name = number, str(number)

        def close(self) -> None:
            closed.append(self.number)
            if self.number == 2:
                raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        CallbackList([Closing(1), Closing(2), Closing(3)]).close()
    assert closed == [3, 2, 1]


# What is not finite.


class Guard(Callback):
    """Asks for one thing when a loss is not finite."""

    def __init__(self, what: str) -> None:
        self.what, self.errors = what, []

    def on_nan(self, view: Any, error: NonFiniteError) -> None:
        self.errors.append((view.step, str(error)))
        setattr(view.control, self.what, True)


def test_a_bad_batch_is_skipped(tmp_path: Path) -> None:
    guard = Guard("skip")
    trainer = make(tmp_path / "run", guard, model=Poisoned(first_parts_of(8)[4]), log_every=1)
    result = trainer.train()
    assert [step for step, _ in guard.errors] == [4]
    assert (result.step, trainer.state.skipped, trainer.optimizer.steps) == (8, 1, 7)
    records = {r["step"]: r["loss"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in r}
    assert [step for step, loss in records.items() if math.isnan(loss)] == [5]


def test_a_bad_batch_is_rolled_back_and_passed_over(tmp_path: Path) -> None:
    prints = first_parts_of(10)
    trainer = make(tmp_path / "run", Guard("rollback"), model=Poisoned(prints[6]))
    result = trainer.train()
    assert (result.step, trainer.state.rollbacks, trainer.state.data_offset) == (8, 1, 3)
    first_parts = trainer.model.seen[::2]  # the bad batch stops after its first part
    assert trainer.model.seen[12] == prints[6]
    assert first_parts[:6] == prints[:6]
    # From the checkpoint of step 4 on, with the batches behind the bad one.
    expected = [fingerprint(trainer.setup.data.micro_batches(step, 2)[0][1]) for step in (7, 8, 9, 10)]
    assert trainer.model.seen[13::2] == expected
    steps = [r["step"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in r]
    assert steps == [1, 2, 4, 6, 8]


def test_a_rollback_needs_a_checkpoint(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", Guard("rollback"), model=Poisoned(first_parts_of(3)[2]))
    with pytest.raises(CheckpointError, match="step 3: there is no checkpoint to roll back to"):
        trainer.train()


def test_an_update_can_be_left_out_before_it_happens() -> None:
    class Sceptic(Callback):
        def on_before_optimizer_step(self, view: Any, gradient: Any) -> None:
            assert gradient.clip.norm > 0
            assert gradient.loss.count == 32
            view.control.skip = view.step == 2

    trainer = make(None, Sceptic())
    trainer.train()
    assert (trainer.state.step, trainer.state.skipped, trainer.optimizer.steps) == (8, 1, 7)


# Without a folder.


def test_no_folder_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = make(None).train()
    assert list(tmp_path.iterdir()) == []
    assert result.checkpoint is None
    assert len(result.history.get_metric("train_loss")) == 5
    with pytest.raises(ConfigError, match="no run folder"):
        make(None).save_checkpoint()
    with pytest.raises(ConfigError, match="no run folder to resume from"):
        make(None).resume()


def test_a_named_checkpoint_is_saved_and_loaded(tmp_path: Path) -> None:
    trainer = make(None, max_steps=3)
    trainer.train()
    path = trainer.save_checkpoint(tmp_path / "mine")
    other = make(None, max_steps=5, resume_from=str(path))
    assert other.state.step == 3
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(other.model.state_dict()[name], array)
    assert other.train().step == 5

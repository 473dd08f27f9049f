"""Checkpoints written while training goes on: the same bytes, one at a time, no error lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import Contents, read_checkpoint
from minitrain.checkpoint import local as checkpoint_folder
from minitrain.checkpoint.background import AsyncWriter, StateCopy
from minitrain.errors import NonFiniteError
from minitrain.files import FileError
from minitrain.runs import resume_run, start_run
from minitrain.training import EMA, Callback, Interrupted
from tests.helpers.small_runs import small_config, tree
from tests.helpers.small_trainers import Asking, make


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """All times are 0, so that runs can be compared byte for byte."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)


def hold_writes(monkeypatch: pytest.MonkeyPatch, before: Callable[[Contents], object]) -> None:
    """Let every write of a checkpoint begin with a call of ``before``."""
    write = checkpoint_folder.write_checkpoint

    def held(folder: Path, contents: Contents) -> None:
        before(contents)
        write(folder, contents)

    monkeypatch.setattr(checkpoint_folder, "write_checkpoint", held)


class Steps(Callback):
    """Lets another thread wait for a step."""

    def __init__(self) -> None:
        self.events = [threading.Event() for _ in range(9)]

    def on_step_begin(self, view: Any) -> None:
        self.events[view.step].set()


class Saved(Callback):
    """Notes at which step ``on_save`` was called, and whether the checkpoint was there then."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def on_save(self, view: Any, path: str) -> None:
        assert read_checkpoint(path).step == int(path[-8:])
        self.calls.append((path[-1:], view.step))


@pytest.mark.usefixtures("stopped_clock")
def test_written_later_they_have_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "at once", EMA(0.5), save_every=2).train()
    steps = Steps()
    # The checkpoint of step 2 is not begun before step 4 is: its weights have changed twice by then.
    hold_writes(monkeypatch, lambda contents: steps.events[min(contents.step + 1, 7)].wait())
    make(tmp_path / "later", EMA(0.5), steps, save_every=2, async_checkpoints=True).train()
    once, later = (
        {name: digest for name, digest in tree(tmp_path / run / "checkpoints").items() if "state.json" not in name}
        for run in ("at once", "later")
    )
    assert {name.split("/")[0] for name in once} == {f"step-0000000{step}" for step in (4, 6, 8)}
    assert {name: digest for name, digest in once.items() if "manifest" not in name} == {
        name: digest for name, digest in later.items() if "manifest" not in name
    }
    for name in ("step-00000004", "step-00000008"):
        a, b = (read_checkpoint(tmp_path / run / "checkpoints" / name).state for run in ("at once", "later"))
        a["config"].pop("trainer.async_checkpoints"), b["config"].pop("trainer.async_checkpoints")
        a.pop("callbacks"), b.pop("callbacks")
        assert a == b


def test_a_run_in_the_background_is_resumed_exactly(tmp_path: Path) -> None:
    results = []
    for name in ("whole", "parts"):
        trainer = make(tmp_path / name, EMA(0.5), *([Asking(stop=5)] * (name == "parts")), async_checkpoints=True)
        trainer.train()
        if name == "parts":
            trainer = make(tmp_path / name, EMA(0.5), async_checkpoints=True)
            assert trainer.resume() == 5
            trainer.state.stopped = ""
            trainer.train()
        results.append({key: value.tobytes() for key, value in trainer.model.state_dict().items()})
    assert results[0] == results[1]


def test_on_save_comes_when_the_checkpoint_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, saved = Steps(), Saved()
    hold_writes(monkeypatch, lambda contents: contents.step == 4 and steps.events[6].wait())
    make(tmp_path / "run", steps, saved, save_every=4, async_checkpoints=True).train()
    (first, at), (second, end) = saved.calls
    assert (first, second, end) == ("4", "8", 8)
    assert 6 < at <= 8  # not before step 6 was begun


def test_on_save_does_not_wait_for_the_next_save(tmp_path: Path) -> None:
    class Joining(Callback):
        def on_step_begin(self, view: Any) -> None:
            if view.step == 5:
                for thread in threading.enumerate():
                    if thread.name == "checkpoint":
                        thread.join()

    saved = Saved()
    make(tmp_path / "run", Joining(), saved, save_every=4, async_checkpoints=True).train()
    assert saved.calls[0][0] == "4"
    assert saved.calls[0][1] in (5, 6)


def test_nothing_is_called_saved_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(Callback):
        def on_step_begin(self, view: Any) -> None:
            if view.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    hold_writes(monkeypatch, full_disk_at(4))
    with pytest.raises(FileError, match="step-00000004: the disk is full"):
        make(tmp_path / "run", Stopping(), save_every=0, async_checkpoints=True).train()


def test_the_next_save_waits_for_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = [0], [0]

    def before(contents: Contents) -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.01)
        under_way[0] -= 1

    hold_writes(monkeypatch, before)
    trainer = make(tmp_path / "run", save_every=1, async_checkpoints=True, keep_checkpoints=9)
    trainer.train()
    assert most == [1]
    assert len(trainer.checkpoints.checkpoints()) == 8


def full_disk_at(step: int) -> Callable[[Contents], None]:
    def before(contents: Contents) -> None:
        if contents.step == step:
            raise OSError(28, "No space left on device")

    return before


@pytest.mark.parametrize("step", [4, 8])
def test_an_error_in_the_background_ends_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    hold_writes(monkeypatch, full_disk_at(step))
    trainer = make(tmp_path / "run", save_every=4, async_checkpoints=True)
    with pytest.raises(FileError, match=rf"step-0000000{step}: the disk is full"):
        trainer.train()
    assert step <= trainer.state.step <= 8
    assert [path.name for path in trainer.checkpoints.checkpoints()] == ["step-00000004"] * (step == 8)


@pytest.mark.parametrize("later", [False, True])
def test_a_last_checkpoint_that_failed_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    trainer = make(tmp_path / "run", save_every=4, async_checkpoints=later)
    with monkeypatch.context() as patch:
        hold_writes(patch, full_disk_at(8))
        with pytest.raises(FileError, match="step-00000008: the disk is full"):
            trainer.train()
    assert trainer.train().checkpoint == tmp_path / "run" / "checkpoints" / "step-00000008"
    assert read_checkpoint(trainer.checkpoints.latest()).step == 8


def test_an_error_in_the_background_does_not_hide_what_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Callback):
        def on_step_begin(self, view: Any) -> None:
            if view.step == 4:
                raise RuntimeError("a bug of mine")

    hold_writes(monkeypatch, full_disk_at(4))
    trainer = make(tmp_path / "run", Failing(), save_every=4, async_checkpoints=True)
    told: list[str] = []
    trainer.warn = told.append
    with pytest.raises(RuntimeError, match="a bug of mine"):
        trainer.train()
    assert len(told) == 1
    assert "disk is full" in told[0]


@pytest.mark.parametrize("ending", ["signal", "exception", "nan"])
def test_whatever_ends_training_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    class Ending(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            self.model = setup.model

        def on_step_begin(self, view: Any) -> None:
            if view.step == 4:
                if ending == "signal":
                    os.kill(os.getpid(), signal.SIGINT)
                elif ending == "exception":
                    raise RuntimeError("a bug of mine")
                else:
                    self.model.state_dict()["tok_emb.weight"][...] = np.nan

    hold_writes(monkeypatch, lambda contents: time.sleep(0.05))
    trainer = make(tmp_path / "run", Ending(), save_every=4, async_checkpoints=True)
    with pytest.raises((Interrupted, RuntimeError, NonFiniteError)) as caught:
        trainer.train()
    last = tmp_path / "run" / "checkpoints" / f"step-0000000{5 if ending == 'signal' else 4}"
    assert trainer.checkpoints.latest() == last
    if ending == "nan":
        assert f"the last checkpoint, {last}, is intact" in str(caught.value)


def test_a_rollback_finds_the_checkpoint_that_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(Callback):
        done = False

        def on_before_optimizer_step(self, view: Any, gradient: Any) -> None:
            if view.step == 4 and not self.done:
                self.done = view.control.rollback = True

    hold_writes(monkeypatch, lambda contents: time.sleep(0.05))
    trainer = make(tmp_path / "run", Once(), save_every=4, async_checkpoints=True)
    assert (trainer.train().step, trainer.state.rollbacks, trainer.state.data_offset) == (8, 1, 1)


def test_warnings_come_from_the_thread_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(tmp_path / "run", save_every=2, keep_checkpoints=1, async_checkpoints=True)
    told: list[tuple[str, bool]] = []
    trainer.warn = lambda message: told.append((message, threading.current_thread() is threading.main_thread()))

    def refuse(self: Any, names: Any) -> None:
        if list(names):
            raise FileError("cannot delete old checkpoints")

    monkeypatch.setattr(checkpoint_folder.LocalFolder, "remove", refuse)
    trainer.train()
    assert told == [("cannot delete old checkpoints; training goes on", True)] * 3


def test_the_option_reaches_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    threads: set[str] = set()
    hold_writes(monkeypatch, lambda contents: threads.add(threading.current_thread().name))
    run = start_run(small_config(tmp_path, trainer_async_checkpoints=True))
    run.train()
    assert threads == {"checkpoint"}
    assert resume_run(run.run_dir).trainer.state.step == 7


# The parts.


def test_a_copy_shares_nothing_and_its_memory_is_used_again() -> None:
    weights, inner = np.arange(6.0).reshape(2, 3), [1, {"x": np.ones(2, np.float16)}]
    contents = Contents(
        1, {"w": weights.T, "a.b": weights}, {"step": 1, "moments": {}}, {"list": inner, "a": {"b": weights}}
    )
    copier = StateCopy()
    first = copier.of(contents)
    weights += 1
    inner[1]["x"] += 1
    inner.append("more")
    np.testing.assert_array_equal(first.model["w"], np.arange(6.0).reshape(2, 3).T)
    np.testing.assert_array_equal(first.model["a.b"], first.state["a"]["b"])
    assert first.state["list"][1]["x"].tolist() == [1, 1]
    assert len(first.state["list"]) == 2
    second = copier.of(contents._replace(step=2, optimizer={"moments": {"w": weights}}))
    assert second.model["w"] is first.model["w"]
    assert second.state["list"][1]["x"] is first.state["list"][1]["x"]
    assert second.optimizer["moments"]["w"] is not weights
    third = copier.of(contents._replace(model={"w": np.zeros(4)}))
    assert third.model["w"].tolist() == [0, 0, 0, 0]


def test_a_writer_delivers_results_and_errors_to_who_asks() -> None:
    writer, results, gate = AsyncWriter(), list[Any](), threading.Event()
    writer.poll()
    writer.finish()
    writer.start(lambda: gate.wait() and "one", results.append)
    writer.poll()
    assert results == []
    gate.set()
    writer.start(lambda: 1 / 0, results.append)
    assert results == ["one"]
    with pytest.raises(ZeroDivisionError):
        writer.start(lambda: "never", results.append)
    writer.finish()
    assert results == ["one"]

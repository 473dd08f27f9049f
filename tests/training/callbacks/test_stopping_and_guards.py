"""Callbacks that stop, skip, roll back, save and average."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.errors import ConfigError, NonFiniteError
from minitrain.ops.contract.loss import Loss
from minitrain.optim import Clip, ExponentialAverage
from minitrain.training import (
    EMA,
    Callback,
    Checkpointing,
    EarlyStopping,
    Gradient,
    NaNGuard,
    SpikeGuard,
    TimeLimit,
    Update,
)
from minitrain.training.setup import StepView
from minitrain.training.state import Control, TrainerState
from tests.helpers.small_trainers import Poisoned, first_parts_of, make


def a_view() -> StepView:
    """The view of a training that has just begun."""
    return StepView(TrainerState(), Control(), total_steps=1000, log_every=10, warn=lambda message: None)


# Early stopping.


def stops_at(stopping: EarlyStopping, values: list[float]) -> tuple[int, str] | None:
    """Number of the evaluation that stops, from 1, and the reason."""
    view = a_view()
    for number, value in enumerate(values, 1):
        stopping.on_evaluate(view, {stopping.monitor: value})
        if view.control.stop:
            return number, view.control.stop
    return None


@pytest.mark.parametrize(
    ("settings", "values", "at", "words"),
    [
        ({"patience": 2}, [3, 2, 2, 2.5, 1], 4, "val_loss is 2.5, for 2 times no better than 2"),
        ({"patience": 2}, [3, 2, 2.5, 1.9, 2, 1.8], None, ""),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.8, 2.6, 1], 3, "no better than 3"),
        ({"patience": 1, "mode": "max"}, [0.1, 0.3, 0.3], 3, "no better than 0.3"),
        ({"patience": None, "target": 1.0}, [3, 1.0, 0.5], 2, "the target 1 is reached"),
        ({"patience": None, "target": 0.9, "mode": "max"}, [0.5, 0.95], 2, "the target 0.9 is reached"),
        ({"patience": None, "divergence": 10.0}, [3, 9.9, 10.0], 3, "it diverges"),
        ({"patience": None, "divergence": 0.1, "mode": "max"}, [0.3, 0.05], 2, "it diverges"),
        ({"patience": 2}, [math.nan, 3, 2, 1], None, ""),  # NaN is never the best
        ({"patience": 2}, [3, math.nan, math.inf, 1], 3, "val_loss is inf, for 2 times no better than 3"),
        ({"patience": 2, "mode": "max"}, [math.nan, -math.inf], 2, "val_loss is -inf, for 2 times never finite so far"),
        ({"patience": None, "target": 1.0}, [math.nan, -math.inf, 2], None, ""),  # nor has it reached a target
        ({"patience": None, "target": 1.0, "mode": "max"}, [math.nan, math.inf, 0.5], None, ""),
        ({"patience": None, "divergence": 10.0}, [3, math.nan], 2, "val_loss is nan, no better than 10: it diverges"),
        ({"patience": 2, "min_delta": 0.5}, [-1, -1.2, -1.4], 3, "no better than -1"),
        ({"patience": 2, "min_delta": 0.5, "mode": "max"}, [-3, -2, -1, 0], None, ""),
    ],
)
def test_when_it_stops(settings: dict[str, Any], values: list[float], at: int | None, words: str) -> None:
    found = stops_at(EarlyStopping(**settings), values)
    assert (None if found is None else found[0]) == at
    assert found is None or words in found[1]


def test_its_state_survives() -> None:
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    assert stops_at(first, [1, 2, 2]) is None
    second.load_state_dict(first.state_dict())
    assert stops_at(second, [2, 0.5]) == (1, "val_loss is 2, for 3 times no better than 1")


@pytest.mark.parametrize("settings", [{"patience": 0}, {"min_delta": -1.0}, {"mode": "most"}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="EarlyStopping"):
        EarlyStopping(**settings)


def test_it_stops_a_training_which_then_evaluates_and_saves(tmp_path: Path) -> None:
    result = make(tmp_path / "run", EarlyStopping(patience=None, target=99.0)).train()
    assert result.step == 3  # the first evaluation
    assert "target 99 is reached" in result.stopped
    assert result.history.get_steps("val_loss") == [3, 3]
    assert result.checkpoint == tmp_path / "run" / "checkpoints" / "step-00000003"


def test_it_can_look_at_the_log() -> None:
    assert make(None, EarlyStopping("loss", patience=None, divergence=0.0)).train().step == 1


def test_a_time_limit_counts_all_sessions(tmp_path: Path) -> None:
    class Slow(Callback):
        def on_step_begin(self, view: Any) -> None:
            view._state.seconds += 10

    trainer = make(tmp_path / "run", Slow(), TimeLimit(35))
    assert trainer.train().step == 4
    assert trainer.state.stopped == "the time limit of 35 s is over"
    with pytest.raises(ConfigError, match="TimeLimit"):
        TimeLimit(0)


# Guards.


def test_the_nan_guard_skips_and_counts() -> None:
    told: list[str] = []
    prints = first_parts_of(8)
    trainer = make(None, guard := NaNGuard("skip"), model=Poisoned(prints[2], prints[5]))
    trainer.warn = told.append
    trainer.train()
    assert (guard.count, trainer.state.skipped, trainer.optimizer.steps) == (2, 2, 6)
    assert [message.partition(":")[0] for message in told] == ["step 3", "step 6"]
    assert all(message.endswith("this batch is skipped") for message in told)


def test_the_nan_guard_gives_up() -> None:
    prints = first_parts_of(8)
    with pytest.raises(NonFiniteError, match="step 6: the loss is nan"):
        make(None, NaNGuard("skip", most=1), model=Poisoned(prints[2], prints[5])).train()
    with pytest.raises(NonFiniteError, match="step 3"):
        make(None, NaNGuard("stop"), model=Poisoned(prints[2])).train()


def test_no_batch_helps_a_parameter_that_is_not_finite() -> None:
    class Breaking(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            self.model = setup.model

        def on_step_begin(self, view: Any) -> None:
            if view.step == 2:
                self.model.norm.weight.data[0] = np.nan

    with pytest.raises(NonFiniteError, match=r"step 3: .*parameter norm\.weight holds NaN"):
        make(None, Breaking(), NaNGuard("skip")).train()


def test_the_nan_guard_rolls_back_a_bounded_number_of_times(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", guard := NaNGuard("rollback", most=3), model=Poisoned(first_parts_of(8)[6]))
    trainer.train()
    assert (guard.count, trainer.state.rollbacks) == (1, 1)

    class AlwaysBad(Poisoned):
        def loss(self, batch: Any, *, key: Any = None) -> Any:
            loss, cache = super().loss(batch, key=key)
            bad = key is not None and len(self.seen) > 12
            return loss._replace(total=math.nan) if bad else loss, cache

    trainer = make(tmp_path / "bad", guard := NaNGuard("rollback", most=3), model=AlwaysBad())
    with pytest.raises(NonFiniteError):
        trainer.train()
    assert guard.count == 3


def spikes(guard: SpikeGuard, values: list[float]) -> list[int]:
    """Which of the values are taken for spikes."""
    found = []
    view = a_view()
    for i, value in enumerate(values):
        view.control.begin_step()
        loss = Loss(4 * value, 4.0)
        guard.on_before_optimizer_step(view, Gradient(loss, Clip(value, 1.0)))
        skipped = view.control.skip or view.control.rollback
        guard.on_step_end(view, Update(loss.total, 4.0, 0.1, value, skipped=skipped))
        found += [i] * skipped
    return found


@pytest.mark.parametrize("monitor", ["loss", "grad_norm"])
def test_a_spike_is_what_lies_far_above_the_usual(monitor: str) -> None:
    usual = list(2 + 0.1 * np.random.default_rng(0).standard_normal(100))
    values = [*usual[:60], 4.0, *usual[60:90], 5.0, *usual[90:]]
    assert spikes(SpikeGuard(monitor=monitor), values) == [60, 91]
    falling = list(np.linspace(4, 1, 100) + 0.05 * np.random.default_rng(1).standard_normal(100))
    assert spikes(SpikeGuard(monitor=monitor), falling) == []
    early = [2.0, 2.1, 9.0, 2.0, 2.1]
    assert spikes(SpikeGuard(monitor=monitor), early) == []  # nothing is usual yet


def test_the_running_mean_and_variance() -> None:
    guard = SpikeGuard(decay=0.9)
    values = list(np.random.default_rng(2).standard_normal(10) + 5)
    spikes(guard, values)
    assert guard.mean == pytest.approx(np.mean(values))  # a plain mean as long as 1/n is more than 1 - decay
    assert guard.variance == pytest.approx(np.var(values))
    copy = SpikeGuard(decay=0.9)
    copy.load_state_dict(guard.state_dict())
    assert copy.state_dict() == guard.state_dict()


def test_a_spike_can_stop_the_run_with_the_step() -> None:
    with pytest.raises(NonFiniteError, match="loss 9 is a spike, usual are up to"):
        spikes(SpikeGuard("stop", warmup=5), [2.0, 2.1, 2.0, 1.9, 2.0, 2.1, 9.0])
    with pytest.raises(NonFiniteError, match="spike"):
        spikes(SpikeGuard(warmup=5, most=0), [2.0, 2.1, 2.0, 1.9, 2.0, 2.1, 9.0])


@pytest.mark.parametrize("settings", [{"policy": "pray"}, {"most": -1}, {"threshold": 0.0}, {"monitor": "x"}])
def test_guards_check_their_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="SpikeGuard"):
        SpikeGuard(**settings)


# Checkpoints and averages.


def test_checkpoints_at_the_end_of_epochs(tmp_path: Path) -> None:
    make(tmp_path / "run", Checkpointing(), save_every=0, max_steps=8).train()
    assert sorted(path.name[-1] for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["6", "8"]


def test_checkpoints_by_the_clock(tmp_path: Path) -> None:
    class Slow(Callback):
        def on_step_begin(self, view: Any) -> None:
            view._state.seconds += 60

    callbacks = Slow(), Checkpointing(every_epochs=0, every_minutes=2.5)
    make(tmp_path / "run", *callbacks, save_every=0, keep_checkpoints=9).train()
    assert sorted(path.name[-1] for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["3", "6", "8"]
    with pytest.raises(ConfigError, match="Checkpointing"):
        Checkpointing(every_minutes=-1)


def test_validation_takes_the_averaged_weights_and_leaves_the_others(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", ema := EMA(decay=0.5), max_steps=4)
    plain = make(None, max_steps=4)
    result, plain_result = trainer.train(), plain.train()
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, plain.model.state_dict()[name])
    assert result.val_loss != plain_result.val_loss
    assert ema.average is not None
    with ema.average.applied():
        assert trainer.run.evaluator.run()["val_loss"] == result.val_loss
    assert trainer.run.evaluator.run()["val_loss"] == plain_result.val_loss


def test_the_average_is_that_of_the_weights_and_survives_a_stop(tmp_path: Path) -> None:
    class Following(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            self.average = ExponentialAverage(setup.model, decay=0.9)

        def on_step_end(self, view: Any, update: Any) -> None:
            self.average.update()

    make(None, following := Following()).train()
    make(tmp_path / "run", EMA(0.9), EarlyStopping(patience=None, target=99.0)).train()
    resumed = make(tmp_path / "run", ema := EMA(0.9))
    resumed.resume()
    resumed.state.stopped = ""
    resumed.train()
    assert ema.average is not None
    for path, array in following.average.state_dict().items():
        np.testing.assert_array_equal(ema.average.state_dict()[path], array)
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000008").state["callbacks"]["EMA"]
    assert saved.keys() == ema.average.state_dict().keys()

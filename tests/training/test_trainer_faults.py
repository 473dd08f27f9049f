"""What a trainer must never get wrong: half a step, a lost checkpoint, a consumed stream, a misnamed result."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from minitrain.checkpoint import read_checkpoint
from minitrain.checkpoint.background import AsyncWriter
from minitrain.data import Batch, Batches, TokenLoader
from minitrain.errors import BadSampleError, CheckpointError
from minitrain.losses import MeanSquaredError
from minitrain.models import GPT, MLP, GPTConfig, MLPConfig
from minitrain.nn import Linear
from minitrain.optim import SGD, AdamW
from minitrain.probes import find_batch_size, find_learning_rate
from minitrain.records import MetricsCollector
from minitrain.training import EMA, Callback, Interrupted, MemoryShortage, Trainer, TrainingConfig, estimate
from minitrain.training.nonfinite import first_bad_sample, why_not_finite
from minitrain.training.signals import StopSignals
from tests.helpers.small_regression import regression, trainer
from tests.helpers.small_trainers import make

# A step is done whole or not at all.


def test_a_training_that_broke_within_a_step_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(tmp_path / "whole", save_every=2, max_steps=8)
    whole.train()
    broken = make(tmp_path / "run", save_every=2, max_steps=8)
    step, calls = broken.optimizer.step, iter(range(100))

    def interrupted_after(scale: float) -> None:
        step(scale)
        if next(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(broken.optimizer, "step", interrupted_after)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    with pytest.raises(CheckpointError, match=r"ended step 5 halfway.*go back to the last checkpoint with resume"):
        broken.train()
    assert broken.resume() == 4
    broken.train()
    for name, array in whole.model.state_dict().items():
        np.testing.assert_array_equal(broken.model.state_dict()[name], array)


def test_an_error_before_the_update_does_not_end_a_training(tmp_path: Path) -> None:
    class Once(Callback):
        done = False

        def on_step_begin(self, view: Any) -> None:
            if view.step == 3 and not self.done:
                self.done = True
                raise RuntimeError("a bug of mine")

    whole, broken = make(tmp_path / "whole"), make(tmp_path / "run", Once())
    whole.train()
    with pytest.raises(RuntimeError):
        broken.train()
    broken.train()
    for name, array in whole.model.state_dict().items():
        np.testing.assert_array_equal(broken.model.state_dict()[name], array)


def test_an_interrupted_training_goes_on_in_the_same_process(tmp_path: Path) -> None:
    class Signal(Callback):
        def on_step_begin(self, view: Any) -> None:
            if view.step == 3:
                os.kill(os.getpid(), signal.SIGHUP)

    one = make(tmp_path / "run", Signal())
    with pytest.raises(Interrupted) as caught:
        one.train()
    assert caught.value.exit_code == 129
    assert read_checkpoint(one.checkpoints.latest()).step == 4
    assert one.train().step == 8


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_writer_that_could_not_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    writer = AsyncWriter()
    with pytest.raises(KeyboardInterrupt):
        writer.start(lambda: None, print)
    writer.finish()


@pytest.mark.parametrize("later", [False, True])
def test_a_checkpoint_survives_a_shortage_of_memory(tmp_path: Path, later: bool) -> None:
    class Hungry(Callback):
        def on_step_begin(self, view: Any) -> None:
            if view.step == 4:
                raise MemoryError("Unable to allocate 9 TB")

    with pytest.raises(MemoryShortage, match=r"step 5: out of memory: Unable to allocate 9 TB"):
        make(tmp_path / "run", Hungry(), save_every=4, async_checkpoints=later).train()
    again = make(tmp_path / "run", save_every=4, async_checkpoints=later)
    assert again.resume() == 4
    assert again.train().step == 8


# Trials change nothing.


class Stream:
    """Batches that can be iterated once an epoch, in an order that is another one each time, without a position."""

    def __init__(self) -> None:
        self.epochs = 0

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Any:
        self.epochs += 1
        order = np.random.default_rng(self.epochs).permutation(6)
        return iter([regression()[i % 3] for i in order])


def a_stream(kind: str) -> Any:
    return Batches(TokenLoader(np.arange(300) % 7, 4, 4, seed=1)) if kind == "position" else Stream()


@pytest.mark.parametrize("kind", ["position", "none"])
@pytest.mark.parametrize("trial", [estimate, find_learning_rate, find_batch_size], ids=lambda f: f.__name__)
def test_trials_consume_nothing(kind: str, trial: Any) -> None:
    def ready() -> Trainer:
        if kind == "none":
            return trainer(data=Stream())
        model = GPT(GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=1, n_embd=8))
        config = TrainingConfig(max_steps=9, batch_size=4)
        return Trainer(
            model=model, optimizer=AdamW(model, lr=1e-3), train_data=a_stream(kind), config=config, progress=False
        )

    plain, tried = ready(), ready()
    if trial is find_learning_rate:
        try:
            trial(tried, steps=10, low=1e-6, high=1e-2)
        except Exception as error:  # that no rate suits is not the point here
            assert "find_learning_rate" in str(error)
    elif trial is find_batch_size:
        trial(tried, memory=10**8)
    else:
        trial(tried)
    plain.train()
    tried.train()
    for name, array in plain.model.state_dict().items():
        np.testing.assert_array_equal(tried.model.state_dict()[name], array, err_msg=name)


# Results say what they are of.


def test_a_result_names_the_weights_that_were_validated(tmp_path: Path) -> None:
    averaged = make(tmp_path / "run", EMA(0.9)).train()
    assert averaged.weights == "EMA"
    assert "validation loss (EMA weights)" in averaged.describe()
    assert make(None).train().weights == ""
    assert read_checkpoint(averaged.checkpoint).state["evaluation_weights"] == "EMA"


def test_a_step_by_hand_returns_the_mean_loss() -> None:
    one = trainer()
    x, y = regression()[0]
    before = one.setup.objective.loss((x, y))[0].mean
    loss = one.train_step(x, y)
    assert isinstance(loss, float)
    assert loss == pytest.approx(before)


def test_other_data_can_be_validated_on(tmp_path: Path) -> None:
    one = trainer(val_data=regression())
    measured = one.validate(regression()[:1])
    assert measured["val_loss"] == pytest.approx(one.setup.objective.loss(regression()[0])[0].mean)
    assert one.history.names() == []


# What users pass.


def test_a_pair_of_arrays_is_training_data() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    model = Linear(3, 2, rng, dtype=np.float64)
    config = TrainingConfig(epochs=3, batch_size=5)
    one = Trainer(
        model=model, train_data=(X, y), val_data=(X, y), loss_fn=MeanSquaredError(), config=config, progress=False
    )
    result = one.train()
    assert result.step == 12
    assert result.val_loss == pytest.approx(((model.forward(X)[0] - y) ** 2).mean())


def test_a_metric_may_be_an_array_of_one_element() -> None:
    collector = MetricsCollector()
    collector.update({"loss": np.array([1.5]), "other": np.float32(2)})
    assert collector.get_latest("loss") == 1.5


def test_a_run_made_in_python_describes_itself(tmp_path: Path) -> None:
    make(tmp_path / "run").train()
    described = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert described["kind"] == "python"
    assert described["model"]["name"] == "GPT"
    assert described["trainer"]["max_steps"] == 8


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_sample_that_is_not_finite_is_named_and_no_rate_is_advised(accumulation: int) -> None:
    x, classes = np.ones((12, 4), np.float32), np.arange(12) % 3
    x[9, 2] = np.nan
    model = MLP(MLPConfig((4, 5, 3)))
    trainer = Trainer(
        model=model,
        optimizer=SGD(model, 0.1),
        train_data=[(x, classes)],
        config=TrainingConfig(max_steps=1, gradient_accumulation_steps=accumulation),
        progress=False,
    )
    with pytest.raises(
        BadSampleError, match=r"array 0 of the batch holds NaN, first in its sample 9; .*no learning rate"
    ):
        trainer.train()


def test_fields_of_a_batch_are_named_and_a_bad_weight_comes_before_a_bad_sample() -> None:
    model, batch = MLP(MLPConfig((2, 3))), Batch(np.full((2, 2), np.inf, np.float32), np.zeros(2, np.int32))
    assert first_bad_sample(batch) == "inputs of the batch holds infinity, first in its sample 0"
    assert first_bad_sample(Batch(np.ones((2, 2)), np.zeros(2, np.int32))) is None
    model.layers[0].weight.data[:] = np.nan
    error = why_not_finite(np.nan, model, batch, None, 0)
    assert not isinstance(error, BadSampleError)
    assert "parameter" in str(error)

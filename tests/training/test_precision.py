"""Training in 16 bits: settings, overflow in float16, memory, and resumed runs that end with the same bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.backend.cpu.products import bf16_units
from minitrain.backend.cpu.products.bf16_units import Unit
from minitrain.backend.pool import POOL
from minitrain.backend.precision import current_precision, half_dtype, use_precision
from minitrain.data import Batch, TokenLoader
from minitrain.errors import ConfigError, NonFiniteError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW
from minitrain.random import Key
from minitrain.runs import evaluate_run, start_run
from minitrain.tasks.text.validation import TokenWindows
from minitrain.training import (
    EMA,
    ActivationStatistics,
    LossScale,
    Trainer,
    TrainingConfig,
    TrainResult,
    estimate,
    train_step,
)
from minitrain.training.nonfinite import first_bad_activation
from tests.helpers.interrupted_runs import DyingAt
from tests.helpers.small_regression import trainer as regression_trainer
from tests.helpers.small_runs import outcome, small_config, tiny_trainer

HALF = ("bfloat16", "float16")


def silent(line: str) -> None:
    """Takes the notice that this processor has no units for 16-bit products."""


def in_half(run_dir: Path | None, name: str, *, max_steps: int = 8, **parts: Any) -> Trainer:
    config = TrainingConfig(max_steps=max_steps, save_every=3, log_every=1, precision=name, batch_size=4)
    return tiny_trainer(run_dir, config=config, progress=False, warn=silent, **parts)


def learned(name: str) -> TrainResult:
    """A text in which a coin decides between two tokens that may follow each token."""
    rng, tokens = np.random.default_rng(0), [0]
    following = rng.permuted(np.tile(np.arange(11), (11, 1)), axis=1)[:, :2]
    for coin in rng.integers(0, 2, 3000):
        tokens.append(int(following[tokens[-1], coin]))
    model = GPT(GPTConfig(vocab_size=11, block_size=16, n_layer=1, n_head=2, n_embd=32), seed=1)
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=1e-2),
        train_data=TokenLoader(np.array(tokens), 16, 16, seed=0),
        val_data=TokenWindows(np.array(tokens[:1000]), 16, 8),
        config=TrainingConfig(max_steps=100, precision=name),
        progress=False,
        warn=silent,
    ).train()


def test_training_in_16_bits_learns_as_well_as_in_32():
    losses = {name: learned(name).val_loss for name in ("float32", *HALF)}
    assert losses["float32"] is not None
    assert losses["float32"] < 0.75  # of log(11) = 2.4; the coin alone costs log(2) = 0.69
    for name in HALF:
        assert losses[name] == pytest.approx(losses["float32"], abs=0.01)
        assert losses[name] != losses["float32"]


@pytest.mark.parametrize("name", HALF)
def test_a_resumed_run_ends_with_the_same_bytes(name, tmp_path):
    """With the loss scale in the middle of its growth, and averaged weights."""

    def make(folder: Path, *callbacks: Any) -> Trainer:
        trainer = in_half(folder, name, callbacks=[EMA(0.9), *callbacks])
        if trainer.setup.arithmetic.scaler is not None:
            trainer.setup.arithmetic.scaler.growth_interval = 2
        return trainer

    make(tmp_path / "whole").train()
    with pytest.raises(RuntimeError, match="the end"):
        make(tmp_path / "cut", DyingAt(5)).train()
    resumed = make(tmp_path / "cut")
    resumed.resume()
    resumed.train()
    assert outcome(tmp_path / "cut", 8) == outcome(tmp_path / "whole", 8)


def test_an_overflow_skips_the_update_and_halves_the_scale():
    trainer = in_half(None, "float16")
    trainer.setup.arithmetic.scaler = LossScale(2.0**40)
    before = [p.data.copy() for p in trainer.setup.model.parameters()]
    update = next(iter(trainer.loop.steps(1)))
    assert update.skipped
    assert math.isfinite(update.loss)
    assert trainer.setup.arithmetic.scaler.scale == 2.0**39
    assert trainer.state.skipped == 1
    for parameter, weights in zip(trainer.setup.model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.data, weights)
    while trainer.setup.arithmetic.scaler.clean == 0:
        next(iter(trainer.loop.steps(trainer.state.step + 1)))
    assert 1 < trainer.setup.arithmetic.scaler.scale < 2.0**20
    assert any((p.data != w).any() for p, w in zip(trainer.setup.model.parameters(), before, strict=True))


def test_the_scale_does_not_show_in_what_is_measured():
    """The norm of the gradient, the update and the gradients that hooks read are those of the plain loss."""
    seen = {}
    for scale in (1.0, 2.0**8):
        trainer = in_half(None, "float16")
        trainer.setup.arithmetic.scaler = LossScale(scale)
        update = next(iter(trainer.loop.steps(1)))
        seen[scale] = update.grad_norm, [p.grad.copy() for p in trainer.setup.model.parameters()]
    (norm, gradients), (other_norm, others) = seen.values()
    assert norm == pytest.approx(other_norm, rel=1e-2)
    for a, b in zip(gradients, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-2 * np.abs(b).max())


def test_small_gradients_survive_only_with_a_scale():
    """A loss of 1e-7 times the usual one: float16 turns its gradients into zero unless they are scaled up."""
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
    tokens = np.random.default_rng(0).integers(0, 11, (4, 9)).astype(np.int32)

    class Small:
        def loss(self, batch: Any, *, key: Key | None = None) -> Any:
            return model.loss(batch, key=key)

        def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
            model.loss_backward(cache, 1e-8 * dtotal)

    def norm(scaler: LossScale | None) -> float:
        with use_precision("float16"):
            batch = [(0, Batch(tokens[:, :-1], tokens[:, 1:]))]
            return train_step(model, AdamW(model, lr=0.0), batch, lr=0.0, objective=Small(), scaler=scaler).grad_norm

    assert norm(None) < 0.5 * norm(LossScale(2.0**24))


def test_what_is_not_the_scales_fault_is_an_error():
    """At a scale of 1 the overflow is the model's own: here weights that float16 turns into infinity."""
    trainer = in_half(None, "float16")
    trainer.setup.arithmetic.scaler = LossScale(1.0)
    for parameter in trainer.setup.model.parameters():
        parameter.data *= 1e8
    with pytest.raises(NonFiniteError):
        trainer.train()


def test_a_training_takes_less_memory():
    """What is kept takes 0.62 of the memory; the rest is for what one layer needs at a time."""
    peaks = {}
    for name in ("float32", "bfloat16"):
        model = GPT(GPTConfig(vocab_size=65, block_size=128, n_layer=12, n_head=4, n_embd=64), seed=1)
        tokens = np.random.default_rng(0).integers(0, 65, 4000)
        trainer = tiny_trainer(
            None, config=TrainingConfig(max_steps=1, precision=name, batch_size=16), model=model, warn=silent
        )
        trainer.setup.data = TokenLoader(tokens, 128, 16, seed=0)
        POOL.trim()
        with use_kernels("auto"):  # the estimate counts the pool, which kernels use
            peaks[name] = estimate(trainer).activations
    assert peaks["bfloat16"] < 0.75 * peaks["float32"]


def test_evaluations_have_the_precision_of_the_training():
    seen: list[str] = []
    trainer = in_half(None, "bfloat16")
    assert trainer.run.evaluator is not None
    model_loss = trainer.setup.model.loss
    trainer.run.evaluator.objective = type(
        "Watched", (), {"loss": lambda self, b: (seen.append(current_precision()), model_loss(b))[1]}
    )()
    trainer.validate()
    assert set(seen) == {"bfloat16"}
    assert current_precision() == "float32"


@pytest.mark.parametrize("how", [{"use_amp": True}, {"use_mixed_precision": True}])
def test_the_documents_names_mean_bfloat16(how, monkeypatch):
    monkeypatch.setattr(bf16_units, "bf16_unit", lambda: Unit("float32", "this processor is too old"))
    told: list[str] = []
    trainer = tiny_trainer(None, config=TrainingConfig(max_steps=1), progress=False, warn=told.append, **how)
    assert trainer.setup.arithmetic.precision == "bfloat16"
    assert trainer.setup.arithmetic.scaler is None
    assert told == [
        "precision=bfloat16: operands are rounded to 16 bits and multiplied as float32 (this processor is too old): "
        "this saves memory and costs some time"
    ]


def test_where_there_are_units_nobody_is_told(monkeypatch):
    monkeypatch.setattr(bf16_units, "bf16_unit", lambda: Unit("amx", "found on this processor"))
    told: list[str] = []
    tiny_trainer(None, config=TrainingConfig(max_steps=1, precision="bfloat16"), progress=False, warn=told.append)
    assert told == []


def test_float64_takes_a_model_in_float64():
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1, dtype=np.float64)
    config = TrainingConfig(max_steps=2, precision="float64", batch_size=4)
    assert tiny_trainer(None, config=config, model=model, progress=False).train().step == 2
    with pytest.raises(ConfigError, match=r"precision=float64 needs a model of dtype float64, but .* is float32"):
        tiny_trainer(None, config=config)
    with pytest.raises(ConfigError, match=r"precision=bfloat16 needs a model of dtype float32, but .* is float64"):
        tiny_trainer(None, config=TrainingConfig(precision="bfloat16"), model=model)


def test_a_loss_that_cannot_be_scaled_is_refused_in_float16_only():
    class Own(GPT):
        def loss_backward(self, cache: Any) -> None:  # type: ignore[override]
            super().loss_backward(cache)

    model = Own(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
    with pytest.raises(ConfigError, match=r"Own.loss_backward has no argument dtotal .* use precision=bfloat16"):
        in_half(None, "float16", model=model)
    assert in_half(None, "bfloat16", model=model, max_steps=1).train().step == 1


def test_a_loss_function_of_ones_own_is_scaled():
    config = {"precision": "float16"}
    with pytest.raises(ConfigError, match="float64"):  # that model is one
        regression_trainer(config=config)


@pytest.mark.parametrize("name", ["tf32", *HALF])
def test_nothing_is_said_about_the_processor_where_a_gpu_computes(name):
    """Any warning would be an error here."""
    tiny_trainer(None, config=TrainingConfig(precision=name), device="cuda")


def test_a_run_in_float64_makes_its_model_and_can_be_evaluated(tmp_path, no_pictures):
    run = start_run(small_config(tmp_path, trainer_precision="float64", trainer_max_steps=4))
    assert {p.data.dtype.name for p in run.trainer.model.parameters()} == {"float64"}
    trained = run.train()
    assert evaluate_run(run.run_dir).loss == trained.validation.loss


def test_settings_at_odds():
    with pytest.raises(ConfigError, match="use_mixed_precision must be false with precision=float16"):
        TrainingConfig(precision="float16", use_mixed_precision=True)
    with pytest.raises(ConfigError, match="precision"):
        TrainingConfig(precision="bf16")


def test_callbacks_read_16_bit_activations(tmp_path):
    trainer = in_half(tmp_path / "run", "bfloat16", callbacks=[ActivationStatistics()], max_steps=2)
    history = trainer.train().history
    assert history.get_latest("activation_std.model.blocks.0.attention.qkv.x") == pytest.approx(1, abs=0.2)


def test_an_activation_in_16_bits_that_is_not_finite_is_named():
    kept = np.array([1, np.inf], np.float32).astype(half_dtype("bfloat16"))
    assert first_bad_activation({"blocks": [{"x": kept}]}) == "activation blocks.0.x holds infinity"

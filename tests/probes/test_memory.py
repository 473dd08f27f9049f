"""Estimates, finders, and what is said when memory runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend.memory import available_memory
from minitrain.backend.pool import POOL
from minitrain.data import Batch, TokenLoader
from minitrain.errors import ConfigError
from minitrain.formats import duration, size
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW
from minitrain.probes import find_batch_size, find_learning_rate
from minitrain.training import MemoryShortage, Trainer, TrainingConfig, estimate
from tests.helpers.small_trainers import make


def state(trainer: Trainer) -> dict[str, bytes]:
    """Everything that a finder might disturb."""
    optimizer = trainer.optimizer.state_dict()
    arrays = trainer.model.state_dict() | {f"moment {k}": v for k, v in optimizer["moments"].items()}
    rest = {"state": repr(trainer.state).encode(), "optimizer": repr((optimizer["step"], optimizer["lr"])).encode()}
    return {name: array.tobytes() for name, array in arrays.items()} | rest


def trained(**config: Any) -> Trainer:
    """A trainer in the middle of its work, with moments."""
    trainer = make(None, max_steps=3, **config)
    trainer.train()
    return trainer


def counting() -> Trainer:  # each token is the one before plus one: soon learnt
    tokens = np.arange(400) % 11
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16), seed=1)
    config = TrainingConfig(max_steps=25, log_every=5)
    return Trainer(model=model, train_data=TokenLoader(tokens, 8, 8, seed=0), config=config, progress=False)


def larger() -> Trainer:
    """Activations large enough for the pool of the kernels."""
    rng = np.random.default_rng(0)
    model = GPT(GPTConfig(vocab_size=11, block_size=64, n_layer=2, n_head=2, n_embd=64))
    data = [Batch(*rng.integers(0, 11, (2, 4, 64)))]
    return Trainer(
        model=model,
        train_data=data,
        optimizer=AdamW(model),
        config=TrainingConfig(max_steps=5, gradient_accumulation_steps=2),
        progress=False,
    )


def test_the_finders_leave_every_byte_as_it_was() -> None:
    trainer = counting()
    trainer.train_step(trainer.setup.data.batch(0))  # there are moments
    before = state(trainer)
    found = find_learning_rate(trainer, low=1e-4, high=10.0, steps=30)
    assert state(trainer) == before
    assert 1e-4 < found.suggestion < 10.0
    find_batch_size(trainer, memory=10**9, most=8)
    assert state(trainer) == before
    estimate(trainer)
    assert state(trainer) == before


def test_a_training_goes_on_as_if_nothing_had_been_tried() -> None:
    plain, trying = counting(), counting()
    find_learning_rate(trying, low=1e-4, high=1.0, steps=20)
    estimate(trying)
    plain.train()
    trying.train()
    assert state(plain).keys() == state(trying).keys()
    for path, array in plain.model.state_dict().items():
        np.testing.assert_array_equal(trying.model.state_dict()[path], array)


def test_a_finder_that_fails_restores_the_state_too(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trained()
    before = state(trainer)
    with pytest.raises(ConfigError, match="fell by no more than its noise"):
        find_learning_rate(trainer, low=1e-12, high=2e-12, steps=30)
    assert state(trainer) == before
    with pytest.raises(ConfigError, match="is needed"):
        find_learning_rate(trainer, low=1.0, high=0.1)


def test_the_rate_found_is_a_good_one_and_is_drawn(tmp_path: Path) -> None:
    """At it the loss falls further in the same steps than at a hundredth of it, and than at a hundred times as much."""

    def loss_at(rate: float) -> float:
        trainer = counting()
        trainer.setup.schedule = lambda step: rate
        return float(trainer.train().history.get_metric("train_loss")[-1])

    found = find_learning_rate(counting(), low=1e-5, high=10.0, steps=60)
    assert loss_at(found.suggestion) < min(loss_at(found.suggestion / 100), loss_at(found.suggestion * 100))
    assert found.plot(tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_the_batch_found_fits_and_a_third_more_would_not() -> None:
    trainer = larger()
    found = find_batch_size(trainer, memory=20_000_000)
    assert found.tried[found.largest] <= 20_000_000
    assert found.largest > 4
    assert (found.largest * 4 // 3 + 1) * found.bytes_per_sample > 20_000_000
    assert find_batch_size(trainer, memory=10**12, most=9).largest == 9
    assert f"up to {found.largest} samples fit into 20.0 MB" in found.describe()
    with pytest.raises(ConfigError, match=r"one sample takes .* and the limit is 10.0 kB"):
        find_batch_size(trainer, memory=10_000)


def test_the_estimate_counts_weights_and_activations() -> None:
    trainer = larger()
    found = estimate(trainer)
    assert found.weights == 4 * 4 * trainer.model.parameter_count()  # weights, gradients, two moments, float32
    before = POOL.in_use
    POOL.reset_peak()
    trainer.train_step(trainer.setup.data.batches[0])
    assert found.activations == pytest.approx(POOL.peak - before, rel=0.3)
    assert found.steps == 5
    assert found.seconds > 0
    assert "for 5 steps" in found.describe()


def test_memory_that_runs_out_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(None)

    def too_much(batch: Any, *, key: Any = None) -> Any:
        return np.empty(10**16), None

    monkeypatch.setattr(trainer.model, "loss", too_much)
    with pytest.raises(MemoryShortage) as caught:
        trainer.train()
    message = str(caught.value)
    for part in (
        "step 1: out of memory",
        "Unable to allocate",
        "gradient_accumulation_steps",
        "activation_checkpointing",
    ):
        assert part in message


def test_free_memory_is_known_here() -> None:
    free = available_memory()
    assert free is None or free > 10**6


@pytest.mark.parametrize(("value", "text"), [(12, "12 bytes"), (1500, "1.5 kB"), (2.5e8, "250 MB"), (3.21e9, "3.2 GB")])
def test_sizes_for_people(value: float, text: str) -> None:
    assert size(int(value)) == text


@pytest.mark.parametrize(("value", "text"), [(12.4, "12 s"), (200, "3 min 20 s"), (7300, "2 h 1 min")])
def test_times_for_people(value: float, text: str) -> None:
    assert duration(value) == text

"""Runs that are broken in one way each: the diagnosis finds the cause. It says nothing of their repaired twins.

The tasks are small: a GPT on a text whose next letter depends on the last one, and an MLP that sorts noisy vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minitrain.data import Batch
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.mlp import MLP, MLPConfig
from minitrain.nn import ParamGroup, assign_groups
from minitrain.optim import SGD, Adam, AdamW, Constant, Schedule, WarmupCosine, compute_grad_norm
from minitrain.probes import future_leak, shared_samples
from minitrain.records import LossLevels, diagnose

V, T, CLASSES, STEPS = 12, 12, 10, 150
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
draw = np.random.default_rng(0)
CHANCES = 0.85 * np.roll(np.eye(V), 1, axis=1) + 0.15 * np.linspace(2, 0, V) / V  # of the next letter, given one
letters = [0]
for _ in range(12_000):
    letters.append(int(draw.choice(V, p=CHANCES[letters[-1]])))
TEXT = np.array(letters, np.int32)
TEXT_FLOOR = float(-np.log(CHANCES[TEXT[:-1], TEXT[1:]]).mean())
TEXT_LEVELS = LossLevels.of(TEXT, V, floor=TEXT_FLOOR)
CENTRES = draw.uniform(0, 1, (CLASSES, 32))
LABELS = draw.integers(0, CLASSES, 1600).astype(np.int32)
VECTORS = (CENTRES[LABELS] + 0.25 * draw.standard_normal((1600, 32))).astype(np.float32)
LEVELS = LossLevels.of(LABELS, CLASSES)


def train(
    model: Any, optimizer: Any, batches: Callable[[int], Any], validation: Any, schedule: Schedule | None = None
) -> dict[str, list[float]]:
    """A loop without clipping, that records each step and ends when a number is not finite."""
    history: dict[str, list[float]] = {"train_loss": [], "val_loss": [], "grad_norm": [], "lr": []}
    with np.errstate(all="ignore"):
        for step in range(STEPS):
            if schedule is not None:
                optimizer.set_lr(schedule(step))
            history["lr"].append(optimizer.get_lr())
            optimizer.zero_grad()
            loss, cache = model.loss(batches(step))
            model.loss_backward(cache)
            norm = compute_grad_norm(model) / loss.count
            history["train_loss"].append(loss.mean)
            history["grad_norm"].append(norm)
            if not math.isfinite(loss.mean + norm):
                break
            optimizer.step(1 / loss.count)
            if step % 10 == 9:
                history["val_loss"].append(model.loss(validation)[0].mean)
    return history


def windows(rng: np.random.Generator, low: int, high: int, count: int = 24) -> Batch:
    rows = rng.integers(low, high - T - 1, count)[:, None] + np.arange(T + 1)
    return Batch(TEXT[rows[:, :-1]], TEXT[rows[:, 1:]])


class NeverZeroed(AdamW):
    def zero_grad(self) -> None:
        if self.steps == 0:
            super().zero_grad()


def text_run(seed: int, kind: str = "") -> dict[str, list[float]]:
    model = GPT(GPTConfig(V, block_size=T, n_layer=1, n_head=2, n_embd=32, tie_weights=False), seed=seed)
    optimizer: Any = (NeverZeroed if kind == "not cleared" else AdamW)(model, betas=(0.9, 0.95))
    schedule: Schedule = WarmupCosine(0.02, warmup_steps=10, total_steps=STEPS)
    if kind == "sees ahead":
        model.blocks[0].attention.causal = False
    if kind == "decay":
        assign_groups(model, ParamGroup("*", weight_decay=10.0))
        optimizer = AdamW(model, betas=(0.9, 0.95))
    if kind == "too fast":
        optimizer, schedule = SGD(model), Constant(4.0)
    if kind == "too slow":
        schedule = Constant(3e-5)
    if kind == "no warm-up":
        schedule = WarmupCosine(1.0, total_steps=STEPS)

    def batch(step: int) -> Batch:
        made = windows(np.random.default_rng([seed, step]), 0, 10_000)
        return made._replace(targets=made.targets[::-1].copy()) if kind == "shuffled" else made

    return train(model, optimizer, batch, windows(np.random.default_rng(99), 10_000, 12_000, 128), schedule)


def vector_run(seed: int, kind: str = "") -> dict[str, list[float]]:
    x, labels, size, rate, rows = VECTORS.copy(), LABELS.copy(), 64, 0.2, 1400
    noise = np.random.default_rng([seed, 1])
    if kind == "not a number":
        x[:rows:700, 3] = np.nan
    if kind == "not scaled":
        x *= 30
    if kind == "batch of one":
        size, rate = 1, 0.5
    optimizer: type[Any] = SGD
    validation = (x[1400:], labels[1400:])
    if kind in ("shared", "memorised"):
        optimizer, rate, size, rows = Adam, 0.01, 32, 100
        x += 0.35 * noise.standard_normal(x.shape).astype(np.float32)
        labels[noise.choice(100, 20, replace=False)] = noise.integers(0, CLASSES, 20)
        validation = (x[:50], labels[:50]) if kind == "shared" else validation
    model = MLP(MLPConfig((32, 32, 32, CLASSES)), seed=seed)

    def batch(step: int) -> tuple[Any, Any]:
        chosen = np.random.default_rng([seed, step]).choice(rows, size, replace=False)
        return x[chosen], labels[chosen]

    return train(model, optimizer(model, rate), batch, validation)


def kinds(history: dict[str, list[float]], levels: LossLevels | None) -> list[str]:
    return [found.kind for found in diagnose(history, levels)]


@pytest.mark.parametrize("seed", SEEDS)
def test_healthy_runs_raise_no_alarm(seed: int) -> None:
    for levels in (None, TEXT_LEVELS):
        assert kinds(text_run(seed), levels) == []
    for levels in (None, LEVELS):
        assert kinds(vector_run(seed), levels) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("shuffled", "ignores its input"),
        ("too fast", "not finite"),
        ("not cleared", "gradients add up"),
        ("too slow", "slow"),
        ("sees ahead", "too good"),
        ("decay", "turned back"),
        ("no warm-up", "rough start"),
    ],
)
def test_broken_runs_on_text(kind: str, found: str, seed: int) -> None:
    assert kinds(text_run(seed, kind), TEXT_LEVELS)[:1] == [found]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("not a number", "not finite"),
        ("not scaled", "dead units, wrong start"),
        ("batch of one", "unstable"),
        ("shared", "too good"),
        ("memorised", "overfitting"),
    ],
)
def test_broken_runs_on_vectors(kind: str, found: str, seed: int) -> None:
    floor = 0.87  # of labels of which a fifth is random
    levels = LEVELS._replace(floor=floor if kind in ("shared", "memorised") else None)
    assert kinds(vector_run(seed, kind), levels)[0] in found.split(", ")


def test_what_made_a_loss_not_finite_is_told_apart() -> None:
    (data,), (rate,) = diagnose(vector_run(0, "not a number")), diagnose(text_run(0, "too fast"))
    assert "learning rate did not do it" in data.cause
    assert "learning rate is too high" in rate.cause


def test_an_unlucky_seed_ends_on_a_plateau_and_a_lucky_one_does_not() -> None:
    xor = (np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0], np.int32))
    found = {}
    for seed in (0, 2):
        model = MLP(MLPConfig((2, 3, 2)), seed=seed)
        found[seed] = diagnose(train(model, Adam(model, 0.03), lambda step: xor, xor), LossLevels.of(xor[1], 2))
    assert found[0] == []
    assert [one.kind for one in found[2]] == ["plateau"]
    assert "0.50 of the loss of guessing" in found[2][0].evidence


def test_leaks_are_found_by_looking_at_the_model_and_the_data() -> None:
    model = GPT(GPTConfig(V, block_size=T, n_layer=1, n_head=2, n_embd=32), seed=0)
    assert future_leak(model, TEXT[: 4 * T].reshape(4, T)) == 0
    assert shared_samples(VECTORS[:100], VECTORS[:50]).tolist() == list(range(50))
    assert not len(shared_samples(VECTORS[:1400], VECTORS[1400:]))

"""Helpers for gradients, and the checks of clipping, averages and schedules that say a mistake in words."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, MinitrainError
from minitrain.nn import Linear, pack
from minitrain.optim import (
    SGD,
    ExponentialAverage,
    WarmupCosine,
    clip_by_global_norm,
    clip_gradients,
    compute_grad_norm,
    zero_gradients,
)
from minitrain.testing import strategies as mt


def layer(seed: int = 0) -> Linear:
    """A layer in float64 with gradients of ordinary size."""
    rng = np.random.default_rng(seed)
    model = Linear(3, 2, rng, dtype=np.float64)
    for parameter in model.parameters():
        parameter.grad[...] = rng.standard_normal(parameter.data.shape)
    return model


def flat(model: Any) -> Any:
    return np.concatenate([parameter.grad.ravel() for parameter in model.parameters()])


@settings(max_examples=20)
@given(seed=mt.seeds(), share=st.sampled_from([0.1, 0.9, 1.0, 1.5]), packed=st.booleans())
def test_gradients_are_scaled_down_to_the_norm_and_never_up(seed: int, share: float, packed: bool) -> None:
    model = layer(seed)
    if packed:
        pack(model)
    before = flat(model).copy()
    norm = compute_grad_norm(model)
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-12)
    assert clip_gradients(model, share * norm) == norm
    np.testing.assert_allclose(flat(model), min(1.0, share) * before, rtol=1e-12)


def test_forgotten_gradients_count_as_zero() -> None:
    model = layer()
    zero_gradients(model)
    assert compute_grad_norm(model) == 0
    assert not flat(model).any()


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, "1"])
@pytest.mark.parametrize("clip", [clip_gradients, clip_by_global_norm])
def test_a_limit_that_is_none_is_refused(clip: Any, limit: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{clip.__name__}: max_norm"):
        clip(layer(), limit)


def test_an_infinite_limit_clips_nothing() -> None:
    assert clip_by_global_norm(layer(), math.inf).scale == 1.0


@pytest.mark.parametrize("use", ["optimizer", "update", "applied"])
def test_what_was_made_before_packing_says_so(use: str) -> None:
    model = layer()
    optimizer, average = SGD(model, lr=0.1), ExponentialAverage(model)
    pack(model)
    with pytest.raises(MinitrainError, match="SGD" if use == "optimizer" else "ExponentialAverage"):
        if use == "optimizer":
            optimizer.step()
        elif use == "update":
            average.update()
        else:
            with average.applied():
                pass


def test_rates_of_a_schedule_are_numbers() -> None:
    with pytest.raises(ConfigError, match="the schedule: min_lr"):
        WarmupCosine(max_lr=1.0, min_lr="0.1", warmup_steps=0, total_steps=5)  # type: ignore[arg-type]


def test_a_copy_keeps_its_gradients() -> None:
    """The helpers look at the gradients as they are, not at the weights."""
    model = layer()
    other = copy.deepcopy(model)
    other.weight.data[...] = 0
    assert compute_grad_norm(other) == compute_grad_norm(model)

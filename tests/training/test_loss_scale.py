"""The scale of the loss in float16: when it changes, what it divides, and what a state of it may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import CheckpointError, ConfigError
from minitrain.nn import Linear, pack
from minitrain.training import LossScale
from minitrain.training.loss_scale import Arithmetic


def test_a_scale_grows_and_backs_off():
    scale = LossScale(4.0, growth_interval=3)
    for _ in range(3):
        scale.grow()
    assert (scale.scale, scale.clean) == (8.0, 0)
    scale.grow()
    assert scale.back_off()
    assert (scale.scale, scale.clean) == (4.0, 0)
    assert scale.back_off()
    assert scale.back_off()
    assert not scale.back_off()
    assert scale.scale == 1.0
    largest = LossScale(LossScale.LARGEST, growth_interval=1)
    largest.grow()
    assert largest.scale == LossScale.LARGEST


@pytest.mark.parametrize("scale", [0.5, 3.0, 2.0**41, math.inf, math.nan])
def test_a_scale_is_a_power_of_two(scale):
    with pytest.raises(ConfigError, match="a power of two from 1 to"):
        LossScale(scale)
    with pytest.raises(CheckpointError):
        LossScale().load_state_dict({"scale": scale, "clean": 0})


@pytest.mark.parametrize(
    "state", [{}, {"scale": "4", "clean": 0}, {"scale": 4.0, "clean": -1}, {"scale": 4.0, "clean": 0, "x": 1}]
)
def test_a_hostile_state_of_the_scale_is_refused(state):
    with pytest.raises(CheckpointError):
        LossScale().load_state_dict(state)


@given(
    start=st.integers(0, 40),
    interval=st.integers(1, 4),
    overflows=st.lists(st.booleans(), max_size=60),
)
def test_it_doubles_after_so_many_updates_in_a_row_and_halves_at_once(start, interval, overflows):
    """Told as a story of exponents."""
    scale, exponent, row = LossScale(2.0**start, interval), start, 0
    for overflow in overflows:
        if overflow:
            assert scale.back_off() is (exponent > 0)
            if exponent:
                exponent, row = exponent - 1, 0
        else:
            scale.grow()
            row += 1
            if row == interval:
                exponent, row = min(exponent + 1, 40), 0
        assert (scale.scale, scale.clean) == (2.0**exponent, row)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_are_divided_in_place(packed):
    model = Linear(3, 2, np.random.default_rng(0))
    if packed:
        pack(model)
    for number, parameter in enumerate(model.parameters(), 1):
        parameter.grad[...] = 1000 * number
    memory = [parameter.grad for parameter in model.parameters()]
    LossScale(8.0).unscale(model)
    for number, (parameter, before) in enumerate(zip(model.parameters(), memory, strict=True), 1):
        assert parameter.grad is before
        assert (before == 125 * number).all()


def test_a_state_comes_back():
    first = LossScale(64.0, growth_interval=5)
    for _ in range(3):
        first.grow()
    second = LossScale(growth_interval=5)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict() == {"scale": 64.0, "clean": 3}
    for _ in range(2):
        second.grow()
    assert (second.scale, second.clean) == (128.0, 0)


def test_the_smallest_scale_and_the_largest_are_scales():
    for scale in (1, 2.0**40):
        assert LossScale(scale).scale == scale
        LossScale().load_state_dict({"scale": scale, "clean": 0})
    assert LossScale(1, growth_interval=1).growth_interval == 1
    for wrong in (0, -3):
        with pytest.raises(ConfigError, match=rf"growth_interval = {wrong} must be 1 or more"):
            LossScale(growth_interval=wrong)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16", "float64"])
def test_float16_alone_has_a_scale(precision):
    arithmetic = Arithmetic.of(precision)
    assert arithmetic.precision == precision
    assert (arithmetic.scaler is not None) is (precision == "float16")
    if arithmetic.scaler is not None:
        assert (arithmetic.scaler.scale, arithmetic.scaler.growth_interval) == (4096.0, 2000)

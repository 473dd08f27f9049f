"""Positions: the vectors and slopes of the papers, and places outside a table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, ShapeError
from minitrain.nn import LearnedPositions, SinusoidalPositions, alibi_slopes
from minitrain.testing.strategies import distinct_sizes, integer_arrays

BOTH = pytest.mark.parametrize("make", [lambda: LearnedPositions(9, 4, generator()), lambda: SinusoidalPositions(4)])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.data())
def test_learned_positions_add_rows(data):
    """The gradient of a row is the sum over the places that had its position."""
    B, T, C, length = data.draw(distinct_sizes((1, 3), (1, 6), (1, 4), (6, 9)))
    layer = LearnedPositions(length, C, generator(), dtype=np.float64)
    shape = data.draw(st.sampled_from([None, (T,), (B, T)]))
    positions = None if shape is None else data.draw(integer_arrays(shape, length))
    x, dout = generator(1).standard_normal((2, B, T, C))
    out, cache = layer.forward(x, positions=positions)
    np.testing.assert_array_equal(layer.backward(dout, cache), dout)
    places = np.broadcast_to(np.arange(T) if positions is None else positions, (B, T))
    expected = np.zeros((length, C))
    for b, t in np.ndindex(B, T):
        np.testing.assert_array_equal(out[b, t], x[b, t] + layer.weight.data[places[b, t]])
        expected[places[b, t]] += dout[b, t]
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12, atol=1e-12)


def test_learned_positions_start_like_a_table():
    layer = LearnedPositions(400, 50, generator(), std=0.3)
    assert layer.weight.data.std() == pytest.approx(0.3, rel=0.02)
    assert layer.weight.data.dtype == np.float32


@pytest.mark.parametrize("positions", [None, np.array([3, 0, 7]), np.array([[0, 1, 2], [500, 4, 4]])])
def test_sinusoidal_positions_are_the_papers(positions):
    layer, x = SinusoidalPositions(6, base=100.0), generator(1).standard_normal((2, 3, 6))
    out, cache = layer.forward(x, positions=positions)
    places = np.broadcast_to(np.arange(3) if positions is None else positions, (2, 3))
    for b, t, c in np.ndindex(x.shape):
        wave = math.cos if c % 2 else math.sin
        assert out[b, t, c] == pytest.approx(x[b, t, c] + wave(places[b, t] / 100 ** (c // 2 * 2 / 6)), rel=1e-12)
    dout = generator(2).standard_normal(x.shape)
    np.testing.assert_array_equal(layer.backward(dout, cache), dout)
    assert layer.parameters() == []


def test_sinusoids_tell_far_neighbours_apart_in_single_precision():
    layer, x, far = SinusoidalPositions(8), np.zeros((1, 4, 8)), 1_000_003 + np.arange(4)
    exact, _ = layer.forward(x, positions=far)
    single, _ = layer.forward(x.astype(np.float32), positions=far)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [-8]),
        (2, [-4, -8]),
        (8, [-1, -2, -3, -4, -5, -6, -7, -8]),
        (16, [-k / 2 for k in range(1, 17)]),
        (3, [-4, -8, -2]),
        (12, [-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5]),
    ],
)
def test_alibi_slopes_are_the_papers(heads, exponents):
    np.testing.assert_allclose(alibi_slopes(heads), [2.0**e for e in exponents], rtol=1e-14)


@given(st.integers(1, 100))
def test_alibi_slopes_are_as_many_and_all_different(heads):
    slopes = alibi_slopes(heads)
    assert slopes.shape == (heads,)
    assert len(set(slopes)) == heads
    assert ((slopes > 0) & (slopes < 1)).all()


# What does not fit.


@BOTH
@pytest.mark.parametrize("positions", [np.arange(4), np.zeros((3, 5), int), np.arange(5.0)])
def test_positions_that_do_not_fit_are_named(make, positions):
    with pytest.raises(ShapeError, match=r"Positions: positions must be \(5,\) or \(2, 5\) integers as in x, got"):
        make().forward(np.zeros((2, 5, 4), np.float32), positions=positions)


@pytest.mark.parametrize(("T", "positions", "span"), [(10, None, "0 to 9"), (2, np.array([-1, 3]), "-1 to 3")])
def test_places_outside_the_table_are_named(T, positions, span):
    with pytest.raises(ShapeError, match=f"positions run from {span}, but the table has length = 9; shorten"):
        LearnedPositions(9, 4, generator()).forward(np.zeros((2, T, 4), np.float32), positions=positions)


@BOTH
def test_another_shape_is_named(make):
    for shape in ((2, 3, 6), (3, 4)):
        with pytest.raises(ShapeError, match=r"Positions: x has shape .*, expected \(B, T, C\) with C = width = 4"):
            make().forward(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SinusoidalPositions(5), "width = 5 must be even: each wave has a sine and a cosine"),
        (lambda: SinusoidalPositions(0), "width = 0 must be a whole number of at least 1"),
        (lambda: SinusoidalPositions(4, base=0.0), "base = 0.0 must be positive"),
        (lambda: alibi_slopes(0), "heads = 0 must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

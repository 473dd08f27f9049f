"""Initial weights: their variance, bounds, orthogonality, and that a seed decides every byte."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, ShapeError
from minitrain.nn.core import init

# Each initialiser, and its variance by fans.
INITIALISERS = {
    "normal": (lambda rng, shape, dtype: init.normal(rng, shape, 0.02, dtype), lambda i, o: 0.02**2),
    "uniform": (lambda rng, shape, dtype: init.uniform(rng, shape, 0.3, dtype), lambda i, o: 0.3**2 / 3),
    "truncated": (
        lambda rng, shape, dtype: init.truncated_normal(rng, shape, 0.5, dtype),
        lambda i, o: 0.25 * 0.7737413,  # 1 - 4 phi(2) / (2 Phi(2) - 1)
    ),
    "xavier uniform": (init.xavier_uniform, lambda i, o: 2 / (i + o)),
    "xavier normal": (lambda *call: init.xavier_normal(*call, gain=5 / 3), lambda i, o: (5 / 3) ** 2 * 2 / (i + o)),
    "kaiming uniform": (init.kaiming_uniform, lambda i, o: 2 / i),
    "kaiming normal": (lambda *call: init.kaiming_normal(*call, gain=1.0, mode="fan_out"), lambda i, o: 1 / o),
    "orthogonal": (lambda *call: init.orthogonal(*call, gain=2.0), lambda i, o: 4 / max(i, o)),
}
every_initialiser = pytest.mark.parametrize("name", INITIALISERS)


@every_initialiser
@pytest.mark.parametrize("shape", [(120, 200), (200, 60)])
def test_the_variance_is_that_of_the_theory(name, shape):
    make, variance = INITIALISERS[name]
    x = make(init.generator(0), shape, np.float64)
    assert np.mean(x**2) == pytest.approx(variance(shape[1], shape[0]), rel=0.05)
    assert np.mean(x) == pytest.approx(0.0, abs=5 * math.sqrt(variance(shape[1], shape[0]) / x.size))


@every_initialiser
@given(rows=st.integers(2, 8), columns=st.integers(2, 8), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_seed_decides_every_byte(name, rows, columns, seed):
    make = INITIALISERS[name][0]
    one, two, other = (make(init.generator(s), (rows, columns), np.float32) for s in (seed, seed, seed + 1))
    assert one.tobytes() == two.tobytes() != other.tobytes()
    assert (one.shape, one.dtype) == ((rows, columns), np.float32)
    wide = make(init.generator(seed), (rows, columns), np.float64)
    np.testing.assert_allclose(one, wide, rtol=1e-6, atol=1e-7)  # the same numbers, rounded


@pytest.mark.parametrize("name", ["xavier uniform", "xavier normal", "kaiming uniform", "kaiming normal"])
def test_the_window_of_a_convolution_multiplies_the_fans(name):
    make, variance = INITIALISERS[name]
    x = make(init.generator(1), (40, 30, 3, 5), np.float64)
    assert np.mean(x**2) == pytest.approx(variance(30 * 15, 40 * 15), rel=0.05)
    assert init.fans((40, 30, 3, 5)) == (450, 600)


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    window=st.sampled_from([(), (2,), (2, 3)]),
    gain=st.floats(0.1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_orthogonal_rows_or_columns(rows, columns, window, gain, seed):
    x = init.orthogonal(init.generator(seed), (rows, columns, *window), np.float64, gain=gain)
    assert x.shape == (rows, columns, *window)
    matrix = x.reshape(rows, -1)
    gram = matrix @ matrix.T if rows <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-12 * gain**2)


def test_orthogonal_matrices_are_equally_likely():
    """Without the signs of R's diagonal, LAPACK's Q would have a trace that is negative on average."""
    rng = init.generator(0)
    traces = [np.trace(init.orthogonal(rng, (3, 3), np.float64)) for _ in range(2000)]
    assert np.mean(traces) == pytest.approx(0.0, abs=0.1)
    assert np.mean(np.square(traces)) == pytest.approx(1.0, abs=0.1)  # of the Haar measure


@given(seed=st.integers(0, 999), cut=st.sampled_from([0.1, 0.5, 2.0]), dtype=st.sampled_from([np.float16, np.float32]))
@settings(max_examples=20)
def test_bounds_hold_in_the_dtype_of_the_result(seed, cut, dtype):
    x = init.truncated_normal(init.generator(seed), (40, 50), 0.3, dtype, cut=cut)
    assert float(np.abs(x).max()) <= cut * 0.3
    assert float(np.abs(x).max()) > 0.95 * cut * 0.3
    y = init.xavier_uniform(init.generator(seed), (20, 30))
    assert np.abs(y).max() <= np.float32(math.sqrt(6 / 50))


def test_the_truncated_density_is_the_normal_one_inside():
    x = init.truncated_normal(init.generator(3), (20_000,), 1.0, np.float64, cut=1.0)
    share = np.mean(np.abs(x) < 0.5)
    assert share == pytest.approx(math.erf(0.5 / math.sqrt(2)) / math.erf(1 / math.sqrt(2)), abs=0.01)


def test_gpt2_scales_the_weights_that_write_to_the_residual_stream():
    assert init.residual_std(0.02, 12) == pytest.approx(0.02 / math.sqrt(24))
    assert init.residual_std(0.02, 12, writes=3) == pytest.approx(0.02 / 6)


def test_gains_keep_the_second_moment_of_signals():
    """Of ReLU and its leaky kin exactly: E[f(x)^2] gain^2 = 1 for normal x."""
    x = np.random.default_rng(0).standard_normal(200_000)
    assert np.mean(np.maximum(x, 0) ** 2) * init.gain_of("relu") ** 2 == pytest.approx(1, rel=0.02)
    leaky = np.where(x > 0, x, 0.3 * x)
    assert np.mean(leaky**2) * init.gain_of("leaky_relu", 0.3) ** 2 == pytest.approx(1, rel=0.02)
    assert init.gain_of("linear") == 1


def test_mistakes_are_explained():
    rng = init.generator(0)
    with pytest.raises(ShapeError, match=r"a weight of shape \(5,\) has no fans"):
        init.xavier_normal(rng, (5,))
    with pytest.raises(ShapeError, match="has no fans"):
        init.orthogonal(rng, (5,))
    with pytest.raises(ConfigError, match="mode = 'fan' must be 'fan_in' or 'fan_out'"):
        init.kaiming_normal(rng, (5, 5), mode="fan")
    with pytest.raises(ConfigError, match="cut = 0 must be at least"):
        init.truncated_normal(rng, (5,), 1.0, cut=0)
    with pytest.raises(ConfigError, match=r"no gain is known for 'swish'; known: linear, .*leaky_relu"):
        init.gain_of("swish")

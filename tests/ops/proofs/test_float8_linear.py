"""The linear map of a feed-forward layer in 8 bits: gradients up to rounding, mistakes that show, other precisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.cuda.float8 import E4M3, E5M2, float8_scale, to_float8
from minitrain.backend.precision import use_precision
from minitrain.errors import ShapeError
from minitrain.nn.layers.feed_forward import FeedForward
from minitrain.nn.layers.gated_feed_forward import GatedFeedForward
from minitrain.ops import float8_linear_backward, float8_linear_forward, gelu_linear_forward, linear_forward, registry
from minitrain.ops.linear.float8_linear import Float8LinearCache
from minitrain.testing import GradientMismatch, check_half_gradients
from tests.helpers.op_runs import few

GELUS = (None, "tanh", "exact")
every_gelu = pytest.mark.parametrize("gelu", GELUS)


def arrays(seed: int, R: int = 24, K: int = 32, N: int = 16, bias: bool = True) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((R, K), np.float32), rng.standard_normal((N, K), np.float32) / np.float32(K**0.5)
    return x, weight, rng.standard_normal(N, np.float32) if bias else None


@every_gelu
@few(6)
@given(st.integers(0, 2**16 - 1), st.booleans())
def test_gradients_are_right_up_to_rounding(gelu: str | None, seed: int, bias: bool) -> None:
    given_ = [x for x in arrays(seed, bias=bias) if x is not None]
    report = check_half_gradients(registry()["float8_linear"], *given_, precision="float8", gelu=gelu)
    for result in report.results[:3]:
        assert 2e-3 < result.error < 0.2, "8 bits must show"


def test_without_a_bias_there_is_no_gradient_of_one() -> None:
    x, weight = (np.ones((16, 16), np.float32) for _ in range(2))
    with use_precision("float8"):
        _, cache = float8_linear_forward.reference(x, weight)
        assert cache.x_scale is not None
        assert float8_linear_backward.reference(x, cache)[2] is None


def test_layers() -> None:
    for layer in (FeedForward(16, 32, np.random.default_rng(0)), GatedFeedForward(16, 32, np.random.default_rng(0))):
        for parameter in layer.parameters():
            parameter.data += np.random.default_rng(1).standard_normal(parameter.data.shape, np.float32) / 4
        x = np.random.default_rng(2).standard_normal((2, 9, 16), np.float32)
        check_half_gradients(layer, x, precision="float8")


def wrong_factor(dout: Any, cache: Float8LinearCache) -> Any:
    """A gradient is a tenth too long."""
    dx, dweight, dbias = float8_linear_backward(dout, cache)
    return (dx, dweight, dbias) if cache.x_scale is None else (dx * np.float32(1.1), dweight, dbias)


def wrong_format(dout: Any, cache: Float8LinearCache) -> Any:
    """The gradient's digits are one fewer than promised."""
    if cache.x_scale is not None:
        scale = float8_scale(dout, E5M2)
        steps = np.exp2(np.floor(np.log2(np.maximum(np.abs(dout / scale), 1e-6)))) / 2
        dout = (np.rint(dout / scale / steps) * steps * scale).astype(np.float32)
    return float8_linear_backward(dout, cache)


def forgotten_slope(dout: Any, cache: Float8LinearCache) -> Any:
    """GELU's slope is left out in 8 bits alone."""
    if cache.x_scale is None or cache.weight_scale is None:
        return float8_linear_backward(dout, cache)
    _, dweight, dbias = float8_linear_backward(dout, cache)
    d = to_float8(dout, float8_scale(dout, E5M2), E5M2)
    return d @ to_float8(cache.weight, cache.weight_scale, E4M3), dweight, dbias


def other_scale(dout: Any, cache: Float8LinearCache) -> Any:
    """The activation is rounded with a scale that is too small: its large numbers are cut."""
    scale = None if cache.x_scale is None else np.asarray(cache.x_scale / np.float32(4))
    return float8_linear_backward(dout, cache._replace(x_scale=scale))


@pytest.mark.parametrize("wrong", [wrong_factor, wrong_format, forgotten_slope, other_scale])
def test_mistakes_in_8_bits_alone_are_noticed(wrong: Any) -> None:
    """They are right in float64, so only the run in 8 bits can show them."""
    x, weight, bias = arrays(3, R=64, K=64, N=32)
    with pytest.raises(GradientMismatch):
        check_half_gradients((float8_linear_forward, wrong), x, weight, bias, precision="float8", gelu="tanh")


@every_gelu
@few(5)
@given(st.integers(0, 2**16 - 1), st.sampled_from(["float32", "bfloat16", "float16", "float64", "tf32"]))
def test_in_other_precisions_it_is_the_plain_map(gelu: str | None, seed: int, precision: str) -> None:
    x, weight, bias = arrays(seed)
    with use_precision(precision):
        out, cache = float8_linear_forward(x, weight, bias, gelu=gelu)
        expected, _ = (
            linear_forward.reference(x, weight, bias)
            if gelu is None
            else gelu_linear_forward.reference(x, weight, bias, approximate=gelu)
        )
    np.testing.assert_array_equal(out, expected)
    assert cache.x_scale is cache.weight_scale is None


@pytest.mark.parametrize(("K", "N"), [(24, 16), (16, 24), (1, 1)])
def test_widths_that_do_not_fit_have_16_bits(K: int, N: int) -> None:
    x, weight, bias = arrays(0, K=K, N=N)
    with use_precision("float8"):
        out, cache = float8_linear_forward(x, weight, bias)
    with use_precision("bfloat16"):
        expected, _ = float8_linear_forward(x, weight, bias)
    np.testing.assert_array_equal(out, expected)
    assert cache.x.dtype.name == "bfloat16"


@every_gelu
def test_what_fits_in_8_bits_loses_nothing(gelu: str | None) -> None:
    """Multiples of a quarter up to 2 have three significant bits or fewer; GELU would make others of them."""
    rng = np.random.default_rng(0)
    x, weight, dout = (
        rng.choice([-2, -1.5, -1, -0.5, 0, 0.25, 1, 2], s).astype(np.float32) for s in ((48, 32), (16, 32), (48, 16))
    )
    with use_precision("float8"):
        out, cache = float8_linear_forward(x, weight, gelu=gelu)
        dx, dweight, _ = float8_linear_backward(dout, cache)
    if gelu is None:
        np.testing.assert_array_equal(out, x @ weight.T)
        np.testing.assert_array_equal(dx, dout @ weight)
        np.testing.assert_array_equal(dweight, dout.T @ x)


@every_gelu
def test_a_backward_follows_its_cache(gelu: str | None) -> None:
    x, weight, bias = arrays(1)
    dout = np.random.default_rng(5).standard_normal((24, 16), np.float32)
    with use_precision("float8"):
        _, cache = float8_linear_forward(x, weight, bias, gelu=gelu)
        inside = float8_linear_backward(dout, cache)
    for a, b in zip(inside, float8_linear_backward(dout, cache), strict=True):
        np.testing.assert_array_equal(a, b)


@every_gelu
def test_an_overflow_is_seen(gelu: str | None) -> None:
    """A gradient that is not finite leaves no number that is."""
    x, weight, bias = arrays(1)
    dout = np.ones((24, 16), np.float32)
    dout[3, 4] = np.inf
    with use_precision("float8"):
        _, cache = float8_linear_forward(x, weight, bias, gelu=gelu)
        dx, dweight, _ = float8_linear_backward(dout, cache)
    assert np.isnan(dx).all()
    assert np.isnan(dweight).all()


def test_rows_may_be_split_where_no_number_is_tiny() -> None:
    """The scale is a power of two, so a micro-batch rounds normal numbers as the whole batch does."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 100, (32, 16)).astype(np.float32)
    _, weight, bias = arrays(1, K=16)
    with use_precision("float8"):
        whole, _ = float8_linear_forward(x, weight, bias)
        parts = [float8_linear_forward(part, weight, bias)[0] for part in np.split(x, 4)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6, atol=1e-4)


def test_an_unknown_form_of_gelu_is_named() -> None:
    with pytest.raises(ShapeError, match=r"float8_linear_forward: gelu='no'; use 'tanh'"):
        float8_linear_forward(*arrays(0), gelu="no")

"""Products in 16 bits: gradients, twins, caches and messages, over the calls that ``minitrain.testing.cases`` draws."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import is_array
from minitrain.backend.precision import PRECISIONS, half_dtype, is_half, operand_like, use_precision
from minitrain.errors import ShapeError
from minitrain.ops import layer_norm_forward, linear_backward, linear_forward
from minitrain.testing import CheckSettings, check_half_gradients
from minitrain.testing.cases import CASES, SMALL, TILES
from tests.helpers.op_runs import MODES, as_list, assert_close, cotangents, few, kernels, run
from tests.helpers.own_product import skip_without_own_product

PRODUCTS = ("linear", "gelu_linear", "low_rank", "attention", "conv2d", "linear_cross_entropy", "pointer")
KEPT = {
    "linear": ["x"],
    "gelu_linear": ["hidden"],
    "low_rank": ["x", "h"],
    "attention": ["q", "k", "v", "out"],
    "conv2d": ["x"],
    "pointer": ["q", "k"],
}
every_product = pytest.mark.parametrize("case", [CASES[name] for name in PRODUCTS], ids=PRODUCTS)
every_half = pytest.mark.parametrize("name", ["bfloat16", "float16"])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@every_product
@every_half
@few(6)
@given(st.data())
def test_gradients_are_right_up_to_rounding(case, name, data):
    call = data.draw(case.calls(SMALL))
    settings = CheckSettings(no_gradient=case.no_gradient)
    check_half_gradients(case.pair, *call.inputs, precision=name, settings=settings, **call.options)


@every_product
@few(12)
@given(st.data())
def test_twins_round_where_the_reference_rounds(case, data):
    """To float32's accuracy, but for numbers near the middle of two: those may be rounded to the other side.

    One such number of attention's probabilities or scores' gradients moves a result by one part in 2**9 of its share.
    """
    call = data.draw(case.calls(TILES)).astype(np.float32)
    with use_precision("bfloat16"):
        result, expected = run(case, call, "auto"), run(case, call, "reference")
    assert_close(result, expected, 3e-3 if case.name in ("attention", "gelu_linear") else 2e-4)
    assert {x.dtype for x in result.arrays()} == {np.dtype(np.float32)}


@every_product
@few(6)
@given(st.data())
def test_results_do_not_depend_on_the_number_of_threads(case, data):
    skip_without_own_product(case)
    call = data.draw(case.calls(TILES)).astype(np.float32)
    with use_precision("bfloat16"):
        one, two = run(case, call, "auto", 1), run(case, call, "auto", 2)
    for a, b in zip(one.arrays(), two.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", KEPT)
@few(6)
@given(st.data())
def test_caches_keep_operands_in_16_bits(name, mode, data):
    case = CASES[name]
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels(mode), use_precision("bfloat16"):
        *outputs, cache = case.pair.forward(*call.inputs, **call.options)
    assert [field for field in cache._fields if is_half(getattr(cache, field))] == KEPT[name]
    assert {x.dtype for x in outputs if is_array(x)} == {np.dtype(np.float32)}


@every_product
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("first", "other"), [("bfloat16", "float32"), ("float32", "bfloat16"), ("bfloat16", "float64")]
)
@few(6)
@given(st.data())
def test_a_backward_follows_its_cache(case, mode, first, other, data):
    """It rounds as its forward did, whatever policy is in force by then."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels(mode):
        with use_precision(first):
            result = case.pair.forward(*call.inputs, **call.options)
            given = cotangents(case, case.outputs(result))
            inside = as_list(case.pair.backward(*given, result[-1]))
        with use_precision(other):
            outside = as_list(case.pair.backward(*given, result[-1]))
    for a, b in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
def test_numbers_that_fit_in_16_bits_lose_nothing(mode):
    """Small multiples of a quarter and their sums are exact in float32: there is nothing to round anywhere."""
    rng = np.random.default_rng(0)
    x, weight, dout = (rng.integers(-8, 9, shape).astype(np.float32) / 4 for shape in ((70, 33), (17, 33), (70, 17)))
    with kernels(mode):
        out, cache = linear_forward(x, weight)
        with use_precision("bfloat16"):
            half_out, half_cache = linear_forward(x, weight)
        np.testing.assert_array_equal(half_out, out)
        for a, b in zip(linear_backward(dout, half_cache)[:2], linear_backward(dout, cache)[:2], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
@every_half
def test_weights_may_be_stored_in_16_bits(mode, name):
    """Then they are multiplied as they are, and float32 inputs are not rounded."""
    x, weight = normal(5, 12), normal(7, 12, seed=1).astype(half_dtype(name))
    with kernels(mode):
        out, cache = linear_forward(x, weight)
    np.testing.assert_allclose(out, x @ weight.astype(np.float32).T, rtol=1e-5, atol=1e-5)
    assert cache.x is x


def test_the_other_operand_is_rounded_only_beside_16_bits():
    x, kept = normal(3), normal(3).astype(half_dtype("bfloat16"))
    assert operand_like(x, x) is x
    assert operand_like(x.astype(np.float64), x).dtype == np.float64
    assert operand_like(x.astype(np.float64), kept).dtype == np.float64  # a check in float64 rounds nothing
    assert operand_like(kept, x) is kept
    assert operand_like(x, kept).dtype == kept.dtype


def test_float16_turns_large_operands_into_infinity_without_a_warning():
    with use_precision("float16"):
        out, _ = linear_forward(np.full((1, 2), 7e4, np.float32), np.eye(2, dtype=np.float32))
    assert not np.isfinite(out).any()


def test_16_bits_where_there_are_no_products_are_refused():
    x = normal(2, 4).astype(half_dtype("bfloat16"))
    with pytest.raises(ShapeError, match=r"layer_norm_forward: x must be floating point, got bfloat16.*float32"):
        layer_norm_forward(x, np.ones(4, np.float32), None)


def test_16_bits_do_not_go_with_float64():
    x = normal(2, 4).astype(half_dtype("bfloat16"))
    with pytest.raises(ShapeError, match="x is bfloat16 but weight is float64, and 16 bits go with float32 only"):
        linear_forward(x, np.ones((3, 4)))


@pytest.mark.parametrize("name", PRECISIONS)
def test_numpy_warns_of_overflow_except_in_float16(name):
    """There, loss scaling looks for infinities and expects them."""
    large = np.full(1, 3e38, np.float32)
    with use_precision(name), pytest.warns(RuntimeWarning, match="overflow") if name != "float16" else nullcontext():
        assert np.isinf(large * 2)

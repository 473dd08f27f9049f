"""The precision policy: how numbers are rounded, and where the choice holds."""

from __future__ import annotations

import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.precision import (
    current_precision,
    half_dtype,
    is_half,
    operand,
    operand_like,
    use_precision,
    wide,
)
from minitrain.errors import ConfigError
from minitrain.kernels.cpu.common import half

ANY_BITS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40)


def floats(bits: list[int]) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


@given(ANY_BITS)
def test_the_kernel_rounds_every_float32_as_the_reference_does(bits):
    """All 2**32 of them in principle: subnormal numbers, infinities and NaN too."""
    x = floats(bits)
    with np.errstate(invalid="ignore"):
        expected = x.astype(ml_dtypes.bfloat16)
    kept = half.narrow(x)
    factor = half.factor(x, True)  # the 16 bits where there are units for them, else float32
    factor = half.widen(factor.view(ml_dtypes.bfloat16)) if factor.dtype == np.uint16 else factor
    np.testing.assert_array_equal(np.isnan(kept), np.isnan(x))
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(kept[numbers].view(np.uint16), expected[numbers].view(np.uint16))
    np.testing.assert_array_equal(factor[numbers], expected[numbers].astype(np.float32))
    np.testing.assert_array_equal(half.widen(kept)[numbers], factor[numbers])


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_operands_are_rounded_to_nearest_and_ties_to_even(name):
    unit = 2.0 ** -{"bfloat16": 7, "float16": 10}[name]  # between 1 and 2
    below, tie_down, tie_up, above = 1 + 0.49 * unit, 1 + 0.5 * unit, 1 + 1.5 * unit, 1 + 0.51 * unit
    with use_precision(name):
        found = operand(np.array([below, tie_down, tie_up, above], np.float32))
    assert found.dtype == half_dtype(name)
    np.testing.assert_array_equal(wide(found), np.array([1, 1, 1 + 2 * unit, 1 + unit], np.float32))


def test_a_policy_holds_inside_its_block_and_in_its_own_thread():
    seen = []
    with use_precision("bfloat16"):
        with use_precision("float16"):
            assert current_precision() == "float16"
        assert current_precision() == "bfloat16"
        thread = threading.Thread(target=lambda: seen.append(current_precision()))
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError), use_precision("float64"):
            raise RuntimeError
        assert current_precision() == "bfloat16"
    assert current_precision() == "float32"
    assert seen == ["float32"]


def test_only_float32_numbers_are_rounded():
    x = np.array([1.001], np.float32)
    tokens, double, stored = np.arange(3), x.astype(np.float64), x.astype(half_dtype("bfloat16"))
    with use_precision("bfloat16"):
        assert operand(tokens) is tokens
        assert operand(double) is double
        assert operand(stored) is stored
        assert is_half(operand(x))
    for name in ("float32", "tf32", "float64"):
        with use_precision(name):
            assert operand(x) is x
    assert operand_like(x, x) is x
    assert operand_like(x, stored).dtype == stored.dtype
    assert operand_like(double, stored) is double


def test_an_unknown_precision_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="'bfloat61' is unknown; did you mean 'bfloat16'"), use_precision("bfloat61"):
        pass
    with pytest.raises(ConfigError, match="choose from float32, tf32"), use_precision("int8"):
        pass

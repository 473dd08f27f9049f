"""The precision policy: how numbers are rounded, and where the choice holds."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from minitrain.backend.precision import (
    PRECISIONS,
    before_rounding,
    check_precision,
    current_precision,
    half_dtype,
    is_half,
    operand,
    operand_like,
    rounded,
    use_precision,
    wide,
)
from minitrain.errors import ConfigError


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


@pytest.mark.parametrize("name", PRECISIONS)
def test_float16_alone_says_nothing_of_overflow(name):
    """Loss scaling looks for it; in other precisions a warning is wanted."""
    with np.errstate(over="warn", invalid="raise", divide="warn", under="ignore"):
        outside = np.geterr()
        with use_precision(name):
            silent = {"over": "ignore", "invalid": "ignore"} if name == "float16" else {}
            assert np.geterr() == outside | silent
        assert np.geterr() == outside


def test_too_large_for_float16_is_infinity_without_a_word():
    with np.errstate(over="raise"):
        found = rounded(np.array([65504, 65520, -1e9, 1], np.float32), np.dtype(np.float16))
    assert found.tolist() == [65504, np.inf, -np.inf, 1]


def test_a_change_before_rounding_holds_inside_its_block():
    x, half, seen = np.array([1.5, 2.5], np.float32), half_dtype("bfloat16"), []

    def doubled(array, dtype):
        seen.append((array, dtype))
        return 2 * array

    with before_rounding(doubled):
        assert rounded(x, half).tolist() == [3, 5]
        with pytest.raises(RuntimeError), before_rounding(lambda array, dtype: -array):
            assert rounded(x, half).tolist() == [-1.5, -2.5]
            raise RuntimeError
        with use_precision("bfloat16"):
            assert operand(x).tolist() == [3, 5]
    assert rounded(x, half).tolist() == [1.5, 2.5]
    assert all(array is x and dtype == half for array, dtype in seen)


def test_what_has_16_bits_is_told_from_what_has_not():
    for name in ("bfloat16", "float16"):
        kept = np.array([1.5], half_dtype(name))
        assert is_half(kept)
        assert wide(kept).dtype == np.float32
    for other in (np.zeros(2, np.float32), np.zeros(2), np.zeros(2, np.int16), np.zeros(2, bool), 1.5, None, "float16"):
        assert not is_half(other)
        assert wide(other) is other
    assert [check_precision(name) for name in PRECISIONS] == list(PRECISIONS)

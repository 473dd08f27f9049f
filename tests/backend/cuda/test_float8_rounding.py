"""Numbers of 8 bits: rounded as ml_dtypes rounds, with a scale that uses the range and changes no digits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.cuda.float8 import (
    E4M3,
    E5M2,
    Float8Format,
    float8_dtype,
    float8_scale,
    float8_values,
    takes_float8,
    to_float8,
)
from minitrain.backend.precision import PRECISIONS, before_rounding, operand, operand_precision, use_precision

every_form = pytest.mark.parametrize("form", [E4M3, E5M2], ids=lambda form: form.name)
ONE = np.float32(1)
float32s = st.integers(0, 2**32 - 1).map(lambda bits: np.array(bits, np.uint32).view(np.float32)[()])


def nearest(x: np.ndarray, form: Float8Format) -> np.ndarray:
    """As ml_dtypes rounds; it makes numbers beyond the range NaN or infinite, and here they become the largest."""
    with np.errstate(all="ignore"):
        return np.clip(x, -form.largest, form.largest).astype(float8_dtype(form.name)).astype(np.float32)


@every_form
def test_every_sixteenth_bit_pattern_is_rounded_as_ml_dtypes_does(form: Float8Format) -> None:
    """The upper 16 bits of a float32, with what decides a tie behind them: ties, subnormal numbers, both ends."""
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = (np.arange(2**16, dtype=np.uint32) << 16 | lower).view(np.float32)
        with np.errstate(all="ignore"):
            found = to_float8(x, ONE, form)
        np.testing.assert_array_equal(found, nearest(x, form))
        numbers = ~np.isnan(x)
        np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(x[numbers]))


@every_form
def test_the_values_of_all_codes_are_those_of_ml_dtypes(form: Float8Format) -> None:
    codes = np.arange(256, dtype=np.uint8)
    expected = codes.view(float8_dtype(form.name)).astype(np.float32)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(float8_values(codes, form)[finite], expected[finite])
    assert np.isnan(float8_values(np.array([0x7F, 0xFF], np.uint8), form)).all()


def test_the_largest_numbers() -> None:
    assert E4M3.largest == float(ml_dtypes.finfo(ml_dtypes.float8_e4m3fn).max) == 448
    assert E5M2.largest == float(ml_dtypes.finfo(ml_dtypes.float8_e5m2).max) == 57344


@every_form
@given(st.lists(float32s, min_size=1, max_size=9))
def test_a_scale_is_the_least_power_of_two_that_fits(form: Float8Format, numbers: list[np.float32]) -> None:
    x = np.array(numbers, np.float32)
    scale = float8_scale(x, form)
    assert (scale.shape, scale.dtype) == ((), np.float32)
    if not np.isfinite(x).all():
        assert np.isnan(scale)
        return
    fraction, exponent = np.frexp(np.float64(scale))
    assert fraction == 0.5  # a power of two
    assert exponent >= -61
    largest = np.abs(x).max().astype(np.float64)
    assert largest / scale <= form.largest
    assert exponent == -61 or largest / (scale / 2) > form.largest


@every_form
@given(st.lists(st.floats(2.0**-20, 1.0, width=32), min_size=2, max_size=9), st.integers(-40, 40))
def test_a_scale_changes_no_digits(form: Float8Format, numbers: list[float], power: int) -> None:
    """An array times a power of two is rounded to the same digits."""
    x = np.array(numbers, np.float32)
    moved = x * np.float32(2.0**power)
    plain, scaled = (to_float8(y, float8_scale(y, form), form) for y in (x, moved))
    np.testing.assert_array_equal(plain * np.float32(2.0**power), scaled)


@every_form
@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=9), st.integers(0, 12))
def test_a_number_is_rounded_the_same_beside_larger_ones(form: Float8Format, numbers: list[float], power: int) -> None:
    """Unless it is so much smaller that it reaches the lower end of the format."""
    x = np.array(numbers, np.float32)
    beside = np.append(x, np.float32(1000 * 2.0**power))
    alone, scale = to_float8(x, float8_scale(x, form), form), float8_scale(beside, form)
    found = to_float8(beside, scale, form)[:-1]
    normal = np.abs(x) >= scale * np.float32(2.0 ** (1 - form.bias))
    np.testing.assert_array_equal(found[normal], alone[normal])


@every_form
def test_what_is_not_finite_makes_all_of_it_nan(form: Float8Format) -> None:
    for bad in (np.inf, -np.inf, np.nan):
        x = np.array([1.0, bad], np.float32)
        assert np.isnan(to_float8(x, float8_scale(x, form), form)).all()


@every_form
def test_zeros_stay_zeros(form: Float8Format) -> None:
    x = np.zeros((2, 3), np.float32)
    assert not to_float8(x, float8_scale(x, form), form).any()


def test_the_policy_reaches_what_it_is_for_and_leaves_bfloat16_to_the_rest() -> None:
    x, weight = np.ones((2, 3, 32), np.float32), np.ones((16, 32), np.float32)
    for name in PRECISIONS:
        with use_precision(name):
            assert takes_float8(x, weight) is (name == "float8")
            assert operand_precision() == ("bfloat16" if name == "float8" else name)
    with use_precision("float8"):
        assert operand(x).dtype.name == "bfloat16"
        assert not takes_float8(x[..., :31], weight[:, :31])
        assert not takes_float8(x, weight[:15])
        assert not takes_float8(x[:0], weight)
        assert not takes_float8(x.astype(np.float64), weight.astype(np.float64))


def test_numbers_can_be_changed_before_they_are_rounded() -> None:
    """As a check with random rounding does."""
    seen = []

    def change(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        seen.append(dtype.name)
        return x + 1

    with before_rounding(change):
        assert to_float8(np.array([2.0], np.float32), ONE, E4M3) == 3
        to_float8(np.array([2.0], np.float32), ONE, E5M2)
    assert seen == ["float8_e4m3fn", "float8_e5m2"]

"""Kernels round operands to bfloat16 as the reference does, bit by bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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

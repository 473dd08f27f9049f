"""Products of reference code: widened operands, long sums in blocks, and on a GPU the library's product."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minitrain.backend import to_device, to_numpy, use_kernels
from minitrain.backend.arrays import is_cupy
from minitrain.ops.contract import products
from minitrain.ops.contract.products import BLOCK, dot_rows, product
from minitrain.testing.cuda.fake import emulated_device

SIZES = st.tuples(*[st.integers(1, 4)] * 4)
DTYPES = st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16])


def numbers(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape)  # whose products have no error


@given(sizes=SIZES, dtype=DTYPES, seed=st.integers(0, 99))
def test_a_product_is_that_of_numpy_in_32_bits_or_more(sizes: Any, dtype: Any, seed: int) -> None:
    B, M, K, N = sizes
    a, b = numbers(seed, B, M, K), numbers(seed + 1, B, K, N)
    for left, right in ((a, b), (a, b[0]), (a[0], b[0]), (a[0, 0], b[0]), (a[0, 0], b)):
        found = product(left.astype(dtype), right.astype(dtype))
        assert found.dtype == (np.float64 if dtype is np.float64 else np.float32)
        np.testing.assert_array_equal(found, left @ right)


@given(sizes=SIZES, dtype=DTYPES, seed=st.integers(0, 99))
def test_rows_are_multiplied_and_added(sizes: Any, dtype: Any, seed: int) -> None:
    B, R, N, K = sizes
    a, b = numbers(seed, B, R, N), numbers(seed + 1, B, R, K)
    for left, right in ((a, b), (a[0], b[0])):
        found = dot_rows(left.astype(dtype), right.astype(dtype))
        assert found.dtype == (np.float64 if dtype is np.float64 else np.float32)
        np.testing.assert_array_equal(found, left.swapaxes(-1, -2) @ right)


@pytest.mark.parametrize("rows", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 5])
def test_long_sums_are_sums_of_blocks(rows: int) -> None:
    """Each of a thousand rows, one after the other."""
    rng = np.random.default_rng(rows)
    a, b = rng.standard_normal((rows, 2), np.float32), rng.standard_normal((rows, 3), np.float32)
    total = a[:BLOCK].T @ b[:BLOCK]
    for first in range(BLOCK, rows, BLOCK):
        total = total + a[first : first + BLOCK].T @ b[first : first + BLOCK]
    assert dot_rows(a, b).tobytes() == total.tobytes()
    assert dot_rows(a[None], b[None]).tobytes() == total.tobytes()


@given(x=arrays(np.float32, (3, 4), elements=st.floats(-2, 2, width=32)))
@pytest.mark.parametrize("mode", ["reference", "auto"])
def test_on_a_gpu_the_librarys_product_is_called_unless_the_reference_is_wanted(mode: str, x: Any) -> None:
    asked = []

    def multiply(a: Any, b: Any) -> Any:
        asked.append((a.shape, b.shape))
        return a @ b

    with pytest.MonkeyPatch.context() as patch, emulated_device(), use_kernels(mode):
        patch.setattr(products, "any_matmul", multiply)
        there, y = to_device(x, "cuda"), to_device(x.T.copy(), "cuda")
        for found, expected in (
            (product(there, y), x @ x.T),
            (product(there[0], y), (x[:1] @ x.T)[0]),
            (dot_rows(there, there), x.T @ x),
        ):
            assert is_cupy(found)
            np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-5)
        assert asked == ([((3, 4), (4, 3)), ((1, 4), (4, 3)), ((4, 3), (3, 4))] if mode == "auto" else [])
        product(x, x.T)  # on the CPU
        dot_rows(x, x)
        assert len(asked) == (3 if mode == "auto" else 0)

"""The matrix product of our own against NumPy's: every form, sizes around its blocks, memory between the rows."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba.core import compiler, ir, postproc

from minitrain.backend.cpu.products import sgemm
from tests.helpers.c_products import call_product, matrix

pytestmark = pytest.mark.skipif(sgemm.instructions() is None, reason="made for AVX2 and AVX-512")

SIZES = st.one_of(st.integers(1, 70), st.sampled_from([255, 256, 257, 511, 512, 513, 600]))


def product(a, b, c, **settings):
    """C = alpha A B + beta C, in place."""
    call_product(sgemm.address(), a, b, c, **settings)


@settings(max_examples=60)
@given(
    m=SIZES, n=SIZES, k=SIZES, a_by_columns=st.booleans(), b_by_columns=st.booleans(), gap=st.sampled_from([0, 1, 16]),
    alpha=st.sampled_from([1.0, -0.25]), beta=st.sampled_from([0.0, 1.0, 0.5]), seed=st.integers(0, 99),
)  # fmt: skip
@example(m=8, n=32, k=16, a_by_columns=False, b_by_columns=True, gap=0, alpha=1.0, beta=0.0, seed=0)
@example(m=513, n=33, k=257, a_by_columns=True, b_by_columns=True, gap=1, alpha=-0.25, beta=0.5, seed=0)
def test_equals_numpy(m, n, k, a_by_columns, b_by_columns, gap, alpha, beta, seed):
    rng = np.random.default_rng(seed)
    a, b = matrix(rng, m, k, a_by_columns, gap), matrix(rng, k, n, b_by_columns, gap)
    whole = rng.standard_normal((m + 1, n + gap), dtype=np.float32)
    before = whole.copy()
    expected = alpha * (a.astype(np.float64) @ b) + beta * before[:m, :n]
    product(a, b, whole[:m, :n], alpha=alpha, beta=beta, a_by_columns=a_by_columns, b_by_columns=b_by_columns)
    np.testing.assert_allclose(whole[:m, :n], expected, rtol=1e-5, atol=2e-6 * np.sqrt(k) * 4)
    assert np.array_equal(whole[:m, n:], before[:m, n:])  # nothing beyond the matrix is touched
    assert np.array_equal(whole[m:], before[m:])


def test_memory_that_is_overwritten_may_hold_anything():
    a, b = np.ones((9, 5), np.float32), np.ones((5, 40), np.float32)
    c = np.full((9, 40), np.nan, np.float32)
    product(a, b, c)
    assert np.array_equal(c, np.full((9, 40), 5.0))


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_nothing_to_sum_over(beta):
    c = np.ones((3, 4), np.float32)
    product(np.empty((3, 0), np.float32), np.empty((0, 4), np.float32), c, beta=beta)
    assert np.array_equal(c, np.full((3, 4), beta))


def test_nan_and_infinity_stay():
    a, b = np.ones((2, 3), np.float32), np.ones((3, 33), np.float32)
    a[0, 1], b[2, 32] = np.nan, np.inf
    c = np.empty((2, 33), np.float32)
    product(a, b, c)
    assert np.isnan(c[0]).all()
    assert np.array_equal(c[1], [*[3.0] * 32, np.inf])


@settings(max_examples=20)
@given(cut=st.integers(1, 600), columns=st.booleans(), seed=st.integers(0, 99))
def test_bytes_do_not_depend_on_how_the_result_is_cut(cut, columns, seed):
    rng = np.random.default_rng(seed)
    m, n, k = (40, 601, 300) if columns else (601, 40, 300)
    a, b = matrix(rng, m, k, False, 0), matrix(rng, k, n, True, 0)
    whole, cut_up = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
    product(a, b, whole, b_by_columns=True)
    if columns:
        product(a, b[:, :cut], cut_up[:, :cut], b_by_columns=True)
        product(a, b[:, cut:], cut_up[:, cut:], b_by_columns=True)
    else:
        product(a[:cut], b, cut_up[:cut], b_by_columns=True)
        product(a[cut:], b, cut_up[cut:], b_by_columns=True)
    assert whole.tobytes() == cut_up.tobytes()


@pytest.mark.skipif(sgemm.instructions() != "AVX-512", reason="runs the tests above for AVX2 beside those for AVX-512")
@pytest.mark.parametrize("features", ["+avx2,+fma"])
def test_the_narrower_tiles_too(features, tmp_path):
    settings = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features, "MINITRAIN_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 skipped" in run.stdout


def test_memory_for_strips_is_freed_after_the_product():
    """Numba frees an array after its last use, and does not see that its address is in use."""
    code = compiler.run_frontend(sgemm.sgemm)
    postproc.PostProcessor(code).run(emit_dels=True)
    freed = [
        block.body[-1]
        for block in code.blocks.values()
        if any(isinstance(statement, ir.Del) and statement.value == "memory" for statement in block.body)
    ]
    assert [type(end) for end in freed] == [ir.Return]


@pytest.mark.parametrize("a_by_columns", [False, True])
@pytest.mark.parametrize("b_by_columns", [False, True])
def test_a_row_of_a_large_product_has_the_bits_of_a_row_alone(a_by_columns, b_by_columns):
    """A is laid out in the one and read where it lies in the other; sums are formed in the same order."""
    m, n, k = 521, 530, 547  # no multiples of a tile, a block or a strip
    assert m * n * k >= sgemm.LARGE > 10 * n * k
    rng = np.random.default_rng(0)
    a, b = matrix(rng, m, k, a_by_columns, 3), matrix(rng, k, n, b_by_columns, 3)
    whole = np.empty((m, n), np.float32)
    product(a, b, whole, a_by_columns=a_by_columns, b_by_columns=b_by_columns)
    for first in (0, 1, 190, 511):
        rows = np.empty((10, n), np.float32)
        product(a[first : first + 10], b, rows, a_by_columns=a_by_columns, b_by_columns=b_by_columns)
        assert np.array_equal(rows, whole[first : first + 10])
    np.testing.assert_allclose(whole, a.astype(np.float64) @ b, atol=1e-4)

"""What kernel twins promise beyond equality with their references: no copies, fresh tables, care in the tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.backend.cpu._simd import CACHE_LINE
from minitrain.kernels.cpu.attention import rope as rope_kernels
from minitrain.kernels.cpu.common.sums import group_buffers, group_count
from minitrain.nn import RMSNorm
from minitrain.ops import Into, geglu_backward, geglu_forward, relu_backward, relu_forward, rope_backward, rope_forward
from tests.helpers.processes import run_python

B, T, H, D, C = 2, 5, 3, 8, 12
both_modes = pytest.mark.parametrize("mode", ["reference", "auto"])
with_kernels = use_kernels("auto")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@with_kernels
def test_rope_reads_and_writes_slices_of_packed_heads_in_place(monkeypatch):
    """As attention layers have them: nothing is copied, and the neighbours keep what they hold."""
    packed, dpacked = normal(B, T, 3 * H, D), normal(B, T, 3 * H, D, seed=1)
    keys, dkeys = packed[:, :, H : 2 * H], dpacked[:, :, H : 2 * H]
    others = np.delete(dpacked, np.s_[H : 2 * H], axis=2)
    expected, cache = rope_forward(keys.copy(), np.arange(T))
    dexpected, _ = rope_backward(expected, cache)
    seen = []
    monkeypatch.setattr(
        rope_kernels, "_rotate", lambda *arguments, run=rope_kernels._rotate: (seen.append(arguments), run(*arguments))
    )
    out, cache = rope_forward(keys, np.arange(T))
    rope_backward(out, cache, into=(Into(dkeys), None))
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(dkeys, dexpected)
    np.testing.assert_array_equal(np.delete(dpacked, np.s_[H : 2 * H], axis=2), others)
    (x, *_), (_, _, _, _, dx, *_) = seen
    assert np.shares_memory(x, packed)
    assert np.shares_memory(dx, dpacked)


@with_kernels
def test_rope_keeps_tables_by_the_positions_inside_the_array():
    """An array that is filled anew, as a loop over a text might do, gets new angles."""
    x, positions = normal(B, T, H, D), np.arange(T)
    rope_forward(x, positions)
    positions += 7
    out, _ = rope_forward(x, positions)
    with use_kernels("reference"):
        expected, _ = rope_forward(x, positions)
    np.testing.assert_allclose(out, expected, atol=1e-6)


@with_kernels
def test_geglu_keeps_the_tail_of_gelu():
    """Its error is small beside GELU itself, which ``up`` may make large, not beside 1."""
    gate, ones = np.linspace(-9, 9, 181, dtype=np.float32), np.ones(181, np.float32)
    cdf = np.array([math.erfc(-g / math.sqrt(2)) / 2 for g in gate.tolist()])
    pdf = np.array([math.exp(-g * g / 2) / math.sqrt(2 * math.pi) for g in gate.tolist()])
    out, cache = geglu_forward(gate, ones, approximate="none")
    dgate, dup = geglu_backward(ones, cache)
    np.testing.assert_allclose(out, gate * cdf, rtol=1e-5)
    np.testing.assert_allclose(dup, gate * cdf, rtol=1e-5)
    np.testing.assert_allclose(dgate, cdf + gate * pdf, rtol=1e-5, atol=1e-6)


@both_modes
def test_relu_lets_nan_through_and_stops_its_gradient(mode):
    """A NaN stays to be seen; ``out > 0`` is false for it."""
    x = np.array([np.nan, 1, -1, np.inf, -np.inf, 0], np.float32)
    with use_kernels(mode):
        out, cache = relu_forward(x)
        dx = relu_backward(np.full_like(x, 2), cache)
    np.testing.assert_array_equal(out, [np.nan, 1, 0, np.inf, 0, 0])
    np.testing.assert_array_equal(dx, [0, 2, 0, 2, 0, 0])


@both_modes
@pytest.mark.parametrize("on", [True, False], ids=["the stream goes on", "the stream ends"])
def test_the_fused_rms_norm_of_a_layer_is_a_sum_and_its_norm(mode, on):
    x, branch, dtotal, dout = (normal(B, T, C, seed=seed) for seed in range(4))
    fused, apart = RMSNorm(C), RMSNorm(C)
    for layer in (fused, apart):
        layer.weight.data[...] = normal(C, seed=4)
    with use_kernels(mode):
        total, out, cache = fused.forward_residual(x, branch)
        dx = fused.backward_residual(dtotal if on else None, dout, cache)
    expected, norm_cache = apart.forward(x + branch)
    np.testing.assert_array_equal(total, x + branch)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, apart.backward(dout, norm_cache) + (dtotal if on else 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fused.weight.grad, apart.weight.grad, rtol=1e-5, atol=1e-6)


def test_the_pool_has_as_many_threads_as_kernels_use():
    """Numba takes its settings while it is imported, and a kernel's file imports it: ours come before."""
    code = """
        import os
        for name in ("NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER_PRIORITY"):
            os.environ.pop(name, None)
        import numpy as np
        from minitrain.ops import relu_forward
        relu_forward(np.ones(3, np.float32))
        import numba
        print(numba.config.NUMBA_NUM_THREADS, numba.config.THREADING_LAYER_PRIORITY[0])
    """
    answers = run_python(code, MINITRAIN_NUM_THREADS="1", MINITRAIN_KERNELS="auto")
    assert answers.split() == ["1", "omp"]


def test_a_kernel_is_compiled_once_and_computes_the_same_in_later_processes(tmp_path):
    """The first run of an installation, too, can be resumed exactly."""
    code = """
        import numpy as np
        import minitrain.backend.cpu.jit as jit
        jit.compile_listener = print
        from minitrain.ops import geglu_forward
        x = -abs(np.random.default_rng(0).standard_normal(4096).astype(np.float32))
        for _ in range(2):
            print(geglu_forward(x, x)[0].tobytes().hex())
    """
    environment = {"MINITRAIN_CACHE_DIR": str(tmp_path), "MINITRAIN_KERNELS": "auto"}
    first, second = (run_python(code, **environment).split() for _ in range(2))
    assert first == ["geglu._forward", *second]
    assert len(second) == 2
    assert len({*second}) == 1


@given(st.integers(1, 70_000), st.integers(1, 3000), st.integers(1, 70))
def test_no_two_threads_sum_in_one_cache_line(rows, width, threads):
    groups, cascades = group_buffers(rows, width, threads)
    assert (len(groups), len(cascades)) == (group_count(rows, 128), threads)
    for buffer in (groups, cascades):
        assert buffer.flags.c_contiguous
        assert width <= buffer.shape[-1] < width + CACHE_LINE
        for part in buffer[:3]:
            assert part.ctypes.data % (4 * CACHE_LINE) == 0

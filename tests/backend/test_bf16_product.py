"""Products of bfloat16 numbers: models of the units against NumPy bit by bit, and the units where there are any."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba.core.ccallback import CFunc

from minitrain.backend.cpu.products import bf16_product, bf16_units, sgemm
from minitrain.backend.cpu.products._tiles import SIDE
from minitrain.backend.cpu.products.bf16_units import bf16_unit
from minitrain.errors import ConfigError
from tests.helpers.c_products import call_product, matrix

MODELS = ["amx-model", "avx512-model"]
UNITS = MODELS + [unit for unit in ("amx", "avx512") if bf16_units._missing(unit) is None]
HALF = ml_dtypes.bfloat16
LEAST = np.float32(2.0**-126)
every_unit = pytest.mark.parametrize("unit", UNITS)


def product(unit, a, b, c, **settings):
    """C = alpha A B + beta C, in place."""
    call_product(bf16_product.address(unit), a, b, c, **settings)


def halves(x):
    return x.astype(HALF)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def flushed(x):
    return np.where(np.abs(x) < LEAST, np.copysign(np.float32(0), x), x).astype(np.float32)  # the sign stays


def fused(a, b, c):
    """A b + c rounded once to float32, from exact integers; subnormal numbers count as 0."""
    a, b, c = flushed(a), flushed(b), flushed(c)
    exact = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
    return flushed(exact.astype(np.float32))


def tiles_in_numpy(unit, a, b, start):
    """The sums of a whole product in the unit's order: a (m, k), b (k, n) with k a multiple of 32."""
    a, b, total = a.astype(np.float32), b.astype(np.float32), start.copy()
    for step in range(0, a.shape[1], 32):
        even = odd = np.zeros_like(total)
        for p in range(step, step + 32, 2):
            if unit.startswith("amx"):
                even = fused(a[:, p, None], b[p], even)
                odd = fused(a[:, p + 1, None], b[p + 1], odd)
            else:
                total = fused(a[:, p + 1, None], b[p + 1], total)
                total = fused(a[:, p, None], b[p], total)
        if unit.startswith("amx"):
            total = flushed(flushed(total) + flushed(even + odd))
    return total


@every_unit
@settings(max_examples=20)
@given(
    steps=st.integers(1, 3),
    scale=st.sampled_from([1.0, 2.0**-60, 2.0**-63, 2.0**-66, 2.0**40]),
    seed=st.integers(0, 99),
)
def test_has_the_bits_of_the_unit(unit, steps, scale, seed):
    """Products around the least normal number are rounded and flushed as the manual says."""
    rng = np.random.default_rng(seed)
    a = halves(rng.standard_normal((SIDE, 32 * steps), np.float32) * np.float32(scale))
    b = halves(rng.standard_normal((32 * steps, SIDE), np.float32) * np.float32(scale))
    c = rng.standard_normal((SIDE, SIDE), np.float32) * np.float32(scale * scale)
    expected = tiles_in_numpy(unit, a, b, c)
    product(unit, a, b, c, beta=1.0)
    np.testing.assert_array_equal(c.view(np.uint32), expected.view(np.uint32))


SIZES = st.one_of(st.integers(1, 70), st.sampled_from([95, 96, 97, 128]))


@every_unit
@settings(max_examples=25, deadline=None)
@given(
    m=SIZES, n=SIZES, k=SIZES, a_by_columns=st.booleans(), b_by_columns=st.booleans(), gap=st.sampled_from([0, 1, 16]),
    alpha=st.sampled_from([1.0, -0.25]), beta=st.sampled_from([0.0, 1.0, 0.5]), seed=st.integers(0, 99),
)  # fmt: skip
@example(m=33, n=31, k=1100, a_by_columns=True, b_by_columns=True, gap=1, alpha=1.0, beta=0.5, seed=0)
@example(m=3000, n=1, k=520, a_by_columns=False, b_by_columns=False, gap=0, alpha=1.0, beta=0.0, seed=0)
def test_equals_numpy(unit, m, n, k, a_by_columns, b_by_columns, gap, alpha, beta, seed):
    rng = np.random.default_rng(seed)
    a, b = matrix(rng, m, k, a_by_columns, gap, HALF), matrix(rng, k, n, b_by_columns, gap, HALF)
    whole = rng.standard_normal((m + 1, n + gap), dtype=np.float32)
    before = whole.copy()
    expected = alpha * (a.astype(np.float64) @ b.astype(np.float64)) + beta * before[:m, :n]
    product(unit, a, b, whole[:m, :n], alpha=alpha, beta=beta, a_by_columns=a_by_columns, b_by_columns=b_by_columns)
    np.testing.assert_allclose(whole[:m, :n], expected, rtol=1e-5, atol=2e-6 * np.sqrt(k) * 4)
    assert np.array_equal(whole[:m, n:], before[:m, n:])  # nothing beyond the matrix is touched
    assert np.array_equal(whole[m:], before[m:])


@every_unit
@settings(max_examples=20, deadline=None)
@given(
    cut=st.integers(1, 79),
    columns=st.booleans(),
    beta=st.sampled_from([0.0, 1.0, 0.5]),
    alpha=st.sampled_from([1.0, 0.5]),
)
def test_parts_have_the_bits_of_the_whole(unit, cut, columns, beta, alpha):
    """However the result is split over threads, and wherever the edges of the parts are."""
    a, b, start = halves(normal(80, 70)), halves(normal(70, 80, seed=1)), normal(80, 80, seed=2)
    whole, parts = start.copy(), start.copy()
    product(unit, a, b, whole, beta=beta, alpha=alpha)
    for part in (slice(0, cut), slice(cut, 80)):
        if columns:
            product(unit, a, b[:, part], parts[:, part], beta=beta, alpha=alpha)
        else:
            product(unit, a[part], b, parts[part], beta=beta, alpha=alpha)
    np.testing.assert_array_equal(parts, whole)


@every_unit
def test_memory_that_is_overwritten_may_hold_anything(unit):
    a, b = halves(np.ones((40, 5))), halves(np.ones((5, 40)))
    c = np.full((40, 40), np.nan, np.float32)
    product(unit, a, b, c)
    assert np.array_equal(c, np.full((40, 40), 5.0))


@every_unit
@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_nothing_to_sum_over(unit, beta):
    c = np.ones((3, 4), np.float32)
    product(unit, halves(np.empty((3, 0))), halves(np.empty((0, 4))), c, beta=beta)
    assert np.array_equal(c, np.full((3, 4), beta))


@every_unit
def test_nan_and_infinity_stay(unit):
    a, b = halves(np.ones((2, 3))), halves(np.ones((3, 33)))
    a[0, 1], b[2, 32] = np.nan, np.inf
    c = np.empty((2, 33), np.float32)
    product(unit, a, b, c)
    assert np.isnan(c[0]).all()
    assert np.array_equal(c[1], [*[3.0] * 32, np.inf])


@every_unit
def test_blocks_are_repeated(unit):
    assert bf16_product.repeat_blocks(unit, 3) == 3 * 2 * SIDE * SIDE * 32 * bf16_product.STEPS_REPEATED


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="instructions of x86")
@pytest.mark.parametrize(
    ("unit", "instructions"),
    [("amx", ["ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease"]), ("avx512", ["vdpbf16ps"])],
)
def test_the_code_uses_the_unit(unit, instructions):
    """It compiles on any x86 processor, with or without the unit; so does every step before it runs."""
    compiled = CFunc(bf16_product.PRODUCTS[unit], (sgemm.SIGNATURE.args, sgemm.SIGNATURE.return_type), {}, {})
    compiled.compile()
    assembly = compiled._library.get_asm_str()
    for name in instructions:
        assert name in assembly, name


class Refusing:
    """A C library whose system call fails."""

    def __init__(self, *args, **kwargs):
        pass

    def syscall(self, *numbers):
        assert [getattr(x, "value", x) for x in numbers] == [158, 0x1023, 18]
        ctypes.set_errno(28)
        return -1


def test_the_operating_system_may_refuse_tiles(monkeypatch):
    monkeypatch.delenv("MINITRAIN_BFLOAT16", raising=False)
    monkeypatch.setattr("minitrain.backend.cpu._simd.FEATURES", {"amx-tile", "amx-bf16"})
    monkeypatch.setattr(bf16_units.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bf16_units.sys, "platform", "linux")
    monkeypatch.setattr(bf16_units.ctypes, "CDLL", Refusing)
    unit = bf16_unit.__wrapped__()
    assert unit.name == "float32"
    assert unit.description == (
        "float32 arithmetic on rounded operands (the operating system refused AMX tiles (errno 28: No space left on "
        "device))"
    )
    monkeypatch.setenv("MINITRAIN_BFLOAT16", "amx")
    with pytest.raises(ConfigError, match=r"MINITRAIN_BFLOAT16='amx': the operating system refused .* unset it"):
        bf16_unit.__wrapped__()


def test_the_unit_follows_from_features_and_the_setting(monkeypatch):
    def unit(features, processor, setting=""):
        monkeypatch.setattr("minitrain.backend.cpu._simd.FEATURES", set(features))
        monkeypatch.setattr(bf16_units.llvmlite.binding, "get_host_cpu_name", lambda: processor)
        monkeypatch.setattr(bf16_units, "request_tiles", lambda: None)
        monkeypatch.setenv("MINITRAIN_BFLOAT16", setting)
        return bf16_unit.__wrapped__().name

    avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16"]
    assert unit([], "haswell") == "float32"
    assert unit([*avx512], "znver5") == "avx512"
    assert unit([*avx512], "cooperlake") == "float32"  # half the rate of float32 there
    assert unit([*avx512, "amx-tile", "amx-bf16"], "sapphirerapids") == "amx"
    assert unit([*avx512, "amx-tile", "amx-bf16"], "sapphirerapids", "avx512") == "avx512"
    assert unit([], "haswell", "amx-model") == "amx-model"
    with pytest.raises(ConfigError, match="no AVX512-BF16"):
        unit([], "haswell", "avx512")
    with pytest.raises(ConfigError, match="choose one of amx, avx512"):
        unit([], "haswell", "fastest")


CHECK = """
import numpy as np
from minitrain import GPT, GPTConfig, AdamW
from minitrain.backend import use_precision
from minitrain.backend.threads import set_threads
from minitrain.kernels.cpu.common import gemm

assert gemm.takes_halves()
for threads in (1, 2):
    set_threads(threads)
    model = GPT(GPTConfig(vocab_size=17, block_size=72, n_layer=1, n_head=2, n_embd=48), seed=0)
    optimizer = AdamW(model, lr=1e-3)
    x = np.random.default_rng(0).integers(0, 17, (8, 72))
    with use_precision("bfloat16"):
        for _ in range(3):
            loss, cache = model.loss((x, np.roll(x, -1, 1)))
            model.loss_backward(cache)
            optimizer.step()
            optimizer.zero_grad()
    print(f"{loss.mean:.4f}", *(p.data.tobytes().hex()[:16] for _, p in model.named_parameters()))
"""


def test_a_model_trains_on_a_unit():
    """In a process of its own, since a process has one unit: with the same bytes for any number of threads."""
    environment = {**os.environ, "MINITRAIN_BFLOAT16": "amx-model", "MINITRAIN_NUM_THREADS": "2"}
    result = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=True)
    one, two = result.stdout.splitlines()
    assert one == two
    assert abs(float(one.split()[0]) - 2.7) < 0.3  # log(17) = 2.83, and it learns

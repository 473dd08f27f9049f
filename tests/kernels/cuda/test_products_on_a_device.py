"""The twins of linear layers on an emulated device: cuBLASLt's rules, operands of 16 bits, sums in place, long sums."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.arrays import to_device
from minitrain.backend.cuda.launch import record_launches
from minitrain.backend.precision import use_precision
from minitrain.backend.targets import SKIP, Into
from minitrain.kernels.cuda.common.targets import slot
from minitrain.kernels.cuda.linear.column_sums import column_sums
from minitrain.kernels.cuda.linear.operands import rounded
from minitrain.ops.linear.gelu_linear import gelu_linear_backward, gelu_linear_forward
from minitrain.ops.linear.linear import linear_backward, linear_forward
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from tests.helpers.cuda import needs_compiler, shared_emulator

pytestmark = needs_compiler

PAIRS = {"linear": (linear_forward, linear_backward), "gelu_linear": (gelu_linear_forward, gelu_linear_backward)}
GAP = {
    "linear": {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 1e-5, "float16": 1e-5},
    "gelu_linear": {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 8e-3, "float16": 1e-3},
}
"""Largest difference from the reference, relative to the largest number. Both round the same operands, so only the
order of sums differs; but the reference knows no TF32, and an activation between two 16-bit numbers may be rounded
either way."""


@pytest.fixture(scope="module")
def device() -> Iterator[EmulatedDevice]:
    with emulated_device(emulator=shared_emulator()) as emulated:
        yield emulated


def close(found: object, expected: np.ndarray, gap: float) -> None:
    found = found.get().astype(np.float64)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=gap * max(1, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("name", PAIRS)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["float32", "tf32", "bfloat16", "float16"]),
    st.tuples(*[st.integers(1, 12)] * 4),
    st.booleans(),
)
def test_twins_equal_the_reference_in_every_precision(device, name, seed, precision, sizes, biased):
    """Outputs and gradients; gradients are fresh, skipped, written, or added to."""
    forward, backward = PAIRS[name]
    B, T, K, N = sizes
    rng = np.random.default_rng(seed)
    x, weight, dout = (rng.normal(size=shape).astype(np.float32) for shape in ((B, T, K), (N, K), (B, T, N)))
    bias = rng.normal(size=N).astype(np.float32) if biased else None
    kinds = [*rng.choice(["fresh", "skip", "write", "add"], 3)]
    cp = device.cupy
    with use_precision(precision):
        expected, cache = forward.reference(x, weight, bias)
        with record_launches():
            out, device_cache = forward(cp.asarray(x), cp.asarray(weight), None if bias is None else cp.asarray(bias))
    close(out, expected, GAP[name][precision])
    assert device_cache[0].dtype == cache[0].dtype
    gradients = backward.reference(dout, cache)
    olds = [None if g is None else rng.normal(size=g.shape).astype(np.float32) for g in gradients]
    targets = [
        None if kind == "fresh" else SKIP if kind == "skip" or g is None else Into(cp.asarray(old), kind == "add")
        for kind, g, old in zip(kinds, gradients, olds, strict=True)
    ]
    found = backward(cp.asarray(dout), device_cache, into=targets)
    for kind, target, g, old, got in zip(kinds, targets, gradients, olds, found, strict=True):
        if target is SKIP or g is None:
            assert got is None
        else:
            close(got, g + old if kind == "add" else g, GAP[name][precision])


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_operands_are_rounded_as_numpy_rounds_them(device, dtype, bits):
    """All 2**32 numbers in principle: ties, subnormal numbers, overflow."""
    x = np.array(bits, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = x.astype(dtype)
    found = rounded(to_device(x, "cuda"), np.dtype(dtype)).get()
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(np.isnan(found), ~numbers)
    np.testing.assert_array_equal(found[numbers].view(np.uint16), expected[numbers].view(np.uint16))


@given(st.integers(1, 700), st.integers(1, 70), st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_over_rows(device, rows, columns, add, seed):
    rng = np.random.default_rng(seed)
    x, old = rng.normal(size=(rows, columns)).astype(np.float32), rng.normal(size=columns).astype(np.float32)
    out = device.cupy.asarray(old)
    column_sums(device.cupy.asarray(x), slot(Into(out, add), (columns,), out))
    expected = x.astype(np.float64).sum(0) + (old if add else 0)
    np.testing.assert_allclose(out.get(), expected, rtol=1e-5, atol=1e-5 * np.sqrt(rows))


def test_a_long_sum_keeps_its_digits(device):
    """0.1 added 20,000 times in one running sum would be off by 1e-4 of it."""
    x = device.cupy.full((20_000, 3), np.float32(0.1), np.float32)
    out = device.cupy.empty(3, np.float32)
    column_sums(x, slot(Into(out), (3,), out))
    np.testing.assert_allclose(out.get(), np.float64(np.float32(0.1)) * 20_000, rtol=1e-6)


def test_what_a_linear_layer_launches(device):
    """One product forward; two and the sums of a bias backward; roundings only under 16 bits."""
    cp = device.cupy
    x, weight, bias = cp.ones((2, 8, 16), np.float32), cp.ones((24, 16), np.float32), cp.ones(24, np.float32)
    names = {}
    for precision in ("float32", "bfloat16"):
        with use_precision(precision), record_launches() as launches:
            out, cache = linear_forward(x, weight, bias)
            linear_backward(out, cache)
        names[precision] = [launch.name for launch in launches]
    assert names["float32"] == ["column_sums<float>", "add_partials"]
    rounding = "round_operand<__nv_bfloat16, 4>"  # x and the weight; then the gradient with its sums, and the weight
    assert names["bfloat16"] == [rounding, rounding, "column_sums<__nv_bfloat16>", "add_partials", rounding]

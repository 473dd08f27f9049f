"""Kernels and twins of 8-bit products on an emulated device: the bits of the readable code, and what is launched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.cuda.float8 import E4M3, float8_dtype, float8_scale, to_float8
from minitrain.backend.cuda.float8_gemm import Float8, float8_matmul
from minitrain.backend.cuda.launch import record_launches
from minitrain.backend.cuda.products.bindings import use_binding
from minitrain.backend.precision import use_precision
from minitrain.backend.targets import SKIP, Into
from minitrain.errors import DeviceError, ShapeError
from minitrain.ops.linear.float8_linear import float8_linear_backward, float8_linear_forward
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from minitrain.testing.cuda.fake.devices import Settings
from tests.helpers.cuda import needs_compiler, shared_emulator

pytestmark = needs_compiler
GAP = {None: 2e-6, "tanh": 2e-2, "exact": 2e-2}
"""Largest difference from the reference, of the largest number. Both round the same numbers to the same bits, so only
the order of sums differs; a GELU whose last digit differs may be rounded to the other side."""


@pytest.fixture(scope="module")
def device() -> Iterator[EmulatedDevice]:
    with emulated_device(emulator=shared_emulator()) as emulated:
        yield emulated


def close(found: Any, expected: Any, gap: float) -> None:
    found = found.get().astype(np.float64)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=gap * np.abs(expected).max(initial=1e-30))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, "tanh", "exact"]),
    st.tuples(st.integers(1, 70), st.sampled_from([16, 32, 48, 80]), st.sampled_from([16, 32, 48])),
    st.booleans(),
    st.sampled_from([1.0, 1e-6, 3e4]),
)
def test_twins_equal_the_reference(device, seed, gelu, sizes, biased, size):
    """Outputs and gradients; gradients are fresh, skipped, written, or added to."""
    R, K, N = sizes
    rng = np.random.default_rng(seed)
    x, weight, dout = (rng.normal(size=shape).astype(np.float32) for shape in ((R, K), (N, K), (R, N)))
    dout *= np.float32(size)
    bias = rng.normal(size=N).astype(np.float32) if biased else None
    cp = device.cupy
    with use_precision("float8"):
        expected, cache = float8_linear_forward.reference(x, weight, bias, gelu=gelu)
        out, on_device = float8_linear_forward(
            cp.asarray(x), cp.asarray(weight), None if bias is None else cp.asarray(bias), gelu=gelu
        )
    close(out, expected, GAP[gelu])
    assert [on_device.x_scale.get(), on_device.weight_scale.get()] == [cache.x_scale, cache.weight_scale]
    gradients = float8_linear_backward.reference(dout, cache)
    kinds = [*rng.choice(["fresh", "skip", "write", "add"], 3)]
    olds = [None if g is None else np.float32(size) * rng.normal(size=g.shape).astype(np.float32) for g in gradients]
    targets = [
        None if kind == "fresh" else SKIP if kind == "skip" or g is None else Into(cp.asarray(old), kind == "add")
        for kind, g, old in zip(kinds, gradients, olds, strict=True)
    ]
    found = float8_linear_backward(cp.asarray(dout), on_device, into=targets)
    for kind, target, g, old, got in zip(kinds, targets, gradients, olds, found, strict=True):
        if target is SKIP or g is None:
            assert got is None
        else:
            close(got, g + old if kind == "add" else g, max(GAP[gelu], 1e-5))


@pytest.mark.parametrize("gelu", [None, "tanh"])
def test_without_cublaslt_the_same_is_multiplied_by_cupy(device, gelu):
    rng = np.random.default_rng(0)
    x, weight, dout = (rng.normal(size=shape).astype(np.float32) for shape in ((20, 32), (16, 32), (20, 16)))
    cp, results = device.cupy, []
    for library in (None, "stand-in"):
        with use_precision("float8"):
            if library is None:
                with use_binding(None):
                    out, cache = float8_linear_forward(cp.asarray(x), cp.asarray(weight), gelu=gelu)
                    results.append([out, *float8_linear_backward(cp.asarray(dout), cache)[:2]])
            else:
                out, cache = float8_linear_forward(cp.asarray(x), cp.asarray(weight), gelu=gelu)
                results.append([out, *float8_linear_backward(cp.asarray(dout), cache)[:2]])
    for a, b in zip(*results, strict=True):
        close(a, b.get(), 2e-6)


def test_what_a_map_launches_and_that_nothing_waits(device):
    """Forward: two scales and two roundings. Backward: a scale, and each of three operands once."""
    cp = device.cupy
    x, weight, bias = cp.ones((20, 32), np.float32), cp.ones((16, 32), np.float32), cp.ones(16, np.float32)
    with use_precision("float8"), record_launches() as launches, device.counting() as counts:
        out, cache = float8_linear_forward(x, weight, bias)
        forward = [launch.name for launch in launches]
        float8_linear_backward(out, cache)
        backward = [launch.name for launch in launches][len(forward) :]
    scale = ["largest<Plain, float, 4>", "scale_of<E4M3>"]
    assert forward == [*scale, *scale, *["round_float8<E4M3, Plain, float, 4>"] * 2, "round_operand<__nv_bfloat16, 4>"]
    assert backward == [
        "column_sums<float>", "add_partials", "largest<Plain, float, 4>", "scale_of<E5M2>",
        "turn_float8<E5M2, Plain, float>", "turn_float8<E4M3, Plain, float>", "turn_float8<E4M3, Plain, float>",
    ]  # fmt: skip
    assert (counts.synchronisations, counts.to_host) == (0, 0), counts.where


def test_two_runs_have_the_same_bytes(device):
    cp = device.cupy
    rng = np.random.default_rng(0)
    x, weight = (
        cp.asarray(rng.normal(size=(300, 48)).astype(np.float32)),
        cp.asarray(rng.normal(size=(32, 48)).astype(np.float32)),
    )
    runs = []
    with use_precision("float8"):
        for _ in range(2):
            out, cache = float8_linear_forward(x, weight, gelu="tanh")
            runs.append([out, *float8_linear_backward(out, cache)[:2]])
    for a, b in zip(*runs, strict=True):
        assert a.get().tobytes() == b.get().tobytes()


def test_a_card_that_is_too_old_is_told_so(device, monkeypatch):
    monkeypatch.setattr(Settings, "capability", "86")
    x = device.cupy.ones((16, 16), np.float32)
    with (
        use_precision("float8"),
        pytest.raises(DeviceError, match=r"8\.9 or newer .* this card has 8\.6: use precision"),
    ):
        float8_linear_forward(x, x)


def operand_of(x: np.ndarray) -> Float8:
    scale = float8_scale(x, E4M3)
    codes = (to_float8(x, scale, E4M3) / scale).astype(float8_dtype(E4M3.name)).view(np.uint8)
    return Float8(codes, np.asarray(scale), E4M3)


def test_sizes_and_types_that_do_not_fit_are_named():
    a, b = operand_of(np.ones((4, 32), np.float32)), operand_of(np.ones((16, 32), np.float32))
    out = np.empty((4, 16), np.float32)
    np.testing.assert_array_equal(float8_matmul(a, b, out=out), 32)
    with pytest.raises(ShapeError, match=r"\(4, 32\) by \(16, 32\) to \(4, 17\) does not fit"):
        float8_matmul(a, b, out=np.empty((4, 17), np.float32))
    with pytest.raises(ShapeError, match="N = 4 and K = 32 must be multiples of 16; pad with zeros"):
        float8_matmul(b, a, out=np.empty((16, 4), np.float32))
    with pytest.raises(ShapeError, match=r"bias must be \(16,\) in bfloat16, got \(16,\) in float32"):
        float8_matmul(a, b, out=out, bias=np.ones(16, np.float32))

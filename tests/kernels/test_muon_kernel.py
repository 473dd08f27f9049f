"""The kernel of Muon's update: equal to its reference for matrices of all shapes, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import set_threads, use_kernels
from minitrain.kernels.cpu.common.gemm import available
from minitrain.kernels.cpu.rules import muon as kernels
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update

OPTIONS = {
    "lr": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "ns_steps": 5,
    "coefficients": COEFFICIENTS,
    "eps": 1e-7,
    "scale": 1.5,
    "weight_decay": 0.3,
    "grad_scale": 0.5,
}
sizes = st.integers(1, 20) | st.sampled_from([31, 48, 65, 130])


def arrays(rows, columns, seed=0):
    """Weights, gradients and momentum buffer; numbers that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((rows, columns)).astype(np.float32) for _ in range(3)]


def update(mode, given, dtype=np.float32, **options):
    """The three arrays after an update of copies."""
    copies = [array.astype(dtype) for array in given]
    with use_kernels(mode):
        muon_update(*copies, **{**OPTIONS, **options})
    return copies


@settings(max_examples=60)
@given(
    rows=sizes,
    columns=sizes,
    threads=st.integers(1, 3),
    ns_steps=st.integers(1, 5),
    nesterov=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_kernel_updates_as_the_reference_does(rows, columns, threads, ns_steps, nesterov, seed):
    given = arrays(rows, columns, seed)
    set_threads(threads)
    try:
        weight, grad, buffer = update("auto", given, ns_steps=ns_steps, nesterov=nesterov)
    finally:
        set_threads(None)
    exact, _, exact_buffer = update("reference", given, np.float64, ns_steps=ns_steps, nesterov=nesterov)
    # The quintic lifts what rounding leaves of a singular value of nothing: 3.4 times a step, 486 times in five.
    np.testing.assert_allclose(weight, exact, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(buffer, exact_buffer, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(grad, given[1])


@pytest.mark.skipif(not available, reason="no BLAS for the kernels")
def test_the_kernel_is_what_float32_matrices_get(monkeypatch):
    seen = []
    monkeypatch.setattr(kernels, "_step", lambda *given, run=kernels._step: (seen.append(given[0].size), run(*given)))
    update("auto", arrays(4, 6))
    update("auto", arrays(4, 6), np.float64)
    update("reference", arrays(4, 6))
    assert seen == [24]


def test_a_gradient_of_zeros_lets_the_weights_decay():
    weight, _, _ = arrays(4, 6)
    zeros = np.zeros_like(weight)
    updated, _, buffer = update("auto", [weight, zeros, zeros])
    np.testing.assert_allclose(updated, weight * (1 - 0.1 * 0.3), rtol=1e-6)
    assert not buffer.any()


@pytest.mark.parametrize(("shape", "blas"), [((0, 3), True), ((4, 6), False)], ids=["empty", "no BLAS"])
def test_what_the_kernel_declines_the_reference_takes(monkeypatch, shape, blas):
    monkeypatch.setattr(kernels, "available", blas)
    monkeypatch.setattr(kernels, "_direction", None)  # must not be called
    given = arrays(*shape)
    for kernel, reference in zip(update("auto", given), update("reference", given), strict=True):
        np.testing.assert_array_equal(kernel, reference)

"""Activations and norms where single precision ends: 1e4, -1e4, zeros of both signs, subnormal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.testing import strategies as mt
from minitrain.testing.cases import CASES, Call

C = 8
TINY = float(np.finfo(np.float32).smallest_subnormal)
ROWS = np.array(
    [
        [1e4] * C,
        [-1e4] * C,
        [1e4, -1e4] * (C // 2),
        [1e4, *[0.0] * (C - 1)],
        [0.0, -0.0] * (C // 2),
        [TINY] * C,
        [1e-40, -1e-40] * (C // 2),
        [1e4, TINY] * (C // 2),
    ],
    np.float32,
)


def calls(x: Any) -> dict[str, list[Call]]:
    """Every activation and every norm, called with the rows of x (N, C)."""
    weight, bias = np.linspace(-2, 2, C, dtype=np.float32), np.linspace(1, -1, C, dtype=np.float32)
    forms = [{"approximate": "tanh"}, {"approximate": "none"}]
    modest = np.linspace(-3, 3, x.size, dtype=np.float32).reshape(x.shape)
    simple = ("relu", "silu", "tanh", "sigmoid", "softplus", "softmax", "l2_normalize")
    return {name: [Call((x,), {})] for name in simple} | {
        "gelu": [Call((x,), form) for form in forms],
        "geglu": [Call((x, modest), form) for form in forms] + [Call((modest, x), form) for form in forms],
        "swiglu": [Call((x, modest), {}), Call((modest, x), {})],
        "layer_norm": [Call((x, weight, bias), {})],
        "residual_layer_norm": [Call((x, x, weight, bias), {})],
        "rms_norm": [Call((x, weight), {})],
        "residual_rms_norm": [Call((x, x, weight), {})],
        "group_norm": [Call((x, weight, bias), {"groups": groups}) for groups in (1, 2)],
    }


def test_no_activation_or_norm_is_left_out():
    assert calls(ROWS).keys() == {name for name, case in CASES.items() if case.family in ("activations", "norms")}


def results(name: str, call: Call) -> list[Any]:
    """Outputs, and gradients for a cotangent of ordinary size."""
    pair = CASES[name].pair
    result = pair.forward(*call.inputs, **call.options)
    outputs = CASES[name].outputs(result)
    dout = np.linspace(-2, 1, outputs[0].size).reshape(outputs[0].shape).astype(outputs[0].dtype)
    gradients = pair.backward(*(dout for _ in outputs), result[-1])
    return [*outputs, *(gradients if isinstance(gradients, tuple) else (gradients,))]


@pytest.mark.parametrize("mode", ["reference", "auto"])
@pytest.mark.parametrize("name", calls(ROWS))
@settings(max_examples=20)
@given(drawn=st.integers(1, 4).flatmap(lambda n: mt.arrays((n, C), np.float32, values="extreme")))
def test_extreme_values_give_what_double_precision_gives(name, mode, drawn):
    """All is finite, and right to single precision on the scale of its row; a warning would be an error."""
    for call in calls(np.concatenate([ROWS, drawn]))[name]:
        with use_kernels("reference"):
            exact = results(name, call.astype(np.float64))
        with use_kernels(mode):
            single = results(name, call)
        for i, (actual, expected) in enumerate(zip(single, exact, strict=True)):
            assert actual.dtype == np.float32
            assert np.isfinite(actual).all(), i
            gap, scale = abs(actual - expected), abs(expected).max(axis=-1, keepdims=True)
            assert (gap <= 1e-5 * scale + 1e-6).all(), (
                f"array {i}: off by {gap.max():.2e} on a scale of {scale.max():.2e}"
            )


@pytest.mark.parametrize(
    ("name", "out", "slope"),
    [
        ("relu", [0, 0, 1e4], [0, 0, 1]),
        ("silu", [0, 0, 1e4], [0, 0.5, 1]),
        ("tanh", [-1, 0, 1], [0, 1, 0]),
        ("sigmoid", [0, 0.5, 1], [0, 0.25, 0]),
        ("softplus", [0, np.log(2), 1e4], [0, 0.5, 1]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_far_from_zero_are_their_limits(name, out, slope, dtype):
    pair, x = CASES[name].pair, np.array([-1e4, 0, 1e4], dtype)
    actual, cache = pair.forward(x)
    np.testing.assert_allclose(actual, out, rtol=1e-6)
    np.testing.assert_allclose(pair.backward(np.ones_like(x), cache), slope, rtol=1e-6)

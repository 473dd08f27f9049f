"""The check of 16-bit gradients finds mistakes that only 16-bit code makes, and passes what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minitrain.backend.precision import is_half, operand, operand_like
from minitrain.nn import MultiHeadAttention
from minitrain.ops import attention_backward, attention_forward, linear_backward, linear_forward
from minitrain.testing import GradientCheckError, GradientMismatch, check_half_gradients


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


LINEAR = (normal(6, 7, 8), normal(5, 8, seed=1), normal(5, seed=2))
HEADS = tuple(normal(2, 7, 2, 4, seed=seed) for seed in range(3))
Change = Callable[[np.ndarray, Any], np.ndarray]


def only_in_half(backward: Callable[..., Any], which: int, change: Change) -> Callable[..., Any]:
    """``backward`` with one gradient changed, but right in float32 and float64."""

    def wrong(dout: np.ndarray, cache: Any) -> Any:
        gradients = list(backward(dout, cache))
        if is_half(cache[0]):
            gradients[which] = change(gradients[which], cache).astype(np.float32)
        return tuple(gradients)

    return wrong


def first_element(g: np.ndarray, cache: Any) -> np.ndarray:
    g = g.copy()
    g.flat[0] += 0.5 * np.abs(g).max()
    return g


LINEAR_MISTAKES: dict[str, tuple[int, Change]] = {
    "a sign": (1, lambda g, cache: -g),
    "nothing": (0, lambda g, cache: 0 * g),
    "2 % too long": (0, lambda g, cache: 1.02 * g),
    "1 % too short": (1, lambda g, cache: 0.99 * g),
    "one row left out": (1, lambda g, cache: g - np.outer(np.ones(5), cache.x[0, 0].astype(np.float32))),
    "one element": (0, first_element),
    "rounded down to 5 digits": (0, lambda g, cache: np.round(g, 0)),
    "not a number": (0, lambda g, cache: g * np.where(np.arange(g.size).reshape(g.shape) == 3, np.nan, 1)),
}


@pytest.mark.parametrize("name", LINEAR_MISTAKES)
def test_mistakes_of_a_linear_map_are_found(name):
    which, change = LINEAR_MISTAKES[name]
    with pytest.raises(GradientMismatch) as caught:
        check_half_gradients((linear_forward, only_in_half(linear_backward, which, change)), *LINEAR)
    assert [mismatch.name for mismatch in caught.value.mismatches] == [f"the gradient of {('x', 'weight')[which]}"]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("factor", [1.03, -1.0, 0.5])
def test_mistakes_of_attention_are_found(which, factor):
    backward = only_in_half(attention_backward, which, lambda g, cache: factor * g)
    with pytest.raises(GradientMismatch, match=f"the gradient of {'qkv'[which]}"):
        check_half_gradients((attention_forward, backward), *HEADS, causal=True)


def test_a_missing_term_of_attention_is_found():
    """The softmax Jacobian without its second term: right in float64 only."""

    def backward(dout: np.ndarray, cache: Any) -> Any:
        broken = cache._replace(out=np.zeros_like(cache.out)) if is_half(cache.q) else cache
        return attention_backward.reference(dout, broken)  # type: ignore[attr-defined]

    with pytest.raises(GradientMismatch, match="the gradient of q"):
        check_half_gradients((attention_forward, backward), *HEADS)


def test_a_wrong_output_is_found():
    def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Any:
        out, cache = linear_forward(x, weight, bias)
        return (out + bias if is_half(cache.x) else out), cache

    with pytest.raises(GradientMismatch, match="the output"):
        check_half_gradients((forward, linear_backward), *LINEAR)


def test_coarser_rounding_than_promised_is_found():
    """Operands of 5 significant bits in place of 8."""

    def backward(dout: np.ndarray, cache: Any) -> Any:
        if is_half(cache.x):
            mantissa, exponent = np.frexp(dout)
            dout = np.ldexp(np.round(mantissa * 32) / 32, exponent).astype(np.float32)
        return linear_backward(dout, cache)

    with pytest.raises(GradientMismatch, match="times what rounding explains"):
        check_half_gradients((linear_forward, backward), *LINEAR)


def test_a_gradient_that_is_wrong_everywhere_is_left_to_finite_differences():
    with pytest.raises(GradientMismatch, match="the gradient of 3 of 3 arguments is wrong"):
        check_half_gradients(
            (linear_forward, lambda dout, cache: tuple(2 * g for g in linear_backward(dout, cache))), *LINEAR
        )


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_layer_passes_and_reports_every_parameter(name):
    layer = MultiHeadAttention(8, 2, np.random.default_rng(0), causal=True)
    report = check_half_gradients(layer, normal(2, 5, 8), precision=name)
    paths = {path for path, _ in layer.named_parameters()}
    assert {result.name for result in report.results} == {
        "the output", "the gradient of x", *(f"the gradient of {path}" for path in paths)
    }  # fmt: skip
    largest = {"bfloat16": 2e-2, "float16": 2e-3}[name]
    assert all(0 < result.error < largest for result in report.results if not result.name.endswith("bias"))
    assert len(str(report).splitlines()) == len(report.results)


def test_a_users_own_operation_can_be_checked():
    """It rounds by the public functions, and random rounding reaches it through them."""

    def forward(x: np.ndarray) -> Any:
        kept = operand(x)
        return kept.astype(x.dtype) ** 2, kept

    def backward(dout: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return 2 * kept.astype(dout.dtype) * operand_like(dout, kept).astype(dout.dtype)

    check_half_gradients((forward, backward), normal(40))


def test_other_precisions_have_another_check():
    with pytest.raises(GradientCheckError, match="use check_gradients"):
        check_half_gradients((linear_forward, linear_backward), *LINEAR, precision="float64")

"""What the report of a wrong gradient says that the mistake looks like: mistakes that users make in layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend.targets import deliver
from minitrain.nn import Module, Parameter
from minitrain.testing import GradientCheckError, GradientMismatch, check_gradients

B, T, C = 2, 5, 4
rng = np.random.default_rng(3)
X, SQUARE = rng.standard_normal((B, T, C)), rng.standard_normal((C, C))


def hint(pair: Any, *inputs: Any) -> str:
    with pytest.raises(GradientMismatch) as caught:
        check_gradients(pair, *inputs)
    return caught.value.worst.hint


def norm(x):
    """Layer norm without weights; the cache is (out, rstd)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 0.1)
    return centred * rstd, (centred * rstd, rstd)


def relu(x):
    return np.maximum(x, 0), x


def shift(x):
    """Each position sees the one before."""
    return np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1), None


def right_shift_backward(dout, cache):
    return np.concatenate([dout[:, 1:], np.zeros_like(dout[:, :1])], axis=1)


def test_a_norm_without_its_last_term():
    def backward(dout, cache):
        _, rstd = cache
        return rstd * (dout - dout.mean(axis=-1, keepdims=True))

    said = hint((norm, backward), X)
    assert said.startswith(
        "a missing term, or a wrong one: the output times a factor that is the same all along axis 2"
    )


def test_a_norm_whose_mean_divides_by_one_less():
    def backward(dout, cache):
        out, rstd = cache
        inner = (dout * out).sum(axis=-1, keepdims=True) / (C - 1)
        return rstd * (dout - dout.mean(axis=-1, keepdims=True) - out * inner)

    assert "or a wrong one: the output times" in hint((norm, backward), X)


def test_a_mask_that_is_missing():
    said = hint((relu, lambda dout, cache: dout), X)
    assert said == f"{int((X < 0).sum())} elements should be zero, all others are right: a missing mask"


def test_a_mask_the_wrong_way_round():
    assert "a mask the wrong way round" in hint((relu, lambda dout, cache: dout * (cache < 0)), X)


@pytest.mark.parametrize("by", [1, 2, -1])
def test_a_shift(by):
    assert check_gradients((shift, right_shift_backward), X).worst < 1e-9

    def backward(dout, cache):
        moved = np.roll(right_shift_backward(dout, cache), by, axis=1)
        (moved[:, :by] if by > 0 else moved[:, by:])[...] = 0
        return moved

    assert hint((shift, backward), X) == f"the right numbers, shifted by {by} along axis 1"


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_with_the_wrong_transpose_of_a_square_weight(transposed):
    def forward(x, weight):
        return x @ (weight.T if transposed else weight), (x, weight)

    def backward(dout, cache):
        x, weight = cache
        dweight = np.einsum("btc,btd->dc" if transposed else "btc,btd->cd", x, dout)
        return dout @ (weight.T if transposed else weight), dweight

    said = hint((forward, backward), X, SQUARE)
    right = "the transpose of the input weight" if transposed else "the input weight and not its transpose"
    assert said == f"a transposition: it was multiplied by {right}"


def test_a_singular_weight_is_no_obstacle():
    pair = (lambda x, weight: (x @ weight, weight), lambda dout, cache: (dout @ cache, np.zeros_like(cache)))
    with pytest.raises(GradientMismatch, match="2 of 2 arguments"):
        check_gradients(pair, X, np.zeros((C, C)) + np.eye(C)[0])


def test_a_term_too_many():
    said = hint((lambda x: (x + np.sin(x), x), lambda dout, x: 2 * dout + dout * np.cos(x)), X)
    assert said == "a term too many: minus the gradient of the output, it is right"


class Scale(Module):
    """Times a weight for each channel, which its backward forgets."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.weight = Parameter(rng.standard_normal(shape))

    def forward(self, x):
        return x * self.weight.data, x

    def backward(self, dout, cache):
        deliver((dout * cache).sum(axis=(0, 1)), self.weight.into())
        return dout


@pytest.mark.parametrize("rows", [B, 300])  # a small array is looked at whole, a large one in samples
def test_a_forgotten_parameter_that_is_broadcast(rows):
    x = rng.standard_normal((rows, T, C))
    assert hint(Scale((C,)), x) == "a factor is missing: times the parameter weight, element by element, it is right"


def test_a_forward_without_a_cache_and_a_list_are_told():
    with pytest.raises(GradientCheckError, match=r"the forward returns a ndarray: let it return \(out, cache\)"):
        check_gradients((lambda x: x * x, lambda dout, cache: dout), X)
    with pytest.raises(GradientCheckError, match=r"x is a list of numbers: pass an array, np.array\(x\)"):
        check_gradients((relu, lambda dout, cache: dout), [1.0, 2.0])

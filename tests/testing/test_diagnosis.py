"""What the report of a wrong gradient says that the mistake looks like: mistakes that users make in layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend.targets import deliver
from minitrain.nn import Module, Parameter
from minitrain.nn.core.parameter import into
from minitrain.testing import GradientCheckError, GradientMismatch, check_gradients, check_module

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


def weighted_norm(x, weight):
    out, (xhat, rstd) = norm(x)
    return out * weight, (xhat, rstd, weight)


def norm_dx(g, xhat, rstd):
    return rstd * (g - g.mean(axis=-1, keepdims=True) - xhat * (g * xhat).mean(axis=-1, keepdims=True))


def over_rows(x):
    return x.reshape(-1, x.shape[-1]).sum(axis=0)


NEW = ("multiply the gradient of the output by", "is it used twice?")


def inputs_of(seed):
    rng = np.random.default_rng(seed)
    width = int(rng.integers(3, 7))
    weight = rng.uniform(0.3, 2, width) * rng.choice([-1, 1], width)
    return rng.standard_normal((*rng.integers(2, 5, 2), width)), weight, rng.standard_normal((width, width))


@pytest.mark.parametrize("seed", range(8))
def test_a_norm_whose_gradient_forgets_the_weight(seed):
    x, weight, _ = inputs_of(seed)
    pair = weighted_norm, lambda dout, cache: (norm_dx(dout, *cache[:2]), over_rows(dout * cache[0]))
    assert hint(pair, x, weight).startswith("a factor is missing: multiply the gradient of the output by the input wei")


@pytest.mark.parametrize("seed", range(8))
def test_a_share_of_a_second_use_that_was_overwritten(seed):
    x, weight, matrix = inputs_of(seed)

    def scaled_and_squashed(x, weight):
        return x * weight + np.tanh(x), x

    pair = scaled_and_squashed, lambda dout, x: (dout * (1 - np.tanh(x) ** 2), over_rows(dout * x))
    assert "times the input weight, it is right (is it used twice?" in hint(pair, x, weight)

    def two_products(x, first, second):
        return x @ first + x @ second, (x, first)

    def backward(dout, cache):
        x, first = cache
        dmatrix = np.einsum("bti,bto->io", x, dout)
        return dout @ first.T, dmatrix, dmatrix

    said = hint((two_products, backward), x, matrix, matrix[::-1].copy())
    assert "the transpose of the input second, it is right (is it used twice?" in said


@pytest.mark.parametrize("seed", range(8))
def test_other_mistakes_get_no_hint_about_weights_or_second_uses(seed):
    x, weight, matrix = inputs_of(seed)

    def after(dout, cache):
        xhat, rstd, weight = cache
        return norm_dx(dout, xhat, rstd) * weight, over_rows(dout * xhat)

    def without_rstd(dout, cache):
        xhat, _, weight = cache
        return norm_dx(dout * weight, xhat, 1.0), over_rows(dout * xhat)

    def product(x, matrix):
        return np.tanh(x) @ matrix, (x, matrix)

    def without_slope(dout, cache):
        x, matrix = cache
        return dout @ matrix.T, np.einsum("bti,bto->io", np.tanh(x), dout)

    said = [
        hint((weighted_norm, after), x, weight),
        hint((weighted_norm, without_rstd), x, weight),
        hint((lambda x: (np.tanh(x), x), lambda dout, x: dout * (1 - np.tanh(x))), x),
        hint((product, without_slope), x, matrix),
    ]
    assert not any(words in one for one in said for words in NEW)


class TwoWrong(Module):
    """Scales and shifts; the gradients of both parameters are wrong, by different factors."""

    def __init__(self):
        self.scale, self.shift = Parameter(np.array([2.0, 3.0, 4.0, 5.0])), Parameter(np.ones(4))

    def forward(self, x):
        return x * self.scale.data + self.shift.data, x

    def backward(self, dout, cache):
        deliver(3 * over_rows(dout * cache), into(self.scale))
        deliver(5 * over_rows(dout), into(self.shift))
        return dout * self.scale.data


def test_explaining_one_parameter_leaves_the_gradient_of_the_next():
    with pytest.raises(GradientMismatch) as caught:
        check_module(TwoWrong(), X)
    assert ["3 times" in one.hint or "5 times" in one.hint for one in caught.value.mismatches] == [True, True]

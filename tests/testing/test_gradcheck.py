"""The gradient checker: it must accept what is right, reject planted bugs, and say what they look like."""

from __future__ import annotations

import doctest
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minitrain.testing
import minitrain.testing.gradients
from minitrain.nn import Embedding, LayerNorm, Linear, Module, Parameter
from minitrain.nn.core.parameter import into
from minitrain.ops import attention_backward, attention_forward, dropout_backward, dropout_forward, registry
from minitrain.ops.contract.op import deliver
from minitrain.ops.linear.linear import linear_backward, linear_forward
from minitrain.random import Key
from minitrain.testing import (
    LAYOUTS,
    CheckSettings,
    GradientCheckError,
    GradientMismatch,
    check_gradients,
    check_module,
    with_layout,
)
from minitrain.testing import strategies as mt

B, T, C, N = 2, 3, 4, 5
rng = np.random.default_rng(20)
X, Y = rng.standard_normal((B, T, C)), rng.standard_normal((B, T, C))
WEIGHT, BIAS = rng.standard_normal((N, C)), rng.standard_normal(N)
SQUARE = rng.standard_normal((C, C))


def rejected(pair: Any, *inputs: Any, **options: Any) -> GradientMismatch:
    with pytest.raises(GradientMismatch) as caught:
        check_gradients(pair, *inputs, **options)
    assert caught.value.mismatches
    return caught.value


# Plain functions, right ones first.


def square(x):
    return x * x, x


def square_backward(dout, cache):
    return 2 * cache * dout


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dout, cache):
    return cache * (dout - (dout * cache).sum(axis=-1, keepdims=True))


def affine(x, weight, bias):
    return x @ weight.T + bias, (x, weight)


def affine_backward(dout, cache):
    x, weight = cache
    rows = dout.reshape(-1, dout.shape[-1])
    return dout @ weight, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)


def tanh_residual(x):
    return x + np.tanh(x), x


def tanh_residual_backward(dout, cache):
    return dout + dout * (1 - np.tanh(cache) ** 2)


def sum_and_product(x, y):
    return x + y, x * y, (x, y)


def sum_and_product_backward(dsum, dproduct, cache):
    x, y = cache
    return dsum + dproduct * y, dsum + dproduct * x


@pytest.mark.parametrize(
    ("pair", "inputs"),
    [
        ((square, square_backward), (X,)),
        ((softmax, softmax_backward), (X,)),
        ((affine, affine_backward), (X, WEIGHT, BIAS)),
        ((tanh_residual, tanh_residual_backward), (X,)),
        ((sum_and_product, sum_and_product_backward), (X, Y)),
    ],
    ids=["square", "softmax", "affine", "residual", "two outputs"],
)
def test_right_gradients_pass(pair, inputs):
    report = check_gradients(pair, *inputs)
    assert len(report.arguments) == len(inputs)
    assert report.worst < 1e-9
    for argument, x in zip(report.arguments, inputs, strict=True):
        assert argument.shape == x.shape
        assert argument.name in str(report)


def test_accepts_float32_inputs_and_leaves_them_alone():
    x = X.astype(np.float32)
    before = x.tobytes()
    assert check_gradients((square, square_backward), x).worst < 1e-9
    assert x.tobytes() == before


@given(st.data())
def test_inputs_in_any_layout(data):
    shape = data.draw(mt.shapes(min_dims=1, max_dims=3))
    x = data.draw(mt.arrays(shape, layout=mt.layouts()))
    assert check_gradients((softmax, softmax_backward), x).worst < 1e-6


def test_none_and_integers_have_no_gradient():
    def take(table, ids, scale=None):
        return table[ids], (table.shape, ids)

    def take_backward(dout, cache):
        shape, ids = cache
        dtable = np.zeros(shape)
        np.add.at(dtable, ids, dout)
        return dtable, None, None

    ids = np.array([0, 2, 2, 1])
    report = check_gradients((take, take_backward), WEIGHT, ids, None)
    assert [argument.name for argument in report.arguments] == ["table"]
    assert check_gradients((take, take_backward), WEIGHT, ids).worst < 1e-9  # a default that was not given


def test_the_same_seed_gives_the_same_report():
    first, again, other = (
        check_gradients((softmax, softmax_backward), X, settings=CheckSettings(seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_does_not_touch_numpys_global_generator():
    np.random.seed(3)  # noqa: NPY002  # the global state is what is tested
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    check_gradients((square, square_backward), X)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


@pytest.mark.parametrize("module", [minitrain.testing, minitrain.testing.gradients], ids=lambda m: m.__name__)
def test_the_examples_in_the_documentation_run(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


def test_the_checker_needs_no_hypothesis():
    code = "import sys, minitrain.testing; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Planted bugs.


def test_rejects_a_slightly_wrong_factor():
    error = rejected((square, lambda dout, cache: 2.001 * cache * dout), X)
    assert error.worst.name == "x"
    assert error.worst.error == pytest.approx(0.0005, rel=0.01)
    assert error.worst.analytic == pytest.approx(error.worst.numeric * 1.0005)
    assert "1.0005 times" in error.worst.hint
    assert "constant factor" in str(error)


def test_rejects_a_slightly_wrong_factor_in_a_large_array():
    x = np.random.default_rng(0).standard_normal((70, 90))
    error = rejected((square, lambda dout, cache: 2.001 * cache * dout), x)
    assert "1.0005 times" in error.worst.hint


def test_rejects_a_sign():
    error = rejected((square, lambda dout, cache: -2 * cache * dout), X)
    assert "wrong sign" in error.worst.hint


def test_rejects_a_softmax_backward_without_its_leading_factor():
    error = rejected((softmax, lambda dout, cache: dout - (dout * cache).sum(axis=-1, keepdims=True)), X)
    assert "factor is missing" in error.worst.hint
    assert "the output" in error.worst.hint


def test_rejects_a_softmax_backward_without_its_sum():
    """An all-ones cotangent would make the right gradient zero everywhere, and a difference of sums hides much."""
    error = rejected((softmax, lambda dout, cache: cache * dout), X)
    assert "missing term" in error.worst.hint


def test_rejects_swapped_key_and_value_gradients():
    def backward(dout, cache):
        dq, dk, dv, dbias = attention_backward(dout, cache)
        return dq, dv, dk, dbias

    q, k, v = (rng.standard_normal((2, 3, 2, 4)) for _ in range(3))
    error = rejected((attention_forward, backward), q, k, v)
    assert [mismatch.name for mismatch in error.mismatches] == ["k", "v"]
    assert "gradient of v: the two are swapped" in error.mismatches[0].hint
    assert "gradient of k: the two are swapped" in error.mismatches[1].hint
    assert [report.name for report in error.passed] == ["q"]


def test_rejects_a_dropped_residual():
    error = rejected((tanh_residual, lambda dout, cache: dout * (1 - np.tanh(cache) ** 2)), X)
    assert "missing term" in error.worst.hint
    assert "the gradient of the output" in error.worst.hint


def test_rejects_a_transposed_weight_gradient():
    def backward(dout, cache):
        dx, dweight, dbias = affine_backward(dout, cache)
        return dx, dweight.T, dbias

    error = rejected((affine, backward), X, SQUARE, BIAS[:C])
    assert [mismatch.name for mismatch in error.mismatches] == ["weight"]
    assert "transpose" in error.worst.hint
    error = rejected((affine, backward), X, WEIGHT, BIAS)
    assert "has shape (4, 5), but weight has shape (5, 4)" in str(error)
    assert "transposed" in error.worst.hint
    assert error.worst.index is None


def test_rejects_a_forgotten_transposition_of_heads():
    def split(x):  # (B, T, C) -> (B, heads, T, C / heads)
        return x.reshape(B, T, 2, C // 2).transpose(0, 2, 1, 3), None

    def right(dout, cache):
        return dout.transpose(0, 2, 1, 3).reshape(B, T, C)

    assert check_gradients((split, right), X).worst < 1e-9
    error = rejected((split, lambda dout, cache: dout.reshape(B, T, C)), X)
    assert "right numbers in the wrong places" in error.worst.hint


def test_rejects_a_bias_gradient_summed_over_a_wrong_axis():
    def backward(dout, cache):
        dx, dweight, _ = affine_backward(dout, cache)
        return dx, dweight, dout.sum(axis=(0, 2))

    error = rejected((affine, backward), X, WEIGHT, BIAS)
    assert [mismatch.name for mismatch in error.mismatches] == ["bias"]
    assert "summed over the wrong axes" in error.worst.hint
    # Where T equals N the shapes agree, and the numbers tell.
    x = rng.standard_normal((B, N, C))
    assert [mismatch.name for mismatch in rejected((affine, backward), x, WEIGHT, BIAS).mismatches] == ["bias"]


def test_rejects_a_bias_gradient_that_is_not_summed():
    def backward(dout, cache):
        dx, dweight, _ = affine_backward(dout, cache)
        return dx, dweight, dout

    assert "not summed" in rejected((affine, backward), X, WEIGHT, BIAS).worst.hint


def test_rejects_one_wrong_element_and_names_it():
    def backward(dout, cache):
        dx = square_backward(dout, cache)
        dx[1, 2, 3] *= 1.01
        return dx

    error = rejected((square, backward), X)
    assert error.worst.index == (1, 2, 3)
    assert "[1, 2, 3]" in str(error)
    assert "1 of 24 elements are wrong" in str(error)
    assert "axis 0, only 1 of 2" in error.worst.hint


def test_finds_one_wrong_element_of_a_large_array():
    def backward(dout, cache):
        dx = square_backward(dout, cache)
        dx[61, 37] += 1
        return dx

    x = np.random.default_rng(0).standard_normal((80, 90))
    error = rejected((square, backward), x)
    assert error.worst.index == (61, 37)
    assert "of 101 elements tried are wrong" in str(error)


def test_rejects_rows_that_were_overwritten_instead_of_added():
    def take(table, ids):
        return table[ids], (table.shape, ids)

    def backward(dout, cache):
        shape, ids = cache
        dtable = np.zeros(shape)
        dtable[ids] += dout  # a repeated id counts once
        return dtable, None

    error = rejected((take, backward), WEIGHT, np.array([0, 2, 2, 1]))
    assert "axis 0, only 2 of 5" in error.worst.hint
    assert "missing term" in error.worst.hint


def test_rejects_a_missing_gradient():
    error = rejected((affine, lambda dout, cache: (*affine_backward(dout, cache)[:2], None)), X, WEIGHT, BIAS)
    assert "returns None for bias" in str(error)
    assert "missing" in error.worst.hint
    assert error.worst.error == float("inf")
    settings = CheckSettings(no_gradient=["bias"])
    pair = (affine, lambda dout, cache: (*affine_backward(dout, cache)[:2], None))
    assert check_gradients(pair, X, WEIGHT, BIAS, settings=settings).worst < 1e-9


def test_rejects_a_zero_gradient():
    error = rejected((square, lambda dout, cache: 0 * dout), X)
    assert "zero everywhere: a missing term" in error.worst.hint


def test_rejects_a_gradient_that_should_be_zero():
    error = rejected((lambda x: (0 * x, None), lambda dout, cache: dout), X)
    assert "should be zero" in error.worst.hint


def test_rejects_a_gradient_for_an_integer_argument():
    pair = (lambda x, ids: (x[ids], ids), lambda dout, cache: (dout, dout))
    assert "returns a gradient for ids" in str(rejected(pair, X[0], np.arange(3)))


def test_rejects_a_gradient_in_single_precision():
    error = rejected((square, lambda dout, cache: square_backward(dout, cache).astype(np.float32)), X)
    assert "is float32, but x is float64" in str(error)


def test_rejects_nan():
    error = rejected((square, lambda dout, cache: np.nan * dout), X)
    assert "not finite" in error.worst.hint


def test_rejects_a_mean_that_was_left_out():
    def centre(x):
        return x - x.mean(axis=-1, keepdims=True), None

    assert check_gradients((centre, lambda dout, cache: centre(dout)[0]), X).worst < 1e-9
    error = rejected((centre, lambda dout, cache: dout), X)
    assert "missing term, the same all along axis 2" in error.worst.hint


def test_rejects_a_swap_of_two_outputs():
    def backward(dsum, dproduct, cache):
        return sum_and_product_backward(dproduct, dsum, cache)

    assert len(rejected((sum_and_product, backward), X, Y).mismatches) == 2


def test_all_bad_arguments_are_named():
    error = rejected((affine, lambda dout, cache: tuple(3 * g for g in affine_backward(dout, cache))), X, WEIGHT, BIAS)
    assert [mismatch.name for mismatch in error.mismatches] == ["x", "weight", "bias"]
    assert "3 of 3 arguments" in str(error)
    assert str(error).count("3 times what it should be") == 3


@given(st.floats(1e-4, 0.5), st.booleans(), mt.shapes(1, 3), mt.seeds())
def test_any_relative_error_above_the_tolerance_is_seen(error, up, shape, seed):
    factor = 1 + error if up else 1 - error
    x = np.random.default_rng(seed).standard_normal(shape)
    rejected((square, lambda dout, cache: factor * square_backward(dout, cache)), x)


# What cannot be checked.


def test_a_random_forward_is_refused():
    noise = np.random.default_rng(0)
    with pytest.raises(GradientCheckError, match="another result when called again"):
        check_gradients((lambda x: (x * noise.random(), None), lambda dout, cache: dout), X)


def test_a_forward_that_writes_to_its_input_is_refused():
    def double_in_place(x):
        x *= 2
        return x, None

    with pytest.raises(GradientCheckError, match="write to its inputs"):
        check_gradients((double_in_place, lambda dout, cache: 2 * dout), X)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((lambda x: (np.log(x * 0), None), lambda dout, cache: dout), "NaN or infinity"),
        ((lambda x: (x.astype(np.float32), None), lambda dout, cache: dout), "float32 for float64"),
        ((lambda x: (x > 0, None), lambda dout, cache: dout), "no floating-point output"),
        ((square, lambda dout, cache: (dout, dout)), "returns 2 gradients for 1 inputs"),
        ("softmax", "not a str"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_what_cannot_be_checked_is_refused(pair, message):
    with pytest.raises(GradientCheckError, match=message):
        check_gradients(pair, X)


# Operations and layers.


def test_takes_an_operation_with_its_options():
    q, k = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 6, 2, 5))
    key = Key.from_seed(3).fold("attention")
    report = check_gradients(registry()["attention"], q, k, k.copy(), causal=True, dropout=0.3, key=key)
    assert [argument.name for argument in report.arguments] == ["q", "k", "v"]
    pair = (dropout_forward, dropout_backward)
    assert check_gradients(pair, X, p=0.5, key=key).worst < 1e-9
    wrong_key = (dropout_forward, lambda dout, cache: dropout_backward(dout, cache._replace(key=key.fold(1))))
    rejected(wrong_key, X, p=0.5, key=key)


class TiedModel(Module):
    """Embedding and output layer share a table."""

    def __init__(self, forget: str = "") -> None:
        generator = np.random.default_rng(5)
        self.embedding = Embedding(7, C, generator, std=1.0)
        self.norm = LayerNorm(C)
        self.forget = forget

    def forward(self, tokens):
        x, embedding = self.embedding.forward(tokens)
        x, norm = self.norm.forward(np.tanh(x))
        logits, head = linear_forward(x, self.embedding.weight.data)
        return logits, (embedding, norm, head)

    def backward(self, dout, cache):
        embedding, norm, head = cache
        target = None if self.forget == "head" else into(self.embedding.weight)
        dx = linear_backward(dout, head, into=(None, target, None))[0]
        dx = self.norm.backward(dx, norm) * (1 - np.tanh(self.embedding.weight.data[embedding.tokens]) ** 2)
        if self.forget != "embedding":
            self.embedding.backward(dx, embedding)


TOKENS = np.array([[1, 3, 3], [6, 1, 0]])


def test_tied_weights_pass():
    report = check_module(TiedModel(), TOKENS)
    assert [argument.name for argument in report.arguments] == ["embedding.weight", "norm.weight", "norm.bias"]


@pytest.mark.parametrize("forget", ["head", "embedding"])
def test_rejects_a_missing_contribution_to_tied_weights(forget):
    with pytest.raises(GradientMismatch) as caught:
        check_module(TiedModel(forget), TOKENS)
    assert [mismatch.name for mismatch in caught.value.mismatches] == ["embedding.weight"]
    assert "missing term" in caught.value.worst.hint
    if forget == "embedding":  # the head's share reaches every row, the embedding's only those of the tokens
        assert "axis 0, only 0, 1, 3, 6 of 7" in caught.value.worst.hint


class Scaled(Module):
    """A linear layer and a residual connection, with bugs to order."""

    def __init__(self, bug: str = "") -> None:
        self.linear = Linear(C, C, np.random.default_rng(6), std=1.0)
        self.gain = Parameter(np.full(C, 0.5, np.float32))
        self.bug = bug

    def forward(self, x, *, power=1):
        out, cache = self.linear.forward(x)
        return x + self.gain.data**power * out, (cache, out, power)

    def backward(self, dout, cache):
        linear, out, power = cache
        dgain = (dout * out * power * self.gain.data ** (power - 1)).sum(axis=tuple(range(dout.ndim - 1)))
        deliver(dgain, into(self.gain))
        dx = self.linear.backward(dout * self.gain.data**power, linear)
        return dx if self.bug == "residual" else dx + dout


def test_check_module_covers_inputs_parameters_and_options():
    module = Scaled()
    before = {path: (p.data.tobytes(), p.data.dtype) for path, p in module.named_parameters()}
    report = check_module(module, X, power=2)
    assert {argument.name for argument in report.arguments} == {"x", "linear.weight", "linear.bias", "gain"}
    assert report == check_gradients(module, X, power=2)  # a layer with parameters is checked whole
    assert before == {path: (p.data.tobytes(), p.data.dtype) for path, p in module.named_parameters()}
    assert not module.gain.grad.any()


def test_check_module_names_the_input_of_a_dropped_residual():
    with pytest.raises(GradientMismatch) as caught:
        check_module(Scaled("residual"), X)
    assert [mismatch.name for mismatch in caught.value.mismatches] == ["x"]
    assert "missing term: plus the gradient of the output" in caught.value.worst.hint


def test_check_module_leaves_frozen_parameters_out():
    module = Scaled()
    module.linear.weight.trainable = False
    assert "linear.weight" not in {argument.name for argument in check_module(module, X).arguments}


# The strategies.


@given(st.data(), st.sampled_from(LAYOUTS))
def test_layouts_keep_the_elements(data, layout):
    x = data.draw(mt.arrays(mt.shapes(0, 4, min_size=0), data.draw(st.sampled_from([np.float32, np.float64]))))
    laid_out = with_layout(x, layout)
    assert laid_out.dtype == x.dtype
    np.testing.assert_array_equal(laid_out, x)
    assert not np.shares_memory(laid_out, x)


def test_layouts_are_what_they_say():
    laid_out = {layout: with_layout(X, layout) for layout in LAYOUTS}
    assert laid_out["transposed"].flags.f_contiguous
    assert laid_out["strided"].strides[-1] == 2 * X.itemsize
    assert laid_out["reversed"].strides[-1] == -X.itemsize
    assert not laid_out["offset"].flags.contiguous
    assert laid_out["offset"].strides[-1] == X.itemsize
    assert not laid_out["readonly"].flags.writeable
    with pytest.raises(ValueError, match="unknown layout 'sideways': use one of contiguous"):
        with_layout(X, "sideways")


@given(mt.distinct_sizes((1, 3), (2, 4), (1, 4)))
def test_distinct_sizes_differ(sizes):
    assert len(set(sizes)) == 3
    assert all(low <= n <= high for n, (low, high) in zip(sizes, ((1, 3), (2, 4), (1, 4)), strict=True))


@given(mt.masks((2, 3, 4)), mt.integer_arrays((3, 5), 4))
def test_masks_keep_a_key_and_ids_stay_in_range(mask, ids):
    assert mask.dtype == bool
    assert mask.any(axis=-1).all()
    assert ids.min() >= 0
    assert ids.max() < 4


@given(mt.arrays((6, 7), np.float32, values="extreme"), mt.arrays((6, 7), values="special"))
def test_odd_values(extreme, special):
    assert extreme.dtype == np.float32
    assert np.isfinite(extreme).all()
    assert abs(extreme).max() == 1e4
    assert not np.isfinite(special).all()


def test_functions_of_another_library_go_to_its_checker(monkeypatch):
    """Which one is chosen by the functions and the inputs; it gets everything."""
    asked = []

    def checker_for(pair, inputs):
        asked.append((pair, inputs))
        return lambda *inputs, **options: (inputs, options)

    monkeypatch.setattr(minitrain.testing.gradients, "checker_for", checker_for)
    quick = CheckSettings(directions=1)
    assert check_gradients("theirs", 1.0, 2.0, settings=quick, a=3) == (
        ("theirs", 1.0, 2.0),
        {"settings": quick, "a": 3},
    )
    assert asked == [("theirs", (1.0, 2.0))]

"""What mutants of the operations showed to be untested: options that are seldom drawn together, and exact corners."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.ops import (
    attention_forward,
    cross_entropy_backward,
    cross_entropy_forward,
    mean_absolute_error_backward,
    mean_absolute_error_forward,
)
from minitrain.ops.linear import dropout
from minitrain.optim import sum_of_squares
from minitrain.random import Key
from minitrain.testing import CheckSettings, check_gradients
from minitrain.testing.cases import CASES, SMALL


def has_optional_arrays(case):
    parameters = list(inspect.signature(case.pair.forward).parameters.values())[: len(case.gradients())]
    return any(parameter.default is None for parameter in parameters)


@pytest.mark.parametrize("case", list(filter(has_optional_arrays, CASES.values())), ids=lambda case: case.name)
@settings(max_examples=5)
@given(st.data())
def test_gradients_with_every_optional_array_given(case, data):
    """A case draws a bias or weights now and then; here they are always there."""
    call = data.draw(case.calls(SMALL).filter(lambda call: all(x is not None for x in call.inputs)))
    assert len(call.inputs) == len(case.gradients())
    check_gradients(case.pair, *call.inputs, settings=CheckSettings(no_gradient=case.no_gradient), **call.options)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@settings(max_examples=3)
@given(st.data())
def test_gradients_are_arrays(case, data):
    """NumPy makes a number of a sum; the gradient of an array without dimensions is such an array all the same."""
    call = data.draw(case.calls(SMALL))
    result = case.pair.forward(*call.inputs, **call.options)
    gradients = case.pair.backward(*map(np.ones_like, case.outputs(result)), result[-1])
    for gradient in gradients if isinstance(gradients, tuple) else (gradients,):
        assert gradient is None or type(gradient) is np.ndarray


def test_an_element_is_dropped_below_the_threshold_alone(monkeypatch):
    p = 0.25
    words = np.array([0, dropout.threshold(p) - 1, dropout.threshold(p), 2**32 - 1], np.uint64)
    monkeypatch.setattr(dropout, "random_bits", lambda key, shape, xp: words.reshape(shape))
    expected = np.array([0, 0, 4 / 3, 4 / 3])
    np.testing.assert_allclose(dropout.dropout_mask(np.ones(4), p, Key.from_seed(0)), expected, rtol=1e-15)
    mask = dropout.dropout_mask(np.ones(7), p, Key.from_seed(0), (4, 1))  # a shape of its own
    np.testing.assert_allclose(mask, expected[:, None], rtol=1e-15)


def test_all_masks_of_attention_apply_at_once():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 5, 2, 3)) for _ in range(3))
    mask, lengths = rng.random((2, 1, 5, 5)) < 0.6, np.array([5, 3])
    together = mask & np.tri(5, dtype=bool) & (np.arange(5) < lengths[:, None, None, None])
    out, _ = attention_forward(q, k, v, causal=True, key_lengths=lengths, mask=mask)
    expected, _ = attention_forward(q, k, v, mask=together)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    causal, _ = attention_forward(q, k, v, causal=True, mask=mask)
    expected, _ = attention_forward(q, k, v, mask=mask & np.tri(5, dtype=bool))
    np.testing.assert_allclose(causal, expected, rtol=1e-12)


@pytest.mark.parametrize("ignored", [-1, 5, 6])
def test_an_ignored_index_outside_the_classes_takes_none_of_them(ignored):
    """Neither -1 nor V = 5 is a class: smoothing over the others spreads over as many as with -100."""
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((3, 5)), np.array([0, 4, 2])
    totals, gradients = [], []
    for index in (ignored, -100):
        options = {"label_smoothing": 0.3, "others_only": True, "ignore_index": index}
        loss, cache = cross_entropy_forward(logits, targets, **options)
        totals.append(loss.total)
        gradients.append(cross_entropy_backward(1.0, cache)[0])
    assert totals[0] == totals[1]
    np.testing.assert_array_equal(*gradients)


def test_an_error_of_zero_pulls_nowhere():
    x, weight = np.array([1.0, 2.0]), np.array([0.5, 3.0])
    _, cache = mean_absolute_error_forward(x, np.array([1.0, 0.0]), weight)
    doutputs, dtargets, _ = mean_absolute_error_backward(1.0, cache)
    np.testing.assert_array_equal(doutputs, [0, 3])
    np.testing.assert_array_equal(dtargets, [0, -3])


@pytest.mark.parametrize("mode", ["reference", "auto"])
def test_squares_are_summed_in_double_precision(mode):
    x = np.random.default_rng(0).standard_normal((7, 1001)).astype(np.float32)
    with use_kernels(mode):
        assert sum_of_squares(x) == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-12)

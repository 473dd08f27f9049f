"""Unlikelihood where it is hardest: an unwanted class that is all but certain, and what it shares with other losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ShapeError, TokenError
from minitrain.ops import cross_entropy_backward, cross_entropy_forward, unlikelihood_backward, unlikelihood_forward
from minitrain.testing.strategies import arrays, integer_arrays


def test_an_unwanted_class_that_is_certain_has_a_finite_loss_and_gradient():
    """``1 - p`` is 0 in float32 from 17 nats on; the loss is the distance to the other classes all the same."""
    rows = np.array([[1e4, -1e4, -1e4], [40.0, 0.0, 0.0], [-1e4, 1e4, 0.0]], np.float32)
    loss, cache = unlikelihood_forward(rows, np.array([0, 0, 0]), each=True)
    np.testing.assert_allclose(loss.total, [2e4 - math.log(2), 40 - math.log(2), 0], rtol=1e-6)
    gradient = unlikelihood_backward(1.0, cache)[0]
    np.testing.assert_allclose(gradient, [[1, -0.5, -0.5], [1, -0.5, -0.5], [0, 0, 0]], rtol=1e-6)


@settings(max_examples=30)
@given(st.data())
def test_of_two_classes_the_unwanted_one_makes_the_other_the_target(data):
    logits, unwanted = data.draw(arrays((4, 3, 2))), data.draw(integer_arrays((4, 3), 2))
    loss, cache = unlikelihood_forward(logits, unwanted)
    other, other_cache = cross_entropy_forward(logits, 1 - unwanted)
    np.testing.assert_allclose(loss.total, other.total, rtol=1e-12)
    dlogits, expected = unlikelihood_backward(1.0, cache)[0], cross_entropy_backward(1.0, other_cache)[0]
    np.testing.assert_allclose(dlogits, expected, rtol=1e-10, atol=1e-14)


@settings(max_examples=30)
@given(st.data())
def test_the_gradient_of_a_row_moves_no_probability_out_of_the_others_shares(data):
    """It sums to 0 and leaves the odds among the other classes as they are."""
    logits, unwanted = data.draw(arrays((5, 6))), data.draw(integer_arrays((5,), 6))
    dlogits = unlikelihood_backward(1.0, unlikelihood_forward(logits, unwanted)[1])[0]
    np.testing.assert_allclose(dlogits.sum(axis=-1), 0, atol=1e-12)
    powers = np.exp(logits)
    powers[np.arange(5), unwanted] = 0
    q = powers / powers.sum(axis=-1, keepdims=True)
    own = dlogits[np.arange(5), unwanted]
    own_away = np.where(np.arange(6) == unwanted[:, None], 0, dlogits)
    np.testing.assert_allclose(own_away, -own[:, None] * q, rtol=1e-9, atol=1e-14)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_ignored_rows_add_nothing_even_where_logits_are_not_finite():
    logits = np.array([[np.nan, 1.0], [np.inf, 0.0]])
    loss, cache = unlikelihood_forward(logits, np.array([-100, -100]))
    assert (loss.total, loss.count) == (0, 0)
    assert not unlikelihood_backward(1.0, cache)[0].any()


def test_wrong_arguments_are_named():
    with pytest.raises(ShapeError, match="logits have 1 classes; at least 2 are needed"):
        unlikelihood_forward(np.zeros((3, 1)), np.zeros(3, int))
    with pytest.raises(TokenError, match=r"unwanted\[1\] = 4 is outside \[0, 4\)"):
        unlikelihood_forward(np.zeros((2, 4)), np.array([3, 4]))

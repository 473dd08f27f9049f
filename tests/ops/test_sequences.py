"""Joining, cutting and averaging sequences, and stochastic depth: what the properties of all operations do not say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ShapeError
from minitrain.nn import create_padding_mask
from minitrain.ops import (
    concat_backward,
    concat_forward,
    drop_path_backward,
    drop_path_forward,
    mean_pool_backward,
    mean_pool_forward,
    residual_forward,
    split_backward,
    split_forward,
)
from minitrain.random import Key
from minitrain.testing.cases import CASES, SMALL

KEY = Key.from_seed(3)


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


# Joining and cutting.


@settings(max_examples=30)
@given(st.data())
def test_each_undoes_the_other(data):
    """And each is the other's backward."""
    call = data.draw(CASES["concat"].calls(SMALL))
    axis = call.options["axis"]
    out, joined = concat_forward(*call.inputs, axis=axis)
    *parts, cut = split_forward(out, at=call.inputs[0].shape[axis], axis=axis)
    for part, x in zip(parts, call.inputs, strict=True):
        np.testing.assert_array_equal(part, x)
    for part, x in zip(concat_backward(out, joined), call.inputs, strict=True):
        np.testing.assert_array_equal(part, x)
    np.testing.assert_array_equal(split_backward(*parts, cut), out)


def test_the_first_token_is_a_split_whose_rest_nobody_uses():
    first, rest, cache = split_forward(normal(2, 4, 3), at=1, axis=1)
    assert (first.shape, rest.shape) == ((2, 1, 3), (2, 3, 3))
    dx = split_backward(np.ones_like(first), None, cache)
    np.testing.assert_array_equal(dx[:, 0], 1)
    assert not dx[:, 1:].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: concat_forward(normal(2, 3), normal(2, 3), axis=2),
            r"concat_forward: axis = 2 does not exist in x of",
        ),
        (
            lambda: concat_forward(normal(2, 3), normal(2, 3), axis=-3),
            r"axis = -3 does not exist in x of shape \(2, 3\)",
        ),
        (lambda: concat_forward(normal(2, 3), normal(3), axis=0), r"y has shape \(3,\), expected that of x, \(2, 3\)"),
        (lambda: concat_forward(normal(2, 3), normal(3, 3), axis=1), r"y has shape .* except for the size of axis 1"),
        (lambda: split_forward(normal(2, 3), at=4, axis=1), r"at = 4 is outside of axis 1 of x \(2, 3\); use 0 to 3"),
        (lambda: split_forward(normal(2, 3), at=-1, axis=0), r"at = -1 is outside of axis 0"),
        (lambda: split_forward(normal(2, 3), at=1, axis=5), r"split_forward: axis = 5 does not exist"),
        (
            lambda: concat_backward(normal(2, 4), concat_forward(normal(2, 3), normal(2, 2), axis=1)[1]),
            r"concat_backward: dout has shape \(2, 4\), expected \(2, 5\)",
        ),
        (
            lambda: split_backward(None, normal(2, 2), split_forward(normal(2, 4), at=3, axis=1)[2]),
            r"split_backward: dsecond has shape \(2, 2\), expected \(2, 1\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


# Averages.


@pytest.mark.parametrize(
    "padding",
    [{"mask": np.array([[True, True, False], [False] * 3])}, {"key_lengths": np.array([2, 0])}],
    ids=["mask", "lengths"],
)
def test_what_is_padded_does_not_count(padding):
    """A sequence of padding alone gives zeros and gets no gradient."""
    x = normal(2, 3, 4)
    out, cache = mean_pool_forward(x, **padding)
    np.testing.assert_allclose(out[0], (x[0, 0] + x[0, 1]) / 2)
    assert not out[1].any()
    dx = mean_pool_backward(np.ones_like(out), cache)
    np.testing.assert_array_equal(dx[0, :, 0], [0.5, 0.5, 0])
    assert not dx[1].any()


def test_a_padding_mask_of_attention_serves():
    tokens, x = np.array([[5, 7, 0, 0], [3, 2, 1, 0]]), normal(2, 4, 3)
    out, _ = mean_pool_forward(x, mask=create_padding_mask(tokens)[:, 0, 0])  # (B, 1, 1, T) -> (B, T)
    np.testing.assert_allclose(out, [x[0, :2].mean(axis=0), x[1, :3].mean(axis=0)])


def test_no_tokens_average_to_zero():
    out, cache = mean_pool_forward(np.zeros((2, 0, 3)))
    np.testing.assert_array_equal(out, np.zeros((2, 3)))
    assert mean_pool_backward(out, cache).shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("padding", "message"),
    [
        ({"mask": np.ones((2, 3))}, r"mask must hold \(2, 3\) booleans \(True = counts\), got float64 \(2, 3\)"),
        ({"mask": np.ones((2, 1), bool)}, r"mask must hold \(2, 3\) booleans .* got bool \(2, 1\)"),
        ({"key_lengths": np.array([1, 2, 3])}, r"key_lengths must hold B = 2 integers, got int64 \(3,\)"),
        ({"key_lengths": np.array([1.0, 2.0])}, r"key_lengths must hold B = 2 integers, got float64 \(2,\)"),
    ],
)
def test_wrong_padding_is_named(padding, message):
    with pytest.raises(ShapeError, match=rf"mean_pool_forward: {message}"):
        mean_pool_forward(normal(2, 3, 4), **padding)


# Stochastic depth.


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_whole_samples_are_dropped_and_the_mean_stays(p):
    branch = np.ones((4000, 2, 3), np.float32)
    out, cache = drop_path_forward(branch, p=p, key=KEY)
    assert (out == out[:, :1, :1]).all()
    kept = out[:, 0, 0] != 0
    np.testing.assert_allclose(out[kept], 1 / (1 - p), rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / 4000)
    np.testing.assert_array_equal(drop_path_backward(branch, cache), out)


@settings(max_examples=20)
@given(cuts=st.sets(st.integers(1, 9)))
def test_what_is_dropped_does_not_depend_on_how_a_batch_is_split(cuts):
    branch, edges = normal(10, 3), [0, *sorted(cuts), 10]
    whole, _ = drop_path_forward(branch, p=0.5, key=KEY)
    parts = [drop_path_forward(branch[a:b], p=0.5, key=KEY.at_sample(a))[0] for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_dropped_branch_leaves_the_stream_as_it_was():
    x, branch = normal(50, 3), normal(50, 3, seed=1)
    out, _ = residual_forward(x, drop_path_forward(branch, p=0.5, key=KEY)[0])
    same = (out == x).all(axis=1)
    assert 0 < same.sum() < 50
    np.testing.assert_allclose(out[~same], (x + 2 * branch)[~same], rtol=1e-12)


def test_evaluation_drops_nothing():
    branch = normal(5, 3)
    assert drop_path_forward(branch, p=0.9, key=None)[0] is branch
    assert drop_path_forward(branch, p=0.0, key=KEY)[0] is branch


@pytest.mark.parametrize("p", [1.0, -0.1])
def test_an_impossible_probability_is_named(p):
    with pytest.raises(ShapeError, match=rf"drop_path_forward: p = {p} must be in \[0, 1\)"):
        drop_path_forward(normal(2, 3), p=p, key=KEY)


def test_a_branch_without_samples_is_named():
    with pytest.raises(ShapeError, match=r"branch has shape \(\), expected \(B, ...\)"):
        drop_path_forward(np.array(1.0), p=0.5, key=KEY)

"""Options of the cross-entropy: z-loss, class weights, and smoothing that leaves out padding and the target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ShapeError
from minitrain.losses import CrossEntropyLoss, LabelSmoothing
from minitrain.ops import cross_entropy_backward, cross_entropy_forward
from minitrain.testing.strategies import arrays, integer_arrays

both_kernels = pytest.mark.parametrize("mode", ["reference", "auto"])
V = 5


@both_kernels
@settings(max_examples=20)
@given(st.data(), st.sampled_from([0.5, 3.0]))
def test_total_count_and_gradient_are_linear_in_the_class_weights(mode, data, factor):
    """So a row of weight 3 counts like three rows, and the mean does not see a common factor."""
    logits, targets = data.draw(arrays((2, 7, V), np.float32)), data.draw(integer_arrays((2, 7), V))
    weight = abs(data.draw(arrays((V,), np.float32))) + np.float32(0.1)
    options = {"label_smoothing": 0.2, "z_loss": 0.1, "ignore_index": 1}
    with use_kernels(mode):
        (loss, cache), (other, other_cache) = (
            cross_entropy_forward(logits, targets, w, **options) for w in (weight, np.float32(factor) * weight)
        )
        np.testing.assert_allclose(other.total, factor * loss.total, rtol=1e-5)
        np.testing.assert_allclose(other.count, factor * loss.count, rtol=1e-5)
        gradient, scaled = cross_entropy_backward(1.0, cache)[0], cross_entropy_backward(1.0, other_cache)[0]
        np.testing.assert_allclose(scaled, factor * gradient, rtol=1e-4, atol=1e-5)


@both_kernels
def test_z_loss_is_the_squared_log_of_the_normaliser(mode):
    """Logits that are log-probabilities have none; adding c to all of them costs c squared for each row that counts."""
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32)
    targets = np.array([0, -100])
    with use_kernels(mode):
        plain = cross_entropy_forward(np.log(p), targets)[0]
        for c in (0.0, 2.0, -3.0):
            loss, cache = cross_entropy_forward(np.log(p) + np.float32(c), targets, z_loss=0.5)
            np.testing.assert_allclose(loss.total, plain.total + 0.5 * c * c, rtol=1e-5, atol=1e-6)
            slope = cross_entropy_backward(1.0, cache)[0].sum(axis=-1)  # cross-entropy itself has none along this
            np.testing.assert_allclose(slope, [c, 0], rtol=1e-5, atol=1e-5)


@both_kernels
def test_z_loss_of_huge_logits(mode):
    logits = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], np.float32)
    with use_kernels(mode):
        loss, cache = cross_entropy_forward(logits, np.array([0, 1]), z_loss=1e-4)
        np.testing.assert_allclose(loss.total, 1e4 + math.log(3) + 1e-4 * (1e4 - math.log(3)) ** 2, rtol=1e-5)
        np.testing.assert_allclose(
            cross_entropy_backward(1.0, cache)[0], [[2, 0, 0], [-1 / 3, -4 / 3, -1 / 3]], rtol=1e-2
        )


def annotated_transformer(z, y, smoothing, padding):
    """The target distribution of The Annotated Transformer, and its cross-entropy."""
    left = [c for c in range(len(z)) if c not in (y, padding)]
    q = {c: smoothing / len(left) for c in left} | {y: 1 - smoothing}
    normaliser = sum(math.exp(x) for x in z)
    return -sum(share * math.log(math.exp(z[c]) / normaliser) for c, share in q.items())


@settings(max_examples=30)
@given(st.data(), st.sampled_from([0, 4, None]), st.sampled_from([0.1, 0.9, 1.0]))
def test_smoothing_over_the_others_alone(data, padding, smoothing):
    logits, targets = data.draw(arrays((6, V))), data.draw(integer_arrays((6,), V))
    loss_fn = LabelSmoothing(smoothing, padding, reduction="none", others_only=True)
    each, cache = loss_fn.forward(logits, targets)
    expected = [
        0.0 if y == padding else annotated_transformer(z, y, smoothing, padding)
        for z, y in zip(logits, targets, strict=True)
    ]
    np.testing.assert_allclose(each, expected, rtol=1e-10)
    gradient = loss_fn.backward(np.ones(6), cache)
    real = np.full(6, True) if padding is None else targets != padding
    np.testing.assert_array_equal(gradient.any(axis=-1), real)
    if padding is not None:  # nothing pulls padding up: its gradient is its probability
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(gradient[real, padding], p[real, padding], rtol=1e-10)


@both_kernels
@pytest.mark.parametrize("others", [{"others_only": True}, {"class_weight": np.array([0, 1, 1], np.float32)}])
def test_a_class_without_a_part_may_be_impossible(mode, others):
    """A model that never predicts padding has a logit of minus infinity there."""
    logits = np.array([[-np.inf, 0.0, 0.0]], np.float32)
    with use_kernels(mode):
        loss, cache = cross_entropy_forward(logits, np.array([1]), ignore_index=0, label_smoothing=0.3, **others)
        dlogits = cross_entropy_backward(1.0, cache)[0]
    share = 0.3 if "others_only" in others else 0.1
    np.testing.assert_allclose(loss.total, (0.7 + share * (1 if share == 0.3 else 2)) * math.log(2), rtol=1e-6)
    assert dlogits[0, 0] == 0
    assert np.isfinite(dlogits).all()


def test_without_smoothing_others_only_changes_nothing():
    logits, targets = np.random.default_rng(0).standard_normal((3, 2)), np.array([0, 1, 1])
    plain, other = (CrossEntropyLoss(ignore_index=0, others_only=o).forward(logits, targets)[0] for o in (False, True))
    assert plain == other


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (V, {"z_loss": -1e-4}, r"cross_entropy_forward: z_loss = -0.0001 must not be negative"),
        (V, {"z_loss": math.nan}, r"z_loss = nan must not be negative"),
        (
            2,
            {"others_only": True, "label_smoothing": 0.1, "ignore_index": 0},
            r"of V = 2 classes, others_only leaves none .* = 0;",
        ),
        (1, {"others_only": True, "label_smoothing": 0.1}, r"of V = 1 classes, others_only leaves none"),
    ],
)
def test_options_out_of_range_are_named(classes, options, message):
    with pytest.raises(ShapeError, match=message):
        cross_entropy_forward(np.zeros((3, classes)), np.zeros(3, int), **options)

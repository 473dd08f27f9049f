"""The edges of the loss operations: wrong arguments, extreme values, kinks, and identities between losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ShapeError, TokenError
from minitrain.ops import (
    Loss,
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    binary_focal_backward,
    binary_focal_forward,
    cross_entropy_backward,
    cross_entropy_forward,
    focal_backward,
    focal_forward,
    hinge_backward,
    hinge_forward,
    huber_backward,
    huber_forward,
    kl_divergence_backward,
    kl_divergence_forward,
    mean_absolute_error_backward,
    mean_absolute_error_forward,
    mean_squared_error_forward,
    registry,
    triplet_backward,
    triplet_forward,
)
from minitrain.testing.cases import CASES, SMALL
from minitrain.testing.strategies import arrays, integer_arrays

LOSSES = [n for n, c in CASES.items() if c.pair.forward.reference.__annotations__["return"].startswith("tuple[Loss,")]
every_loss = pytest.mark.parametrize("name", LOSSES)
# Contrastive losses compare all samples of a batch with each other, and load_balancing counts over the batch.
UNCOUPLED = [name for name in LOSSES if CASES[name].family != "contrastive" and name != "load_balancing"]
BIG = np.array([1e4, -1e4, 0.0, 1e-40, -1e-40], np.float32)


def test_the_losses_are_found():
    assert len(LOSSES) >= 10
    assert {"cross_entropy", "huber", "triplet"} <= set(LOSSES)


@every_loss
@settings(max_examples=20)
@given(st.data())
def test_each_adds_up_to_the_total(name, data):
    """The option ``each`` keeps apart what is summed without it, and each loss takes its own cotangent."""
    call, pair = data.draw(CASES[name].calls(SMALL)), registry()[name]
    options = call.options | {"each": False}
    whole, cache = pair.forward(*call.inputs, **options)
    apart, cache_apart = pair.forward(*call.inputs, **options | {"each": True})
    assert isinstance(whole, Loss)
    np.testing.assert_allclose(np.sum(apart.total), whole.total, rtol=1e-12, atol=1e-12)
    assert apart.count == whole.count
    first, other = pair.backward(0.7, cache), pair.backward(np.full(apart.total.shape, 0.7), cache_apart)
    for a, b in zip(*(g if isinstance(g, tuple) else (g,) for g in (first, other)), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@every_loss
@settings(max_examples=3)
@given(st.data())
def test_a_cotangent_of_another_shape_is_named(name, data):
    call = data.draw(CASES[name].calls(SMALL))
    loss, cache = registry()[name].forward(*call.inputs, **call.options | {"each": True})
    with pytest.raises(ShapeError, match=rf"{name}_backward: dtotal has shape .*, expected \(\) or \("):
        registry()[name].backward(np.ones((*loss.total.shape, 2)), cache)


@pytest.mark.parametrize("name", UNCOUPLED)
@settings(max_examples=20)
@given(st.data())
def test_any_split_of_a_batch_gives_the_same_total_and_count(name, data):
    call = data.draw(CASES[name].calls(SMALL).filter(lambda call: call.inputs[0].ndim > 1))
    options = call.options | {"each": False}
    # Weights of classes, and of a head, stay whole.
    whole_inputs = {
        "linear_cross_entropy": (1, 3, 4),
        "cross_entropy": (2,),
        "focal": (2,),
        "binary_cross_entropy": (2,),
    }

    def loss(rows):
        kept = whole_inputs.get(name, ())
        inputs = [x if x is None or i in kept else x[rows] for i, x in enumerate(call.inputs)]
        return registry()[name].forward(*inputs, **options)[0]

    whole, parts = loss(slice(None)), [loss(slice(b, b + 1)) for b in range(len(call.inputs[0]))]
    np.testing.assert_allclose(sum(part.total for part in parts), whole.total, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(sum(float(part.count) for part in parts), float(whole.count), rtol=1e-12)


# Wrong arguments.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: huber_forward(BIG, BIG, delta=0.0), ShapeError, r"huber_forward: delta = 0.0 must be above 0"),
        (lambda: huber_forward(BIG, BIG, delta=math.nan), ShapeError, r"delta = nan must be above 0"),
        (lambda: focal_forward(BIG, np.array(1), gamma=-1.0), ShapeError, r"focal_forward: gamma = -1.0 must not"),
        (lambda: focal_forward(BIG, np.array(5)), TokenError, r"focal_forward: targets\[\] = 5 is outside \[0, 5\)"),
        (lambda: binary(gamma=-0.5), ShapeError, r"binary_focal_forward: gamma = -0.5 must not be negative"),
        (lambda: binary(alpha=1.5), ShapeError, r"binary_focal_forward: alpha = 1.5 must be in \[0, 1\]"),
        (lambda: binary(bad=2), TokenError, r"binary_focal_forward: targets\[1\] = 2 is outside \[0, 2\)"),
        (
            lambda: hinge_forward(BIG, np.array([1, -1, 0, 1, 1])),
            TokenError,
            r"hinge_forward: targets\[2\] = 0 must be",
        ),
        (lambda: hinge_forward(BIG, np.array([1, -1, 1, 3, 1])), TokenError, r"\[3\] = 3 .* 2 \* targets - 1"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def binary(bad=0, **options):
    return binary_focal_forward(BIG, np.array([1, bad, 0, 1, 0]), **options)


# Extreme values.


def test_binary_cross_entropy_of_huge_logits():
    """The loss of a wrong answer is its logit, that of a right one 0, and no warning is raised."""
    logits = np.array([1e4, 1e4, -1e4, -1e4, 1e-40], np.float32)
    targets = np.array([1, 0, 1, 0, 1], np.float32)
    loss, cache = binary_cross_entropy_forward(logits, targets, each=True)
    np.testing.assert_allclose(loss.total, [0, 1e4, 1e4, 0, math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(binary_cross_entropy_backward(1.0, cache)[0], [0, 1, -1, 0, -0.5])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_losses_of_huge_logits(gamma):
    logits = np.array([1e4, 1e4, -1e4, -1e4], np.float32)
    targets = np.array([1, 0, 1, 0])
    loss, cache = binary_focal_forward(logits, targets, gamma=gamma, alpha=None, each=True)
    np.testing.assert_allclose(loss.total, [0, 1e4, 1e4, 0], rtol=1e-6)
    np.testing.assert_allclose(binary_focal_backward(1.0, cache)[0], [0, 1, -1, 0], rtol=1e-6)
    rows = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], np.float32)
    loss, cache = focal_forward(rows, np.array([0, 1]), gamma=gamma, each=True)
    np.testing.assert_allclose(loss.total, [0, 2e4], rtol=1e-6)
    np.testing.assert_allclose(focal_backward(1.0, cache)[0], [[0, 0, 0], [1, -1, 0]], rtol=1e-6)


def test_errors_of_any_size():
    zeros = np.zeros_like(BIG)
    np.testing.assert_allclose(mean_squared_error_forward(BIG, zeros, each=True)[0].total, [1e8, 1e8, 0, 0, 0])
    np.testing.assert_array_equal(mean_absolute_error_forward(BIG, zeros, each=True)[0].total, abs(BIG))
    loss, cache = huber_forward(BIG, zeros, each=True)
    np.testing.assert_allclose(loss.total, [9999.5, 9999.5, 0, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(huber_backward(1.0, cache)[0], [1, -1, 0, BIG[3], BIG[4]])
    loss, cache = hinge_forward(BIG, np.array([1, 1, 1, 1, -1]), each=True)
    np.testing.assert_allclose(loss.total, [0, 10001, 1, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(hinge_backward(1.0, cache)[0], [0, -1, -1, -1, 1])


def test_kinks_have_the_documented_slope():
    x = np.array([1.0, -1.0])
    assert not mean_absolute_error_backward(1.0, mean_absolute_error_forward(x, x)[1])[0].any()
    assert not hinge_backward(1.0, hinge_forward(x, np.array([1, -1]))[1])[0].any()  # at the margin
    rows = np.array([[1.0, 2.0]])
    loss, cache = triplet_forward(rows, rows, rows, eps=0.0)  # all distances 0
    assert loss.total == 1
    assert not any(gradient.any() for gradient in triplet_backward(1.0, cache))
    assert triplet_forward(rows, rows, rows, margin=0.0)[0].total == 0


def test_huber_pieces_meet():
    """Value and slope are continuous where the error is delta."""
    edge = np.nextafter(2.5, [0, 9])
    loss, cache = huber_forward(edge, np.zeros(2), delta=2.5, each=True)
    np.testing.assert_allclose(loss.total, 2.5**2 / 2, rtol=1e-14)
    np.testing.assert_allclose(huber_backward(1.0, cache)[0], 2.5, rtol=1e-14)


def test_kl_divergence_of_what_cannot_happen():
    """A target of 0 costs nothing, even against a log-probability of minus infinity; one above 0 costs all there is."""
    loss, _ = kl_divergence_forward(np.array([[0.0, -np.inf]]), np.array([[1.0, 0.0]]))
    assert loss.total == 0
    loss, cache = kl_divergence_forward(np.array([[-np.inf, 0.0]]), np.array([[0.5, 0.5]]))
    assert loss.total == np.inf
    np.testing.assert_array_equal(kl_divergence_backward(1.0, cache)[0], [[-0.5, -0.5]])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_focal_loss_with_all_targets_ignored():
    logits = np.array([[np.nan, 1.0], [np.inf, 0.0]])
    loss, cache = focal_forward(logits, np.array([-100, -100]))
    assert loss.total == 0
    assert loss.count == 0
    assert math.isnan(loss.mean)
    assert not focal_backward(1.0, cache)[0].any()


# Identities.


@settings(max_examples=30)
@given(st.data())
def test_focal_loss_without_focus_is_cross_entropy(data):
    logits, targets = data.draw(arrays((4, 3, 5))), data.draw(integer_arrays((4, 3), 5))
    weight = abs(data.draw(arrays((5,))))
    (focal, cache), (entropy, other) = (
        focal_forward(logits, targets, weight, gamma=0.0),
        cross_entropy_forward(logits, targets, weight),
    )
    np.testing.assert_allclose(focal.total, entropy.total, rtol=1e-12)
    np.testing.assert_allclose(
        focal_backward(1.0, cache)[0], cross_entropy_backward(1.0, other)[0], rtol=1e-10, atol=1e-14
    )


@settings(max_examples=30)
@given(st.data(), st.sampled_from([0.0, 0.5, 2.0]))
def test_two_classes_are_a_yes_or_no_question(data, gamma):
    """Logits (0, x) over two classes are the log-odds x, for focal losses as for cross-entropies."""
    x, y = data.draw(arrays((6,))), data.draw(integer_arrays((6,), 2))
    pair = np.stack([np.zeros(6), x], axis=-1)  # (6, 2)
    two, cache = focal_forward(pair, y, gamma=gamma)
    one, other = binary_focal_forward(x, y, gamma=gamma, alpha=None)
    np.testing.assert_allclose(one.total, two.total, rtol=1e-12)
    slope = binary_focal_backward(1.0, other)[0]
    np.testing.assert_allclose(slope, focal_backward(1.0, cache)[0][:, 1], rtol=1e-10, atol=1e-14)
    if gamma == 0:
        entropy, other = binary_cross_entropy_forward(x, y.astype(float))
        np.testing.assert_allclose(entropy.total, two.total, rtol=1e-12)
        np.testing.assert_allclose(slope, binary_cross_entropy_backward(1.0, other)[0], rtol=1e-10, atol=1e-14)


@settings(max_examples=30)
@given(st.data())
def test_a_wide_huber_loss_is_half_the_squared_error(data):
    x, y = data.draw(arrays((5, 3))), data.draw(arrays((5, 3)))
    huber, squared = huber_forward(x, y, delta=100.0)[0], mean_squared_error_forward(x, y)[0]
    np.testing.assert_allclose(2 * huber.total, squared.total, rtol=1e-12)


@settings(max_examples=30)
@given(st.data())
def test_divergence_is_cross_entropy_minus_entropy(data):
    """And it is 0 from itself, positive from anything else."""
    scores, other = data.draw(arrays((4, 5))), data.draw(arrays((4, 5)))
    log_p, log_q = (x - np.log(np.exp(x).sum(axis=-1, keepdims=True)) for x in (scores, other))
    p = np.exp(log_p)
    np.testing.assert_allclose(kl_divergence_forward(log_p, p)[0].total, 0, atol=1e-12)
    divergence = kl_divergence_forward(log_q, p, each=True)[0].total
    assert (divergence >= -1e-12).all()
    np.testing.assert_allclose(divergence, (p * log_p).sum(axis=-1) - (p * log_q).sum(axis=-1), rtol=1e-9, atol=1e-12)


@settings(max_examples=20)
@given(st.data(), st.sampled_from([0.0, 0.5, 2.0]))
def test_focal_loss_of_near_certainty_stays_finite(data, gamma):
    """In single precision, probabilities that round to 1 or nearly so: no root of a negative number, no 0 / 0."""
    logits = data.draw(arrays((200, 3), np.float32, scale=8))
    loss, cache = focal_forward(logits, logits.argmax(axis=-1), gamma=gamma, each=True)
    assert (loss.total >= 0).all()
    assert np.isfinite(focal_backward(1.0, cache)[0]).all()

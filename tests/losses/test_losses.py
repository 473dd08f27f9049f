"""Losses as objects: reductions, gradients, weights, and that they keep nothing of a call."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain import losses
from minitrain.errors import ConfigError, ShapeError
from minitrain.losses import (
    REDUCTIONS,
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    FocalLoss,
    HuberLoss,
    LabelSmoothing,
    LossFunction,
    MeanAbsoluteError,
    MeanSquaredError,
    UnlikelihoodLoss,
    as_unwanted,
)
from minitrain.ops import Loss, cross_entropy_forward
from minitrain.testing import check_gradients

rng = np.random.default_rng(3)
B, T, V = 2, 3, 5
SCORES, NUMBERS, OTHERS = (rng.standard_normal((B, T, V)) for _ in range(3))
CLASSES = rng.integers(1, V, (B, T))
CLASSES[0, 0] = 0
BITS = rng.integers(0, 2, (B, T, V))
SHARES = np.exp(NUMBERS) / np.exp(NUMBERS).sum(axis=-1, keepdims=True)
WEIGHT = rng.random(V) + 0.5
ROWS, OTHER_ROWS = SCORES.reshape(B * T, V), NUMBERS.reshape(B * T, V)
MIXED = np.where(np.arange(B * T).reshape(B, T) % 2 == 0, as_unwanted(CLASSES), CLASSES)  # class 0 among the unwanted
HEAD = rng.standard_normal((V, V)), CLASSES, NUMBERS[0, 0]

# Each loss with settings away from the defaults, and what it is called with.
CALLS = {
    "CrossEntropyLoss": ({"label_smoothing": 0.1, "ignore_index": 0, "weight": WEIGHT}, (SCORES, CLASSES)),
    "LinearCrossEntropy": ({"label_smoothing": 0.1, "weight": WEIGHT, "z_loss": 0.1, "chunk": 2}, (SCORES, *HEAD)),
    "LabelSmoothing": ({"smoothing": 0.2, "pad_idx": 0}, (SCORES, CLASSES)),
    "FocalLoss": ({"gamma": 1.5, "alpha": WEIGHT, "ignore_index": 0}, (SCORES, CLASSES)),
    "BinaryFocalLoss": ({"gamma": 1.5, "alpha": 0.7}, (SCORES, BITS)),
    "BinaryCrossEntropyLoss": ({"pos_weight": WEIGHT}, (SCORES, SHARES)),
    "HingeLoss": ({"margin": 0.7}, (SCORES, 2 * BITS - 1)),
    "UnlikelihoodLoss": ({"alpha": 0.5, "ignore_index": 0}, (SCORES, MIXED)),
    "KLDivergenceLoss": ({}, (SCORES, SHARES)),
    "MeanSquaredError": ({"weight": WEIGHT}, (SCORES, NUMBERS)),
    "MeanAbsoluteError": ({"weight": WEIGHT}, (SCORES, NUMBERS)),
    "HuberLoss": ({"delta": 0.8, "weight": WEIGHT}, (SCORES, NUMBERS)),
    "InfoNCELoss": ({"temperature": 0.5}, (ROWS, OTHER_ROWS)),
    "SigmoidContrastiveLoss": ({"temperature": 0.5, "bias": -1.0}, (ROWS, OTHER_ROWS)),
    "SupervisedContrastiveLoss": ({"temperature": 0.5}, (ROWS, np.array([0, 1, 0, 2, 1, 0]))),
    "TripletLoss": ({"margin": 0.9}, (SCORES, NUMBERS, OTHERS)),
}
SEVERAL_GRADIENTS = ("InfoNCELoss", "LinearCrossEntropy", "SigmoidContrastiveLoss", "TripletLoss")
every_loss = pytest.mark.parametrize("name", CALLS)


def make(name, reduction):
    return getattr(losses, name)(**CALLS[name][0], reduction=reduction)


def test_every_loss_is_here():
    classes = {name for name, value in vars(losses).items() if isinstance(value, type)}
    assert classes - {"LossCache", "LossFunction", "Reduced"} == CALLS.keys()


@every_loss
def test_reductions_belong_together(name):
    inputs = CALLS[name][1]
    loss, total, mean, each = (make(name, r).forward(*inputs)[0] for r in (None, "sum", "mean", "none"))
    assert isinstance(loss, Loss)
    assert loss.total == total
    np.testing.assert_allclose(mean, loss.mean, rtol=1e-12)
    assert each.shape in ((B, T), (B, T, V), (B * T,))
    np.testing.assert_allclose(each.sum(), total, rtol=1e-12)


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_backward_is_the_gradient(name, reduction):
    loss_fn, (outputs, *rest) = make(name, reduction), CALLS[name][1]
    if name in SEVERAL_GRADIENTS:  # a gradient for each input, the others have one
        check_gradients(loss_fn, outputs, *rest)
    else:
        check_gradients((lambda x: loss_fn.forward(x, *rest), loss_fn.backward), outputs)


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_call_leaves_nothing_behind(name, reduction):
    """A validation pass between forward and backward changes nothing; float32 stays float32."""
    loss_fn = make(name, reduction)
    inputs = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in CALLS[name][1]]
    loss, cache = loss_fn.forward(*inputs)
    before = dict(vars(loss_fn))
    loss_fn.forward(*(x[::-1] for x in inputs))
    assert vars(loss_fn) == before
    value = loss.total if reduction is None else loss
    assert value.dtype == np.float32
    dloss = np.ones_like(value)
    gradients, alone = loss_fn.backward(dloss, cache), make(name, reduction).backward(dloss, cache)
    for a, b, x in zip(as_tuple(gradients), as_tuple(alone), inputs, strict=False):
        if a is None:  # of targets
            continue
        assert a.dtype == np.float32
        assert a.shape == x.shape
        np.testing.assert_array_equal(a, b)


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


@every_loss
def test_the_gradient_of_a_mean_is_that_of_the_total_divided(name):
    inputs = CALLS[name][1]
    loss, cache = make(name, None).forward(*inputs)
    total, mean = make(name, None).backward(1.0, cache), make(name, "mean")
    for a, b in zip(as_tuple(mean.backward(1.0, mean.forward(*inputs)[1])), as_tuple(total), strict=True):
        if a is None:  # of targets
            continue
        np.testing.assert_allclose(a, b / loss.count, rtol=1e-12, atol=1e-15)


def test_defaults_are_those_of_the_plain_loss():
    plain = cross_entropy_forward(SCORES, CLASSES)[0]
    assert CrossEntropyLoss().forward(SCORES, CLASSES)[0] == plain
    assert CrossEntropyLoss(reduction="mean").forward(SCORES, CLASSES)[0] == pytest.approx(plain.mean)
    assert MeanSquaredError("mean").forward(SCORES, NUMBERS)[0] == pytest.approx(np.mean((SCORES - NUMBERS) ** 2))
    assert MeanAbsoluteError("mean").forward(SCORES, NUMBERS)[0] == pytest.approx(np.mean(abs(SCORES - NUMBERS)))


@pytest.mark.parametrize("pad_idx", [0, 4, None, -1])
def test_label_smoothing_ignores_padding(pad_idx):
    loss, cache = LabelSmoothing(0.2, pad_idx).forward(SCORES, CLASSES)
    real = np.full((B, T), True) if pad_idx is None else pad_idx != CLASSES
    each = cross_entropy_forward(SCORES, CLASSES, label_smoothing=0.2, each=True)[0].total
    assert loss.count == real.sum()
    assert loss.total == pytest.approx(each[real].sum())
    gradient = LabelSmoothing(0.2, pad_idx).backward(1.0, cache)
    np.testing.assert_array_equal(gradient.any(axis=-1), real)


def test_unlikelihood_of_several_unwanted_tokens_beside_the_wanted_one():
    """The token-level objective of Welleck et al.: -log p(target) - alpha * sum of log(1 - p(c)) over the others."""
    loss_fn = UnlikelihoodLoss(alpha=0.5, reduction="none")
    others = np.stack([(CLASSES + 1) % V, (CLASSES + 2) % V], axis=-1)
    targets = np.concatenate([CLASSES[..., None], as_unwanted(others)], axis=-1)
    targets[0, 0, 2] = targets[1, 1, 1] = -100  # nothing there
    p = np.exp(SCORES) / np.exp(SCORES).sum(axis=-1, keepdims=True)
    expected = np.zeros((B, T))
    for place in np.ndindex(B, T):
        expected[place] = -np.log(p[place][CLASSES[place]])
        for target in targets[place][1:]:
            if target != -100:
                expected[place] -= 0.5 * np.log(1 - p[place][as_unwanted(target)])
    np.testing.assert_allclose(loss_fn.forward(SCORES, targets)[0], expected, rtol=1e-10)
    assert loss_fn.summed().forward(SCORES, targets)[0].count == 3 * B * T - 2
    assert loss_fn.plain().summed().forward(SCORES, targets)[0] == cross_entropy_forward(SCORES, CLASSES)[0]
    check_gradients((lambda x: loss_fn.forward(x, targets), loss_fn.backward), SCORES)
    targets[0, 1, 1] = 2
    with pytest.raises(ShapeError, match="of several targets in a row, only the first may be wanted"):
        loss_fn.forward(SCORES, targets)


def test_unlikelihood_measures_wanted_targets_alone_and_refuses_wrong_settings():
    wanted = np.where(MIXED < 0, -100, MIXED)
    assert UnlikelihoodLoss().plain().forward(SCORES, MIXED)[0] == cross_entropy_forward(SCORES, wanted)[0]
    with pytest.raises(ConfigError, match="alpha=-1 must not be negative"):
        UnlikelihoodLoss(alpha=-1)
    wanted_only = UnlikelihoodLoss(alpha=0).forward(SCORES, MIXED)[0]
    assert wanted_only.total == pytest.approx(cross_entropy_forward(SCORES, wanted)[0].total)
    assert wanted_only.count == B * T
    for index in (-2000, -1000):  # an unwanted class has this number
        with pytest.raises(ConfigError, match=f"ignore_index={index} must be above -1000"):
            UnlikelihoodLoss(ignore_index=index)


def test_label_smoothing_spreads_over_all_classes():
    """With uniform logits each class costs ln V; with one certain class, all others are paid for."""
    uniform = LabelSmoothing(0.3, pad_idx=None, reduction="mean").forward(np.zeros((1, V)), np.array([2]))[0]
    assert uniform == pytest.approx(math.log(V))
    certain = np.where(np.arange(V) == 2, 0.0, -50.0)[None]
    loss = LabelSmoothing(0.3, pad_idx=None, reduction="sum").forward(certain, np.array([2]))[0]
    assert loss == pytest.approx(0.3 * (V - 1) / V * 50)


@pytest.mark.parametrize(
    "loss_fn", [CrossEntropyLoss(ignore_index=0, reduction="mean"), FocalLoss(reduction="mean", ignore_index=0)]
)
def test_the_mean_of_nothing_is_nan_and_has_no_gradient(loss_fn):
    loss, cache = loss_fn.forward(SCORES, np.zeros((B, T), int))
    assert math.isnan(loss)
    gradient = loss_fn.backward(1.0, cache)
    assert gradient.shape == SCORES.shape
    assert not gradient.any()


@pytest.mark.parametrize("shape", [(V,), (T, 1), (B, T, V), ()])
@pytest.mark.parametrize("kind", [MeanSquaredError, MeanAbsoluteError, HuberLoss])
def test_weights_broadcast(kind, shape):
    weight = np.abs(np.random.default_rng(1).standard_normal(shape))
    plain, weighted = kind(reduction="none"), kind(reduction="none", weight=weight)
    expected = plain.forward(SCORES, NUMBERS)[0] * weight
    np.testing.assert_allclose(weighted.forward(SCORES, NUMBERS)[0], expected, rtol=1e-12)
    mean = kind(reduction="mean", weight=weight).forward(SCORES, NUMBERS)[0]
    assert mean == pytest.approx(expected.sum() / np.broadcast_to(weight, SCORES.shape).sum())


def test_weights_may_be_a_list():
    given = CrossEntropyLoss(weight=WEIGHT.tolist()).forward(SCORES, CLASSES)[0]
    assert given == CrossEntropyLoss(weight=WEIGHT).forward(SCORES, CLASSES)[0]


@every_loss
def test_an_unknown_reduction_is_named(name):
    with pytest.raises(ConfigError, match=rf"{name}: reduction='average'; use 'none', 'mean', 'sum'"):
        make(name, "average")


@pytest.mark.parametrize(
    ("loss_fn", "targets"),
    [
        (MeanSquaredError(weight=np.ones(V + 1)), NUMBERS),
        (CrossEntropyLoss(weight=np.ones(V - 1)), CLASSES),
        (BinaryCrossEntropyLoss(pos_weight=np.ones((T, V))), SHARES),
    ],
)
def test_weights_that_do_not_fit_are_named(loss_fn, targets):
    with pytest.raises(
        ShapeError, match=rf"{type(loss_fn).__name__}: weight has shape \(.*\), which does not broadcast"
    ):
        loss_fn.forward(SCORES, targets)


def test_a_loss_of_ones_own():
    """Two methods make one."""

    class Linear(LossFunction):
        def _forward(self, outputs, targets, each):
            losses = outputs * targets
            return Loss(losses if each else losses.sum(), losses.size), targets

        def _backward(self, dtotal, cache):
            return dtotal * cache

    for reduction in REDUCTIONS:
        loss_fn = Linear(reduction)
        check_gradients((lambda x, f=loss_fn: f.forward(x, NUMBERS), loss_fn.backward), SCORES)

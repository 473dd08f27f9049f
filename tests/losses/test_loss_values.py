"""Each loss is the formula that its settings name, on a GPU too, and says of itself what is true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain import losses
from minitrain.backend import to_device, to_numpy, use_kernels
from minitrain.backend.arrays import to_number
from minitrain.errors import ConfigError, MinitrainError
from minitrain.losses import REDUCTIONS, CrossEntropyLoss, LabelSmoothing, LinearCrossEntropy, MeanSquaredError
from minitrain.losses.base import LossCache
from minitrain.ops import Loss
from minitrain.testing.cuda.fake import emulated_device
from tests.helpers.plain_losses import plain_info_nce, plain_siglip, plain_supervised_contrastive
from tests.losses.test_losses import (
    BITS,
    CALLS,
    CLASSES,
    HEAD,
    MIXED,
    NUMBERS,
    OTHER_ROWS,
    ROWS,
    SCORES,
    SHARES,
    WEIGHT,
    V,
    make,
)

every_loss = pytest.mark.parametrize("name", CALLS)
LOGS = SCORES - np.log(np.exp(SCORES).sum(axis=-1, keepdims=True))
PROBABILITIES = 1 / (1 + np.exp(-SCORES))


def of_class(x: Any) -> Any:
    """The entries of the targets' classes."""
    return np.take_along_axis(x, CLASSES[..., None], axis=-1)[..., 0]


def contrastive(plain: Any, *inputs: Any, **options: Any) -> Any:
    return plain(*inputs, each=True, **options)[0]


# The formula of each loss with the settings of CALLS, one number for each target.
FORMULAS: dict[str, Any] = {
    "CrossEntropyLoss": lambda: np.where(
        CLASSES == 0, 0, -0.9 * WEIGHT[CLASSES] * of_class(LOGS) - 0.1 * (WEIGHT * LOGS).mean(axis=-1)
    ),
    "LabelSmoothing": lambda: np.where(CLASSES == 0, 0, -0.8 * of_class(LOGS) - 0.2 * LOGS.mean(axis=-1)),
    "FocalLoss": lambda: np.where(
        CLASSES == 0, 0, -WEIGHT[CLASSES] * (1 - np.exp(of_class(LOGS))) ** 1.5 * of_class(LOGS)
    ),
    "BinaryFocalLoss": lambda: np.where(
        BITS == 1,
        -0.7 * (1 - PROBABILITIES) ** 1.5 * np.log(PROBABILITIES),
        -0.3 * PROBABILITIES**1.5 * np.log(1 - PROBABILITIES),
    ),
    "BinaryCrossEntropyLoss": lambda: (
        -WEIGHT * SHARES * np.log(PROBABILITIES) - (1 - SHARES) * np.log(1 - PROBABILITIES)
    ),
    "HingeLoss": lambda: np.maximum(0, 0.7 - (2 * BITS - 1) * SCORES),
    "UnlikelihoodLoss": lambda: np.where(
        MIXED >= 0,
        np.where(MIXED == 0, 0, -of_class(LOGS)),
        -0.5 * np.log1p(-np.exp(of_class(LOGS))),
    ),
    "MeanSquaredError": lambda: WEIGHT * (SCORES - NUMBERS) ** 2,
    "MeanAbsoluteError": lambda: WEIGHT * abs(SCORES - NUMBERS),
    "HuberLoss": lambda: (
        WEIGHT
        * np.where(abs(SCORES - NUMBERS) <= 0.8, (SCORES - NUMBERS) ** 2 / 2, 0.8 * (abs(SCORES - NUMBERS) - 0.8 / 2))
    ),
    "InfoNCELoss": lambda: contrastive(
        plain_info_nce, ROWS, OTHER_ROWS, -math.log(0.5), range(len(ROWS)), limit=math.inf
    ),
    "SigmoidContrastiveLoss": lambda: contrastive(
        plain_siglip, ROWS, OTHER_ROWS, -math.log(0.5), -1.0, range(len(ROWS))
    ),
    "SupervisedContrastiveLoss": lambda: contrastive(
        plain_supervised_contrastive, ROWS, CALLS["SupervisedContrastiveLoss"][1][1], temperature=0.5
    ),
}
# The others have tests of their own: the distance of distributions, and heads against plain logits.
ELSEWHERE = {"LinearCrossEntropy", "KLDivergenceLoss", "TripletLoss"}


def test_each_loss_is_its_formula():
    assert FORMULAS.keys() | ELSEWHERE == CALLS.keys()
    for name, formula in FORMULAS.items():
        np.testing.assert_allclose(make(name, "none").forward(*CALLS[name][1])[0], formula(), rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_loss_with_its_head_is_the_loss_of_the_logits(reduction):
    """With class weights, smoothing and a z-loss, and as many gradients as it has arrays."""
    options = {"label_smoothing": 0.1, "weight": WEIGHT, "z_loss": 0.1, "ignore_index": 0, "reduction": reduction}
    weight, classes, bias = HEAD
    whole, split = CrossEntropyLoss(**options), LinearCrossEntropy(**options, chunk=2)
    loss, cache = whole.forward(SCORES @ weight.T + bias, classes)
    found, split_cache = split.forward(SCORES, weight, classes, bias)
    for mine, other in zip(parts(found), parts(loss), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12)
    dloss = 1.0 if reduction != "none" else np.ones_like(loss)
    dlogits, gradients = whole.backward(dloss, cache), split.backward(dloss, split_cache)
    assert len(gradients) == 4
    assert gradients[2] is None
    flat = dlogits.reshape(-1, V)
    for mine, other in (
        (gradients[0], dlogits @ weight),
        (gradients[1], flat.T @ SCORES.reshape(-1, V)),
        (gradients[3], flat.sum(axis=0)),
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", ["InfoNCELoss", "SigmoidContrastiveLoss"])
def test_what_is_no_parameter_has_no_gradient(name):
    loss_fn = make(name, None)
    gradients = loss_fn.backward(1.0, loss_fn.forward(ROWS, OTHER_ROWS)[1])
    assert [one.shape for one in gradients] == [ROWS.shape, OTHER_ROWS.shape]


def test_groups_are_no_negatives_of_each_other():
    groups = np.array([0, 1, 0, 2, 1, 3])
    for name, plain, options in (
        ("InfoNCELoss", plain_info_nce, {"limit": math.inf}),
        ("SigmoidContrastiveLoss", plain_siglip, {"bias": -1.0}),
    ):
        expected = contrastive(plain, ROWS, OTHER_ROWS, -math.log(0.5), groups=groups, **options)
        np.testing.assert_allclose(make(name, "none").forward(ROWS, OTHER_ROWS, groups)[0], expected, rtol=1e-10)


@every_loss
def test_on_a_gpu_it_is_the_same(name):
    """With every reduction, weights that came from the CPU included."""
    with use_kernels("reference"), emulated_device():
        for reduction in REDUCTIONS:
            loss_fn, inputs = make(name, reduction), CALLS[name][1]
            here, cache = loss_fn.forward(*inputs)
            there, cache_there = loss_fn.forward(*(to_device(x, "cuda") for x in inputs))
            for mine, other in zip(parts(here), parts(there), strict=True):
                np.testing.assert_allclose(to_numpy(other), mine, rtol=1e-12)
            ones = 1.0 if reduction != "none" else np.ones_like(here)
            ones_there = 1.0 if reduction != "none" else to_device(ones, "cuda")
            for mine, other in zip(
                parts(loss_fn.backward(ones, cache)), parts(loss_fn.backward(ones_there, cache_there)), strict=True
            ):
                if mine is not None:
                    np.testing.assert_allclose(to_numpy(other), mine, rtol=1e-10, atol=1e-15)


def parts(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_mean_of_nothing_has_no_gradient(device):
    with use_kernels("reference"), emulated_device(), np.errstate(all="ignore"):
        loss_fn = CrossEntropyLoss(ignore_index=0, reduction="mean")
        outputs = to_device(SCORES.astype(np.float32), device)
        targets = to_device(np.zeros_like(CLASSES), device)
        loss, cache = loss_fn.forward(outputs, targets)
        assert math.isnan(to_number(loss))
        assert loss.dtype == np.float32
        assert to_number(cache.scale) == 0
        assert not to_numpy(loss_fn.backward(1.0, cache)).any()


def test_weights_of_each_row_stay_where_they_are():
    """Those of one axis are copied to the GPU once; larger ones are the caller's, on the device of the outputs."""
    rows = np.random.default_rng(0).random((*SCORES.shape[:2], 1)) + 0.5
    with use_kernels("reference"), emulated_device():
        outputs, targets = to_device(SCORES, "cuda"), to_device(NUMBERS, "cuda")
        loss = MeanSquaredError(weight=to_device(rows, "cuda")).forward(outputs, targets)[0]
        scalar = MeanSquaredError(weight=2.0 * np.ones(())).forward(outputs, targets)[0]
        classes = to_device(CLASSES, "cuda")
        there = CrossEntropyLoss(weight=to_device(WEIGHT, "cuda")).forward(outputs, classes)[0]
        listed = CrossEntropyLoss(weight=WEIGHT.tolist()).forward(outputs, classes)[0]
        with pytest.raises(MinitrainError):
            MeanSquaredError(weight=rows[0]).forward(outputs, targets)
    assert to_number(loss.total) == pytest.approx(MeanSquaredError(weight=rows).forward(SCORES, NUMBERS)[0].total)
    here = CrossEntropyLoss(weight=WEIGHT).forward(SCORES, CLASSES)[0].total
    assert to_number(there.total) == pytest.approx(here) == to_number(listed.total)
    assert to_number(scalar.total) == pytest.approx(2 * ((SCORES - NUMBERS) ** 2).sum())


def test_the_gradient_that_comes_is_scaled_by_the_reduction_alone():
    array = np.arange(3.0)
    assert LossCache(None, 1.0).scaled(array) is array
    np.testing.assert_array_equal(LossCache(None, 0.25).scaled(array), array / 4)


@every_loss
def test_summed_leaves_the_reduction_out_and_nothing_else(name):
    inputs = CALLS[name][1]
    plain = make(name, None)
    assert plain.summed() is plain
    for reduction in ("none", "mean", "sum"):
        loss_fn = make(name, reduction)
        assert loss_fn.each is (reduction == "none")
        assert loss_fn.summed().forward(*inputs)[0] == plain.forward(*inputs)[0]
        assert loss_fn.reduction == reduction


@every_loss
def test_a_setting_may_be_none_or_a_number(name):
    kind = getattr(losses, name)
    for setting, value in CALLS[name][0].items():
        if isinstance(value, float):
            with pytest.raises(ConfigError, match=f"{name}: .*{setting}='0.5' must be a number"):
                kind(**{setting: "0.5"})
    assert losses.BinaryFocalLoss(alpha=None).alpha is None


@pytest.mark.parametrize(
    "settings", [{"label_smoothing": 0.1}, {"z_loss": 0.1}, {"label_smoothing": 0.1, "z_loss": 0.1}, {}]
)
@pytest.mark.parametrize("kind", [CrossEntropyLoss, LinearCrossEntropy])
def test_what_helps_training_is_left_out_of_the_plain_loss(kind, settings):
    kept = {"ignore_index": 2, "weight": WEIGHT}
    loss_fn = kind(**settings, **kept)
    assert (loss_fn.plain() is loss_fn) is (not settings)
    assert loss_fn.plain().options == kind(**kept).options
    np.testing.assert_array_equal(loss_fn.plain().weight, WEIGHT)
    assert loss_fn.options == kind(**settings, **kept).options
    inputs = CALLS[kind.__name__][1]
    assert loss_fn.plain().forward(*inputs)[0] == kind(**kept).forward(*inputs)[0]


def test_a_mean_is_the_total_over_the_count():
    assert Loss(3.0, 4).mean == 0.75
    assert Loss(np.float32(3), np.float32(1.5)).mean == 2
    assert math.isnan(Loss(0.0, 0).mean)


def test_losses_say_what_they_are():
    assert CrossEntropyLoss().is_likelihood is True
    assert CrossEntropyLoss(weight=WEIGHT).is_likelihood is False
    assert CrossEntropyLoss(ignore_index=3).ignore_index == 3
    assert LabelSmoothing(pad_idx=2).ignore_index == 2
    assert LabelSmoothing(pad_idx=None).ignore_index == CrossEntropyLoss().ignore_index == -100
    mse = MeanSquaredError()
    assert mse.plain() is mse


@pytest.mark.parametrize("name", ["InfoNCELoss", "SigmoidContrastiveLoss", "SupervisedContrastiveLoss"])
@pytest.mark.parametrize("temperature", [0, -0.5, math.nan])
def test_temperatures_are_above_zero(name, temperature):
    with pytest.raises(ConfigError, match=rf"{name}: temperature={temperature} must be positive"):
        getattr(losses, name)(temperature=temperature)

"""A loss function in a trainer: any split of a batch has the gradient of the whole batch, or is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain import losses
from minitrain.errors import ConfigError, DataError
from minitrain.losses import CrossEntropyLoss, LossFunction, MeanSquaredError, as_unwanted
from minitrain.nn import Linear
from minitrain.optim import SGD
from minitrain.training import ModelWithLoss, Trainer, TrainingConfig
from tests.helpers.model_checks import KEY

B, T, V = 6, 3, 4
rng = np.random.default_rng(1)
INPUTS = rng.standard_normal((B, T, V))
CLASSES = rng.integers(0, V, (B, T))
CLASSES[0], CLASSES[1, 0], CLASSES[4:] = -100, -100, 1  # counts that differ from sample to sample
PADDED = np.where(CLASSES < 0, 0, CLASSES)
NUMBERS = rng.standard_normal((B, T, V))
BITS = rng.integers(0, 2, (B, T, V))
SHARES = np.exp(NUMBERS) / np.exp(NUMBERS).sum(axis=-1, keepdims=True)
WEIGHT = rng.random((T, V)) + 0.5

# Every loss of outputs and targets whose samples are apart: its settings, and targets.
LOSSES: dict[str, tuple[dict[str, Any], Any]] = {
    "CrossEntropyLoss": ({"label_smoothing": 0.1, "weight": [1.0, 2.0, 0.5, 3.0], "z_loss": 0.1}, CLASSES),
    "LabelSmoothing": ({"smoothing": 0.2, "pad_idx": 0, "others_only": True}, PADDED),
    "FocalLoss": ({"gamma": 1.5, "ignore_index": -100}, CLASSES),
    "BinaryFocalLoss": ({}, BITS),
    "BinaryCrossEntropyLoss": ({"pos_weight": [1.0, 2.0, 0.5, 3.0]}, SHARES),
    "HingeLoss": ({}, 2 * BITS - 1),
    "UnlikelihoodLoss": ({"alpha": 0.5}, np.where(BITS[..., 0] & (CLASSES >= 0), as_unwanted(CLASSES), CLASSES)),
    "KLDivergenceLoss": ({}, SHARES),
    "MeanSquaredError": ({"weight": WEIGHT}, NUMBERS),
    "MeanAbsoluteError": ({"weight": WEIGHT}, NUMBERS),
    "HuberLoss": ({"weight": WEIGHT, "delta": 0.5}, NUMBERS),
}
COUPLED = {"SupervisedContrastiveLoss"}  # compares all samples of a batch
every_loss = pytest.mark.parametrize("name", LOSSES)


def make(name: str, reduction: str | None) -> Any:
    return getattr(losses, name)(**LOSSES[name][0], reduction=reduction)


def layer() -> Linear:
    return Linear(V, V, np.random.default_rng(2), dtype=np.float64)


def test_every_loss_of_outputs_and_targets_is_here() -> None:
    found = {name: value for name, value in vars(losses).items() if isinstance(value, type)}
    kinds = {name for name, value in found.items() if issubclass(value, LossFunction) and value is not LossFunction}
    assert kinds - COUPLED == LOSSES.keys()


def gradient(objective: ModelWithLoss, parts: list[Any]) -> tuple[Any, float, float]:
    """The gradient of the mean over all parts, as a training step forms it, the total and the count."""
    objective.model.zero_grad()
    total = count = 0.0
    for part in parts:
        loss, cache = objective.loss(part, key=KEY)
        objective.loss_backward(cache)
        total, count = total + float(loss.total), count + float(loss.count)
    return objective.model.weight.grad / count, total, count


@every_loss
@pytest.mark.parametrize("reduction", [None, "mean"])
@settings(max_examples=15)
@given(cuts=st.sets(st.integers(1, B - 1)))
def test_any_split_gives_the_gradient_of_the_whole_batch(name: str, reduction: str | None, cuts: set[int]) -> None:
    """The reference is the loss's own mean over the whole batch."""
    targets, model = LOSSES[name][1], layer()
    edges = [0, *sorted(cuts), B]
    parts = [(INPUTS[a:b], targets[a:b]) for a, b in pairwise(edges)]
    actual, total, count = gradient(ModelWithLoss(model, make(name, reduction)), parts)

    mean = make(name, "mean")
    model.zero_grad()
    outputs, cache = model.forward(INPUTS)
    value, loss_cache = mean.forward(outputs, targets)
    model.backward(mean.backward(1.0, loss_cache), cache)
    assert total / count == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(actual, model.weight.grad, rtol=1e-10, atol=1e-13)


@every_loss
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_a_reduction_that_cannot_be_split_is_refused(name: str, reduction: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\(reduction='{reduction}'\): .* leave reduction out, or use 'mean'"):
        Trainer(model=layer(), train_data=[(INPUTS, LOSSES[name][1])], loss_fn=make(name, reduction))


@pytest.mark.parametrize("accumulation", [1, 2, 3, 6])
@pytest.mark.parametrize("reduction", [None, "mean"])
def test_the_trainer_ends_in_the_same_weights_whatever_the_accumulation(reduction: str, accumulation: int) -> None:
    def trained(reduction: str | None, accumulation: int) -> Any:
        model = layer()
        trainer = Trainer(
            model=model,
            train_data=[(INPUTS, CLASSES)],
            loss_fn=CrossEntropyLoss(0.1, reduction),
            optimizer=SGD(model, lr=0.5),
            config=TrainingConfig(epochs=4, gradient_accumulation_steps=accumulation, max_grad_norm=None),
            progress=False,
        )
        trainer.train()
        return model.weight.data, trainer.history.get_metric("train_loss")

    (weights, curve), (expected, reference) = trained(reduction, accumulation), trained(None, 1)
    np.testing.assert_allclose(weights, expected, rtol=1e-11)
    np.testing.assert_allclose(curve, reference, rtol=1e-11)


def test_summed_keeps_everything_else() -> None:
    loss_fn = MeanSquaredError("mean", weight=WEIGHT)
    summed = loss_fn.summed()
    assert (summed.reduction, loss_fn.reduction) == (None, "mean")
    assert summed.weight is loss_fn.weight
    assert summed.summed() is summed


class OwnMean:
    """A loss of one's own that gives a number."""

    def __init__(self, reduction: str = "mean", shape: tuple[int, ...] = ()) -> None:
        self.reduction, self.shape = reduction, shape

    def forward(self, outputs: Any, targets: Any) -> Any:
        losses = ((outputs - 1) ** 2).sum(axis=(1, 2))
        return losses if self.shape else losses.mean(), outputs

    def backward(self, dloss: float, outputs: Any) -> Any:
        return dloss * 2 * (outputs - 1) / len(outputs)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_a_loss_of_ones_own_that_names_its_reduction(reduction: str) -> None:
    with pytest.raises(ConfigError, match=rf"OwnMean\(reduction='{reduction}'\)"):
        ModelWithLoss(layer(), OwnMean(reduction))


def test_losses_that_stay_apart_are_explained() -> None:
    with pytest.raises(
        ConfigError, match=r"losses of shape \(6,\), one for each target: return their sum and their num"
    ):
        ModelWithLoss(layer(), OwnMean(shape=(6,))).loss((INPUTS, CLASSES), key=KEY)


def test_a_mean_over_targets_of_which_some_do_not_count_is_refused() -> None:
    """A number is weighed by samples; here the samples have different numbers of targets."""
    with pytest.raises(DataError, match=r"targets of -100 do not count: return their sum .* Loss\(total, count\)"):
        ModelWithLoss(layer(), OwnMean()).loss((INPUTS, CLASSES), key=KEY)
    loss, _ = ModelWithLoss(layer(), OwnMean()).loss((INPUTS, PADDED), key=KEY)
    assert loss.count == B

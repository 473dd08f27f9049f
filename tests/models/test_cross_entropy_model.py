"""What all models with a cross-entropy share, shown with the smallest one: a table of logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import DataError
from minitrain.models.common.cross_entropy import CrossEntropyModel
from minitrain.nn import Parameter
from minitrain.random import Key

V = 5
KEY = Key.from_seed(0)


class Batch(NamedTuple):
    inputs: Any
    targets: Any


class Table(CrossEntropyModel):
    """The logits of an input are a row of a table; in training, twice the row."""

    def __init__(self, smoothing: float = 0.0, seed: int = 0) -> None:
        self.config = SimpleNamespace(label_smoothing=smoothing)
        self.weight = Parameter(np.random.default_rng(seed).standard_normal((4, V)))
        self.keys: list[Key | None] = []

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Any, Any, Any]:
        self.keys.append(key)
        inputs, targets = batch
        factor = 1 if key is None else 2
        return factor * self.weight.data[inputs], targets, (inputs, factor)

    def backward(self, dlogits: Any, cache: Any) -> None:
        inputs, factor = cache
        np.add.at(self.weight.grad, inputs, factor * dlogits)


class Ranking(Table):
    """A loss that is no likelihood: every target counts."""

    is_likelihood = False


def batch_of(seed: int, shape: tuple[int, ...] = (3, 2)) -> Batch:
    draw = np.random.default_rng(seed)
    return Batch(draw.integers(0, 4, shape), np.where(draw.random(shape) < 0.3, -100, draw.integers(0, V, shape)))


def by_hand(logits: Any, targets: Any, smoothing: float) -> Any:
    """The loss of each target, 0 where it does not count."""
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    own = np.take_along_axis(logs, np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    return np.where(targets < 0, 0, -(1 - smoothing) * own - smoothing * logs.mean(axis=-1))


@settings(max_examples=20)
@given(seed=st.integers(0, 99), smoothing=st.sampled_from([0.0, 0.25]), shape=st.sampled_from([(3,), (3, 2)]))
def test_a_key_means_training_and_no_key_the_plain_loss(seed, smoothing, shape):
    model, batch = Table(smoothing, seed), batch_of(seed, shape)
    counted = (batch.targets != -100).sum()
    for key in (None, KEY):
        factor, smooth = (1, 0.0) if key is None else (2, smoothing)
        loss, _ = model.loss(batch, key=key)
        assert model.keys.pop() is key
        assert loss.count == counted
        expected = by_hand(factor * model.weight.data[batch.inputs], batch.targets, smooth)
        assert float(loss.total) == pytest.approx(expected.sum(), rel=1e-12)
    measured, outputs = model.loss_and_outputs(batch)
    assert measured == model.loss(batch)[0]
    np.testing.assert_array_equal(outputs, model.weight.data[batch.inputs])
    assert set(model.keys) == {None}


@settings(max_examples=20)
@given(seed=st.integers(0, 99), smoothing=st.sampled_from([0.0, 0.25]), outputs=st.booleans())
def test_losses_one_by_one_are_plain_and_add_up(seed, smoothing, outputs):
    model, batch = Table(smoothing, seed), batch_of(seed)
    found = model.losses(batch, outputs=outputs)
    assert model.keys == [None]
    np.testing.assert_allclose(found.losses, by_hand(model.weight.data[batch.inputs], batch.targets, 0.0), rtol=1e-12)
    np.testing.assert_array_equal(found.counts, batch.targets != -100)
    assert (found.outputs is None) is (not outputs)
    if outputs:
        np.testing.assert_array_equal(found.outputs, model.weight.data[batch.inputs])
    every = Ranking(smoothing, seed).losses(batch)
    assert every.counts.all()
    assert every.counts.dtype == bool
    np.testing.assert_array_equal(every.losses, found.losses)


@settings(max_examples=20)
@given(seed=st.integers(0, 99), factor=st.sampled_from([1.0, 0.5, 1024.0]))
def test_the_gradient_is_that_of_the_total_times_a_factor(seed, factor):
    model, batch = Table(0.2, seed), batch_of(seed)
    model.loss_backward(model.loss(batch, key=KEY)[1], factor)
    found = model.weight.grad.copy()
    step = 1e-6
    for place in np.ndindex(found.shape):
        ends = []
        for sign in (1, -1):
            model.weight.data[place] += sign * step
            ends.append(float(model.loss(batch, key=KEY)[0].total))
            model.weight.data[place] -= sign * step
        assert found[place] == pytest.approx(factor * (ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-6 * factor)
    usual = Table(0.2, seed)
    usual.loss_backward(usual.loss(batch, key=KEY)[1])
    np.testing.assert_allclose(factor * usual.weight.grad, found, rtol=1e-12)


def test_models_say_what_they_do():
    assert (Table(0.1).smooths, Table(0.0).smooths) == (True, False)
    assert Table().ignore_index == -100
    assert (Table(0.1).smoothing(None), Table(0.1).smoothing(KEY), Table(0.0).smoothing(KEY)) == (0.0, 0.1, 0.0)
    with pytest.raises(DataError):
        Table().loss({"inputs": np.zeros(2, int)})

"""Batches without samples, or without positions, through whole models: empty outputs, gradients of zero."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.nn import CrossAttention, MixtureOfExperts
from minitrain.nn.core.init import generator
from minitrain.nn.layers.feed_forward import FeedForward
from tests.helpers.model_zoo import KINDS, rows


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_batch_without_samples(kind):
    model, batch = kind.build(), rows(kind.batch(2), 0, 0)
    loss, cache = model.loss(batch)
    model.loss_backward(cache)
    assert loss.total == 0
    assert loss.count == 0
    assert np.isnan(loss.mean)
    assert not any(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["gpt", "llama", "llama, all options", "seq2seq"])
def test_sequences_without_positions(name):
    model = KINDS[name].build()
    arguments = (np.ones((2, 3), int), np.ones((2, 0), int)) if name == "seq2seq" else (np.ones((2, 0), int),)
    logits, cache = model.forward(*arguments)
    assert logits.shape == (2, 0, 11)
    model.backward(logits, cache)
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_layers_without_a_model():
    x = np.zeros((0, 3, 4), np.float32)
    cross = CrossAttention(4, 2, generator(0))
    out, cache = cross.forward(x, x)
    dx, dmemory = cross.backward(out, cache)
    assert out.shape == dx.shape == dmemory.shape == x.shape
    experts = MixtureOfExperts(4, [FeedForward(4, 8, generator(i)) for i in range(3)], generator(3))
    out, aux, cache = experts.forward(x)
    assert experts.backward(out, 1.0, cache).shape == out.shape == x.shape
    assert aux == 0

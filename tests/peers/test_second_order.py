"""Backwards of backwards against PyTorch's double backward, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel

import minitrain as mt
from minitrain.ops import second_order_registry
from minitrain.testing.cases import CASES, SMALL
from minitrain.training import HessianProducts

from . import oracles
from .test_ops import NO_ORACLE, without_dropout

SECOND = second_order_registry()
NAMES = sorted(SECOND.keys() - NO_ORACLE)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_double_backwards_agree(name, data, seed):
    case = CASES[name]
    call, rng = without_dropout(data.draw(case.calls(SMALL))), np.random.default_rng(seed)
    tensors = [None if a is None else oracles._tensor(a) for a in call.inputs]
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's fast attention has no double backward
        expected = oracles.find(name)(*tensors, **call.options)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    result = case.pair.forward(*call.inputs, **call.options)
    cotangents = [np.asarray(rng.standard_normal(np.shape(out))) for out in case.outputs(result)]
    moving = [i for i, t in enumerate(tensors) if t is not None and t.requires_grad and case.gradients()[i]]
    ddxs = [rng.standard_normal(t.shape) if i in moving else None for i, t in enumerate(tensors)]
    ddxs += [None] * (len(case.gradients()) - len(ddxs))
    found = SECOND[name].backward(*ddxs, *cotangents, result[-1])

    douts = [torch.from_numpy(c).requires_grad_() for c in cotangents]
    inputs = [tensors[i] for i in moving]
    gradients = torch.autograd.grad(expected, inputs, douts, create_graph=True, allow_unused=True)
    total = sum((g * torch.from_numpy(ddxs[i])).sum() for g, i in zip(gradients, moving, strict=True) if g is not None)
    wanted = torch.autograd.grad(total, [*douts, *inputs], allow_unused=True)
    places = [*range(len(douts)), *(len(douts) + i for i in moving)]
    for place, theirs in zip(places, wanted, strict=True):
        theirs = torch.zeros(np.shape(found[place]), dtype=torch.float64) if theirs is None else theirs
        oracles.assert_close(found[place], theirs, 1e-10, f"result {place} of {name}")


def test_a_models_product_is_that_of_pytorch():
    """Of an MLP with tanh under cross-entropy, by ``torch.autograd.functional.hvp``."""
    rng = np.random.default_rng(0)
    model = mt.MLP(mt.MLPConfig(widths=(3, 5, 4), activation="tanh"), seed=0)
    x, targets = rng.standard_normal((7, 3)).astype(np.float32), rng.integers(0, 4, 7)
    products = HessianProducts(model, model, (x, targets), exact=True)
    shapes = [p.data.shape for p in model.parameters()]
    weights = [torch.from_numpy(p.data.astype(np.float64)) for p in model.parameters()]
    vector = rng.standard_normal(products.size)
    parts = np.split(vector, np.cumsum([w.numel() for w in weights])[:-1])
    direction = [torch.from_numpy(part.reshape(shape)) for part, shape in zip(parts, shapes, strict=True)]

    def loss(w1, b1, w2, b2):
        hidden = torch.tanh(torch.nn.functional.linear(torch.from_numpy(x).double(), w1, b1))
        logits = torch.nn.functional.linear(hidden, w2, b2)
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets))

    _, theirs = torch.autograd.functional.hvp(loss, tuple(weights), tuple(direction))
    expected = np.concatenate([t.numpy().reshape(-1) for t in theirs])
    np.testing.assert_allclose(products(vector), expected, rtol=1e-11, atol=1e-13)

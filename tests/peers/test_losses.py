"""Losses as objects against PyTorch's: the mean, which each divides in its own way, and its gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain import losses
from minitrain.backend import use_kernels
from minitrain.ops import cross_entropy_backward, cross_entropy_forward
from minitrain.testing.strategies import arrays, integer_arrays

V = 5
WEIGHT = np.array([0.5, 2.0, 1.0, 0.1, 3.0])
LOSSES = {
    "cross-entropy": (losses.CrossEntropyLoss, torch.nn.CrossEntropyLoss, {"weight": WEIGHT}, "classes"),
    "smoothing": (losses.CrossEntropyLoss, torch.nn.CrossEntropyLoss, {"label_smoothing": 0.1}, "classes"),
    "ignored": (losses.CrossEntropyLoss, torch.nn.CrossEntropyLoss, {"ignore_index": 2}, "classes"),
    "squared": (losses.MeanSquaredError, torch.nn.MSELoss, {}, "numbers"),
    "absolute": (losses.MeanAbsoluteError, torch.nn.L1Loss, {}, "numbers"),
    "huber": (losses.HuberLoss, torch.nn.HuberLoss, {"delta": 0.4}, "numbers"),
    "binary": (losses.BinaryCrossEntropyLoss, torch.nn.BCEWithLogitsLoss, {"pos_weight": WEIGHT}, "shares"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@settings(max_examples=20)
@given(data=st.data())
def test_value_and_gradient(name, reduction, data):
    ours, theirs, options, kind = LOSSES[name]
    outputs = data.draw(arrays((7, V)))
    targets = {
        "classes": lambda: np.append(data.draw(integer_arrays((6,), V)), 0),  # never all of them ignored
        "numbers": lambda: data.draw(arrays((7, V))),
        "shares": lambda: 1 / (1 + np.exp(-data.draw(arrays((7, V))))),
    }[kind]()
    loss_fn = ours(**options, reduction=reduction)
    loss, cache = loss_fn.forward(outputs, targets)
    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    x = torch.from_numpy(outputs.copy()).requires_grad_()
    expected = theirs(**tensors, reduction=reduction)(x, torch.from_numpy(targets))
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    dloss = np.random.default_rng(0).standard_normal(expected.shape)
    expected.backward(torch.from_numpy(np.asarray(dloss)))
    np.testing.assert_allclose(loss_fn.backward(dloss, cache), x.grad.numpy(), rtol=1e-11, atol=1e-12)


@given(data=st.data())
def test_mean_of_divergences_is_batchmean(data):
    log_probs, shares = (torch.log_softmax(torch.from_numpy(data.draw(arrays((6, V)))), dim=-1) for _ in range(2))
    loss, _ = losses.KLDivergenceLoss("mean").forward(log_probs.numpy(), shares.exp().numpy())
    expected = torch.nn.KLDivLoss(reduction="batchmean")(log_probs, shares.exp())
    np.testing.assert_allclose(loss, expected.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("offset", "spread"), [(1e4, 1e-3), (30.0, 3.0), (0.0, 3.0)])
@pytest.mark.parametrize("mode", ["reference", "auto"])
def test_cross_entropy_is_as_exact_as_pytorchs_where_logits_share_an_offset(mode, offset, spread):
    rng = np.random.default_rng(0)
    logits, targets = (offset + spread * rng.standard_normal((256, 64))).astype(np.float32), rng.integers(0, 64, 256)
    shifted = logits.astype(np.float64) - offset
    exact = np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True)
    exact[np.arange(256), targets] -= 1
    theirs = torch.tensor(logits, requires_grad=True)
    torch.nn.functional.cross_entropy(theirs, torch.tensor(targets), reduction="sum").backward()
    with use_kernels(mode):
        _, cache = cross_entropy_forward(logits, targets)
        ours, *_ = cross_entropy_backward(1.0, cache)
    assert abs(ours - exact).max() <= 1.5 * abs(theirs.grad.numpy() - exact).max() + 1e-8

"""Layers and models: gradients of all parameters at once, and what a training loop relies on."""

from __future__ import annotations

import copy
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import GatedFeedForward, GroupNorm, LayerNorm, Module, TransformerBlock, pack
from minitrain.random import Key
from minitrain.testing import check_gradients, check_module
from minitrain.testing import strategies as mt
from minitrain.testing.cases import LAYERS
from minitrain.testing.pairs import argument_names
from tests.helpers.model_checks import stir

KEY = Key.from_seed(8)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gpt(**changes: Any) -> GPT:
    shape = {"vocab_size": 11, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 8, "bias": True} | changes
    return stir(GPT(GPTConfig(**shape)))


def batch(B: int = 3, T: int = 5, seed: int = 0) -> Any:
    rng = generator(seed)
    targets = rng.integers(0, 11, (B, T))
    targets[0, :2] = -100
    return SimpleNamespace(inputs=rng.integers(0, 11, (B, T)), targets=targets)


def gradients(model: Module) -> dict[str, Any]:
    return {path: parameter.grad.copy() for path, parameter in model.named_parameters()}


def backward_of(model: GPT, *batches: Any, key: Key | None = None, first: int = 0) -> dict[str, Any]:
    """The gradients of the summed losses of some micro-batches, one after another."""
    model.zero_grad()
    for part in batches:
        _, cache = model.loss(part, key=None if key is None else key.at_sample(first))
        model.loss_backward(cache)
        first += len(part.inputs)
    return gradients(model)


def assert_close(actual: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for path, value in expected.items():
        gap = abs(actual[path] - value).max()
        assert gap <= tolerance * max(1.0, abs(value).max()), f"{path} differs by {gap:.2e}"


# Gradients.


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
@settings(max_examples=3)
@given(seed=mt.seeds())
def test_gradients_of_layers(case, seed):
    module, inputs = case.module(seed), case.arguments(seed)
    report = check_module(module, *inputs, **case.options)
    names = argument_names(module.forward, len(inputs))
    differentiable = {name for name, x in zip(names, inputs, strict=True) if x.dtype.kind == "f"}
    trainable = {path for path, parameter in module.named_parameters() if parameter.trainable}
    assert {argument.name for argument in report.arguments} == differentiable | trainable


def test_an_unknown_gate_is_named():
    with pytest.raises(ConfigError, match="activation='relu'; use one of swiglu, geglu"):
        GatedFeedForward(8, 7, generator(), activation="relu")


def test_groups_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="groups=3 must divide channels=8"):
        GroupNorm(8, 3)


class SumAndNorm(Module):
    """The norm of a residual stream, with both outputs."""

    def __init__(self) -> None:
        self.norm = LayerNorm(5, eps=0.1)

    def forward(self, x, branch):
        return self.norm.forward_residual(x, branch)

    def backward(self, dtotal, dout, cache):
        dx = self.norm.backward_residual(dtotal, dout, cache)
        return dx, dx


def test_gradients_of_the_residual_norm():
    x, branch = generator(1).standard_normal((2, 2, 3, 5))
    report = check_module(stir(SumAndNorm()), x, branch)
    assert {argument.name for argument in report.arguments} == {"x", "branch", "norm.weight", "norm.bias"}


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"tie_weights": False, "bias": False, "gelu": "tanh"}, {}),
        ({"n_head": 4, "n_kv_head": 2, "dropout": 0.3}, {"key": KEY}),
    ],
    ids=["tied", "untied, no bias, tanh", "grouped queries, dropout"],
)
def test_gradients_of_gpt(changes, options):
    model = gpt(**changes)
    report = check_module(model, batch().inputs, **options)
    assert {argument.name for argument in report.arguments} == set(dict(model.named_parameters()))
    assert ("head.weight" in dict(model.named_parameters())) == (not changes.get("tie_weights", True))


class LossOfGPT(Module):
    """``loss`` and ``loss_backward`` as one layer, for the checker."""

    def __init__(self, model: GPT, targets: Any) -> None:
        self.model, self.targets = model, targets

    def forward(self, tokens, *, key=None):
        return self.model.loss(SimpleNamespace(inputs=tokens, targets=self.targets), key=key)

    def backward(self, dtotal, cache):
        self.model.loss_backward(cache, dtotal)


def test_gradients_of_the_loss():
    data = batch()
    report = check_gradients(LossOfGPT(gpt(dropout=0.2), data.targets), data.inputs, key=KEY)
    assert len(report.arguments) == len(gpt().parameters())


# What a training loop relies on.


def test_a_layer_may_be_used_twice_before_its_backward():
    """The gradients of two uses add up, in whatever order the backwards come."""
    xs = generator(1).standard_normal((2, 2, 4, 6)).astype(np.float32)
    douts = generator(2).standard_normal((2, 2, 4, 6)).astype(np.float32)

    def alone(i):
        module = stir(TransformerBlock(6, 2, generator()))
        out, cache = module.forward(xs[i])
        return out, module.backward(douts[i], cache), gradients(module)

    (out0, dx0, grads0), (out1, dx1, grads1) = alone(0), alone(1)
    module = stir(TransformerBlock(6, 2, generator()))
    (first, cache0), (second, cache1) = module.forward(xs[0]), module.forward(xs[1])
    np.testing.assert_array_equal(module.backward(douts[0], cache0), dx0)
    np.testing.assert_array_equal(module.backward(douts[1], cache1), dx1)
    np.testing.assert_array_equal(first, out0)
    np.testing.assert_array_equal(second, out1)
    assert_close(gradients(module), {path: grads0[path] + grads1[path] for path in grads0}, 1e-5)


def test_zero_grad_starts_afresh():
    model = gpt()
    once = backward_of(model, batch())
    again = backward_of(model, batch())
    for path in once:
        np.testing.assert_array_equal(once[path], again[path])
    twice = backward_of(model, batch(), batch())
    assert_close(twice, {path: 2 * gradient for path, gradient in once.items()}, 1e-5)
    model.zero_grad()
    assert not any(gradient.any() for gradient in gradients(model).values())


@pytest.mark.parametrize("kernels", ["reference", "auto"])
@settings(max_examples=8)
@given(cuts=st.sets(st.integers(1, 5)))
def test_any_split_of_a_batch_gives_its_gradient(kernels, cuts):
    """With dropout on: the mask of a sample depends on its place in the whole batch alone."""
    whole, edges = batch(B=6), [0, *sorted(cuts), 6]
    parts = [SimpleNamespace(inputs=whole.inputs[a:b], targets=whole.targets[a:b]) for a, b in pairwise(edges)]
    with use_kernels(kernels):
        model = gpt(dropout=0.3)
        assert_close(backward_of(model, *parts, key=KEY), backward_of(model, whole, key=KEY), 1e-5)


@pytest.mark.parametrize("changes", [{}, {"n_head": 4, "n_kv_head": 2, "dropout": 0.3, "gelu": "tanh"}], ids=str)
def test_kernels_give_the_gradients_of_the_reference(changes):
    model, data = gpt(n_embd=32, block_size=80, **changes), batch(B=2, T=70)
    key = KEY if changes else None
    results = {}
    for mode in ("reference", "auto"):
        with use_kernels(mode):
            loss, _ = model.loss(data, key=key)
            results[mode] = backward_of(model, data, key=key) | {"loss": np.asarray(loss.total)}
    assert_close(results["auto"], results["reference"], 1e-4)


def test_a_packed_model_computes_the_same():
    plain = gpt()
    packed = copy.deepcopy(plain)
    pack(packed)
    expected, actual = backward_of(plain, batch(), batch(seed=1)), backward_of(packed, batch(), batch(seed=1))
    for path in expected:
        np.testing.assert_array_equal(actual[path], expected[path])


def test_frozen_parameters_get_no_gradient():
    model = gpt()
    frozen = {path: p for path, p in model.named_parameters() if path.startswith(("tok_emb", "blocks.0"))}
    for parameter in frozen.values():
        parameter.trainable = False
    full = backward_of(gpt(), batch())
    for path, gradient in backward_of(model, batch()).items():
        if path in frozen:
            assert not gradient.any(), path
        else:
            np.testing.assert_array_equal(gradient, full[path])


def test_evaluation_drops_nothing_and_a_key_does():
    model, tokens = gpt(dropout=0.5), batch().inputs
    first, again = model.forward(tokens)[0], model.forward(tokens)[0]
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, gpt().forward(tokens)[0])
    dropped = model.forward(tokens, key=KEY)[0]
    np.testing.assert_array_equal(dropped, model.forward(tokens, key=KEY)[0])
    assert abs(dropped - first).max() > 0.1
    assert abs(dropped - model.forward(tokens, key=KEY.fold(1))[0]).max() > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_keeps_its_dtype(dtype):
    model = GPT(GPTConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=8), dtype=dtype)
    logits, cache = model.forward(batch().inputs)
    model.backward(np.ones_like(logits), cache)
    assert logits.dtype == dtype
    assert {parameter.grad.dtype for parameter in model.parameters()} == {np.dtype(dtype)}


def test_later_tokens_do_not_change_earlier_logits():
    model, tokens = gpt(), batch().inputs
    changed = tokens.copy()
    changed[:, 3:] = (changed[:, 3:] + 1) % 11
    before, after = model.forward(tokens)[0], model.forward(changed)[0]
    np.testing.assert_allclose(after[:, :3], before[:, :3], rtol=1e-5, atol=1e-6)
    assert abs(after[:, 3:] - before[:, 3:]).max() > 0.1

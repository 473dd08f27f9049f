"""The head and its loss as one: equal to the two after another, and never all logits at once."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.backend.pool import POOL
from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.losses import CrossEntropyLoss, LinearCrossEntropy
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from minitrain.nn import Module, Parameter
from minitrain.ops import (
    cross_entropy_backward,
    cross_entropy_forward,
    linear_backward,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
    linear_forward,
)
from minitrain.random import Key
from minitrain.testing import check_gradients
from minitrain.testing import strategies as mt

both_kernels = pytest.mark.parametrize("mode", ["reference", "auto"])
KEY = Key.from_seed(8)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def classes(V, *shape, seed=1):
    return np.random.default_rng(seed).integers(0, V, shape)


@both_kernels
@settings(max_examples=15)
@given(
    rows=st.integers(0, 40),
    chunk=st.integers(1, 50),
    seed=mt.seeds(),
    options=st.sampled_from([{}, {"label_smoothing": 0.2, "z_loss": 0.1}, {"ignore_index": 3}]),
)
def test_equals_the_two_operations(mode, rows, chunk, seed, options):
    C, V = 5, 17
    hidden, weight, bias = normal(rows, C, seed=seed), normal(V, C, seed=seed), normal(V, seed=seed)
    targets = classes(V, rows, seed=seed)
    with use_kernels(mode):
        loss, cache = linear_cross_entropy_forward(hidden, weight, targets, bias, chunk=chunk, **options)
        logits, head = linear_forward(hidden, weight, bias)
        expected, entropy = cross_entropy_forward(logits, targets, **options)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        dhidden, dweight, _, dbias, _ = linear_cross_entropy_backward(0.3, cache)
        gradients = linear_backward(cross_entropy_backward(0.3, entropy)[0], head)
    for actual, wanted in zip((dhidden, dweight, dbias), gradients, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


@both_kernels
@pytest.mark.parametrize("each", [False, True])
def test_gradients_computed_late_are_those_computed_at_once(mode, each):
    hidden, weight, targets, bias = normal(7, 5), normal(11, 5), classes(11, 7), normal(11)
    with use_kernels(mode):
        early, early_cache = linear_cross_entropy_forward(hidden, weight, targets, bias, chunk=3)
        late, late_cache = linear_cross_entropy_forward(
            hidden, weight, targets, bias, chunk=3, gradients=False, each=each
        )
        np.testing.assert_allclose(np.sum(late.total), early.total, rtol=1e-6)
        assert early_cache.gradients is not None
        assert late_cache.gradients is None
        dtotal = np.full(7, 0.7, np.float32) if each else 0.7
        for a, b in zip(
            linear_cross_entropy_backward(0.7, early_cache),
            linear_cross_entropy_backward(dtotal, late_cache),
            strict=True,
        ):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_cotangent_for_each_row_is_not_that_of_the_total():
    """With gradients of the total in the cache, too."""
    hidden, weight, targets = normal(4, 5), normal(6, 5), classes(6, 4)
    _, cache = linear_cross_entropy_forward(hidden, weight, targets)
    chosen = np.array([0, 1, 0, 0], np.float32)
    dhidden, dweight, *_ = linear_cross_entropy_backward(chosen, cache)
    _, alone = linear_cross_entropy_forward(hidden[1:2], weight, targets[1:2])
    dhidden_alone, dweight_alone, *_ = linear_cross_entropy_backward(1.0, alone)
    np.testing.assert_array_equal(dhidden[[0, 2, 3]], 0)
    np.testing.assert_allclose(dhidden[1:2], dhidden_alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dweight, dweight_alone, rtol=1e-5, atol=1e-6)


# Memory. NumPy tells tracemalloc about its arrays; the pool is emptied first, so that its blocks are seen as well.


def peak_bytes(call):
    """The most memory that a call held at a time."""
    gc.collect()
    POOL.trim()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


N, C, V = 2048, 4, 1024
ALL_LOGITS = N * V * 4  # bytes in float32


def step(chunk):
    hidden, weight, targets = normal(N, C), normal(V, C), classes(V, N)
    _, cache = linear_cross_entropy_forward(hidden, weight, targets, chunk=chunk)
    linear_cross_entropy_backward(1.0, cache)


@both_kernels
def test_the_logits_of_all_rows_never_exist(mode):
    with use_kernels(mode):
        step(64)  # what is compiled and cached is no part of the measurement
        assert peak_bytes(lambda: step(64)) < ALL_LOGITS / 2
        assert peak_bytes(lambda: step(N)) > ALL_LOGITS  # the measure sees them where they are


def small_gpt(loss_chunk, **changes):
    shape = {"vocab_size": V, "block_size": 64, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes
    model = GPT(GPTConfig(**shape, loss_chunk=loss_chunk), seed=1)
    rng = np.random.default_rng(3)
    for parameter in model.parameters():
        parameter.data[...] = 0.5 * rng.standard_normal(parameter.data.shape)
    return model


def batch(B, T, vocabulary=V):
    targets = classes(vocabulary, B, T, seed=2)
    targets[0, :2] = -100
    return SimpleNamespace(inputs=classes(vocabulary, B, T), targets=targets)


@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "training"])
def test_a_gpt_never_holds_all_logits(key):
    data = batch(32, 64)

    def run(model):
        _, cache = model.loss(data, key=key)
        model.loss_backward(cache)

    chunked, whole = small_gpt(64), small_gpt(None)
    run(chunked)
    assert peak_bytes(lambda: run(chunked)) < ALL_LOGITS < peak_bytes(lambda: run(whole))


def test_an_evaluation_does_not_pay_for_gradients():
    model, data = small_gpt(3, vocab_size=7), batch(2, 4, 7)
    assert model.loss(data)[1].loss.gradients is None
    assert model.loss(data, key=KEY)[1].loss.gradients is not None


def gradients_of(model, *batches, key):
    model.zero_grad()
    total, first = 0.0, 0
    for part in batches:
        loss, cache = model.loss(part, key=None if key is None else key.at_sample(first))
        model.loss_backward(cache, 0.5)
        total, first = total + float(loss.total), first + len(part.inputs)
    return total, {path: parameter.grad.copy() for path, parameter in model.named_parameters()}


@both_kernels
@settings(max_examples=8)
@given(
    chunk=st.integers(1, 40),
    cuts=st.sets(st.integers(1, 4)),
    tied=st.booleans(),
    key=st.sampled_from([None, KEY]),
)
def test_a_gpt_gives_the_same_gradients_in_chunks(mode, chunk, cuts, tied, key):
    """Also when the batch is split, with dropout, and with an embedding that the head shares."""
    data, edges = batch(5, 6, 23), [0, *sorted(cuts), 5]
    parts = [SimpleNamespace(inputs=data.inputs[a:b], targets=data.targets[a:b]) for a, b in pairwise(edges)]
    shape = {"vocab_size": 23, "tie_weights": tied, "dropout": 0.3}
    with use_kernels(mode):
        total, expected = gradients_of(small_gpt(None, **shape), data, key=key)
        other, actual = gradients_of(small_gpt(chunk, **shape), *parts, key=key)
    assert other == pytest.approx(total, rel=1e-5)
    assert actual.keys() == expected.keys()
    for path, wanted in expected.items():
        np.testing.assert_allclose(actual[path], wanted, rtol=1e-4, atol=2e-5 * max(1, abs(wanted).max()))


def test_a_llama_gives_the_same_gradients_in_chunks():
    shape = {"vocab_size": 23, "block_size": 6, "n_layer": 1, "n_head": 2, "n_embd": 8}
    models = [Llama(LlamaConfig(**shape, loss_chunk=chunk), dtype=np.float64) for chunk in (None, 4)]
    (total, expected), (other, actual) = (gradients_of(model, batch(3, 6, 23), key=KEY) for model in models)
    assert other == pytest.approx(total, rel=1e-12)
    for path, wanted in expected.items():
        np.testing.assert_allclose(actual[path], wanted, rtol=1e-9, atol=1e-12)


class LossOfGPT(Module):
    """``loss`` and ``loss_backward`` as one layer, for the checker."""

    def __init__(self, model, targets):
        self.model, self.targets = model, targets

    def forward(self, tokens, *, key=None):
        return self.model.loss(SimpleNamespace(inputs=tokens, targets=self.targets), key=key)

    def backward(self, dtotal, cache):
        self.model.loss_backward(cache, dtotal)


@pytest.mark.parametrize("key", [None, KEY], ids=["late", "at once"])
def test_gradients_of_a_gpt_in_chunks(key):
    data = batch(2, 4, 7)
    model = small_gpt(3, vocab_size=7, dropout=0.2)
    report = check_gradients(LossOfGPT(model, data.targets), data.inputs, key=key)
    assert len(report.arguments) == len(model.parameters())


def test_a_cache_serves_one_backward():
    model, data = small_gpt(3, vocab_size=7), batch(2, 4, 7)
    _, cache = model.loss(data, key=KEY)
    model.loss_backward(cache)
    before = model.head.weight.grad.copy()
    with pytest.raises(ShapeError, match="this cache was used before"):
        model.loss_backward(cache)
    np.testing.assert_array_equal(model.head.weight.grad, before)


def test_a_frozen_head_gets_no_gradient():
    model, data = small_gpt(3, vocab_size=7, tie_weights=False), batch(2, 4, 7)
    model.head.weight.trainable = False
    _, gradients = gradients_of(model, data, key=KEY)
    assert not gradients["head.weight"].any()
    assert gradients["tok_emb.weight"].any()


# The loss as an object.


def test_the_object_puts_gradients_into_parameters():
    weight, bias = Parameter(normal(6, 5)), Parameter(normal(6))
    hidden, targets = normal(2, 3, 5), classes(6, 2, 3)
    loss_fn = LinearCrossEntropy(label_smoothing=0.1, reduction="mean", ignore_index=2, chunk=4)
    for _ in range(2):
        loss, cache = loss_fn.forward(hidden, weight.data, targets, bias.data)
        dhidden, *_ = loss_fn.backward(1.0, cache, into=(None, weight.into(), None, bias.into()))
    plain = CrossEntropyLoss(label_smoothing=0.1, reduction="mean", ignore_index=2)
    logits, head = linear_forward(hidden, weight.data, bias.data)
    expected, entropy = plain.forward(logits, targets)
    wanted = linear_backward(plain.backward(1.0, entropy), head)
    assert loss == pytest.approx(expected, rel=1e-6)
    for actual, gradient in zip((dhidden, weight.grad / 2, bias.grad / 2), wanted, strict=True):
        np.testing.assert_allclose(actual, gradient, rtol=1e-4, atol=1e-6)


# Edges.


def call(targets=None, weight=None, **options):
    hidden = normal(2, 3, 5)
    return linear_cross_entropy_forward(
        hidden,
        normal(6, 5) if weight is None else weight,
        classes(6, 2, 3) if targets is None else targets,
        **options,
    )


@pytest.mark.parametrize("mode", ["reference", "auto"])
@pytest.mark.parametrize("bad", [6, -1])
def test_a_target_outside_the_classes_is_named(mode, bad):
    """By its place in the whole batch, also in a later chunk."""
    targets = classes(6, 2, 3)
    targets[1, 2] = bad
    message = rf"linear_cross_entropy_forward: targets\[1, 2\] = {bad} is outside \[0, 6\)"
    with use_kernels(mode), pytest.raises(TokenError, match=message):
        call(targets, chunk=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, r"linear_cross_entropy_forward: chunk = 0 must be at least 1 row"),
        ({"label_smoothing": 2.0}, r"linear_cross_entropy_forward: label_smoothing = 2.0 must be in"),
        ({"z_loss": -1.0}, r"linear_cross_entropy_forward: z_loss = -1.0 must not be negative"),
        ({"weight": normal(6, 4)}, r"weight has shape \(6, 4\), expected .* C = 5 as in hidden"),
        ({"weight": normal(6, 5).astype(np.float64)}, r"weight is float64 but hidden is float32"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ShapeError, match=message):
        call(**options)


@pytest.mark.parametrize("config", [GPTConfig, LlamaConfig])
def test_a_chunk_of_nothing_is_refused_by_the_model(config):
    with pytest.raises(ConfigError, match=r"loss_chunk = 0 must be 1 or more; None computes all logits at once"):
        config(vocab_size=5, loss_chunk=0)


@both_kernels
def test_all_targets_ignored(mode):
    with use_kernels(mode):
        loss, cache = call(np.full((2, 3), -100), chunk=2, label_smoothing=0.1, z_loss=0.1)
        assert loss.total == 0
        assert loss.count == 0
        assert np.isnan(loss.mean)
        dhidden, dweight, *_ = linear_cross_entropy_backward(1.0, cache)
    assert not dhidden.any()
    assert not dweight.any()


@both_kernels
def test_huge_logits(mode):
    """1e4 and -1e4: a right answer costs nothing, a wrong one its distance, and all is finite."""
    hidden, weight = np.array([[100.0], [-100.0]], np.float32), np.array([[100.0], [-100.0]], np.float32)
    with use_kernels(mode):
        loss, cache = linear_cross_entropy_forward(hidden, weight, np.array([0, 0]), chunk=1)
        dhidden, dweight, *_ = linear_cross_entropy_backward(1.0, cache)
    np.testing.assert_allclose(loss.total, 2e4, rtol=1e-6)
    np.testing.assert_allclose(dhidden, [[0], [-200]], rtol=1e-6)
    np.testing.assert_allclose(dweight, [[100], [-100]], rtol=1e-6)

"""BERT as an encoder of sentences: gradients, padding, pooling, token types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.models import Bert, BertConfig, build_model
from minitrain.models.summary import summarize
from minitrain.nn import Module, checkpoint_activations
from minitrain.random import Key
from minitrain.testing import CheckSettings, check_module
from tests.helpers.model_checks import KEY, assert_close, stir

ALONG_DIRECTIONS = CheckSettings(elementwise=0)
SHAPE = {"vocab_size": 11, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_types": 3, "n_hidden": 12}
TOKENS, LENGTHS = np.random.default_rng(0).integers(0, 11, (3, 6)), np.array([6, 4, 1])
TYPES = np.random.default_rng(1).integers(0, 3, (3, 6))
FORMS: dict[str, dict[str, Any]] = {
    "mean": {},
    "first": {"pool": "first", "normalize": False},
    "pooler": {"pool": "first", "pooler": "used", "n_hidden": None},
    "tanh": {"gelu": "tanh", "eps": 1e-2},
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def build(dtype: Any = np.float64, **form: Any) -> Any:
    return stir(Bert(BertConfig(**SHAPE | form), dtype=dtype))


class VectorsOf(Module):
    """The vectors of one batch as a layer without inputs, for ``check_module``."""

    def __init__(self, model: Bert) -> None:
        self.model = model

    def forward(self, *, key: Key | None = None) -> Any:
        return self.model.forward(TOKENS, lengths=LENGTHS, token_types=TYPES, key=key)

    def backward(self, dvectors: Any, cache: Any) -> None:
        self.model.backward(dvectors, cache)


def gradients(model: Any, key: Key | None = None) -> dict[str, Any]:
    model.zero_grad()
    vectors, cache = model.forward(TOKENS, lengths=LENGTHS, token_types=TYPES, key=key)
    model.backward(np.cos(vectors), cache)
    return {path: parameter.grad.copy() for path, parameter in model.named_parameters()} | {"vectors": vectors}


@forms
@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "dropout"])
def test_gradients(form, key):
    model = build(dropout=0.0 if key is None else 0.3, **form)
    report = check_module(VectorsOf(model), settings=ALONG_DIRECTIONS, **({} if key is None else {"key": key}))
    assert {argument.name for argument in report.arguments} == {f"model.{path}" for path, _ in model.named_parameters()}


@forms
def test_kernels_give_what_the_reference_gives(form):
    model, found = build(np.float32, **form), {}
    for mode in ("reference", "auto"):
        with use_kernels(mode):
            found[mode] = gradients(model)
    assert_close(found["auto"], found["reference"], 1e-4)


@forms
def test_recomputed_activations_give_the_same_gradients(form):
    model = build(dropout=0.3, **form)
    expected = gradients(model, KEY)
    assert checkpoint_activations(model) == 2
    assert_close(gradients(model, KEY), expected, 0)


@forms
def test_padding_changes_nothing(form):
    model = build(**form)
    expected, _ = model.forward(TOKENS, lengths=LENGTHS)
    other = np.where(np.arange(6) < LENGTHS[:, None], TOKENS, (TOKENS + 3) % 11)
    np.testing.assert_allclose(model.forward(other, lengths=LENGTHS)[0], expected, rtol=1e-10)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(model.forward(TOKENS[row : row + 1, :length])[0][0], expected[row], rtol=1e-9)


def test_vectors_have_length_one():
    vectors, _ = build().forward(TOKENS, lengths=LENGTHS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1)
    longer, _ = build(normalize=False).forward(TOKENS, lengths=LENGTHS)
    np.testing.assert_allclose(longer / np.linalg.norm(longer, axis=-1, keepdims=True), vectors)
    assert abs(np.linalg.norm(longer, axis=-1) - 1).max() > 0.1


def test_types_are_zeros_by_default_and_count():
    model = build()
    np.testing.assert_array_equal(model.forward(TOKENS)[0], model.forward(TOKENS, token_types=0 * TYPES)[0])
    assert abs(model.forward(TOKENS)[0] - model.forward(TOKENS, token_types=TYPES)[0]).max() > 1e-3


def test_an_unused_pooler_is_kept_frozen():
    model, plain = build(pooler="unused"), build()
    assert {p for p in model.state_dict() if p.startswith("pooler")} == {"pooler.weight", "pooler.bias"}
    model.load_state_dict(plain.state_dict(), strict=False)
    np.testing.assert_array_equal(model.forward(TOKENS)[0], plain.forward(TOKENS)[0])
    assert not any(parameter.trainable for parameter in model.pooler.parameters())


def test_a_cache_serves_one_backward():
    model = build()
    vectors, cache = model.forward(TOKENS)
    model.backward(vectors, cache)
    with pytest.raises(ShapeError, match=r"this cache was used before"):
        model.backward(vectors, cache)


def test_mistakes_are_explained():
    with pytest.raises(ShapeError, match=r"T <= block_size = 6"):
        build().forward(np.zeros((1, 7), int))
    with pytest.raises(ShapeError, match=r"token_types has shape \(3, 5\), expected \(3, 6\)"):
        build().forward(TOKENS, token_types=TYPES[:, :5])
    with pytest.raises(TokenError):
        build().forward(TOKENS, token_types=TYPES + 3)
    with pytest.raises(ConfigError, match=r"pooler = 'use': did you mean 'used'"):
        BertConfig(11, pooler="use")
    with pytest.raises(ConfigError, match=r"label_smoothing = 0.1: a BERT has no loss of its own"):
        BertConfig(11, label_smoothing=0.1)


def test_its_size_is_known():
    model = build_model(BertConfig(**SHAPE))
    assert isinstance(model, Bert)
    summary = summarize(model)
    assert summary.parameter_count == model.parameter_count()
    blocks = 2 * (4 * 8 * 8 + 2 * 8 * 12)
    assert summary.flops.products == 2 * 6 * blocks
    assert summary.flops.attention == 2 * 6 * 6 * 4 * 8

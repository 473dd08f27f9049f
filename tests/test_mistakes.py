"""Mistakes that everyone makes on the first day: each is answered by what was wrong, where, and what to change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minitrain as mt
from minitrain.errors import ConfigError, DataError, ShapeError, TokenError
from minitrain.losses import CrossEntropyLoss, FocalLoss, HuberLoss, InfoNCELoss, LinearCrossEntropy, TripletLoss
from minitrain.nn import (
    Embedding,
    GroupNorm,
    LayerNorm,
    LearnedPositions,
    Linear,
    MultiHeadAttention,
    RMSNorm,
    SinusoidalPositions,
    create_document_mask,
    create_padding_mask,
)
from minitrain.ops import attention_forward, linear_forward, mean_pool_forward
from minitrain.optim import SGD, AdamW, WarmupCosine
from tests.helpers.model_zoo import KINDS


def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def gpt(**changes: Any) -> Any:
    return KINDS["gpt"].build(**changes)


def ids(*shape: int) -> Any:
    return np.ones(shape, int)


CONSTRUCTORS = {
    "text for a size": (
        lambda: Linear("3", 4, draw()),
        r"Linear: in_features = '3' must be a whole number of at least 1",
    ),
    "a fraction": (lambda: Linear(3, 4.0, draw()), r"Linear: out_features = 4.0 must be a whole number"),
    "nothing": (lambda: Linear(0, 4, draw()), r"Linear: in_features = 0 must be"),
    "a seed": (lambda: Linear(3, 4, 0), r"init_rng, .*, must be a numpy.random.Generator, got int; make one by numpy"),
    "embedding": (lambda: Embedding(5, -1, draw()), r"Embedding: width = -1 must be a whole number of at least 1"),
    "positions": (lambda: LearnedPositions(True, 4, draw()), r"LearnedPositions: length = True must be"),
    "waves": (lambda: SinusoidalPositions("4"), r"SinusoidalPositions: width = '4' must be"),
    "layer norm": (lambda: LayerNorm("4"), r"LayerNorm: width = '4' must be"),
    "RMS norm": (lambda: RMSNorm(0), r"RMSNorm: width = 0 must be"),
    "group norm": (lambda: GroupNorm(4, 0), r"GroupNorm: groups = 0 must be a whole number of at least 1"),
    "heads": (lambda: MultiHeadAttention(4, "2", draw()), r"MultiHeadAttention: heads = '2' must be a whole number"),
    "text in a configuration": (
        lambda: mt.GPTConfig(vocab_size="65"),
        r"vocab_size = '65' must be a whole number, got str",
    ),
    "a fraction in one": (lambda: mt.LlamaConfig(65, n_layer=2.5), r"n_layer = 2.5 must be a whole number, got float"),
    "a share as text": (lambda: mt.EncoderConfig(9, 2, dropout="0.1"), r"dropout = '0.1' must be a number, got str"),
    "a number for a yes": (lambda: mt.GPTConfig(65, bias=1), r"bias = 1 must be True or False, got int"),
    "a yes for a number": (lambda: mt.ViTConfig(8, 4, True), r"n_classes = True must be a whole number, got bool"),
    "None for a number": (lambda: mt.Seq2SeqConfig(9, n_head=None), r"n_head = None must be a whole number, got None"),
    "one width": (lambda: mt.MLPConfig(3), r"widths = 3: give whole numbers in a tuple, such as \(2, 16, 1\)"),
    "widths as text": (lambda: mt.MLPConfig(("3", 4)), r"widths = \('3', 4\): give whole numbers in a tuple"),
    "a dictionary": (lambda: mt.GPT({"vocab_size": 9}), r"GPT: config must be a GPTConfig, got dict; write GPT"),
    "another model's": (lambda: mt.MLP(mt.GPTConfig(9)), r"MLP: config must be a MLPConfig, got GPTConfig"),
    "positional reduction": (lambda: CrossEntropyLoss("mean"), r"CrossEntropyLoss: label_smoothing='mean' must be"),
    "focus": (lambda: FocalLoss("2"), r"FocalLoss: gamma='2' must be a number"),
    "delta": (lambda: HuberLoss("mean"), r"HuberLoss: delta='mean' must be a number"),
    "margin": (lambda: TripletLoss("1"), r"TripletLoss: margin='1' must be a number"),
    "temperature": (lambda: InfoNCELoss("0.1"), r"InfoNCELoss: temperature='0.1' must be a number"),
    "chunk": (lambda: LinearCrossEntropy(chunk="8"), r"LinearCrossEntropy: chunk='8' must be a number"),
    "rate": (lambda: AdamW(Linear(3, 4, draw()), lr="1e-3"), r"AdamW: lr = '1e-3' must be a number, got str"),
    "one beta": (lambda: AdamW(Linear(3, 4, draw()), betas=0.9), r"betas = 0.9 must be two numbers, such as"),
    "parameters": (lambda: SGD(Linear(3, 4, draw()).parameters(), lr=1.0), r"SGD: model must be a Module, got list"),
    "a schedule's rate": (lambda: WarmupCosine("1e-3", 0.0, 1, 9), r"the schedule: max_lr = '1e-3' must be a number"),
}


@pytest.mark.parametrize("mistake", CONSTRUCTORS)
def test_constructors(mistake):
    call, message = CONSTRUCTORS[mistake]
    with pytest.raises(ConfigError, match=message):
        call()


def test_numpys_numbers_are_numbers():
    assert Linear(np.int64(3), np.uint8(4), draw()).weight.data.shape == (4, 3)
    assert mt.GPTConfig(np.int32(9), dropout=np.float32(0.5)).vocab_size == 9
    assert SGD(Linear(3, 4, draw()), lr=np.float32(0.5)).get_lr() == 0.5


CALLS = {
    "tokens in a list": (
        lambda: gpt().forward([[1, 2]]),
        ShapeError,
        r"GPT.forward: tokens must be a NumPy .*, got list",
    ),
    "one sequence": (
        lambda: MultiHeadAttention(4, 2, draw()).forward(zeros(3, 4)),
        ShapeError,
        r"MultiHeadAttention: x has shape \(3, 4\), expected \(B, T, C\); one sequence is x\[None\]",
    ),
    "lengths in a list": (
        lambda: KINDS["encoder"].build().forward(ids(2, 3), lengths=[3, 2]),
        ShapeError,
        r"attention_forward: key_lengths must be a NumPy or CuPy array, got list; numpy.asarray makes one",
    ),
    "a mask in a list": (
        lambda: attention_forward(*[zeros(1, 2, 1, 4)] * 3, mask=[[True, False]]),
        ShapeError,
        r"attention_forward: mask must be a NumPy or CuPy array, got list",
    ),
    "pooled lengths in a list": (
        lambda: mean_pool_forward(zeros(2, 3, 4), key_lengths=[1, 2]),
        ShapeError,
        r"mean_pool_forward: key_lengths must be a NumPy or CuPy array, got list",
    ),
    "padding of a list": (
        lambda: create_padding_mask([[1, 0]]),
        ShapeError,
        r"create_padding_mask: tokens must be \(B, S\) integers in a NumPy or CuPy array, got list",
    ),
    "documents in a list": (
        lambda: create_document_mask([[1, 0]]),
        ShapeError,
        r"create_document_mask: documents must be \(B, T\) integers in a NumPy or CuPy array, got list",
    ),
    "text in a list": (
        lambda: mt.TokenLoader([1, 2, 3], block_size=1, batch_size=1, seed=0),
        DataError,
        r"tokens must be an \(N,\) array of integers, not a list: numpy.array\(tokens\)",
    ),
    "a seed for a key": (
        lambda: gpt(dropout=0.1).forward(ids(1, 3), key=3),
        ConfigError,
        r"key must be a Key or None \(evaluation\), got int; use Key.from_seed\(0\)",
    ),
    "a batch in a dictionary": (
        lambda: gpt().loss({"inputs": ids(1, 3), "labels": ids(1, 3)}),
        DataError,
        r"GPT.loss: the batch is a dict without targets; it needs inputs and targets, as attributes, as keys, or",
    ),
    "a batch in a tuple": (
        lambda: KINDS["mlp"].build().loss((zeros(2, 3), ids(2), ids(2))),
        DataError,
        r"MLP.loss: the batch is a tuple of 3; it needs inputs and targets, .* or as a plain tuple in this order",
    ),
    "another model's batch": (
        lambda: KINDS["seq2seq"].build().loss(SimpleNamespace(inputs=ids(1, 3), targets=ids(1, 3))),
        DataError,
        r"Seq2Seq.loss: the batch is a SimpleNamespace without source; it needs source and target",
    ),
    "targets in a list": (
        lambda: KINDS["vit"].build().loss(SimpleNamespace(inputs=zeros(1, 2, 6, 6), targets=[1])),
        ShapeError,
        r"ViT.loss: targets must be a NumPy or CuPy array, got list",
    ),
    "text for a prompt": (
        lambda: mt.generate(gpt(), "hello", 3, temperature=0),
        ShapeError,
        r"tokens is a str, expected an array of integers \(B, T0\): a tokenizer turns a text into",
    ),
    "a negative limit": (
        lambda: mt.clip_by_global_norm(gpt(), -1.0),  # the update would go uphill
        ConfigError,
        r"clip_by_global_norm: max_norm = -1.0 must be more than 0",
    ),
    "a limit as text": (
        lambda: mt.clip_by_global_norm(gpt(), "1"),
        ConfigError,
        r"clip_by_global_norm: max_norm = '1' must be a number, got str",
    ),
    "no cache": (
        lambda: Linear(3, 4, draw()).backward(zeros(2, 4), None),
        ShapeError,
        r"linear_backward: cache must be the LinearCache that linear_forward returned last, got NoneType",
    ),
    "another layer's cache": (
        lambda: LayerNorm(3).backward(zeros(2, 3), Linear(3, 3, draw()).forward(zeros(2, 3))[1]),
        ShapeError,
        r"layer_norm_backward: cache must be the LayerNormCache that layer_norm_forward returned last, got LinearCache",
    ),
    "a partner missing": (
        lambda: KINDS["seq2seq"].build().forward(ids(2, 3), ids(1, 3)),
        ShapeError,
        r"Seq2Seq.forward: source has 2 rows and target 1; each source needs one target",
    ),
    "a label too many": (
        lambda: KINDS["vit"].build().loss(SimpleNamespace(inputs=zeros(1, 2, 6, 6), targets=np.array([5]))),
        TokenError,
        r"targets\[0\] = 5 is outside \[0, 5\), as there are 5 ids or classes: the data has .* other labels",
    ),
}


@pytest.mark.parametrize("mistake", CALLS)
def test_calls(mistake):
    call, error, message = CALLS[mistake]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("data_first", [True, False])
def test_wide_data_is_what_should_be_converted(data_first):
    """Weights are float32; NumPy makes float64."""
    x, weight = zeros(2, 3, dtype=np.float64), zeros(4, 3)
    hint = r"convert one of them, e.g. x.astype\('float32'\)"
    if data_first:
        with pytest.raises(ShapeError, match=hint):
            linear_forward(x, weight)
    else:
        with pytest.raises(ShapeError, match=hint.replace("x.as", "weight.as")):
            linear_forward(x.astype(np.float32), weight.astype(np.float64))


def test_a_name_that_lives_in_a_part():
    with pytest.raises(AttributeError, match=r"no attribute 'Muon'; it is minitrain\.optim\.Muon"):
        _ = mt.Muon

"""What the contract says of options of a wrong kind, and of arguments that are missing or too many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import ShapeError
from minitrain.ops import (
    attention_forward,
    concat_forward,
    cross_entropy_forward,
    drop_path_forward,
    dropout_forward,
    group_norm_forward,
    linear_forward,
    relu_backward,
    relu_forward,
)
from minitrain.random import Key

KEY = Key.from_seed(0)
X = np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda key: dropout_forward(X, p=0.5, key=key),
        lambda key: drop_path_forward(X, p=0.5, key=key),
        lambda key: attention_forward(*[X.reshape(1, 2, 1, 4)] * 3, dropout=0.5, key=key),
    ],
    ids=["dropout", "drop_path", "attention"],
)
@pytest.mark.parametrize("key", [0, np.random.default_rng(0)], ids=["a seed", "a generator"])
def test_what_is_no_key(call, key):
    message = rf"_forward: key must be a Key or None, got {type(key).__name__}; use Key.from_seed\(0\)"
    with pytest.raises(ShapeError, match=message):
        call(key)
    call(None)
    call(KEY)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: dropout_forward(X, p="0.5", key=KEY),
            r"dropout_forward: an option is of the wrong kind among p =",
        ),
        (lambda: group_norm_forward(X, X[0], None, groups="2"), r"group_norm_forward: an option .* among groups = '2'"),
        (
            lambda: cross_entropy_forward(X, np.array([0, 1]), label_smoothing="a"),
            r"cross_entropy_forward: an option is of the wrong kind among label_smoothing = 'a'",
        ),
    ],
)
def test_text_for_a_number(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dropout_forward(X, p=0.5), "dropout_forward: missing a required argument: 'key'"),
        (lambda: linear_forward(X), "linear_forward: missing a required argument: 'weight'"),
        (lambda: concat_forward(X, X, X, axis=0), "concat_forward: too many positional arguments"),
        (lambda: relu_backward(X), r"relu_backward takes \(dout, cache\), got 1 arguments"),
        (lambda: relu_forward(X, axis=1), "relu_forward.* got an unexpected keyword argument 'axis'"),
    ],
)
def test_missing_and_unknown_arguments(call: Any, message: str):
    with pytest.raises(TypeError, match=message):
        call()

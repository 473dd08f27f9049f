"""An encoder that finds hidden tokens: who sees what, its beginning, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.models import GPTConfig, MaskedEncoder
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS

KIND = KINDS["masked"]


def test_every_position_sees_every_token_but_padding() -> None:
    model = stir(KIND.build(dtype=np.float64))
    tokens, lengths = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]), np.array([5, 3])
    before = model.forward(tokens, lengths=lengths)[0]
    for place in range(5):
        changed = tokens.copy()
        changed[:, place] = 7
        moved = abs(model.forward(changed, lengths=lengths)[0] - before).max(axis=-1) > 1e-9  # (B, T)
        assert moved[0].all()
        assert moved[1, :3].tolist() == [place < 3] * 3


def test_the_beginning_is_that_of_gpt_2() -> None:
    model = KIND.build(n_embd=64, n_layer=2)
    for block in model.blocks:
        for out in (block.attention.out, block.feed_forward.down):
            assert out.weight.data.std() == pytest.approx(0.02 / math.sqrt(2 * 2), rel=0.05)
        assert block.attention.qkv.weight.data.std() == pytest.approx(0.02, rel=0.05)
    assert model.head.weight is model.tok_emb.weight
    assert model.transform.weight.data.shape == (64, 64)
    assert [norm.bias is None for norm in (model.norm, model.transform_norm)] == [False, False]
    bare = KINDS["masked, no bias"].build()
    assert [norm.bias is None for norm in (bare.norm, bare.transform_norm)] == [True, True]


def test_wrong_inputs_are_named() -> None:
    model = KIND.build()
    with pytest.raises(ShapeError, match=r"MaskedEncoder.forward: tokens has shape \(1, 7\), expected \(B, T\) with T"):
        model.forward(np.ones((1, 7), np.int32))
    with pytest.raises(TokenError):
        model.forward(np.full((1, 2), 11))
    with pytest.raises(ConfigError, match="MaskedEncoder"):
        MaskedEncoder(GPTConfig(vocab_size=5))  # type: ignore[arg-type]

"""Weights of 16 and 8 bits: each number by itself. ``test_weights.py`` has the sessions that multiply them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.generation.sessions.weights import check_weights, quantize, rounded, with_weights
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig

MATRICES = st.tuples(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 9)).map(
    lambda drawn: np.random.default_rng(drawn[0]).standard_t(3, drawn[1:]).astype(np.float32)
)


@given(MATRICES, st.integers(-1, 5))
def test_each_number_of_int8(weight: Any, zeros: int) -> None:
    """The nearest multiple of the row's largest number divided by 127."""
    weight[zeros:][:1] = 0
    numbers, scale = quantize(weight)
    assert (numbers.dtype, scale.dtype) == (np.int8, np.float32)
    for row, found, step in zip(weight, numbers, scale, strict=True):
        largest = max(map(abs, row.tolist()))
        if largest == 0:
            assert step == 1
            assert not found.any()
        else:
            assert step == np.float32(largest) / np.float32(127)
            assert found.tolist() == [round(float(x / step)) for x in row]
    back = rounded(weight, "int8")
    assert back.dtype == np.float32
    assert np.array_equal(back, numbers.astype(np.float32) * scale[:, None])


@given(MATRICES)
def test_each_number_of_bfloat16(weight: Any) -> None:
    """The nearest one with 8 bits; of two, the even one."""
    found = rounded(weight, "bfloat16")
    bits = weight.view(np.uint32).astype(np.uint64)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    assert np.array_equal(found.view(np.uint32), nearest)
    assert rounded(weight, "float32") is weight


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
@pytest.mark.parametrize("tied", [False, True])
def test_which_weights_are_rounded(weights: str, tied: bool) -> None:
    """The matrices of blocks and head, in a copy; the table only if it is the head's, positions and vectors never."""
    shape: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 5, "tie_weights": tied}
    for model in (GPT(GPTConfig(7, **shape), seed=1), Llama(LlamaConfig(7, **shape), seed=1)):
        before = {name: parameter.data.copy() for name, parameter in model.named_parameters()}
        small = with_weights(model, weights)
        assert type(small) is type(model)
        changed = set()
        for name, parameter in small.named_parameters():
            is_matrix = name.startswith("blocks.") and parameter.data.ndim == 2
            if is_matrix or parameter is small.head.weight:
                changed.add(name)
            expected = rounded(before[name], weights) if name in changed else before[name]
            assert np.array_equal(parameter.data, expected), name
        assert len(changed) > 8
        assert (small.head.weight is small.tok_emb.weight) == tied
        assert all(np.array_equal(parameter.data, before[name]) for name, parameter in model.named_parameters())
        assert with_weights(model, "float32") is model


def test_other_weights() -> None:
    """The message says which there are."""
    for weights in ("float32", "bfloat16", "int8"):
        check_weights(weights)
    for check in (check_weights, lambda weights: with_weights(None, weights)):
        with pytest.raises(ConfigError, match=r"'int9': did you mean 'int8'.* use one of float32, bfloat16, int8"):
            check("int9")

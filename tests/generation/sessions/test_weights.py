"""Weights of 16 and 8 bits: each number is rounded as documented, and a session multiplies the rounded ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.generation import session_for
from minitrain.generation.sessions.cached import CachedSession
from minitrain.generation.sessions.kernel import AT_ONCE, KernelSession
from minitrain.generation.sessions.weights import quantize, rounded, with_weights
from minitrain.models import Seq2Seq, Seq2SeqConfig
from tests.helpers.decoders import VOCABULARY, decoders
from tests.helpers.own_product import only_with_own_product

pytestmark = pytest.mark.usefixtures("compiled_kernels")
ROWS = st.integers(0, 1000).map(
    lambda seed: np.random.default_rng(seed).standard_t(3, (seed % 7 + 1, seed % 11 + 1)).astype(np.float32)
)


@given(ROWS)
def test_int8_is_within_half_a_step(weight: Any) -> None:
    """The largest number of a row is exact up to float32's rounding, the others are within half a step of it."""
    numbers, scale = quantize(weight)
    assert numbers.dtype == np.int8
    assert (abs(numbers.astype(int)).max(axis=1) == 127).all()
    back = rounded(weight, "int8")
    assert (abs(back - weight) <= 0.5001 * scale[:, None]).all()
    np.testing.assert_allclose(abs(back).max(axis=1), abs(weight).max(axis=1), rtol=1e-6)


@given(ROWS)
def test_rounding_twice_changes_nothing(weight: Any) -> None:
    """A rounded matrix is rounded to itself."""
    for weights in ("float32", "bfloat16"):
        once = rounded(weight, weights)
        assert once.tobytes() == rounded(once, weights).tobytes()
    once = rounded(weight, "int8")
    np.testing.assert_allclose(rounded(once, "int8"), once, rtol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    """Its scale is not 0, so nothing is divided by 0."""
    numbers, scale = quantize(np.zeros((2, 3), np.float32))
    assert not numbers.any()
    assert (scale == 1).all()


@only_with_own_product
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
@given(model=decoders((24, 300)), lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_a_session_multiplies_the_rounded_weights(weights: str, model: Any, lengths: list[int], seed: int) -> None:
    """Its logits are those of the rounded model, up to the rounding of sums; the model itself keeps its weights."""
    rng, before = np.random.default_rng(seed), [p.data.copy() for p in model.parameters()]
    longest = model.config.block_size
    texts = [rng.integers(0, VOCABULARY, min(longest, 7 * n)).astype(np.int32) for n in lengths]
    session = session_for(model, len(texts), weights=weights)
    assert isinstance(session, KernelSession)
    first = {slot: text[: len(text) // 2] for slot, text in enumerate(texts) if len(text) > 1}
    if first:
        session.extend(first)
    logits = session.extend({slot: text[session.length(slot) :] for slot, text in enumerate(texts)}, every=True)
    small = with_weights(model, weights)
    kept = {slot: len(text) for slot, text in first.items()}
    expected = np.concatenate([small.forward(text[None])[0][0, kept.get(slot, 0) :] for slot, text in enumerate(texts)])
    np.testing.assert_allclose(logits, expected, atol=2e-5 * abs(expected).max())
    assert all((p.data == old).all() for p, old in zip(model.parameters(), before, strict=True))


@only_with_own_product
@given(model=decoders((700,)), seed=st.integers(0, 99))
@settings(max_examples=5)
def test_long_prompts_with_small_weights(model: Any, seed: int) -> None:
    """A prompt that takes several calls of the kernel has the logits of one that comes token by token."""
    text = np.random.default_rng(seed).integers(0, VOCABULARY, 2 * AT_ONCE + 9).astype(np.int32)
    session = session_for(model, 2, weights="bfloat16")
    at_once = session.extend({0: text}, every=True)
    assert at_once.shape == (len(text), VOCABULARY)
    one_by_one = [session.extend({1: token[None]}) for token in text]
    assert at_once.tobytes() == np.concatenate(one_by_one).tobytes()
    session.cut(0, 3)
    assert session.extend({0: text[3:]}).tobytes() == at_once[-1:].tobytes()


@only_with_own_product
def test_other_weights_are_refused() -> None:
    """The message names those that there are, and the models that have them."""
    from minitrain.models import GPT, GPTConfig

    model = GPT(GPTConfig(VOCABULARY, n_layer=1))
    with pytest.raises(ConfigError, match="did you mean 'int8'"):
        session_for(model, weights="int9")
    with pytest.raises(ConfigError, match="only decoders"):
        session_for(Seq2Seq(Seq2SeqConfig(VOCABULARY)), weights="int8")
    model64 = GPT(GPTConfig(VOCABULARY, n_layer=1), dtype=np.float64)
    session = session_for(model64, weights="bfloat16")
    assert isinstance(session, CachedSession)
    assert session.model is not model64

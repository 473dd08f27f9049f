"""Masks: BERT's shares, and that they are a function of the seed and the window, not of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import IGNORED, MaskedTokenLoader, MaskedWindows, mask_tokens
from minitrain.errors import ConfigError, DataError
from minitrain.random import Key

V = 50
TOKENS = np.random.default_rng(0).integers(0, V, 1000).astype(np.int32)


@given(
    B=st.integers(1, 5),
    T=st.integers(1, 40),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
    cut=st.integers(0, 5),
)
def test_targets_are_what_was_hidden_in_any_split(B: int, T: int, share: float, seed: int, cut: int) -> None:
    tokens, key = TOKENS[: B * T].reshape(B, T), Key.from_seed(seed)
    inputs, targets = mask_tokens(tokens, key, vocab_size=V, share=share)
    chosen = targets != IGNORED
    assert (chosen.sum(axis=1) == max(1, round(share * T))).all()
    np.testing.assert_array_equal(targets[chosen], tokens[chosen])
    np.testing.assert_array_equal(inputs[~chosen], tokens[~chosen])
    assert inputs.min() >= 0 and inputs.max() <= V
    if 0 < cut < B:
        parts = [mask_tokens(tokens[:cut], key, vocab_size=V, share=share)]
        parts.append(mask_tokens(tokens[cut:], key.at_sample(cut), vocab_size=V, share=share))
        np.testing.assert_array_equal(np.concatenate([part.inputs for part in parts]), inputs)
        np.testing.assert_array_equal(np.concatenate([part.targets for part in parts]), targets)


def test_the_shares_are_those_of_bert() -> None:
    tokens = np.full((200, 100), 7, np.int32)
    inputs, targets = mask_tokens(tokens, Key.from_seed(1), vocab_size=V)
    chosen = targets != IGNORED
    assert chosen.sum() == 200 * 15
    seen = inputs[chosen]
    assert (seen == V).mean() == pytest.approx(0.8, abs=0.03)
    assert ((seen != V) & (seen != 7)).mean() == pytest.approx(0.1, abs=0.03)
    assert (seen == 7).mean() == pytest.approx(0.1, abs=0.03)
    others = np.bincount(seen[(seen != V) & (seen != 7)], minlength=V)
    assert (others > 0).sum() > 45, "any token may stand there"
    assert chosen.mean(axis=0).min() > 0.05 and chosen.mean(axis=0).max() < 0.27, "any place may be hidden"


def test_every_epoch_hides_other_tokens() -> None:
    loader = MaskedTokenLoader(TOKENS[:65], 64, 1, 0, vocab_size=V)
    assert loader.steps_per_epoch == 1
    first, second = loader.batch(0), loader.batch(1)
    assert (first.targets != second.targets).any()
    assert all((a == b).all() for a, b in zip(loader.batch(1), second, strict=True))


def test_an_evaluation_has_the_same_masks_in_any_batches() -> None:
    def rows(batch_size: int, seed: int = 3) -> list[tuple[bytes, bytes]]:
        windows = MaskedWindows(TOKENS, 30, batch_size, seed=seed, vocab_size=V)
        return [(a.tobytes(), b.tobytes()) for batch in windows for a, b in zip(*batch, strict=True)]

    assert rows(1) == rows(4) == rows(100)
    assert len(rows(4)) == 34, "33 windows and a shorter one"
    assert rows(4) != rows(4, seed=4)
    windows = MaskedWindows(TOKENS, 30, 4, seed=3, vocab_size=V)
    some = [(a.tobytes(), b.tobytes()) for batch in windows.spread(3) for a, b in zip(*batch, strict=True)]
    assert set(some) <= set(rows(4)) and len(some) in range(9, 13)
    seen = np.concatenate([np.where(t == IGNORED, i, t).ravel() for i, t in windows])
    np.testing.assert_array_equal(seen, TOKENS)  # every token once


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_out_of_range_is_told(share: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0 and below 1"):
        mask_tokens(TOKENS[None], Key.from_seed(0), vocab_size=V, share=share)


def test_an_empty_text_is_told() -> None:
    with pytest.raises(DataError, match="no tokens"):
        MaskedWindows(TOKENS[:0], 8, 2, seed=0, vocab_size=V)

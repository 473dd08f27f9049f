"""Masks: BERT's shares, and that they are a function of the seed and the window, not of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import IGNORED, Batch, MaskedTokenLoader, MaskedWindows, TokenLoader, mask_tokens
from minitrain.errors import ConfigError, DataError
from minitrain.random import Key, random_bits

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


def same(one: Batch, other: Batch) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("share", [0.01, 0.15, 0.5, 0.99])
def test_every_mask_is_that_of_the_random_numbers_of_its_key(share: float) -> None:
    """Element by element, in whole numbers: the smallest are chosen, and 8 or 9 tenths of 2**32 are the limits."""
    tokens, key = TOKENS[:600].reshape(6, 100), Key.from_seed(5).at_sample(7)
    order, fate, other = (random_bits(key.fold(name), (6, 100)).tolist() for name in ("order", "fate", "other"))
    inputs, targets = mask_tokens(tokens, key, vocab_size=V, share=share)
    fates = set()
    for b in range(6):
        chosen = sorted(range(100), key=lambda t, row=order[b]: (row[t], t))[: max(1, round(share * 100))]
        for t in range(100):
            tenths = 10 * fate[b][t]
            drawn = "mask" if tenths < 8 << 32 else "random" if tenths < 9 << 32 else "kept"
            replaced = {"mask": V, "random": other[b][t] * V >> 32, "kept": tokens[b, t]}[drawn]
            assert inputs[b, t] == (replaced if t in chosen else tokens[b, t])
            assert targets[b, t] == (tokens[b, t] if t in chosen else IGNORED)
            fates.add((drawn, t in chosen))
    assert len(fates) == 6 or share < 0.1, "each happens, among the chosen and the others"
    assert (inputs.dtype, targets.dtype) == (np.int32, np.int32)


def test_the_limits_belong_to_the_upper_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of 32 bits is 0.8 or 0.9 exactly; with limits of a half and three quarters some are."""
    from minitrain.data.tokens import masked

    monkeypatch.setattr(masked, "MASKED", 0.5)
    monkeypatch.setattr(masked, "RANDOM", 0.25)
    numbers = np.array([[0, 2**31 - 1, 2**31, 3 * 2**30 - 1, 3 * 2**30, 2**32 - 1]], np.uint32)
    monkeypatch.setattr(masked, "random_bits", lambda key, shape: numbers)
    inputs, targets = mask_tokens(np.full((1, 6), 7), Key.from_seed(0), vocab_size=8, share=0.99)
    assert inputs.tolist() == [[8, 8, 4, 5, 7, 7]]
    assert targets.tolist() == [[7] * 6]


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


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_a_loader_masks_the_windows_of_its_order_in_any_split(share: float) -> None:
    loader = MaskedTokenLoader(TOKENS, 10, 8, 2, vocab_size=V, share=share)
    windows, key = TokenLoader(TOKENS, 10, 8, 2), Key.from_seed(2).fold("masks")
    assert loader.steps_per_epoch == windows.steps_per_epoch
    for step in (0, 3, 20):
        whole = mask_tokens(windows.batch(step).inputs, key.fold(step), vocab_size=V, share=share)
        assert same(loader.batch(step), whole)
        for parts in (1, 3, 8):
            borders = [8 * part // parts for part in range(parts + 1)]
            every = loader.micro_batches(step, parts)
            assert [first for first, _ in every] == borders[:-1]
            for part, (first, found) in enumerate(every):
                assert same(found, Batch(*(field[first : borders[part + 1]] for field in whole)))
            for wanted in (range(parts), range(parts // 2, parts)):
                some = loader.some_micro_batches(step, parts, wanted)
                assert [first for first, _ in some] == [borders[part] for part in wanted]
                assert all(same(a, every[part][1]) for part, (_, a) in zip(wanted, some, strict=True))
    assert same(
        MaskedTokenLoader(TOKENS, 10, 8, 2, vocab_size=V).batch(1),
        MaskedTokenLoader(TOKENS, 10, 8, 2, vocab_size=V, share=0.15).batch(1),
    )


def test_held_out_windows_are_the_text_in_order_with_masks_by_number() -> None:
    windows, key = MaskedWindows(TOKENS, 30, 4, seed=3, vocab_size=V, share=0.4), Key.from_seed(3)
    key = key.fold("masks of the evaluation")
    batches = list(windows)
    assert [batch.inputs.shape for batch in batches] == [(4, 30)] * 8 + [(1, 30), (1, 10)]
    for number, batch in enumerate(batches):
        first = min(4 * number, 33)
        rows = TOKENS[30 * first : 30 * first + batch.inputs.size].reshape(batch.inputs.shape)
        assert same(batch, mask_tokens(rows, key.at_sample(first), vocab_size=V, share=0.4))
    assert np.array_equal(windows.windows(5, 2), TOKENS[150:210].reshape(2, 30))
    assert same(windows.batch(5, 2), mask_tokens(windows.windows(5, 2), key.at_sample(5), vocab_size=V, share=0.4))
    for count, chosen in {1: [0], 2: [0, 8], 3: [0, 4, 8], 8: [0, 1, 2, 3, 5, 6, 7, 8]}.items():
        some = list(windows.spread(count))
        assert len(some) == count
        assert all(same(a, batches[i]) for a, i in zip(some, chosen, strict=True))
    for count in (9, 10, 50):
        assert all(same(a, b) for a, b in zip(windows.spread(count), batches, strict=True)), "all, with the rest"
    # A text that fills its windows has no rest, and a short one is nothing else.
    assert [batch.inputs.shape for batch in MaskedWindows(TOKENS[:60], 30, 4, seed=3, vocab_size=V)] == [(2, 30)]
    assert [batch.inputs.shape for batch in MaskedWindows(TOKENS[:7], 30, 4, seed=3, vocab_size=V)] == [(1, 7)]
    assert [batch.inputs.shape for batch in MaskedWindows(TOKENS[:2], 1, 1, seed=3, vocab_size=V)] == [(1, 1)] * 2


@pytest.mark.parametrize(("sizes", "words"), [((0, 2), "block_size must be at least 1, not 0"), ((8, 0), "batch_size")])
def test_windows_without_a_size_are_told(sizes: tuple[int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MaskedWindows(TOKENS, *sizes, seed=0, vocab_size=V)


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


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_share_out_of_range_is_told(share: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0 and below 1"):
        mask_tokens(TOKENS[None], Key.from_seed(0), vocab_size=V, share=share)


def test_an_empty_text_is_told() -> None:
    with pytest.raises(DataError, match="no tokens"):
        MaskedWindows(TOKENS[:0], 8, 2, seed=0, vocab_size=V)

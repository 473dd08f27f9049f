"""What the cached session asks of a model's layers: each token once, and again only if a cut has lost its keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ShapeError, TokenError
from minitrain.generation.sessions.cached import CachedSession
from minitrain.nn.attention.past import BLOCK, KeyValues, rows_needed
from tests.helpers.decoding.held_positions import HeldPositions

SLOTS, V = 3, 7
HEAD = np.random.default_rng(0).integers(-9, 9, (V, 3)).astype(np.float32)  # integers: all sums are exact


def logits_after(text: Any) -> Any:
    """The logits (T, V) of the stand-in: of each token and its position."""
    return np.stack([text, np.arange(len(text)), np.ones(len(text))], axis=1).astype(np.float32) @ HEAD.T


class Layers:
    """Stands in for a model: layers whose keys are the tokens, and which may have windows.

    Attributes:
        calls: the positions of each call.
        texts: what was added to the sequence of each slot.
    """

    def __init__(self, longest: int, windows: list[int | None]) -> None:
        self.config = SimpleNamespace(block_size=longest, vocab_size=V)
        self.head = SimpleNamespace(weight=SimpleNamespace(data=HEAD))
        self.windows, self.longest = windows, longest
        self.calls: list[range] = []
        self.texts = [np.empty(0, np.int32)] * SLOTS
        self._owners: list[KeyValues] = []  # the first layer's, of each slot

    def new_past(self) -> list[KeyValues]:
        past = [KeyValues(self.longest, 1, 1, np.empty(0), window=window) for window in self.windows]
        self._owners.append(past[0])
        return past

    def forward_hidden(self, tokens: Any, *, past: list[KeyValues]) -> Any:
        (row,) = tokens
        slot = next(i for i, own in enumerate(self._owners) if own is past[0])
        start, end = past[0].length, past[0].length + len(row)
        assert np.array_equal(row, self.texts[slot][start:end])
        self.calls.append(range(start, end))
        k = row.reshape(1, -1, 1, 1)
        for kept, window in zip(past, self.windows, strict=True):
            keys, values = kept.extend(k, -k)
            first = end - keys.shape[1]
            assert window is None or first <= max(0, start - window + 1)
            assert np.array_equal(keys.ravel(), self.texts[slot][first:end])
            assert np.array_equal(values, -keys)
        return np.stack([row, np.arange(start, end), np.ones(len(row))], axis=1).astype(np.float32)[None], None


STEPS = st.lists(
    st.tuples(st.just("extend"), st.lists(st.sampled_from([0, 1, 2, 9, 128, 500]), min_size=3, max_size=3))
    | st.tuples(st.just("cut"), st.tuples(st.integers(0, SLOTS - 1), st.sampled_from([0.0, 0.3, 0.8, 0.9, 0.99])))
    | st.tuples(st.just("copy"), st.tuples(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))),
    min_size=2,
    max_size=10,
)


def run_steps(longest: int, windows: list[int | None], steps: list[Any], seed: int) -> None:
    """Extend, cut and copy sequences, and look at what comes of it."""
    rng, model = np.random.default_rng(seed), Layers(longest, windows)
    session, texts = CachedSession(model, SLOTS), model.texts  # type: ignore[arg-type]
    held = [[HeldPositions(longest, rows_needed(longest, w), w) for w in windows] for _ in range(SLOTS)]
    for kind, what in [*steps, ("extend", [1, 1, 1])]:
        if kind == "cut":
            slot, length = what[0], int(what[1] * len(texts[what[0]]))
            session.cut(slot, length)
            texts[slot] = texts[slot][:length]
            enough = [layer.cut(length) for layer in held[slot]]
            if not all(enough):
                for layer in held[slot]:
                    layer.cut(0)
        elif kind == "copy":
            session.copy(*what)
            texts[what[1]] = texts[what[0]]
            for layer, other in zip(held[what[1]], held[what[0]], strict=True):
                layer.first, layer.length = other.first, other.length
        else:
            new = {}
            for slot in rng.permutation(SLOTS).tolist():
                if n := min(what[slot], longest - len(texts[slot])):
                    new[slot] = rng.integers(0, V, n)
                    texts[slot] = np.concatenate([texts[slot], new[slot]])
            if not new:
                continue
            every = bool(rng.integers(2))
            model.calls.clear()
            logits = session.extend(new, every=every)
            expected = [logits_after(texts[slot])[-len(tokens) if every else -1 :] for slot, tokens in new.items()]
            assert np.array_equal(logits, np.concatenate(expected))
            calls = []
            for slot in new:
                while rest := len(texts[slot]) - held[slot][0].length:
                    T = min(rest, *(layer.room() for layer in held[slot]))
                    calls.append(range(held[slot][0].length, held[slot][0].length + T))
                    for layer in held[slot]:
                        layer.extend(T)
            assert model.calls == calls
        assert [session.length(slot) for slot in range(SLOTS)] == [len(text) for text in texts]


@pytest.mark.parametrize("windows", [[None], [65, 3], [None, 3], [3, None, 66]])
def test_one_long_story(windows: list[int | None]) -> None:
    """Everything that can happen to a sequence."""
    steps = [
        ("extend", [9, 1, 500]),
        ("extend", [1, 128, 2]),
        ("copy", (2, 1)),
        ("extend", [2, 500, 500]),
        ("cut", (1, 0.99)),
        ("extend", [1, 2, 1]),
        ("copy", (1, 1)),
        ("cut", (2, 0.3)),
        ("copy", (2, 0)),
        ("extend", [2, 2, 2]),
        ("cut", (1, 0.2)),
        ("cut", (0, 0.0)),
    ]
    for seed in range(3):
        run_steps(1500, windows, steps, seed)


@given(
    longest=st.sampled_from([40, 700, 1500]),
    windows=st.lists(st.none() | st.integers(1, 150) | st.just(BLOCK + 1), min_size=1, max_size=2),
    steps=STEPS,
    seed=st.integers(0, 1000),
)
def test_what_the_layers_get(longest: int, windows: list[int | None], steps: list[Any], seed: int) -> None:
    """In as few calls as the memory of the smallest window allows."""
    run_steps(longest, windows, steps, seed)


def test_settings_and_refusals() -> None:
    """Nothing is added if a token is wrong."""
    model = Layers(9, [None])
    session = CachedSession(model, 2)  # type: ignore[arg-type]
    assert (session.model, session.slots, session.device, session.longest) == (model, 2, "cpu", 9)
    assert len(model._owners) == 2
    with pytest.raises(TokenError, match=f"token {V} of slot 1 is not in the vocabulary of {V} tokens"):
        session.extend({0: np.array([1]), 1: np.array([V])})
    with pytest.raises(ShapeError, match="slot 1 has 0 tokens, which cannot be cut to 1"):
        session.cut(1, 1)
    assert session.length(0) == 0

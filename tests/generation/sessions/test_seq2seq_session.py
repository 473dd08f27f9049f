"""What the session of an encoder-decoder asks of it: each source and each token once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ShapeError, TokenError
from minitrain.generation.sessions.seq2seq import Seq2SeqSession
from minitrain.nn.attention.past import KeyValues

SLOTS, LONGEST, V = 3, 12, 7
Slot = tuple[Any, ...]


def logits_after(text: list[int], source: list[int]) -> Any:
    """The logits (T, V) of the stand-in: those of each token name it, its position and the source."""
    after = [[token, i, sum(source), len(source), source[0]] for i, token in enumerate(text)]
    return np.pad(np.array(after, np.float32), ((0, 0), (0, V - 5)))


class Layers:
    """Stands in for a model with two blocks. The keys are the tokens, of targets and of sources."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(block_size=LONGEST, n_targets=V)
        self.encoded: list[list[int]] = []
        self.decoded: list[list[int]] = []

    def new_past(self) -> list[tuple[KeyValues, KeyValues]]:
        return [tuple(KeyValues(LONGEST, 1, 1, np.empty(0)) for _ in range(2)) for _ in range(2)]  # type: ignore

    def encode(self, source: Any) -> Any:
        (row,) = source
        self.encoded.append(row.tolist())
        return source.reshape(1, -1, 1), None, None

    def decode_next(self, target: Any, memory: Any, lengths: Any, past: Any, *, source: Any) -> Any:
        assert lengths is None
        assert np.array_equal(source.ravel(), memory.ravel()), "a pointer copies from the slot's own source"
        (row,) = target
        assert row.dtype == np.int32
        self.decoded.append(row.tolist())
        logits: list[Any] = []
        for i, (own, cross) in enumerate(past):
            k = row.reshape(1, -1, 1, 1)
            text, _ = own.extend(k, k)
            if not cross.length:  # a source is read once
                cross.extend(memory[:, :, None], memory[:, :, None])
            read = cross.all()[0]
            assert np.array_equal(read.ravel(), memory.ravel())
            found = logits_after(text.ravel().tolist(), read.ravel().tolist())[-len(row) :]
            assert i == 0 or np.array_equal(found, logits[-1])
            logits.append(found)
        return logits[-1][None]


STEPS = st.lists(
    st.tuples(st.just("begin"), st.integers(0, SLOTS - 1), st.lists(st.integers(0, 6), min_size=1, max_size=LONGEST))
    | st.tuples(st.just("extend"), st.lists(st.integers(0, 6), min_size=SLOTS, max_size=SLOTS), st.booleans())
    | st.tuples(st.just("cut"), st.integers(0, SLOTS - 1), st.floats(0, 1))
    | st.tuples(st.just("copy"), st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1)),
    max_size=12,
)


def run_steps(steps: list[Any], seed: int) -> None:
    """Sources, tokens, cuts and copies."""
    rng, model = np.random.default_rng(seed), Layers()
    session = Seq2SeqSession(model, SLOTS)  # type: ignore[arg-type]
    texts: list[list[int]] = [[] for _ in range(SLOTS)]
    sources: list[list[int] | None] = [[1], [2, 1], [3]]
    assert session.length(0) == session.length(SLOTS - 1) == 0
    for slot, source in enumerate(sources):
        session.begin(slot, np.array(source))
    for kind, what, more in [*steps, ("extend", [1] * SLOTS, True)]:
        model.encoded.clear()
        model.decoded.clear()
        if kind == "begin":
            session.begin(what, np.array(more))
            sources[what], texts[what] = more, []
            assert model.encoded == [more]
        elif kind == "cut":
            length = round(more * len(texts[what]))
            session.cut(what, length)
            texts[what] = texts[what][:length]
        elif kind == "copy":
            session.copy(what, more)
            texts[more], sources[more] = texts[what], sources[what]
        else:
            new = {}
            for slot in rng.permutation(SLOTS).tolist():
                if n := min(what[slot], LONGEST - len(texts[slot])):
                    new[slot] = rng.integers(0, V, n)
                    texts[slot] = texts[slot] + new[slot].tolist()
            if new:
                logits = session.extend(new, every=more)
                expected = [
                    logits_after(texts[slot], sources[slot] or [])[-len(tokens) if more else -1 :]
                    for slot, tokens in new.items()
                ]
                assert np.array_equal(logits, np.concatenate(expected))
                assert model.decoded == [tokens.tolist() for tokens in new.values()]
        assert [session.length(slot) for slot in range(SLOTS)] == [len(text) for text in texts]


def test_one_long_story() -> None:
    """Everything that can happen to a target."""
    steps = [
        ("extend", [3, 1, 2], True),
        ("copy", 0, 1),
        ("extend", [2, 1, 0], False),
        ("begin", 0, [5, 3, 2]),
        ("extend", [2, 2, 1], True),
        ("cut", 1, 0.5),
        ("copy", 1, 1),
        ("cut", 2, 0.0),
        ("extend", [1, 2, 3], False),
    ]
    for seed in range(3):
        run_steps(steps, seed)


@given(steps=STEPS, seed=st.integers(0, 1000))
def test_what_the_layers_get(steps: list[Any], seed: int) -> None:
    """Any order of sources, tokens, cuts and copies."""
    run_steps(steps, seed)


def test_settings_and_refusals() -> None:
    """Nothing is added for any slot if one is wrong."""
    model = Layers()
    session = Seq2SeqSession(model, 2)  # type: ignore[arg-type]
    assert (session.model, session.slots, session.device, session.longest) == (model, 2, "cpu", LONGEST)
    session.begin(0, np.array([1]))
    one = np.array([1])
    with pytest.raises(ShapeError, match=r"slot 1 has no source yet; call begin\(1, source\) first"):
        session.extend({0: one, 1: one})
    with pytest.raises(TokenError, match=f"token {V} of slot 0"):
        session.extend({0: one + V - 1})
    with pytest.raises(ShapeError, match="slot 0 has 0 tokens, which cannot be cut to 1"):
        session.cut(0, 1)
    assert session.length(0) == 0
    assert not model.decoded

"""Decoding with one launch for a token: the logits of the whole sequence, for any mixture of lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import to_numpy, use_kernels
from minitrain.errors import ConfigError, ShapeError
from minitrain.generation.sessions import session_for
from minitrain.generation.sessions.cached import CachedSession
from minitrain.generation.sessions.graphed import GraphedSession
from minitrain.models import GPTConfig, LlamaConfig, build_model
from minitrain.testing.cuda.fake import emulated_device

CONFIGS = {
    "gpt": GPTConfig(vocab_size=11, block_size=12, n_layer=2, n_head=2, n_embd=8),
    "llama": LlamaConfig(vocab_size=11, block_size=12, n_layer=2, n_head=4, n_embd=16, n_kv_head=2),
}


def on_device(name):
    model = build_model(CONFIGS[name], seed=3)
    model.to("cuda")
    return model, build_model(CONFIGS[name], seed=3)


def last_logits(model, sequence):
    (logits,), _ = model.forward(sequence[None])
    return logits[-1]


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8)
@given(st.data())
def test_logits_are_those_of_the_whole_sequence(name, data):
    """Slots begin, go on at different times, are cut and copied; after some steps they run in a graph."""
    with use_kernels("reference"), emulated_device():
        model, plain = on_device(name)
        session = GraphedSession(model, 3)
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        sequences = [np.empty(0, np.int32)] * 3
        for _ in range(8):
            kind = data.draw(st.sampled_from(["one", "one", "one", "many", "cut", "copy"]))
            slots = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
            if kind == "copy" and len(slots) > 1 and len(sequences[slots[0]]):
                session.copy(slots[0], slots[1])
                sequences[slots[1]] = sequences[slots[0]]
            elif kind == "cut":
                kept = len(sequences[slots[0]]) // 2
                session.cut(slots[0], kept)
                sequences[slots[0]] = sequences[slots[0]][:kept]
            else:
                count = 1 if kind == "one" else 3
                new = {
                    slot: rng.integers(0, 11, count).astype(np.int32)
                    for slot in slots
                    if len(sequences[slot]) + count <= 12
                }
                if not new:
                    continue
                logits = session.extend(new).get()
                for row, (slot, tokens) in zip(logits, new.items(), strict=True):
                    sequences[slot] = np.concatenate([sequences[slot], tokens])
                    np.testing.assert_allclose(row, last_logits(plain, sequences[slot]), rtol=1e-4, atol=1e-5)
            assert [session.length(slot) for slot in range(3)] == [len(sequence) for sequence in sequences]


@pytest.mark.parametrize("mode", ["reference", pytest.param("auto", marks=pytest.mark.cuda)])
def test_a_step_is_one_launch_and_two_small_copies(mode):
    with use_kernels(mode), emulated_device() as device:
        model, plain = on_device("gpt")
        session = GraphedSession(model, 2)
        sequence = np.array([1, 2, 3], np.int32)
        session.extend({0: sequence, 1: sequence})
        for token in range(6):
            new = np.array([token], np.int32)
            sequence = np.concatenate([sequence, new])
            with device.counting() as counts:
                logits = session.extend({0: new, 1: new})
            np.testing.assert_allclose(logits.get()[1], last_logits(plain, sequence), rtol=1e-4, atol=1e-5)
        assert session.captured
        assert (counts.to_device, counts.to_host, counts.synchronisations) == (2, 0, 0)
        assert counts.bytes_to_device == 2 * (4 + 8)
        assert counts.allocations < 8  # the copies, and the rows that are returned


def test_a_full_sequence_leaves_the_others_alone():
    """It takes part in each step all the same."""
    with use_kernels("reference"), emulated_device():
        model, plain = on_device("gpt")
        session = GraphedSession(model, 2)
        full, other = np.arange(12, dtype=np.int32) % 11, np.array([4], np.int32)
        session.extend({0: full[:-1], 1: other})
        session.extend({0: full[-1:]})
        for token in (1, 2, 3):
            new = np.array([token], np.int32)
            other = np.concatenate([other, new])
            logits = session.extend({1: new}).get()
            np.testing.assert_allclose(logits[0], last_logits(plain, other), rtol=1e-4, atol=1e-5)
        with pytest.raises(ShapeError):
            session.extend({0: np.array([1], np.int32)})
        session.cut(0, 11)
        again = session.extend({0: full[-1:]}).get()
        np.testing.assert_allclose(again[0], last_logits(plain, full), rtol=1e-4, atol=1e-5)


def test_windows_are_refused():
    with use_kernels("reference"), emulated_device():
        model = build_model(CONFIGS["llama"])
        model.blocks[0].attention.window = 4
        with pytest.raises(ConfigError, match="windows and ALiBi count keys by their place"):
            GraphedSession(model, 1)


def test_session_for_chooses_it(monkeypatch):
    """Where keys may lie anywhere; and a model whose step cannot be captured is run plainly, and says why."""
    with use_kernels("reference"), emulated_device():
        model, plain = on_device("gpt")
        session = session_for(model, 2, device="cuda")
        assert type(session) is GraphedSession
        windowed = build_model(CONFIGS["llama"]).to("cuda")
        windowed.blocks[0].attention.window = 4
        assert type(session_for(windowed, 2, device="cuda")) is CachedSession
        assert type(session_for(plain, 2)) is not GraphedSession

        add = model.norm.forward

        def waits(x, **options):
            to_numpy(x)
            return add(x, **options)

        monkeypatch.setattr(model.norm, "forward", waits)
        sequence = np.array([1, 2], np.int32)
        session.extend({0: sequence})
        for token in range(5):
            new = np.array([token], np.int32)
            sequence = np.concatenate([sequence, new])
            row = session.extend({0: new}).get()[0]
            np.testing.assert_allclose(row, last_logits(plain, sequence), rtol=1e-4, atol=1e-5)
        assert not session.captured
        assert "not permitted when stream is capturing" in session.refused
        strict = GraphedSession(model, 1)
        strict.extend({0: sequence[:4]})
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            for token in range(3):
                strict.extend({0: np.array([token], np.int32)})


def test_several_new_tokens_do_not_run_the_old_ones_again(monkeypatch):
    with use_kernels("reference"), emulated_device():
        model, plain = on_device("llama")
        session, seen, forward = GraphedSession(model, 2), [], type(model).forward_hidden

        def counted(self, tokens, **options):
            seen.append(tokens.shape)
            return forward(self, tokens, **options)

        monkeypatch.setattr(type(model), "forward_hidden", counted)
        session.extend({1: np.array([1, 2, 3, 4], np.int32)})
        logits = session.extend({1: np.array([5, 6], np.int32)}, every=True).get()
        assert seen == [(1, 4), (1, 2)]
        for row, end in zip(logits, (5, 6), strict=True):
            expected = last_logits(plain, np.arange(1, end + 1, dtype=np.int32))
            np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)

"""One sequence has one result: the same bits from every session, whatever was generated before and beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.threads import set_threads
from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.generation import UncachedSession
from minitrain.generation.sessions.cached import CachedSession
from minitrain.generation.sessions.kernel import KernelSession
from minitrain.generation.sessions.seq2seq import Seq2SeqSession
from minitrain.models import GPT, GPTConfig, Seq2Seq, Seq2SeqConfig
from minitrain.models.common.decoder import Decoder
from minitrain.nn.attention import past
from tests.helpers.decoders import VOCABULARY, decoders, randomize
from tests.helpers.own_product import has_own_product, only_with_own_product

SLOTS = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(st.sampled_from([0, 1, 1, 2, 7, 9, 70, 300]), min_size=3, max_size=3)),
        st.tuples(st.just("cut"), st.tuples(st.integers(0, SLOTS - 1), st.floats(0, 1))),
        st.tuples(st.just("copy"), st.tuples(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))),
    ),
    min_size=2,
    max_size=8,
)


def run_steps(session: Any, steps: list[Any], seed: int, check: Any) -> None:
    """Extend, cut and copy sequences; ``check`` gets the logits after each extension and the sequences."""
    rng = np.random.default_rng(seed)
    sequences = [np.empty(0, np.int32)] * SLOTS
    for kind, what in steps:
        if kind == "cut":
            slot, share = what
            sequences[slot] = sequences[slot][: int(share * len(sequences[slot]))]
            session.cut(slot, len(sequences[slot]))
        elif kind == "copy":
            sequences[what[1]] = sequences[what[0]]
            session.copy(*what)
        else:
            new = {}
            for slot in rng.permutation(SLOTS).tolist():
                n = min(what[slot], session.longest - len(sequences[slot]))
                if n:
                    new[slot] = rng.integers(0, VOCABULARY, n).astype(np.int32)
                    sequences[slot] = np.concatenate([sequences[slot], new[slot]])
            every = bool(rng.integers(2))
            if new:
                logits = session.extend(new, every=every)
                check(logits, [(sequences[slot], len(tokens) if every else 1) for slot, tokens in new.items()])
        assert [session.length(slot) for slot in range(SLOTS)] == list(map(len, sequences))


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The step's kernel is there: until then a session runs the model's layers."""
    if has_own_product():
        KernelSession(GPT(GPTConfig(VOCABULARY, n_layer=1)), 1).warm_up()


def same_bits(model: Decoder) -> Any:
    """The check that logits are those of the model's forward over each whole sequence, alone, bit by bit."""

    def check(logits: Any, asked: list[tuple[Any, int]]) -> None:
        expected = np.concatenate([model.forward(sequence[None])[0][0, -n:] for sequence, n in asked])
        assert logits.shape == expected.shape
        assert logits.tobytes() == expected.tobytes(), abs(logits - expected).max()

    return check


@only_with_own_product
@pytest.mark.parametrize("session", [UncachedSession, CachedSession, KernelSession])
@given(model=decoders(), steps=STEPS, seed=st.integers(0, 1000), threads=st.sampled_from([1, 2, 3]))
@settings(max_examples=40)
def test_one_sequence_has_one_result(session: Any, model: Decoder, steps: Any, seed: int, threads: int) -> None:
    """Cached or not, alone or beside others, in any split of the prompt, on any number of threads."""
    set_threads(threads)
    try:
        run_steps(session(model, SLOTS), steps, seed, same_bits(model))
    finally:
        set_threads(None)


@pytest.mark.slow
@only_with_own_product
@pytest.mark.parametrize("session", [CachedSession, KernelSession])
@given(model=decoders((24, 150, 700, 1500)), steps=STEPS, seed=st.integers(0, 1000), threads=st.integers(1, 4))
@settings(max_examples=5000)
def test_one_sequence_has_one_result_in_ten_thousand_cases(
    session: Any, model: Decoder, steps: Any, seed: int, threads: int
) -> None:
    """The same, 5,000 times for each session."""
    set_threads(threads)
    try:
        run_steps(session(model, SLOTS), steps, seed, same_bits(model))
    finally:
        set_threads(None)


@given(model=decoders((24, 150)), steps=STEPS, seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_the_reference_continues_as_it_began(model: Decoder, steps: Any, seed: int) -> None:
    """Without the kernels the bits may differ, the numbers may not."""
    from minitrain.backend.kernels_mode import use_kernels

    def check(logits: Any, asked: list[tuple[Any, int]]) -> None:
        expected = np.concatenate([model.forward(sequence[None])[0][0, -n:] for sequence, n in asked])
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * abs(expected).max())

    with use_kernels("reference"):
        run_steps(CachedSession(model, SLOTS), steps, seed, check)


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=3), seed=st.integers(0, 100), cut=st.integers(0, 10),
    share=st.booleans(), pointer=st.booleans(), positions=st.sampled_from(["sinusoidal", "rotary"]),
)  # fmt: skip
@settings(max_examples=20)
def test_the_target_of_a_source(
    lengths: list[int], seed: int, cut: int, share: bool, pointer: bool, positions: str
) -> None:
    """An encoder-decoder's targets continue as in its forward, beside targets of other sources."""
    shape = {"block_size": 24, "n_embd": 32, "n_head": 2, "share_embeddings": share, "pointer": share and pointer}
    model = Seq2Seq(Seq2SeqConfig(VOCABULARY, positions=positions, **shape))  # type: ignore[arg-type]
    randomize(model, seed)
    rng = np.random.default_rng(seed)
    session = Seq2SeqSession(model, len(lengths))
    sources = [rng.integers(1, VOCABULARY, n).astype(np.int32) for n in lengths]
    target = rng.integers(1, VOCABULARY, 12).astype(np.int32)
    for slot, source in enumerate(sources):
        session.begin(slot, source)
        session.extend({slot: target[:10]})
        session.cut(slot, cut)
    logits = session.extend(dict.fromkeys(range(len(lengths)), target[cut:]), every=True)
    expected = np.concatenate([model.forward(source[None], target[None])[0][0, cut:] for source in sources])
    if has_own_product():
        assert logits.tobytes() == expected.tobytes()
    np.testing.assert_allclose(logits, expected, atol=1e-5 * abs(expected).max())


def test_a_target_needs_its_source() -> None:
    """It says what to call."""
    session = Seq2SeqSession(Seq2Seq(Seq2SeqConfig(VOCABULARY)), 1)
    with pytest.raises(ShapeError, match=r"call begin\(0, source\)"):
        session.extend({0: np.array([1], np.int32)})


@pytest.mark.parametrize("session", [UncachedSession, CachedSession, KernelSession])
def test_refused_extensions_change_nothing(session: Any) -> None:
    """Each message names the slot and the limit."""
    if session is KernelSession and not has_own_product():
        pytest.skip("the kernels of generation take the project's own product")
    made = session(GPT(GPTConfig(VOCABULARY, block_size=8, n_layer=1)), 2)
    one = np.array([1], np.int32)
    made.extend({0: one})
    for tokens, error, match in [
        ({}, ShapeError, "no sequence"),
        ({2: one}, ShapeError, "no slot 2; slots run from 0 to 1"),
        ({0: one, 1: one[:0]}, ShapeError, "slot 1 gets"),
        ({0: one, 1: one.repeat(9)}, ShapeError, "slot 1 has 0 tokens and would get 9 more, but .* block_size is 8"),
        ({0: one, 1: one + 30}, TokenError, "31"),
        ({0: one, 1: one - 3}, TokenError, "-2"),
    ]:
        with pytest.raises(error, match=match):
            made.extend(tokens)
        assert (made.length(0), made.length(1)) == (1, 0)
    with pytest.raises(ShapeError, match="cannot be cut to 2"):
        made.cut(0, 2)
    with pytest.raises(ConfigError, match="slots = 0"):
        session(GPT(GPTConfig(VOCABULARY, n_layer=1)), 0)


@only_with_own_product
def test_layers_work_until_the_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session changes over in the middle of a text; nobody can tell from the logits."""
    from minitrain.kernels.cpu.generation.step import step

    model, tokens = GPT(GPTConfig(VOCABULARY, block_size=12, n_layer=2)), np.arange(12, dtype=np.int32)
    session, ready = KernelSession(model, 1), iter([False, False, False, True])
    steps: list[int] = []
    monkeypatch.setattr(step.float32, "ready_or_soon", lambda: next(ready))
    monkeypatch.setattr(session, "_step", lambda short, run=session._step: (steps.append(1), run(short))[1])
    logits = [session.extend({0: token[None]}) for token in tokens]
    assert len(steps) == 12 - 3
    assert np.concatenate(logits).tobytes() == model.forward(tokens[None])[0][0].tobytes()


@only_with_own_product
def test_an_interrupted_step_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the kernel has run: the tokens are there, and the next step computes their keys too."""
    model, tokens = GPT(GPTConfig(VOCABULARY, block_size=12, n_layer=2)), np.arange(8, dtype=np.int32)
    session = KernelSession(model, 2)
    session.warm_up()
    session.extend({0: tokens[:3], 1: tokens[:2]})

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session, "_kernel", lambda: interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.extend({0: tokens[3:5], 1: tokens[2:3]})
    logits = session.extend({0: tokens[5:], 1: tokens[3:4]})
    expected = [model.forward(tokens[None, :n])[0][0, -1] for n in (8, 4)]
    assert logits.tobytes() == np.stack(expected).tobytes()


def test_blocks_are_the_kernels_blocks() -> None:
    """Rows are dropped in the blocks in which the kernels sum."""
    from minitrain.kernels.cpu.common.attention_blocks import BLOCK

    assert past.BLOCK == BLOCK

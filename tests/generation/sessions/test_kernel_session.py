"""What the kernel session hands to the kernel and to the model's layers, and what it keeps for them.

A stand-in for the step's kernel and one for the layers check that each new token finds the keys and values of all
positions that it may see, in their places. The real ones are in ``test_sessions.py``.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ShapeError, TokenError
from minitrain.generation.sessions import kernel
from minitrain.generation.sessions.kernel import AT_ONCE, KernelSession
from minitrain.generation.sessions.packed import PackedDecoder
from minitrain.kernels.cpu.generation._layout import BLOCK, WIDTH, empty_keys, empty_values, whole_strips
from minitrain.kernels.cpu.generation.step import step
from minitrain.models import GPT, GPTConfig
from minitrain.nn.attention.past import rows_needed
from tests.helpers.decoding.held_positions import HeldPositions

SLOTS, V, LAYERS, KV_HEADS, HEADS, D, C, HIDDEN = 3, 7, 3, 2, 4, 2 * WIDTH + 3, 5, 2 * WIDTH + 1
ARRAYS = ("panels", "vectors", "table", "embedding", "places", "cos", "sin", "slopes", "eps")
NAMES = list(inspect.signature(step.float32).parameters)
HEAD = np.random.default_rng(0).integers(-9, 9, (V, 3)).astype(np.float32)  # integers: all sums are exact
THREADS = 2


def codes(tokens: Any, positions: Any, layer: int) -> Any:
    """Keys (T, Hkv, D) that name their token, position, layer, head and element."""
    place = np.arange(KV_HEADS * D).reshape(KV_HEADS, D) + layer * KV_HEADS * D
    return (np.asarray(tokens) + V * np.asarray(positions) + 16384 * place[..., None]).transpose(2, 0, 1)


def logits_after(tokens: Any, positions: Any) -> Any:
    """The logits (T, V) of the stand-ins."""
    hidden = np.stack([tokens, positions, np.ones(len(tokens))], axis=1).astype(np.float32)  # (T, 3)
    return hidden @ HEAD.T


class Model:
    """A model's layers, which read and write keys and values alone.

    Attributes:
        calls: the positions of each call.
    """

    def __init__(self) -> None:
        self.head = SimpleNamespace(weight=SimpleNamespace(data=HEAD))
        self.calls: list[range] = []

    def forward_hidden(self, tokens: Any, *, past: Any) -> Any:
        (row,) = tokens
        start, T = past[0].length, len(row)
        assert 0 < T <= past[0].room()
        positions = past[0].positions(T)
        self.calls.append(range(positions[0], positions[-1] + 1))
        for layer, kept in enumerate(past):
            assert kept.length == start
            k = codes(row, positions, layer).astype(np.float32)[None]
            keys, values = kept.extend(k, k + 0.5)
            first = start + T - keys.shape[1]
            text = self.text[first : start + T]
            assert np.array_equal(keys[0], codes(text, np.arange(first, start + T), layer))
            assert np.array_equal(values, keys + 0.5)
            assert first == self.first()
        return np.stack([row, positions, np.ones(T)], axis=1).astype(np.float32)[None], None


class Step:
    """The step's kernel, for one session; checks its arguments.

    Attributes:
        calls: slot and positions of each span of each call, and how many rows of logits it wants.
    """

    def __init__(self, session: Any, packed: Any, texts: list[Any], ready: Any = lambda: True) -> None:
        self.session, self.packed, self.texts, self.ready_or_soon = session, packed, texts, ready
        self.calls: list[list[tuple[int, range, int]]] = []
        self.compiled = 0

    def compile_to_disk(self) -> None:
        self.compiled += 1

    def __call__(self, *arguments: Any) -> None:
        given = SimpleNamespace(**dict(zip(NAMES, arguments, strict=True)))
        packed, N, M = self.packed, len(given.new), len(given.wanted)
        assert all(getattr(given, name) is getattr(packed, name) for name in ARRAYS)
        assert (given.keys is self.session._keys, given.values is self.session._values) == (True, True)
        expected = (packed.heads, packed.hidden, packed.vocabulary, packed.rms, packed.tanh, THREADS)
        assert (given.heads, given.hidden_width, given.vocabulary, given.rms, given.tanh, given.threads) == expected
        assert given.back == (packed.window or packed.longest)
        shapes = {
            "stream": (THREADS, N, C),
            "normed": (THREADS, N, C),
            "qkv": (N, whole_strips((HEADS + 2 * KV_HEADS) * D)),
            "attended": (N, HEADS * D),
            "branch": (N, whole_strips(C)),
            "before": (N, whole_strips(HIDDEN)),
            "hidden": (N, whole_strips(HIDDEN)),
            "logits": (M, whole_strips(V)),
        }
        assert {name: getattr(given, name).shape for name in shapes} == shapes
        assert {getattr(given, name).dtype for name in shapes} == {np.dtype(np.float32)}
        assert len({id(getattr(given, name)) for name in shapes}) == len(shapes)
        assert {given.new.dtype, given.spans.dtype, given.wanted.dtype} == {np.dtype(np.int64)}
        wanted, seen = given.wanted.tolist(), []
        for slot, begin, end, first in given.spans.tolist():
            tokens, positions = given.new[begin:end].T
            self._attend(given, slot, first, tokens, positions)
            own = [i for i in wanted if begin <= i < end]
            assert own == list(range(end - len(own), end))
            self_range = range(int(positions[0]), int(positions[-1]) + 1)
            assert positions.tolist() == list(self_range)
            seen.append((slot, self_range, len(own)))
        assert wanted == sorted(wanted)
        self.calls.append(seen)
        given.logits[:] = np.nan
        given.logits[:, :V] = logits_after(*given.new[given.wanted].T)

    def _attend(self, given: Any, slot: int, first: int, tokens: Any, positions: Any) -> None:
        """Write the new keys and values, and look for those that the new tokens may see."""
        text = self.texts[slot]
        assert np.array_equal(tokens, text[positions])
        begin = max(0, int(positions[0]) - given.back + 1)
        seen = np.arange(begin, int(positions[-1]) + 1)
        assert begin >= first
        for layer in range(LAYERS):
            new = codes(tokens, positions, layer)
            keys, values = given.keys[layer, slot], given.values[layer, slot]
            rows = positions - first
            keys[:, rows // WIDTH, :, rows % WIDTH] = new
            for d in range(D):
                values[:, d // WIDTH, rows, d % WIDTH] = new[:, :, d].T + 0.5
            expected, rows = codes(text[seen], seen, layer), seen - first
            assert np.array_equal(keys[:, rows // WIDTH, :, rows % WIDTH], expected)
            for d in range(D):
                assert np.array_equal(values[:, d // WIDTH, rows, d % WIDTH], expected[:, :, d].T + 0.5)


def packed_like(longest: int, window: int | None, weights: str = "float32") -> Any:
    """What a session needs of a packed model."""
    arrays = {name: np.full(i + 5, i) for i, name in enumerate(ARRAYS)}
    numbers = {"heads": HEADS, "hidden": HIDDEN, "vocabulary": V, "rms": True, "tanh": False, "width": C}
    shape = {"layers": LAYERS, "kv_heads": KV_HEADS, "head_width": D, "longest": longest, "window": window}
    return SimpleNamespace(weights=weights, **arrays, **numbers, **shape)


class Bench:
    """A session between the stand-ins, with what it should hold."""

    def __init__(self, longest: int, window: int | None, weights: str = "float32", ready: Any = lambda: True) -> None:
        self.packed, self.model, self.texts = packed_like(longest, window, weights), Model(), [np.empty(0, int)] * SLOTS
        self.session = session = KernelSession(self.model, SLOTS, packed=self.packed)  # type: ignore[arg-type]
        rows = -(-rows_needed(longest, window) // BLOCK) * BLOCK
        self.kept = [HeldPositions(longest, rows, window) for _ in range(SLOTS)]
        self.step = Step(session, self.packed, self.texts, ready)
        session._kernel = lambda: self.step  # type: ignore[method-assign]
        self.work: list[float] = []

    def threads_for(self, work: float) -> int:
        self.work.append(work)
        return THREADS

    def extend(self, new: dict[int, Any], every: bool) -> None:
        """Extend the session, and look at the logits and at how they came about."""
        session = self.session
        ready = session._ready or self.step.ready_or_soon()
        for slot, tokens in new.items():
            self.texts[slot] = np.concatenate([self.texts[slot], tokens])
        short, long = [], []
        for slot, tokens in new.items():
            missing = len(self.texts[slot]) - self.kept[slot].length
            (short if ready and missing <= AT_ONCE else long).append((slot, len(tokens) if every else 1))
        self.step.calls.clear()
        self.model.calls.clear()
        self.work.clear()
        logits = self._run(new, every)
        expected = [
            logits_after(self.texts[slot][-n:], np.arange(len(self.texts[slot]))[-n:])
            for slot, n in ((slot, len(tokens) if every else 1) for slot, tokens in new.items())
        ]
        assert np.array_equal(logits, np.concatenate(expected))
        layers, calls = [], []
        for slot, n in long:
            kept, size = self.kept[slot], len(self.texts[slot])
            while kept.length < size:
                T = min(size - kept.length, kept.room() if self.packed.weights == "float32" else AT_ONCE)
                part = range(kept.length, kept.length + T)
                kept.extend(T)
                if self.packed.weights == "float32":
                    layers.append(part)
                else:
                    calls.append([(slot, part, T if n > 1 else 1)])
        if short:
            calls.append([])
            for slot, n in short:
                calls[-1].append((slot, range(self.kept[slot].length, len(self.texts[slot])), n))
                self.kept[slot].extend(len(self.texts[slot]) - self.kept[slot].length)
        assert (self.model.calls, self.step.calls) == (layers, calls)
        share = self.packed.panels.size / (5 * LAYERS + 1)  # five matrices of each block, and the head
        new_tokens = [sum(len(part) for _, part, _ in call) for call in calls]
        assert self.work == pytest.approx([share * max(1, n / 32) for n in new_tokens])
        self.check()

    def _run(self, new: dict[int, Any], every: bool) -> Any:
        """The logits; the model's layers are told whose turn it is."""
        session, model = self.session, self.model
        prefill = KernelSession._prefill

        def told(slot: int, asked: int) -> Any:
            model.text, model.first = self.texts[slot], lambda: int(session._first[slot])  # type: ignore[attr-defined]
            return prefill(session, slot, asked)

        session._prefill = told  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "threads_for", self.threads_for)
            return session.extend({slot: tokens.astype(np.int32) for slot, tokens in new.items()}, every=every)

    def check(self) -> None:
        """Each slot holds what it should."""
        for slot in range(SLOTS):
            assert self.session.length(slot) == len(self.texts[slot])
            held = self.kept[slot].first, self.kept[slot].length
            assert (self.session._first[slot], self.session._kept[slot]) == held


NEW = [0, 1, 2, 9, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 9]
STEPS = st.lists(
    st.tuples(
        st.just("extend"),
        st.lists(st.sampled_from(NEW), min_size=3, max_size=3),
    )
    | st.tuples(st.just("block"), st.integers(0, SLOTS - 1))
    | st.tuples(st.just("memory"), st.tuples(st.integers(0, SLOTS - 1), st.integers(0, 1)))
    | st.tuples(st.just("cut"), st.tuples(st.integers(0, SLOTS - 1), st.sampled_from([0.0, 0.3, 0.8, 0.9, 0.99])))
    | st.tuples(st.just("copy"), st.tuples(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))),
    min_size=2,
    max_size=8,
)
WINDOWS = st.none() | st.integers(1, 150) | st.sampled_from([1, 2, BLOCK, BLOCK + 1, BLOCK + 2])


def run_steps(longest: int, window: int | None, weights: str, steps: list[Any], ready: int, seed: int) -> None:
    """Extend, cut and copy sequences; the kernel is ready after some questions."""
    rng, count = np.random.default_rng(seed), iter(range(1000))
    bench = Bench(longest, window, weights, lambda: next(count) // 2 >= ready)  # asked by the session and by the test
    session = bench.session
    for kind, what in [*steps, ("extend", [1, 1, 1])]:
        if kind == "cut":
            slot, share = what
            length = int(share * len(bench.texts[slot]))
            session.cut(slot, length)
            bench.texts[slot] = bench.texts[slot][:length]
            bench.kept[slot].cut(length)
        elif kind == "copy":
            source, target = what
            session.copy(source, target)
            bench.texts[target] = bench.texts[source]
            bench.kept[target].first, bench.kept[target].length = bench.kept[source].first, bench.kept[source].length
        else:
            wanted = [0] * SLOTS
            if kind == "extend":
                wanted = what
            elif kind == "block":  # up to the end of a block
                wanted[what] = -len(bench.texts[what]) % BLOCK
            else:  # up to the end of the memory, or one more
                held = bench.kept[what[0]]
                wanted[what[0]] = held.rows - (held.length - held.first) + what[1]
            new = {}
            for slot in rng.permutation(SLOTS).tolist():
                if n := min(wanted[slot], longest - len(bench.texts[slot])):
                    new[slot] = rng.integers(0, V, n)
            if new:
                bench.extend(new, bool(rng.integers(2)))
        bench.check()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("window", "weights"), [(None, "float32"), (65, "float32"), (2, "int8"), (66, "int8")])
def test_one_long_story(window: int | None, weights: str, seed: int) -> None:
    """Everything that can happen to a sequence."""
    steps = [
        ("extend", [9, 1, AT_ONCE]),
        ("extend", [1, AT_ONCE + 1, 2]),
        ("copy", (1, 2)),
        ("memory", (0, 0)),
        ("extend", [1, 1, 1]),
        ("cut", (1, 0.8)),
        ("block", 1),
        ("extend", [AT_ONCE, 2, 1]),
        ("copy", (0, 1)),
        ("cut", (0, 0.95)),
        ("extend", [2, 2, 2]),
        ("cut", (1, 0.3)),
        ("extend", [0, 2, AT_ONCE + 1]),
        ("memory", (2, 1)),
        ("cut", (0, 0.0)),
        ("extend", [500, 1, 1]),
        ("extend", [600, 1, 1]),
    ]
    run_steps(1500, window, weights, steps, seed, seed)


@settings(max_examples=60)
@given(
    longest=st.sampled_from([40, 700, 1500]),
    window=WINDOWS,
    weights=st.sampled_from(["float32", "float32", "int8"]),
    steps=STEPS,
    ready=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_what_the_kernel_gets(
    longest: int, window: int | None, weights: str, steps: list[Any], ready: int, seed: int
) -> None:
    """All keys that are seen, in their places, and no token twice."""
    run_steps(longest, window, weights, steps, ready, seed)


def test_refused_extensions_change_nothing() -> None:
    """A wrong token of one slot adds none to another."""
    bench = Bench(40, None)
    with pytest.raises(TokenError, match=f"token {V} of slot 1"):
        bench.session.extend({0: np.array([1]), 1: np.array([V])})
    with pytest.raises(ShapeError, match="slot 0 has 0 tokens, which cannot be cut to 1"):
        bench.session.cut(0, 1)
    bench.check()


@pytest.mark.parametrize("every", [False, True])
def test_few_tokens_after_keys_that_a_cut_has_lost(every: bool) -> None:
    """The whole text takes several steps; only the last rows of the last one are asked for."""
    bench = Bench(4 * AT_ONCE, 66, "int8")
    bench.extend({0: np.arange(4 * AT_ONCE - 9) % V}, False)
    assert bench.kept[0].first > 0
    bench.session.cut(0, AT_ONCE + 9)
    bench.texts[0] = bench.texts[0][: AT_ONCE + 9]
    assert not bench.kept[0].cut(AT_ONCE + 9)
    bench.extend({0: np.array([3, 5])}, every)


def test_no_more_is_copied_than_there_is() -> None:
    """Whole strips of keys; the rest of the target's memory stays as it is."""
    for n in (1, WIDTH, WIDTH + 1, 3 * WIDTH - 1):
        bench = Bench(700, None)
        bench.extend({0: np.arange(n) % V}, False)
        session = bench.session
        session._keys[:, 1], session._values[:, 1] = np.nan, np.nan
        session.copy(0, 1)
        strips, rows = -(-n // WIDTH), session._values.shape[4]
        copied = ~np.isnan(session._keys[:, 1]).all(axis=(0, 1, 3, 4))
        assert copied.tolist() == [i < strips for i in range(rows // WIDTH)]
        assert (~np.isnan(session._values[:, 1]).all(axis=(0, 1, 2, 4))).tolist() == [i < n for i in range(rows)]
        before = session._sequences[1]
        session.copy(1, 1)
        assert session._sequences[1] is before


@pytest.mark.parametrize("shared", [0, 1, WIDTH - 1, WIDTH, 2 * WIDTH + 1, 50])
@pytest.mark.parametrize("longer", [0, 1, WIDTH + 1])
def test_what_both_sequences_begin_with_is_not_copied(shared: int, longer: int) -> None:
    """Whole strips of keys again; the target may be shorter or longer than the source."""
    for source, target in ((50, 50 + longer), (50 + longer, 50)):
        bench = Bench(700, None)
        texts = [np.arange(n) % V for n in (source, target)]
        texts[1][shared:] = (texts[1][shared:] + 1) % V
        bench.extend(dict(enumerate(texts)), False)
        session, rows = bench.session, bench.session._values.shape[4]
        session._keys[:, 1], session._values[:, 1] = np.nan, np.nan
        session.copy(0, 1)
        begin, strips = min(shared, source, target), -(-source // WIDTH)
        copied = ~np.isnan(session._keys[:, 1]).all(axis=(0, 1, 3, 4))
        assert copied.tolist() == [begin // WIDTH <= i < strips for i in range(rows // WIDTH)]
        assert (~np.isnan(session._values[:, 1]).all(axis=(0, 1, 2, 4))).tolist() == [
            begin <= i < source for i in range(rows)
        ]
        assert session.length(1) == source


def test_copies_count_rows_from_the_first_that_is_held() -> None:
    """A window has dropped some."""
    bench = Bench(1500, 3)
    for _ in range(3):
        bench.extend({0: np.arange(200) % V}, False)
    session, held = bench.session, bench.kept[0]
    assert held.first > 0
    session._values[:, 1] = np.nan
    session.copy(0, 1)
    assert (~np.isnan(session._values[:, 1]).all(axis=(0, 1, 2, 4))).sum() == held.length - held.first


@pytest.mark.parametrize("differs", [3, 598, 600])
def test_of_what_both_hold_the_beginning_is_not_copied(differs: int) -> None:
    """Both have dropped rows; they differ before the first that is held, after it, or not at all."""
    bench = Bench(1500, 3)
    text = np.arange(600) % V
    other = np.where(np.arange(600) < differs, text, (text + 1) % V)
    for start in (0, 200, 400):
        bench.extend({0: text[start : start + 200], 1: other[start : start + 200]}, False)
    session, (first, second) = bench.session, bench.kept[:2]
    assert 3 < first.first == second.first < 598
    session._keys[:, 1], session._values[:, 1] = np.nan, np.nan
    session.copy(0, 1)
    begin, end, rows = max(0, differs - first.first), first.length - first.first, session._values.shape[4]
    copied = ~np.isnan(session._values[:, 1]).all(axis=(0, 1, 2, 4))
    assert copied.tolist() == [begin <= i < end for i in range(rows)]
    strips = ~np.isnan(session._keys[:, 1]).all(axis=(0, 1, 3, 4))
    assert strips.tolist() == [begin // WIDTH <= i < -(-end // WIDTH) for i in range(rows // WIDTH)]


def test_memory() -> None:
    """What is allocated, and that logits are the caller's own."""
    for longest, window in ((100, None), (1000, 7), (65, 3)):
        session = Bench(longest, window).session
        shape = (LAYERS, SLOTS, KV_HEADS, rows_needed(longest, window), D)
        assert session._keys.shape == empty_keys(*shape).shape
        assert session._values.shape == empty_values(*shape).shape
        assert (session.longest, session.slots, session.length(2)) == (longest, SLOTS, 0)
    bench = Bench(700, None)
    for n in range(1, 70):
        bench.extend({0: np.zeros(n, int)}, False)
        assert len(bench.session._memory) == (n if n <= 65 else n - 65)
        bench.session.cut(0, 0)
        bench.texts[0] = bench.texts[0][:0]
        bench.kept[0].cut(0)
    memory = bench.session._working_memory(THREADS, 3, 2)
    assert bench.session._working_memory(THREADS, 3, 2) is memory
    assert len({id(array) for n in (THREADS, THREADS + 1) for array in bench.session._working_memory(n, 3, 2)}) == 16


def test_the_kernel_is_that_of_the_weights() -> None:
    """Others wait for it; with float32 the layers work in the meantime."""
    bench = Bench(40, None, ready=lambda: False)
    bench.extend({0: np.array([1, 2])}, False)
    assert (bench.model.calls, bench.step.calls) == ([range(2)], [])
    bench.session.warm_up()
    assert bench.step.compiled == 1
    bench.extend({0: np.array([1, 2])}, False)
    assert bench.step.calls == [[(0, range(2, 4), 1)]]
    for weights in ("float32", "bfloat16", "int8"):
        session = KernelSession(Model(), 1, packed=packed_like(9, None, weights))  # type: ignore[arg-type]
        assert session._kernel() is getattr(step, weights)
        assert session._ready == (weights != "float32")


def test_a_model_is_packed_once() -> None:
    """Its weights can be shared."""
    model = GPT(GPTConfig(V, block_size=8, n_layer=1, n_head=1, n_embd=8))
    session = KernelSession(model, 1, weights="bfloat16")
    assert isinstance(session.packed, PackedDecoder)
    assert session.packed.weights == "bfloat16"
    other = KernelSession(model, 2, packed=session.packed)
    assert other.packed is session.packed
    assert (other.model, other.slots) == (model, 2)

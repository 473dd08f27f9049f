"""A session on the CPU's kernels: a step of all its sequences is one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...backend.threads import threads_for
from ...models.common.decoder import Decoder
from ...nn.attention.past import first_seen, rows_needed
from ...ops.linear.linear import linear_forward
from .packed import PackedDecoder
from .session import Tokens, check_cut, check_extension, check_slots

AT_ONCE = 256
"""New tokens of a sequence that the step's kernel takes in one call. Longer prompts run on the model's layers, whose
attention takes blocks of queries. Layers have float32 weights only: with others, a long prompt takes several calls."""


class KernelSession:
    """Keeps keys and values as the kernels read them.

    The step's kernel is compiled once on each machine, which takes some ten seconds. In the meantime the model's layers
    do its work, with the same bits.

    Args:
        model: a decoder that `packed.why_not` finds nothing against; runs without dropout.
        slots: how many sequences there may be at once.
        weights: ``"float32"``, ``"bfloat16"`` or ``"int8"``, see `minitrain.generation.sessions.weights`.
        packed: the model's packed weights, to share them between sessions; they have their own ``weights``.
    """

    def __init__(
        self, model: Decoder, slots: int, *, weights: str = "float32", packed: PackedDecoder | None = None
    ) -> None:
        from ...kernels.cpu.generation._layout import empty_keys, empty_values

        self.model, self.slots = model, check_slots(slots)
        self.packed = packed = PackedDecoder(model, weights) if packed is None else packed
        self.longest: int = packed.longest
        self._back: int = packed.window or self.longest  # how many keys a query sees
        self._sequences: list[Tokens] = [np.empty(0, np.int32)] * slots
        self._kept = np.zeros(slots, np.int64)  # how many positions of each sequence have keys and values
        self._first = np.zeros(slots, np.int64)  # the position in row 0 of them
        rows = rows_needed(self.longest, packed.window)
        shape = (packed.layers, slots, packed.kv_heads, rows, packed.head_width)
        self._keys, self._values = empty_keys(*shape), empty_values(*shape)
        self._memory: dict[tuple[int, ...], tuple[Array, ...]] = {}
        self._ready = packed.weights != "float32"  # layers have no others, so the first step waits

    def warm_up(self) -> None:
        """Compile the step's kernel now, if it is not there yet."""
        self._kernel().compile_to_disk()
        self._ready = True

    def _kernel(self) -> Any:
        """The kernel for these weights."""
        from ...kernels.cpu.generation.step import step

        return getattr(step, self.packed.weights)

    def extend(self, tokens: Mapping[int, Tokens], *, every: bool = False) -> Array:
        """See `Session`."""
        check_extension(self, tokens, self.packed.vocabulary)
        for slot, new in tokens.items():
            self._sequences[slot] = np.concatenate([self._sequences[slot], new.astype(np.int32)])
        self._ready = self._ready or self._kernel().ready_or_soon()
        long_way = self._prefill if self.packed.weights == "float32" else self._long_step
        rows: dict[int, Array] = {}
        for slot, new in tokens.items():
            if not self._ready or len(self._sequences[slot]) - self._kept[slot] > AT_ONCE:
                rows[slot] = long_way(slot, len(new) if every else 1)
        short = {slot: len(new) if every else 1 for slot, new in tokens.items() if slot not in rows}
        if not rows:
            return self._step(short)
        if short:
            logits, begin = self._step(short), 0
            for slot, n in short.items():
                rows[slot] = logits[begin : begin + n]
                begin += n
        return np.concatenate([rows[slot] for slot in tokens])

    def _long_step(self, slot: int, asked: int) -> Array:
        """The logits (asked, V) of the last tokens of a sequence with many new ones, by the step's kernel."""
        whole, parts = self._sequences[slot], []
        for end in range(int(self._kept[slot]) + AT_ONCE, len(whole) + AT_ONCE, AT_ONCE):
            self._sequences[slot] = whole[:end]
            n = len(self._sequences[slot]) - int(self._kept[slot])
            parts.append(self._step({slot: n if asked > 1 else 1}))
        return np.concatenate(parts)[-asked:]

    def _step(self, short: Mapping[int, int]) -> Array:
        """The logits (M, V) after the last tokens of sequences, as many as ``short`` says of each."""
        packed = self.packed
        new: list[tuple[int, int]] = []
        spans: list[tuple[int, int, int, int]] = []
        wanted: list[int] = []
        for slot, asked in short.items():
            sequence, kept, begin = self._sequences[slot], int(self._kept[slot]), len(new)
            self._make_room(slot, len(sequence) - kept)
            new += [(int(sequence[i]), i) for i in range(kept, len(sequence))]
            spans.append((slot, begin, len(new), int(self._first[slot])))
            wanted += range(len(new) - asked, len(new))
        # By the work of one of its loops. Few rows wait for the weights, so they count like one.
        threads = threads_for(packed.panels.size / (5 * packed.layers + 1) * max(1, len(new) / 32))
        memory = self._working_memory(threads, len(new), len(wanted))
        self._kernel()(
            packed.panels, packed.vectors, packed.table, packed.embedding, packed.places, packed.cos, packed.sin,
            packed.slopes, self._keys, self._values, np.array(new, np.int64), np.array(spans, np.int64),
            np.array(wanted, np.int64), packed.heads, packed.hidden, packed.vocabulary,
            self._back, packed.eps, packed.rms, packed.tanh, *memory, threads,
        )  # fmt: skip
        for slot in short:  # only now: whatever ends the call before, Ctrl-C for one, leaves nothing that is not there
            self._kept[slot] = len(self._sequences[slot])
        return memory[-1][:, : packed.vocabulary].copy()

    def _prefill(self, slot: int, asked: int) -> Array:
        """The logits (asked, V) of the last tokens of a sequence with many new ones, by the model's layers."""
        sequence, hidden = self._sequences[slot], []
        past: list[Any] = [_Past(self, layer, slot) for layer in range(self.packed.layers)]
        while (start := int(self._kept[slot])) < len(sequence):
            (x,), _ = self.model.forward_hidden(sequence[None, start : start + past[0].room()], past=past)  # (1, T, C)
            hidden.append(x)
            self._kept[slot] += len(x)
        x = np.concatenate(hidden)[-asked:]
        return linear_forward(x, self.model.head.weight.data)[0]

    def length(self, slot: int) -> int:
        """See `Session`."""
        return len(self._sequences[slot])

    def cut(self, slot: int, length: int) -> None:
        """See `Session`."""
        check_cut(self, slot, length)
        self._sequences[slot] = self._sequences[slot][:length]
        self._kept[slot] = min(length, self._kept[slot])
        if first_seen(int(self._kept[slot]), self._back) < self._first[slot]:  # `extend` computes lost keys again
            self._kept[slot] = 0
        if self._kept[slot] == 0:
            self._first[slot] = 0

    def copy(self, source: int, target: int) -> None:
        """See `Session`. What both sequences begin with is not copied: equal tokens have equal keys and values."""
        from ...kernels.cpu.generation._layout import WIDTH

        if source == target:
            return
        begin, end = self._shared(source, target), int(self._kept[source] - self._first[source])
        strips = slice(begin // WIDTH, -(-end // WIDTH))
        self._keys[:, target, :, strips] = self._keys[:, source, :, strips]
        self._values[:, target, :, :, begin:end] = self._values[:, source, :, :, begin:end]
        self._sequences[target] = self._sequences[source]
        self._kept[target], self._first[target] = self._kept[source], self._first[source]

    def _shared(self, source: int, target: int) -> int:
        """How many rows of keys two slots have in common."""
        if self._first[source] != self._first[target]:
            return 0
        both = int(min(self._kept[source], self._kept[target]))
        differs = np.flatnonzero(self._sequences[source][:both] != self._sequences[target][:both])
        return max(0, (int(differs[0]) if len(differs) else both) - int(self._first[source]))

    def _make_room(self, slot: int, new: int) -> None:
        """Drop the keys that no later query sees if the rows run out: the others move to the front."""
        from ...kernels.cpu.generation._layout import WIDTH

        kept, first = int(self._kept[slot]), int(self._first[slot])
        if kept - first + new <= self._values.shape[4]:
            return
        dropped = first_seen(kept, self._back) - first
        keys, values = self._keys[:, slot], self._values[:, slot]
        keys[:, :, : keys.shape[2] - dropped // WIDTH] = keys[:, :, dropped // WIDTH :].copy()
        values[:, :, :, : values.shape[3] - dropped] = values[:, :, :, dropped:].copy()
        self._first[slot] += dropped

    def _working_memory(self, threads: int, N: int, M: int) -> tuple[Array, ...]:
        """Memory of a step with N new tokens and M rows of logits; see `step`."""
        from ...kernels.cpu.generation._layout import whole_strips

        found = self._memory.get((threads, N, M))
        if found is None:
            p, C = self.packed, self.packed.width
            qkv, hidden = whole_strips((p.heads + 2 * p.kv_heads) * p.head_width), whole_strips(p.hidden)
            widths = qkv, p.heads * p.head_width, whole_strips(C), hidden, hidden
            shapes = [(threads, N, C)] * 2 + [(N, width) for width in widths] + [(M, whole_strips(p.vocabulary))]
            if len(self._memory) > 64:
                self._memory.clear()
            found = tuple(np.empty(shape, np.float32) for shape in shapes)
            self._memory[threads, N, M] = found
        return found


class _Past:
    """The keys and values of a slot in a layer, for the model's own layers; like `KeyValues`."""

    key_lengths: Array | None = None

    def __init__(self, session: KernelSession, layer: int, slot: int) -> None:
        self._session, self._layer, self._slot = session, layer, slot

    @property
    def length(self) -> int:
        """Number of positions that all layers have."""
        return int(self._session._kept[self._slot])

    def room(self) -> int:
        """How many positions the next call may add."""
        session = self._session
        return int(session._values.shape[4] - (self.length - first_seen(self.length, session._back)))

    def positions(self, T: int) -> Array:
        """(T,) the next positions."""
        return np.arange(self.length, self.length + T)

    def extend(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Add k and v (1, T, Hkv, D); returns those of all positions that the new ones may see, (1, S, Hkv, D)."""
        session, slot = self._session, self._slot
        (new_keys,), (new_values,) = k, v
        if self._layer == 0:
            session._make_room(slot, k.shape[1])
        start = self.length - int(session._first[slot])
        keys, values = session._keys[self._layer, slot], session._values[self._layer, slot]
        if start:
            past = _unpack_keys(keys, start), _unpack_values(values, start, k.shape[3])
        _pack_keys(new_keys, keys, start)
        _pack_values(new_values, values, start)
        if not start:
            return k, v
        return np.concatenate([past[0], new_keys])[None], np.concatenate([past[1], new_values])[None]


def _pack_keys(k: Array, keys: Array, start: int) -> None:
    """Write k (T, Hkv, D) into keys (Hkv, rows / WIDTH, D, WIDTH) from row ``start`` on."""
    WIDTH, rows = keys.shape[3], np.arange(start, start + len(k))
    keys[:, rows // WIDTH, :, rows % WIDTH] = k  # the two index arrays come first: (T, Hkv, D)


def _pack_values(v: Array, values: Array, start: int) -> None:
    """Write v (T, Hkv, D) into values (Hkv, D / WIDTH, rows, WIDTH) from row ``start`` on."""
    (T, G, D), (_, strips, _, WIDTH) = v.shape, values.shape
    padded = np.zeros((T, G, strips * WIDTH), np.float32)
    padded[:, :, :D] = v
    values[:, :, start : start + T] = padded.reshape(T, G, strips, WIDTH).transpose(1, 2, 0, 3)


def _unpack_keys(keys: Array, rows: int) -> Array:
    """Keys (Hkv, rows / WIDTH, D, WIDTH) as (rows, Hkv, D)."""
    G, strips, D, WIDTH = keys.shape
    return keys.transpose(1, 3, 0, 2).reshape(strips * WIDTH, G, D)[:rows]


def _unpack_values(values: Array, rows: int, D: int) -> Array:
    """Values (Hkv, D / WIDTH, rows, WIDTH) as (rows, Hkv, D)."""
    G, strips, _, WIDTH = values.shape
    return values[:, :, :rows].transpose(2, 0, 1, 3).reshape(rows, G, strips * WIDTH)[:, :, :D]

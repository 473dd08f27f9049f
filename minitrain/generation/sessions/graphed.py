"""A session on a GPU whose step, one token for every sequence, is captured in a graph and replayed.

Decoding is many small kernels: the GPU is done with each before the host has launched the next. Here a step is one
launch, whatever the lengths of the sequences are (`minitrain.nn.attention.slots`). All slots take part in each step. A
slot that nobody continues computes too, and what it writes is overwritten when it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module, to_device
from ...backend.cuda.graphs import GraphedStep
from ...errors import ConfigError
from ...models.common.decoder import Decoder
from ...nn.attention.slots import SlotKeyValues
from ...ops.linear.linear import linear_forward
from .session import Tokens, check_cut, check_extension, check_slots


class GraphedSession:
    """Keeps the keys and values of all slots in fixed memory; several tokens at once take the model's plain forward.

    Args:
        model: a decoder on a GPU, without windows and ALiBi.
        slots: how many sequences there may be at once.
        device: the model's device.
        plain_if_refused: whether a model whose step cannot be captured is run without a graph, instead of an error.

    Attributes:
        refused: why the step could not be captured; empty if it could, or was not yet.

    Raises:
        ConfigError: if the model's attention depends on where a key lies in memory.
    """

    def __init__(self, model: Decoder, slots: int, *, device: str = "cuda", plain_if_refused: bool = False) -> None:
        layers = [block.attention for block in model.blocks]
        if not keys_may_lie_anywhere(model):
            raise ConfigError(
                "GraphedSession: windows and ALiBi count keys by their place in memory, which is fixed here; use "
                "session_for"
            )
        self.refused, self._plain_if_refused = "", plain_if_refused
        self.model, self.slots, self.device = model, check_slots(slots), device
        self.longest: int = model.config.block_size
        self._sequences: list[Tokens] = [np.empty(0, np.int32)] * slots
        like = model.head.weight.data
        self._past = [
            SlotKeyValues(self.longest, layer.kv_heads, layer.head_width, like, batch=slots) for layer in layers
        ]
        self._step = GraphedStep(self._compute, fixed=self._weights)

    @property
    def captured(self) -> bool:
        """Whether a step is a graph by now."""
        return self._step.captured

    def extend(self, tokens: Mapping[int, Tokens], *, every: bool = False) -> Array:
        """See `Session`."""
        check_extension(self, tokens, self.model.config.vocab_size)
        short = [slot for slot, new in tokens.items() if len(new) == 1 and len(self._sequences[slot])]
        found: dict[int, Array] = {}
        if short:
            next_tokens = np.zeros((self.slots, 1), np.int32)
            next_tokens[short, 0] = [tokens[slot][0] for slot in short]
            places = np.array([min(len(sequence), self.longest) for sequence in self._sequences], np.int64)
            logits = self._next(to_device(next_tokens, self.device), to_device(places, self.device))  # (slots, V)
            found = {slot: logits[slot : slot + 1].copy() for slot in short}
        for slot, new in tokens.items():
            start = len(self._sequences[slot])
            self._sequences[slot] = np.concatenate([self._sequences[slot], new.astype(np.int32)])
            if slot not in found:
                found[slot] = self._add(slot, start, len(new) if every else 1)
        rows = [found[slot] for slot in tokens]
        return array_module(rows[0]).concatenate(rows)  # type: ignore[no-any-return]  # (M, V)

    def length(self, slot: int) -> int:
        """See `Session`."""
        return len(self._sequences[slot])

    def cut(self, slot: int, length: int) -> None:
        """See `Session`."""
        check_cut(self, slot, length)
        self._sequences[slot] = self._sequences[slot][:length]

    def copy(self, source: int, target: int) -> None:
        """See `Session`."""
        self._sequences[target] = self._sequences[source]
        for kept in self._past:
            kept.copy_row(source, target)

    def _compute(self, tokens: Array, places: Array) -> Array:
        """The captured computation: the logits (slots, V) after one token (slots, 1) at ``places`` (slots,)."""
        for kept in self._past:
            kept.place(places)
        past: list[Any] = [*self._past]
        x, _ = self.model.forward_hidden(tokens, past=past)  # (slots, 1, C)
        logits, _ = linear_forward(x[:, 0], self.model.head.weight.data)
        return logits

    def _next(self, tokens: Array, places: Array) -> Array:
        """The logits (slots, V) after one token of each slot, by the graph if there can be one."""
        if self.refused:
            return self._compute(tokens, places)
        capturing = self._step.capture_is_next
        try:
            logits: Array = self._step(tokens, places)
        except Exception as error:
            if not (capturing and self._plain_if_refused):
                raise
            self.refused = str(error)
            return self._compute(tokens, places)  # nothing was computed in the capture
        return logits

    def _add(self, slot: int, start: int, wanted: int) -> Array:
        """Run a sequence from ``start`` on; the logits (wanted, V) after its last tokens."""
        past = self.model.new_past()
        if start:
            for kept, new in zip(self._past, past, strict=True):
                new.extend(*kept.row(slot, start))
        part = to_device(self._sequences[slot][None, start:], self.device)
        (x,), _ = self.model.forward_hidden(part, past=past)  # (1, T - start, C)
        for kept, computed in zip(self._past, past, strict=True):
            kept.store(slot, computed)
        logits, _ = linear_forward(x[-wanted:], self.model.head.weight.data)
        return logits

    def _weights(self) -> list[Array]:
        return [parameter.data for parameter in self.model.parameters()]


def keys_may_lie_anywhere(model: Decoder) -> bool:
    """Whether no layer counts keys by their place in memory, as windows and ALiBi do."""
    layers = [block.attention for block in model.blocks]
    return all(layer.window is None and layer.alibi_slopes is None for layer in layers)

"""How kernels split their work over threads: the pieces of a call that one thread takes whole.

A kernel asks ``threads_for(elements)`` for its number of parts, and gives each part as many pieces as the others, or
one less: rows, heads of attention, or 16 columns of a product. So the largest part decides how long it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from minitrain.backend.threads import GRAIN
from minitrain.kernels.cpu.common.sums import group_count
from minitrain.profiling.costs import arrays_in
from minitrain.profiling.products import Call


class Split(NamedTuple):
    """The work of one call.

    Attributes:
        pieces: pieces that cannot be divided.
        elements: its size as ``threads_for`` counts it.
    """

    pieces: int
    elements: float

    def parts(self, threads: int) -> int:
        """How many threads take part, as ``threads_for`` says, where ``threads`` are allowed."""
        return max(1, min(threads, int(self.elements / GRAIN)))

    def busy(self, threads: int) -> int:
        """How many of them get any work."""
        return min(self.parts(threads), self.pieces)

    def largest_share(self, threads: int) -> float:
        """The share of the work of the thread that has most."""
        return math.ceil(self.pieces / self.parts(threads)) / self.pieces


def split_of(call: Call) -> Split | None:
    """How a call is split; ``None`` if nothing is known of its kernel, or it works on no arrays."""
    name = (
        call.name.replace("residual_", "") if call.name.startswith("residual_") and "norm" in call.name else call.name
    )
    if name in _SPLITS:
        return _SPLITS[name](call)
    sizes = [x.size for x in arrays_in(call.args)]
    return Split(_sixty_fourths(max(sizes)), max(sizes)) if name in _ELEMENTWISE and max(sizes, default=0) else None


def _sixteenths(n: int) -> int:
    return math.ceil(n / 16)


def _sixty_fourths(n: int) -> int:
    return math.ceil(n / 64)


def _linear(call: Call) -> Split:
    x, weight = call.args[:2]
    return Split(_sixteenths(max(x.size // x.shape[-1], len(weight))), x.size * len(weight) / 32)


def _linear_backward(call: Call) -> Split:
    x, weight = call.cache[:2]
    (N, K), R = weight.shape, x.size // x.shape[-1]
    # Two products, one after the other; their largest parts add up.
    pieces = min(_sixteenths(max(R, K)), _sixteenths(max(N, K)))
    return Split(pieces, x.size * N / 32)


def _gelu_linear(call: Call) -> Split:
    x, weight = call.args[:2]
    return Split(x.size // x.shape[-1], x.size * len(weight) / 32)


def _gelu_linear_backward(call: Call) -> Split:
    x, weight = call.cache[:2]
    return Split(_sixteenths(x.shape[-1]), x.size * len(weight) / 32)


def _attention(call: Call) -> Split:
    q, k = call.cache.q, call.cache.k
    return Split(q.shape[0] * q.shape[2], q.size * k.shape[1] / 32)


def _attention_backward(call: Call) -> Split:
    q, k = call.cache.q, call.cache.k
    return Split(k.shape[0] * k.shape[2], q.size * k.shape[1] / 32)


def _rows(call: Call) -> Split:
    x = call.args[0]
    return Split(x.size // x.shape[-1], x.size)


def _positions(call: Call) -> Split:
    x = call.args[0]  # (B, T, H, D)
    return Split(x.shape[0] * x.shape[1], x.size)


def _groups_of_rows(call: Call) -> Split:
    dout = call.args[0]
    return Split(group_count(dout.size // dout.shape[-1], 128), dout.size)


def _cross_entropy(call: Call) -> Split:
    logits = next(x for x in arrays_in(call.args) if x.ndim > 1 and x.dtype.kind == "f")
    return Split(logits.size // logits.shape[-1], 4 * logits.size)


def _embedding(call: Call) -> Split:
    return Split(call.args[0].size, call.result[0].size)


def _embedding_backward(call: Call) -> Split:
    weight = call.cache.weight
    return Split(len(weight), call.args[0].size + weight.size)


def _squares(call: Call) -> Split:
    return Split(group_count(call.args[0].size, GRAIN), call.args[0].size)


_SPLITS: dict[str, Callable[[Call], Split]] = {
    "attention_backward": _attention_backward,
    "attention_forward": _attention,
    "cross_entropy_backward": _cross_entropy,
    "cross_entropy_forward": _cross_entropy,
    "embedding_backward": _embedding_backward,
    "embedding_forward": _embedding,
    "gelu_linear_backward": _gelu_linear_backward,
    "gelu_linear_forward": _gelu_linear,
    "layer_norm_backward": _groups_of_rows,
    "layer_norm_forward": _rows,
    "linear_backward": _linear_backward,
    "linear_forward": _linear,
    "rms_norm_backward": _groups_of_rows,
    "rms_norm_forward": _rows,
    "rope_backward": _positions,
    "rope_forward": _positions,
    "sum_of_squares": _squares,
}
_ELEMENTWISE = {
    *(
        f"{name}_{way}"
        for name in ("gelu", "relu", "silu", "swiglu", "geglu", "residual")
        for way in ("forward", "backward")
    ),
    "adam_update",
    "lion_update",
}

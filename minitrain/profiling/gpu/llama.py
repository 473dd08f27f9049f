"""The kernels of a training step of a Llama as minitrain launches them; see ``steps.py`` for a GPT's."""

from __future__ import annotations

from typing import NamedTuple

from .float8 import float8_linear, float8_linear_backward
from .kernels import Kernel, attention, memory, rounding
from .steps import head_step, linear, linear_backward


class LlamaShape(NamedTuple):
    """A Llama: key heads that several query heads share, a gated feed-forward layer, no biases, a head of its own.

    Attributes:
        layers: number of blocks.
        width: C.
        vocabulary: V.
        length: T, of a training sequence.
        key_width: of all key heads together, C if none is shared.
        hidden: of the feed-forward layer.
    """

    layers: int
    width: int
    vocabulary: int
    length: int
    key_width: int
    hidden: int

    @property
    def of_a_block(self) -> int:
        """Weights of a block's matrices."""
        return 2 * self.width * (self.width + self.key_width) + 3 * self.width * self.hidden

    @property
    def parameters(self) -> int:
        """Weights of matrices, tables and norms."""
        L, C = self.layers, self.width
        return L * (self.of_a_block + 2 * C) + 2 * self.vocabulary * C + C

    def flops(self, tokens: int) -> float:
        """Operations of a forward and backward by the usual formula: 6 N + 6 L C T for each token, causal."""
        L, C = self.layers, self.width
        return tokens * (6.0 * (L * self.of_a_block + self.vocabulary * C) + 6.0 * L * C * self.length)


def llama_step(
    shape: LlamaShape, batch: int, *, half: bool = True, float8: bool = False, chunk: int = 2048
) -> list[Kernel]:
    """Forward, backward, clipping and AdamW.

    Args:
        shape: of the model.
        batch: sequences.
        half: whether operands of products have 16 bits.
        float8: whether those of feed-forward layers have 8.
        chunk: rows whose logits are in memory at once.
    """
    L, C, V, T, K, H = shape
    R, w = batch * T, 2 if half else 4  # rows, bytes of an operand
    heads = 2 + 2 * K / C  # queries and outputs, keys and values, in arrays of width C
    block = [
        memory("norm", R * C, 16, 2),  # with the residual: reads two, writes two
        memory("norm", R * C, 16),
        *linear("qkv", R, C, C + 2 * K, w),
        memory("rope", R * (C + K), 8, 4),  # of queries and keys, each with its table
        *(kernel._replace(launches=3) for kernel in rounding("round heads", R * (C + 2 * K), w)),
        attention("attention", batch, T, T, C, passes=2, arrays=heads),
        *linear("projection", R, C, C, w),
        *(_feed_forward_in_float8(R, C, H) if float8 else _feed_forward(R, C, H, w)),
        memory("norm backward", R * C, 16, 2),
        *linear_backward("projection", R, C, C, w, bias=False),
        attention("attention backward", batch, T, T, C, passes=5, arrays=2 * heads)._replace(launches=3),
        memory("rope backward", R * (C + K), 8, 2),
        *linear_backward("qkv", R, C, C + 2 * K, w, bias=False),
        memory("norm backward", R * C, 16, 2),
    ]
    rest = [
        memory("embedding", R * C, 8, 1),
        memory("embedding backward", R * C, 8, 2),
        memory("last norm", R * C, 28, 3),
        memory("norm of the gradient", shape.parameters, 4, 2),
        memory("AdamW", shape.parameters, 28),
    ]
    return [kernel.times(L) for kernel in block] + head_step(R, C, V, w, chunk) + rest


def _feed_forward(R: int, C: int, H: int, w: int) -> list[Kernel]:
    """A gated feed-forward layer on R rows, both ways; w bytes are a number of its operands."""
    return [
        *linear("gate", R, C, H, w),
        *linear("up", R, C, H, w),
        memory("gate", R * H, 12),
        *linear("down", R, H, C, w),
        memory("norm", R * C, 8),  # again: its result was not kept
        memory("gate", R * H, 12),  # the same
        *rounding("round", R * H, w),
        *linear_backward("down", R, H, C, w, bias=False),
        memory("gate backward", R * H, 20),
        *(kernel.times(2) for kernel in rounding("round", R * C, w)),
        *linear_backward("up", R, C, H, w, bias=False),
        *linear_backward("gate", R, C, H, w, bias=False, adds=True),
    ]


def _feed_forward_in_float8(R: int, C: int, H: int) -> list[Kernel]:
    return [
        *float8_linear("gate", R, C, H),
        *float8_linear("up", R, C, H),
        memory("gate", R * H, 12),
        *float8_linear("down", R, H, C),
        memory("norm", R * C, 8),
        memory("gate", R * H, 12),
        *float8_linear_backward("down", R, H, C, bias=False),
        memory("gate backward", R * H, 20),
        *float8_linear_backward("up", R, C, H, bias=False),
        *float8_linear_backward("gate", R, C, H, bias=False, adds=True),
    ]

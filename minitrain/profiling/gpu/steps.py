"""The kernels of a step of a GPT as minitrain launches them. Operands have 16 or 32 bits, all else has 32.

The lists follow ``minitrain/kernels/cuda``; their products add up to the operations of the usual formula, by test.
"""

from __future__ import annotations

from typing import NamedTuple

from .float8 import float8_linear, float8_linear_backward
from .kernels import Kernel, attention, memory, product, rounding


class Shape(NamedTuple):
    """A GPT with feed-forward layers of four times its width, and a head that is tied to its embedding.

    Attributes:
        layers: number of blocks.
        width: C.
        vocabulary: V.
        length: T, of a training sequence.
    """

    layers: int
    width: int
    vocabulary: int
    length: int

    @property
    def parameters(self) -> int:
        """Weights of matrices, tables, biases and norms."""
        L, C, V, T = self
        return L * (12 * C * C + 13 * C) + V * C + T * C + 2 * C

    def flops(self, tokens: int) -> float:
        """Operations of a forward and backward by the usual formula: 6 N + 6 L C T for each token, causal."""
        L, C, V, T = self
        return tokens * (6.0 * (12 * L * C * C + V * C) + 6.0 * L * C * T)


def training_step(
    shape: Shape, batch: int, *, half: bool = True, float8: bool = False, chunk: int = 2048
) -> list[Kernel]:
    """Forward, backward, clipping and AdamW.

    Args:
        shape: of the model.
        batch: sequences.
        half: whether operands of products have 16 bits.
        float8: whether those of feed-forward layers have 8.
        chunk: rows whose logits are in memory at once.
    """
    L, C, V, T = shape
    R, w = batch * T, 2 if half else 4  # rows, bytes of an operand
    block = [
        memory("norm", R * C, 16, 2),  # with the residual: reads two, writes two
        memory("norm", R * C, 16),
        *linear("qkv", R, C, 3 * C, w),
        *(kernel._replace(launches=3) for kernel in rounding("round heads", 3 * R * C, w)),
        attention("attention", batch, T, T, C, passes=2, arrays=4),
        *linear("projection", R, C, C, w),
        *(_feed_forward_in_float8(R, C) if float8 else _feed_forward(R, C, w)),
        memory("norm backward", R * C, 16, 3),
        *linear_backward("projection", R, C, C, w),
        attention("attention backward", batch, T, T, C, passes=5, arrays=8)._replace(launches=3),
        *linear_backward("qkv", R, C, 3 * C, w),
        memory("norm backward", R * C, 16, 3),
    ]
    head = head_step(R, C, V, w, chunk)
    rest = [
        memory("embedding", R * C, 12, 2),
        memory("embedding backward", R * C, 8, 4),
        memory("last norm", R * C, 28, 4),
        memory("norm of the gradient", shape.parameters, 4, 2),
        memory("AdamW", shape.parameters, 28),
    ]
    return [kernel.times(L) for kernel in block] + head + rest


def _feed_forward(R: int, C: int, w: int) -> list[Kernel]:
    """A feed-forward layer on R rows of width C, both ways; w bytes are a number of its operands."""
    return [
        *linear("up", R, C, 4 * C, w),
        *rounding("round", 4 * R * C, w),
        memory("gelu", 4 * R * C, 2 * w),
        *rounding("round weight", 4 * C * C, w),
        product("down", R, C, 4 * C, operand=w),
        bias_sums(R * C, w),
        *rounding("round weight", 4 * C * C, w),
        product("down, dx", R, 4 * C, C, operand=w),
        memory("gelu backward", 4 * R * C, 8 + 2 * w),
        product("down, dweight", C, 4 * C, R, operand=w),
        memory("norm", R * C, 8),  # again: its result was not kept
        *rounding("round", R * C, w),
        *linear_backward("up", R, C, 4 * C, w),
    ]


def _feed_forward_in_float8(R: int, C: int) -> list[Kernel]:
    return [
        *float8_linear("up", R, C, 4 * C),
        *float8_linear("down", R, 4 * C, C, gelu=True),
        *float8_linear_backward("down", R, 4 * C, C, gelu=True),
        memory("norm", R * C, 8),
        *float8_linear_backward("up", R, C, 4 * C),
    ]


def head_step(rows: int, width: int, vocabulary: int, operand: int, chunk: int) -> list[Kernel]:
    """The head of a language model with its loss, both ways, ``chunk`` rows at a time."""
    R, C, V, w = rows, width, vocabulary, operand
    chunks = -(-R // chunk)
    return [
        *(kernel.times(chunks) for kernel in rounding("round logits' gradient", chunk * V, w)),
        product("logits", chunk, V, C, operand=w).times(chunks),
        memory("cross-entropy", chunk * V, 4, 2).times(chunks),
        memory("cross-entropy backward", chunk * V, 8).times(chunks),
        product("head, dx", chunk, C, V, operand=w).times(chunks),
        product("head, dweight", V, C, chunk, operand=w, beta=True).times(chunks),
        *rounding("round", R * C, w),
        *rounding("round weight", V * C, w),
    ]


def decoding_step(shape: Shape, batch: int, keys: int, *, weight: int = 4) -> list[Kernel]:
    """One token for each sequence of a batch.

    Args:
        shape: of the model.
        batch: sequences.
        keys: tokens of each sequence so far.
        weight: bytes of a stored weight.
    """
    L, C, V, _ = shape
    block = [
        memory("norm", batch * C, 16, 2),
        *(_thin(batch, columns, inner, weight) for columns, inner in ((3 * C, C), (C, C), (4 * C, C), (C, 4 * C))),
        memory("gelu", 4 * batch * C, 8),
        memory("cache", 2 * batch * C, 8),
        Kernel("attention", "memory", 0, 8.0 * batch * keys * C, 2),  # reads keys and values, then combines
    ]
    rest = [memory("embedding", batch * C, 12, 2), memory("norm", batch * C, 8), _thin(batch, V, C, weight)]
    return [kernel.times(L) for kernel in block] + rest + [memory("choice of a token", batch * V, 8, 3)]


def _thin(rows: int, columns: int, inner: int, weight: int) -> Kernel:
    """A product with few rows: memory limits it, since it reads all weights."""
    moved = weight * columns * inner + 4.0 * rows * (columns + inner)
    return Kernel("product", "product", 2.0 * rows * columns * inner, moved)


def linear(name: str, rows: int, inner: int, columns: int, operand: int) -> list[Kernel]:
    """The forward of a linear layer; ``operand`` is bytes of a number of its operands."""
    return [
        *rounding("round", rows * inner, operand),
        *rounding("round weight", inner * columns, operand),
        product(name, rows, columns, inner, operand=operand),
    ]


def linear_backward(
    name: str, rows: int, inner: int, columns: int, operand: int, *, bias: bool = True, adds: bool = False
) -> list[Kernel]:
    """Its backward; ``adds`` if the gradient of its input is added to one that is there."""
    sums = [bias_sums(rows * columns, operand)] if bias else rounding("round gradient", rows * columns, operand)
    return [
        *sums,
        *rounding("round weight", inner * columns, operand),
        product(f"{name}, dx", rows, inner, columns, operand=operand, beta=adds),
        product(f"{name}, dweight", columns, inner, rows, operand=operand),
    ]


def bias_sums(numbers: int, operand: int) -> Kernel:
    """The sums of a bias, with the rounding of the gradient in the same pass where there is one."""
    return memory("bias sums", numbers, 4 + (2 if operand == 2 else 0), 2)

"""The cost of single kernels: floating-point operations and bytes moved, by the kind of hardware that limits them."""

from __future__ import annotations

from typing import NamedTuple


class Kernel(NamedTuple):
    """Some launches of one kernel.

    Attributes:
        name: what it does.
        kind: ``"product"``, ``"float8"`` (a product of 8 bits) or ``"attention"``, on tensor cores, or ``"memory"`` for
            everything else.
        flops: floating-point operations of all launches together, counted for products and attention alone.
        nbytes: bytes read and written by all launches together, each array once.
        launches: how often it is launched.
    """

    name: str
    kind: str
    flops: float
    nbytes: float
    launches: int = 1

    def times(self, count: int) -> Kernel:
        """The same, ``count`` times as often."""
        return self._replace(flops=self.flops * count, nbytes=self.nbytes * count, launches=self.launches * count)


def product(name: str, rows: int, columns: int, inner: int, *, operand: int, beta: bool = False) -> Kernel:
    """A matrix product with a float32 result.

    Args:
        name: what it does.
        rows: of the result.
        columns: of the result.
        inner: the size that is summed over.
        operand: bytes of a number of its operands.
        beta: whether it is added to its result, which is then read too.
    """
    moved = operand * (rows * inner + inner * columns) + (8 if beta else 4) * rows * columns
    return Kernel(name, "float8" if operand == 1 else "product", 2.0 * rows * columns * inner, moved)


def rounding(name: str, numbers: int, operand: int) -> list[Kernel]:
    """Rounding an operand to 16 bits; nothing if it keeps its 32."""
    return [memory(name, numbers, 4 + operand)] if operand == 2 else []


def memory(name: str, numbers: float, bytes_each: float, launches: int = 1) -> Kernel:
    """A kernel that is limited by memory: so many numbers, with all the bytes that each costs."""
    return Kernel(name, "memory", 0, numbers * bytes_each, launches)


def attention(name: str, batch: int, queries: int, keys: int, width: int, *, passes: float, arrays: float) -> Kernel:
    """Causal attention in one kernel: half of all pairs of queries and keys.

    Args:
        name: what it does.
        batch: sequences.
        queries: of a sequence.
        keys: of a sequence.
        width: of all heads together.
        passes: products of size queries x keys x width; the forward has 2, the backward 5.
        arrays: how many arrays (batch, queries, width) of float32 it reads and writes.
    """
    share = 0.5 if queries == keys else 1.0  # one query sees all keys
    flops = passes * 2.0 * batch * queries * keys * width * share
    return Kernel(name, "attention", flops, 4.0 * arrays * batch * max(queries, keys) * width)

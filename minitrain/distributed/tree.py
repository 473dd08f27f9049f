"""Sums in one fixed order: a binary tree over the terms, whoever adds which of them.

The order of additions decides the last bits of a sum. Here n terms are added as ``left + right``, where the left half
has the largest power of two below n, and so on within the halves::

    4 terms: (0+1) + (2+3)        5: ((0+1) + (2+3)) + 4        6: ((0+1) + (2+3)) + (4+5)

A run of 2^k neighbouring terms that begins at a multiple of 2^k is a branch of this tree. So a rank that has such a run
adds it by itself, and the sum over all ranks has the bytes that one rank alone would get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend.arrays import Array, array_module

Add = Callable[..., Any]
"""``add(left, right, out=out)``, such as ``np.add``."""


def tree_sum(terms: Sequence[Array], add: Add | None = None) -> Array:
    """The sum of ``terms`` in the order of the tree, in place: the memory of the first term then has it."""
    if len(terms) == 1:
        return terms[0]
    half = 1 << ((len(terms) - 1).bit_length() - 1)
    left, right = tree_sum(terms[:half], add), tree_sum(terms[half:], add)
    (add or array_module(left).add)(left, right, out=left)
    return left


class TreeSum:
    """Adds terms that come one after the other in the same memory, in the order of the tree.

    A term is a list of arrays, such as the gradients of a micro-batch. The next term overwrites them, so branches that
    wait for their sibling are copied: at most ``log2(n)`` copies exist, and none for a single term.

    Args:
        arrays: the memory in which the terms come, and in the end the sum.
        add: adds two arrays; by default as their module does.
    """

    def __init__(self, arrays: Sequence[Array], add: Add | None = None) -> None:
        self.arrays, self._add = list(arrays), add
        self._waiting: list[tuple[int, list[Array]]] = []  # branches from left to right, with their heights
        self._spare: list[list[Array]] = []

    def clear(self) -> None:
        """Forget the terms so far."""
        self._spare += [kept for _, kept in self._waiting]
        self._waiting.clear()

    def add(self, *, last: bool) -> None:
        """Take the term that is in the arrays now; after the ``last`` one they have the sum."""
        height = 0
        while self._waiting and (last or self._waiting[-1][0] == height):
            # If this is the last term, what waits is its left neighbour, at whatever height.
            level, left = self._waiting.pop()
            for own, other in zip(self.arrays, left, strict=True):
                (self._add or array_module(own).add)(other, own, out=own)
            self._spare.append(left)
            height = level + 1
        if not last:
            kept = self._spare.pop() if self._spare else [array_module(a).empty_like(a) for a in self.arrays]
            for copy, own in zip(kept, self.arrays, strict=True):
                copy[...] = own
            self._waiting.append((height, kept))

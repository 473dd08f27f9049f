"""The arithmetic of a model: the floating-point operations of its matrix products, counted exactly.

A product of (R, K) by (K, N) takes R N K multiplications and as many additions, ``2 R N K`` operations. So a linear
layer takes 2 operations per weight and row. Attention takes ``4 C`` per pair of a query and a key that it may attend
to: ``2 C`` for the scores and ``2 C`` for the weighted sum of values, all heads together.

The backward of a product takes two products of the same size, one for each operand. So a training step takes three
times the forward: ``6 N`` operations per token for N weights (Kaplan et al., 2020, arXiv:2001.08361) and ``12 C`` per
pair. Nothing else is counted: look-ups, norms, activations, softmax, the optimizer, and the scores that the backward of
attention recomputes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..nn.core.module import Module
from ..nn.layers.linear import Linear

TRAINING = 3
"""The cost of a training step in forwards: the backward has twice the products of the forward."""


class Flops(NamedTuple):
    """Floating-point operations of one sample's forward, at the model's longest length."""

    tokens: int  # in the sample; 1 for a model of single vectors
    products: int  # with weight matrices
    attention: int  # scores and weighted sums of values

    @property
    def total(self) -> int:
        """Both together."""
        return self.products + self.attention


def linear_flops(modules: Module | Iterable[Module], rows: int) -> int:
    """Operations of all linear layers in ``modules``, each applied to ``rows`` rows."""
    roots = [modules] if isinstance(modules, Module) else modules
    layers = [layer for root in roots for layer in root.modules() if isinstance(layer, Linear)]
    return sum(2 * rows * layer.weight.data.size for layer in layers)


def attention_flops(width: int, pairs: int) -> int:
    """Operations of attention with model width C over ``pairs`` pairs of a query and a key."""
    return 4 * width * pairs


def visible_pairs(length: int, window: int | None = None) -> int:
    """Pairs of a query and a key in causal attention over ``length`` positions, at most ``window`` keys per query."""
    seen = min(window or length, length)  # by the last query
    return seen * (seen + 1) // 2 + (length - seen) * seen

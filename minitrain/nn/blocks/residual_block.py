"""The residual frame of every pre-norm block: each branch reads a normalised copy of the stream and adds to it.

For branches ``f`` and ``g``, ``x = x + f(norm1(x))``, then ``x = x + g(norm2(x))``. A norm and the addition before it
are one operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ...backend.arrays import Array
from ...ops.contract.op import Into
from ...ops.norms.residual import residual_backward, residual_forward
from ...random import Key, fold
from ..core.checks import check_probabilities
from ..core.module import Module
from .branch import BranchCache, drop_branch_backward, drop_branch_forward

Options = Mapping[str, Mapping[str, Any]]
"""Keyword arguments of each branch, by its name."""


class ResidualBlock(Module):
    """Norms, branches, dropout and additions, in the order of ``branches``.

    A subclass sets one layer for each name in ``branches``, and their norms ``norm1``, ``norm2``, ….

    Args:
        dropout: probability of dropping an element of a branch.
        drop_path: probability of dropping the whole branch of a sample (stochastic depth).

    Raises:
        ConfigError: if a probability is out of range.
    """

    branches: ClassVar[tuple[str, ...]]
    """The names of the branches, in order."""
    cache_type: ClassVar[Any]
    """A named tuple: the norm's, the layer's and the dropout's cache of each branch, then the last addition's."""
    recompute = False
    """Whether only inputs are kept for the backward; see `minitrain.nn.blocks.recompute`."""

    def __init__(self, *, dropout: float = 0.0, drop_path: float = 0.0) -> None:
        check_probabilities(type(self).__name__, dropout=dropout, drop_path=drop_path)
        self.dropout, self.drop_path = dropout, drop_path

    def forward_branches(self, x: Array, options: Options, key: Key | None) -> tuple[Array, Any]:
        """Apply all branches to x (B, T, C).

        Args:
            x: (B, T, C) the stream.
            options: keyword arguments of the branches.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            out (B, T, C) and the cache, a ``cache_type``.
        """
        caches: list[Any] = []
        branch: Any = None
        normed, norm_cache = self._norm(0).forward(x)
        for i, name in enumerate(self.branches):
            if i:
                x, normed, norm_cache = self._norm(i).forward_residual(x, branch)
            layer = getattr(self, name)
            branch, layer_cache = layer.forward(normed, key=fold(key, name), **options.get(name, {}))
            if hasattr(layer, "forget_input"):
                # Recomputing the norm costs a hundredth of the branch's work and saves a twelfth of its memory.
                layer_cache = layer.forget_input(layer_cache)
            branch, dropped = self._drop(branch, fold(key, f"dropout{i + 1}"))
            caches += [norm_cache, layer_cache, dropped]
        x, residual = residual_forward(x, branch)
        return x, self.cache_type(*caches, residual)

    def backward_branches(self, dout: Array, cache: Any, options: Options) -> tuple[Array, dict[str, Array]]:
        """Backpropagate dout (B, T, C) through all branches.

        Args:
            dout: (B, T, C) gradient of the stream.
            cache: from the forward.
            options: keyword arguments of the branches' backwards.

        Returns:
            dx (B, T, C), and the second gradient of each branch that has one, by its name.
        """
        others: dict[str, Array] = {}
        dx, dbranch = residual_backward(dout, cache[-1])
        for i in reversed(range(len(self.branches))):
            name, norm_cache, dropped = self.branches[i], cache[3 * i], cache[3 * i + 2]
            dbranch = drop_branch_backward(dbranch, dropped)
            dnormed = self._backward_layer(i, dbranch, cache, options.get(name, {}))
            if isinstance(dnormed, tuple):
                dnormed, others[name] = dnormed
            if i:
                dx = dbranch = self._norm(i).backward_residual(dx, dnormed, norm_cache)
            else:  # the stream's gradient and the branch's
                dx = self._norm(0).backward(dnormed, norm_cache, dx=Into(dx, accumulate=True))
        return dx, others

    def _backward_layer(self, i: int, dbranch: Array, cache: Any, options: Mapping[str, Any]) -> Any:
        """The backward of layer ``i``, a separate function so that a recomputed input is freed on return."""
        layer, norm_cache, layer_cache = getattr(self, self.branches[i]), cache[3 * i], cache[3 * i + 1]
        if hasattr(layer, "recall_input"):
            normed, _ = self._norm(i).forward(norm_cache.total if i else norm_cache.x)
            layer_cache = layer.recall_input(layer_cache, normed)
        return layer.backward(dbranch, layer_cache, **options)

    def _norm(self, i: int) -> Any:
        """The norm before branch ``i``."""
        return getattr(self, f"norm{i + 1}")

    def _drop(self, branch: Array, key: Key | None) -> tuple[Array, BranchCache]:
        return drop_branch_forward(branch, dropout=self.dropout, drop_path=self.drop_path, key=key)

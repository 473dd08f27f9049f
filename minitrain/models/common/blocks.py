"""A stack of blocks: each reads the output of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backend.arrays import Array
from ...errors import ShapeError
from ...nn.blocks.recompute import backward_keeping, forward_keeping
from ...random import Key, fold


def forward_blocks(
    blocks: Sequence[Any],
    x: Array,
    *,
    key: Key | None = None,
    past: Sequence[Any] | None = None,
    **options: Any,
) -> tuple[Array, list[Any]]:
    """Apply all blocks to x (B, T, C).

    Args:
        blocks: layers with ``forward(x, key=..., **options)``.
        x: (B, T, C) the stream.
        key: random key of the dropout masks, folded by the number of the block; ``None`` means evaluation.
        past: the keys and values of earlier positions in each block, which the new ones extend.
        options: further keyword arguments of every block, such as ``key_lengths``.

    Returns:
        out (B, T, C), and the caches in a list. The backward pops it, so activations are freed on the way.
    """
    caches = []
    for i, block in enumerate(blocks):
        if past is not None:
            options["past"] = past[i]
        x, cache = forward_keeping(block, x, key=fold(key, "blocks", i), **options)
        caches.append(cache)
    return x, caches


def check_unused(model: Any, blocks: Sequence[Any], caches: list[Any], top: Sequence[Any] | None = None) -> None:
    """Raise a ``ShapeError`` if a backward has used these caches. Call it before any gradient is written.

    Args:
        model: named in the error.
        blocks: the blocks.
        caches: of the blocks.
        top: the caches of what follows the blocks, where there may be no block.
    """
    if len(caches) != len(blocks) or (top is not None and not top):
        raise ShapeError(
            f"{type(model).__name__}.backward: this cache was used before; call forward again for another backward"
        )


def backward_blocks(blocks: Sequence[Any], dx: Array, caches: list[Any]) -> Array:
    """Map the gradient of the last block's output to that of the first block's input; pops ``caches``."""
    for block in reversed(blocks):
        dx = backward_keeping(block, dx, caches.pop())
    return dx

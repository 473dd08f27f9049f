"""Activation checkpointing (Chen et al., 2016, arXiv:1604.06174): a block keeps its inputs and recomputes the rest.

A block marked by ``checkpoint_activations`` keeps only its inputs after the forward. Its backward calls the forward
again for the cache. The result is exact, with dropout too: a mask is a function of its key, which is among the inputs.
Such a block holds one array of activations. A training step computes its forward twice, about a third more work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.precision import current_precision, use_precision
from ...errors import ConfigError
from ..core.module import Module
from ..core.ready import grads_ready
from .residual_block import ResidualBlock


class Inputs(NamedTuple):
    """Saved by a recomputing block in place of its cache."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    precision: str  # of the first forward: the second must round the same


def checkpoint_activations(model: Module, on: bool = True) -> int:
    """Make all transformer blocks of a model keep only their inputs.

    Args:
        model: a model with blocks.
        on: ``False`` makes them keep everything again.

    Returns:
        The number of blocks.

    Raises:
        ConfigError: if the model has no transformer block.
    """
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        raise ConfigError(f"{type(model).__name__} has no transformer blocks whose activations could be recomputed")
    for block in blocks:
        block.recompute = on
    return len(blocks)


def forward_keeping(block: Any, *inputs: Any, **options: Any) -> tuple[Any, Any]:
    """``block.forward``, which returns the inputs in place of the cache if the block recomputes."""
    out, cache = block.forward(*inputs, **options)
    return out, Inputs(inputs, options, current_precision()) if getattr(block, "recompute", False) else cache


def backward_keeping(block: Any, dout: Any, cache: Any, **options: Any) -> Any:
    """``block.backward``, preceded by another forward if the block recomputes; its gradients are then ready."""
    if isinstance(cache, Inputs):
        with use_precision(cache.precision):
            _, cache = block.forward(*cache.inputs, **cache.options)
    dx = block.backward(dout, cache, **options)
    grads_ready(block)
    return dx

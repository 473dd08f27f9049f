"""Dropout of a branch before it is added to the stream: of single elements, and of whole branches.

Dropout zeroes elements. Stochastic depth (Huang et al., 2016, arXiv:1603.09382) drops the whole branch of a sample,
whose stream then passes the layer unchanged.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...ops.linear.drop_path import DropPathCache, drop_path_backward, drop_path_forward
from ...ops.linear.dropout import DropoutCache, dropout_backward, dropout_forward
from ...random import Key, fold


class BranchCache(NamedTuple):
    """Saved for the backward."""

    dropout: DropoutCache
    path: DropPathCache


def drop_branch_forward(
    branch: Array, *, dropout: float, drop_path: float, key: Key | None
) -> tuple[Array, BranchCache]:
    """Drop elements of a branch, then whole samples of it.

    Args:
        branch: (B, ...) output of a layer; the first axis counts samples.
        dropout: probability of dropping an element.
        drop_path: probability of dropping a sample's branch.
        key: random key of the masks; ``None`` means evaluation.

    Returns:
        out (B, ...) and the cache.
    """
    branch, dropout_cache = dropout_forward(branch, p=dropout, key=key)
    branch, path_cache = drop_path_forward(branch, p=drop_path, key=fold(key, "drop_path"))
    return branch, BranchCache(dropout_cache, path_cache)


def drop_branch_backward(dout: Array, cache: BranchCache) -> Array:
    """Map dout (B, ...) to dbranch (B, ...)."""
    return dropout_backward(drop_path_backward(dout, cache.path), cache.dropout)


def drop_path_rates(highest: float, layers: int) -> list[float]:
    """Drop-path rates that grow in proportion to the depth, as in the paper: ``highest * l / layers``.

    All layers build on the features of the first layers, so these are dropped least. Vision transformers use such rates
    (Touvron et al., 2020, arXiv:2012.12877).

    Args:
        highest: rate of the last layer.
        layers: number of layers.
    """
    return [highest * (i + 1) / layers for i in range(layers)]

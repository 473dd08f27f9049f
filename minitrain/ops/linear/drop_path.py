"""Stochastic depth (Huang et al., 2016, arXiv:1603.09382): leave out a residual branch, for a sample at a time.

With probability p a sample's branch is zero, so that its stream passes the layer unchanged; otherwise it is scaled by
1/(1-p), which keeps the expectation. The scaling at training time instead of evaluation, and a choice for each sample
instead of a batch, are how the vision transformers that use it do it. As with dropout no mask is kept.
"""

from __future__ import annotations

from ...backend.arrays import Array
from ...errors import ShapeError
from ...random import Key
from ..contract.op import op
from .dropout import DropoutCache, check_probability, dropout_mask


class DropPathCache(DropoutCache):
    """What the backward needs."""


def _check(branch: Array, *, p: float, key: Key | None) -> None:
    check_probability("drop_path_forward", p)
    if branch.ndim == 0:
        raise ShapeError("drop_path_forward: branch has shape (), expected (B, ...), whose first axis counts samples")


@op("branch: *N", check=_check)
def drop_path_forward(branch: Array, *, p: float, key: Key | None) -> tuple[Array, DropPathCache]:
    """Drop whole samples of a branch at random, before ``residual_forward`` adds it to the stream.

    Args:
        branch: (B, ...) what a layer computed; the first axis counts samples.
        p: probability of dropping, in [0, 1). The paper lets it grow in proportion to the depth of the layer.
        key: random key of the mask; ``None`` means evaluation, which returns ``branch`` itself.

    Returns:
        out (B, ...) and the cache.
    """
    cache = DropPathCache(p, key)
    return _scaled(branch, cache), cache


@op("dout: *N")
def drop_path_backward(dout: Array, cache: DropPathCache) -> Array:
    """Gradient of stochastic depth: dout (B, ...) to dbranch (B, ...)."""
    return _scaled(dout, cache)


def _scaled(x: Array, cache: DropPathCache) -> Array:
    """Each sample times 0 or 1/(1-p)."""
    p, key = cache
    if key is None or p == 0:
        return x
    one_a_sample = (len(x), *(1 for _ in x.shape[1:]))
    return x * dropout_mask(x, p, key, one_a_sample)

"""Stochastic depth (Huang et al., 2016, arXiv:1603.09382): drop the residual branch of some samples.

With probability p a sample's branch is zero, so its stream passes the layer unchanged. Otherwise it is scaled by
1/(1-p), which keeps the expectation. As in the vision transformers that use it, the scaling is done in training rather
than in evaluation, and the choice is made per sample rather than per batch. As in dropout, no mask is kept.
"""

from __future__ import annotations

from ...backend.arrays import Array
from ...errors import ShapeError
from ...random import Key
from ..contract.op import op
from .dropout import DropoutCache, check_probability, dropout_mask


class DropPathCache(DropoutCache):
    """Saved for the backward."""


def _check(branch: Array, *, p: float, key: Key | None) -> None:
    check_probability("drop_path_forward", p)
    if branch.ndim == 0:
        raise ShapeError("drop_path_forward: branch has shape (), expected (B, ...), whose first axis counts samples")


@op("branch: *N", check=_check)
def drop_path_forward(branch: Array, *, p: float, key: Key | None) -> tuple[Array, DropPathCache]:
    """Drop whole samples of a branch at random, before ``residual_forward`` adds it to the stream.

    Args:
        branch: (B, ...) output of a layer; the first axis counts samples.
        p: probability of dropping, in [0, 1). In the paper it grows in proportion to the depth of the layer.
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

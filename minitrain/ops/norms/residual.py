"""The residual connection ``out = x + branch`` (He et al., 2015, arXiv:1512.03385): the gradient flows to both."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op


class ResidualCache(NamedTuple):
    """The backward needs nothing."""


@op("x: *N; branch: *N")
def residual_forward(x: Array, branch: Array) -> tuple[Array, ResidualCache]:
    """Add a branch to the stream.

    Args:
        x: (...,) the stream.
        branch: (...,) output of a layer.

    Returns:
        out (...,) and the cache.
    """
    return x + branch, ResidualCache()


@op("dout: *N")
def residual_backward(dout: Array, cache: ResidualCache) -> tuple[Array, Array]:
    """Gradients of the sum: ``dout`` itself, twice.

    Maps dout (...,) to dx (...,), dbranch (...,). Do not write to what this returns.
    """
    return dout, dout

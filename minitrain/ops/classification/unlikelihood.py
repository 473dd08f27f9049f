"""Unlikelihood: the loss of a class that should not be predicted (Welleck et al., 2019, arXiv:1908.04319).

For one row of logits z with an unwanted class c, ``p = softmax(z)``, and M the log-sum-exp of the *other* logits::

    loss   = -log(1 - p[c]) = softplus(z[c] - M)
    p[c]   = sigmoid(z[c] - M)
    dz[c]  = p[c]
    dz[k]  = -p[c] q[k]     for all other k, with q the softmax over the others

``1 - p[c]`` is never formed: near p[c] = 1, where the loss is largest, it would lose all its digits. The log-odds
``z[c] - M`` keep them, and softplus does not overflow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..activations.logistic import sigmoid, softplus
from ..contract.log_sum_exp import exp_sum
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from ..linear.embedding import check_ids


class UnlikelihoodCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (..., V)
    highest: Array  # (...,) largest logit of each row but for the unwanted class
    total: Array  # (...,) sum of exp(logits - highest) over the other classes
    unwanted: Array  # (...,) integers
    ignore_index: int


def _check(logits: Array, unwanted: Array, **_: Any) -> None:
    if logits.shape[-1] < 2:
        raise ShapeError(
            f"unlikelihood_forward: logits have {logits.shape[-1]} classes; at least 2 are needed, so that another "
            "than the unwanted one can be predicted"
        )


@op("logits: *N V; unwanted: int *N", check=_check)
def unlikelihood_forward(
    logits: Array, unwanted: Array, *, ignore_index: int = -100, each: bool = False
) -> tuple[Loss, UnlikelihoodCache]:
    """Sum of ``-log(1 - p)`` over all rows with an unwanted class, p its probability.

    Args:
        logits: (..., V) unnormalised log-probabilities, V at least 2.
        unwanted: (...,) integers in [0, V), or ``ignore_index``.
        ignore_index: rows with this class add nothing to total, count or gradient.
        each: return the loss of each row instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of rows that count) and the cache.

    Raises:
        TokenError: if an unwanted class is neither a class nor ``ignore_index``.
        ShapeError: if there are fewer than two classes.
    """
    xp = array_module(logits)
    counted = unwanted != ignore_index  # (...,)
    c = xp.where(counted, unwanted, 0)
    check_ids("unlikelihood_forward", "unwanted", c, logits.shape[-1])
    cache = UnlikelihoodCache(logits, *exp_sum(_others(logits, c)), unwanted, ignore_index)
    losses = xp.where(counted, softplus(_log_odds(cache, c)), 0).astype(logits.dtype)
    return Loss(summed(losses, each), counted.sum(dtype=xp.float64)), cache


@op("cache.logits: *N V")
def unlikelihood_backward(dtotal: Any, cache: UnlikelihoodCache) -> tuple[Array, None]:
    """Map dtotal () or (...,) to dlogits (..., V), ``None`` for the unwanted classes."""
    logits, highest, total, unwanted, ignore_index = cache
    xp = array_module(logits)
    counted = unwanted != ignore_index  # (...,)
    c = xp.where(counted, unwanted, 0)
    p = sigmoid(_log_odds(cache, c))[..., None]  # (..., 1) probability of the unwanted class
    share = xp.exp(_others(logits, c) - highest[..., None]) / total[..., None]  # (..., V), 0 for the class itself
    slope = p * (_onehot(c, logits) - share)
    dlogits = chain("unlikelihood_backward", dtotal, slope.astype(logits.dtype), rows=True)
    return xp.where(counted[..., None], dlogits, 0).astype(logits.dtype), None


def _onehot(c: Array, logits: Array) -> Any:
    """Where the unwanted class of each row stands, (..., V) booleans."""
    return array_module(logits).arange(logits.shape[-1]) == c[..., None]


def _others(logits: Array, c: Array) -> Any:
    """The logits (..., V) without those of the classes ``c`` (...,), which are ``-inf``."""
    xp = array_module(logits)
    return logits + xp.where(_onehot(c, logits), -xp.inf, 0).astype(logits.dtype)


def _log_odds(cache: UnlikelihoodCache, c: Array) -> Any:
    """``log(p / (1 - p))`` of the class ``c`` (...,) of each row."""
    xp = array_module(cache.logits)
    chosen = xp.take_along_axis(cache.logits, c[..., None], axis=-1)[..., 0]  # (...,)
    return (chosen - cache.highest) - xp.log(cache.total)

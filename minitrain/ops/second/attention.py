"""The backward of attention's backward, in its dense form: it holds matrices (T, S), as the reference does.

All options of ``attention_forward`` are covered. Written as what changes when the inputs move along ``(ddq, ddk, ddv,
ddbias)``; a dot marks the change. The forward first, with ``M`` the dropout factors and ``C`` the capped similarities::

    Z. = scale (ddq K^T + Q ddk^T)      S. = cap'(Z) Z. + ddbias
    P. = P (S. - sum(P S.))             ddout = (M P.) V + (M P) ddv

Then the backward, for a constant ``dO``, line by line as in ``attention_backward``::

    dP  = M (dO V^T)                    dP. = M (dO ddv^T)
    dS  = P (dP - c),  c = sum(P dP)    dS. = P. (dP - c) + P (dP. - c.),  c. = sum(P. dP + P dP.)
    dZ  = dS cap'                       dZ. = dS. cap' + dS cap'' Z.
    dq = scale (dZ. K + dZ ddk)         dk = scale (dZ.^T Q + dZ^T ddq)
    dv = (M P.)^T dO                    dbias = dS.

That these changes are the gradients of the backward follows from the symmetry of second derivatives, see ``pairs.py``.
The cap is ``softcap tanh(z / softcap)``. With ``t = C / softcap``: ``cap' = 1 - t^2``, ``cap'' = -2 t cap' / softcap``.
"""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array
from ...backend.precision import wide
from ..attention.attention import AttentionCache, softmax_parts, sum_groups, sum_to
from ..attention.attention_scores import biased, capped_slope, for_queries, heads_first, similarities
from ..contract.products import product
from ..linear.dropout import dropout_mask
from .pairs import second_order


@second_order
def attention_backward_backward(
    ddq: Array, ddk: Array, ddv: Array, ddbias: Array | None, dout: Array, cache: AttentionCache
) -> tuple[Array, Array, Array, Array, Array | None]:
    """The backward of attention's backward.

    Args:
        ddq: (B, T, H, D) gradient of dq.
        ddk: (B, S, Hkv, D) gradient of dk.
        ddv: (B, S, Hkv, D) gradient of dv.
        ddbias: gradient of dbias in its shape, or ``None`` without a bias.
        dout: (B, T, H, D) gradient of the output.
        cache: from the forward.

    Returns:
        ddout (B, T, H, D), dq (B, T, H, D), dk (B, S, Hkv, D), dv (B, S, Hkv, D), dbias in its shape or ``None``.
    """
    bias, key_lengths, mask, alibi_slopes = cache.bias, cache.key_lengths, cache.mask, cache.alibi_slopes
    scale, softcap = cache.scale, cache.softcap
    query, key, value = wide(cache.q), wide(cache.k), wide(cache.v)
    similar = similarities(query, key, scale, softcap)  # (B, H, T, S)
    scores = biased(similar, bias, alibi_slopes, cache.causal, cache.window, key_lengths, mask)
    e, total, _ = softmax_parts(scores)
    p = e / total
    factors = dropout_mask(p, cache.dropout, cache.key) if cache.key is not None and cache.dropout > 0 else None

    def dropped(a: Array) -> Array:
        return a if factors is None else a * factors

    q, do, uq = heads_first(query), heads_first(dout), heads_first(ddq)  # (B, H, T, D)
    k, v, uk, uv = (heads_first(for_queries(x, query)) for x in (key, value, ddk, ddv))  # (B, H, S, D)

    moved_z = scale * (product(uq, k.swapaxes(-1, -2)) + product(q, uk.swapaxes(-1, -2)))  # (B, H, T, S)
    slope: Any = None if softcap is None else capped_slope(similar, softcap)
    moved_s = moved_z if softcap is None else moved_z * slope
    if ddbias is not None:
        moved_s = moved_s + ddbias
    moved_p = _softmax_jacobian(p, moved_s)
    ddout = heads_first(product(dropped(moved_p), v) + product(dropped(p), uv))  # -> (B, T, H, D)

    dp, moved_dp = dropped(product(do, v.swapaxes(-1, -2))), dropped(product(do, uv.swapaxes(-1, -2)))
    centred = dp - (p * dp).sum(axis=-1, keepdims=True)
    moved_centre = (moved_p * dp + p * moved_dp).sum(axis=-1, keepdims=True)  # (B, H, T, 1)
    ds, moved_ds = p * centred, moved_p * centred + p * (moved_dp - moved_centre)
    dz, moved_dz = ds, moved_ds
    if softcap is not None:
        dz, moved_dz = ds * slope, moved_ds * slope - 2 * ds * slope * moved_z * similar / softcap**2
    dq = scale * heads_first(product(moved_dz, k) + product(dz, uk))
    dk = scale * heads_first(product(moved_dz.swapaxes(-1, -2), q) + product(dz.swapaxes(-1, -2), uq))
    dv = heads_first(product(dropped(moved_p).swapaxes(-1, -2), do))
    dbias = None if bias is None else sum_to(moved_ds, bias.shape)
    return ddout, dq, sum_groups(dk, key), sum_groups(dv, value), dbias


def _softmax_jacobian(p: Array, a: Array) -> Array:
    """``p (a - sum(p a))`` over the last axis."""
    return p * (a - (p * a).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]

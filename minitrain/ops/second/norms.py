"""Backwards of the backwards of norms, alone and fused with the residual sum.

A row is centred (layer norm) or not (RMS norm), scaled by r and then by a weight: ``out = w xhat + b``. Its Jacobian
without the weight is the symmetric matrix P, which the backward applies to ``g = dout w``::

    P a = r (a - mean(a) - xhat mean(a xhat))            without mean(a) in RMS norm

P depends on x through xhat and r, with ``d xhat = P dx`` and ``dr / dx = -r^2 xhat / C``. The sum of ``u * P g`` is
``r C K`` with ``K = mean(u g) - mean(u) mean(g) - mean(u xhat) mean(g xhat)``, so its gradient by x is::

    curvature(u, g) = -r^2 xhat K  -  r P (u mean(g xhat) + g mean(u xhat))

The weight is one more factor: a change of it, ``ddw``, acts on the gradient of x as a change of g does.
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ..contract.sums import row_mean, sum_over
from ..norms.group_norm import GroupNormCache, grouped, per_channel
from ..norms.l2_normalize import L2NormalizeCache, l2_normalize_backward
from ..norms.layer_norm import LayerNormCache
from ..norms.residual_layer_norm import ResidualLayerNormCache
from ..norms.residual_rms_norm import ResidualRMSNormCache
from ..norms.rms_norm import RMSNormCache
from .pairs import second_order, zeros_like


class _Row:
    """A normalised row: the matrix P, and how it changes."""

    def __init__(self, xhat: Array, rstd: Array, *, centred: bool) -> None:
        self.xhat, self.rstd, self.centred = xhat, rstd, centred  # (..., C), (..., 1)

    def jacobian(self, a: Array) -> Array:
        """``P a``: (..., C) to (..., C)."""
        inner = a - self.xhat * _mean(a * self.xhat)
        return self.rstd * (inner - _mean(a) if self.centred else inner)  # type: ignore[no-any-return]

    def curvature(self, u: Array, g: Array) -> Array:
        """The gradient of ``sum(u * P g)`` by x: (..., C), (..., C) to (..., C)."""
        along_u, along_g = _mean(u * self.xhat), _mean(g * self.xhat)  # (..., 1)
        both = _mean(u * g) - along_u * along_g
        if self.centred:
            both = both - _mean(u) * _mean(g)
        bent: Array = self.rstd * self.xhat * both + self.jacobian(u * along_g + g * along_u)
        return -self.rstd * bent


def _mean(a: Array) -> Array:
    return row_mean(a, keepdims=True)


def _second(row: _Row, weight: Array, ddx: Array, ddweight: Array, dout: Array) -> tuple[Array, Array, Array]:
    """Map ddx (..., C), ddweight (C,), dout (..., C) to ddout (..., C), dx (..., C), dweight (C,); without the bias."""
    moved = row.jacobian(ddx)  # the change of xhat
    ddout = moved * weight + row.xhat * ddweight
    dx = row.curvature(ddx, dout * weight) + row.jacobian(dout * ddweight)
    return ddout, dx, sum_over(dout * moved, tuple(range(dout.ndim - 1)))


@second_order
def layer_norm_backward_backward(
    ddx: Array, ddweight: Array, ddbias: Array | None, dout: Array, cache: LayerNormCache
) -> tuple[Array, Array, Array, Array | None]:
    """The backward of layer norm's backward.

    Args:
        ddx: (..., C) gradient of dx.
        ddweight: (C,) gradient of dweight.
        ddbias: (C,) gradient of dbias, or ``None`` without a bias.
        dout: (..., C) gradient of the output.
        cache: from the forward.

    Returns:
        ddout (..., C), dx (..., C), dweight (C,), dbias (C,): zeros, or ``None`` without a bias.
    """
    x, mean, rstd, weight, _ = cache
    row = _Row((x - mean[..., None]) * rstd[..., None], rstd[..., None], centred=True)
    ddout, dx, dweight = _second(row, weight, ddx, ddweight, dout)
    if ddbias is None:
        return ddout, dx, dweight, None
    return ddout + ddbias, dx, dweight, zeros_like(ddbias)


@second_order
def group_norm_backward_backward(
    ddx: Array, ddweight: Array, ddbias: Array | None, dout: Array, cache: GroupNormCache
) -> tuple[Array, Array, Array, Array | None]:
    """The backward of group norm's backward: that of layer norm, with a group for a row and a weight for each channel.

    All are (B, C, ...), but ddweight and ddbias (C,). Returns ddout, dx, dweight, and dbias: zeros, or ``None`` without
    a bias.
    """
    x, mean, rstd, weight, _ = cache
    groups, channels = mean.shape[1], (0, *range(2, x.ndim))
    xhat = (grouped(x, groups) - mean) * rstd  # (B, groups, M)
    row = _Row(xhat, rstd, centred=True)
    along = grouped(ddx, groups)
    moved = row.jacobian(along).reshape(x.shape)  # the change of xhat
    ddout = moved * per_channel(weight, x) + xhat.reshape(x.shape) * per_channel(ddweight, x)
    straight = row.curvature(along, grouped(dout * per_channel(weight, x), groups))
    dx = (straight + row.jacobian(grouped(dout * per_channel(ddweight, x), groups))).reshape(x.shape)
    dweight = sum_over(dout * moved, channels)
    if ddbias is None:
        return ddout, dx, dweight, None
    return ddout + per_channel(ddbias, x), dx, dweight, zeros_like(ddbias)


@second_order
def l2_normalize_backward_backward(ddx: Array, dout: Array, cache: L2NormalizeCache) -> tuple[Array, Array]:
    """The backward of ``dx = P dout`` with the symmetric matrix ``P a = (a - out sum(a out)) / |x|``.

    As with RMS norm, P changes with the direction and the length of x. The gradient of ``sum(u * P g)`` by x is::

        -(out K / |x| + P (u sum(g out) + g sum(u out))) / |x|        K = sum(u g) - sum(u out) sum(g out)

    and 0 in a row shorter than ``eps``, which is divided by a constant. All are (..., C): ddx (u) and dout (g) to ddout
    and dx.
    """
    out, length, eps = cache
    along_u, along_g = _inner(ddx, out), _inner(dout, out)  # (..., 1)
    both = _inner(ddx, dout) - along_u * along_g
    safe = array_module(out).maximum(length, eps)
    turned = l2_normalize_backward.reference(ddx * along_g + dout * along_u, cache)
    dx = -(out * both / safe + turned) / safe * (length > eps)
    return l2_normalize_backward.reference(ddx, cache), dx


def _inner(a: Array, b: Array) -> Array:
    """The inner product of each row: (..., C), (..., C) to (..., 1)."""
    return (a * b).sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


@second_order
def rms_norm_backward_backward(
    ddx: Array, ddweight: Array, dout: Array, cache: RMSNormCache
) -> tuple[Array, Array, Array]:
    """The backward of RMS norm's backward.

    Maps ddx (..., C), ddweight (C,) and dout (..., C) to ddout (..., C), dx (..., C) and dweight (C,).
    """
    x, rstd, weight = cache
    row = _Row(x * rstd[..., None], rstd[..., None], centred=False)
    return _second(row, weight, ddx, ddweight, dout)


@second_order
def residual_layer_norm_backward_backward(
    ddx: Array,
    ddbranch: Array,
    ddweight: Array,
    ddbias: Array | None,
    dtotal: Array | None,
    dout: Array | None,
    cache: ResidualLayerNormCache,
) -> tuple[Array, Array, Array, Array, Array, Array | None]:
    """The backward of ``dx = dbranch = dtotal + layer norm's dx``: the two directions add up.

    All are (..., C), but ddweight and ddbias (C,). Returns ddtotal, ddout, dx, dbranch, dweight, dbias.
    """
    moved = ddx + ddbranch
    dout = zeros_like(moved) if dout is None else dout
    ddout, dx, dweight, dbias = layer_norm_backward_backward(moved, ddweight, ddbias, dout, LayerNormCache(*cache))
    return moved, ddout, dx, dx, dweight, dbias


@second_order
def residual_rms_norm_backward_backward(
    ddx: Array,
    ddbranch: Array,
    ddweight: Array,
    dtotal: Array | None,
    dout: Array | None,
    cache: ResidualRMSNormCache,
) -> tuple[Array, Array, Array, Array, Array]:
    """The backward of ``dx = dbranch = dtotal + RMS norm's dx``: the two directions add up.

    All are (..., C), but ddweight (C,). Returns ddtotal, ddout, dx, dbranch, dweight.
    """
    moved = ddx + ddbranch
    dout = zeros_like(moved) if dout is None else dout
    ddout, dx, dweight = rms_norm_backward_backward(moved, ddweight, dout, RMSNormCache(*cache))
    return moved, ddout, dx, dx, dweight

"""Backwards of the backwards of linear maps, convolutions, tables, scales, dropout and the stream.

A map that is linear in its only input has the same Jacobian everywhere: ``ddout`` is the forward of ``ddx``, and
nothing else changes. An affine map or a convolution is linear in input and weight, each for itself, so a change of one
changes the gradient of the other.
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ...backend.precision import wide
from ..attention.rope import RopeCache, rotate
from ..contract.products import dot_rows, product
from ..contract.sums import flat_rows, sum_over
from ..images.conv2d import Conv2dCache, conv2d_backward, convolved
from ..linear.drop_path import DropPathCache, drop_path_backward
from ..linear.dropout import DropoutCache, dropout_backward
from ..linear.embedding import EmbeddingCache
from ..linear.gelu_linear import GeluLinearCache
from ..linear.linear import LinearCache, linear_backward
from ..linear.scale import ScaleCache, factor_of
from ..norms.residual import ResidualCache
from .activations import gelu_curve
from .pairs import second_order, zeros_like


@second_order
def linear_backward_backward(
    ddx: Array, ddweight: Array, ddbias: Array | None, dout: Array, cache: LinearCache
) -> tuple[Array, Array, Array, Array | None]:
    """The backward of ``dx = dout @ weight``, ``dweight = dout.T @ x``.

    Args:
        ddx: (..., K) gradient of dx.
        ddweight: (N, K) gradient of dweight.
        ddbias: (N,) gradient of dbias, or ``None`` without a bias.
        dout: (..., N) gradient of the output.
        cache: from the forward.

    Returns:
        ddout (..., N), dx (..., K), dweight (N, K), dbias (N,): zeros, or ``None`` without a bias.
    """
    x, weight = wide(cache.x), wide(cache.weight)
    ddout = product(ddx, weight.T) + product(x, ddweight.T)
    dweight = dot_rows(flat_rows(dout), flat_rows(ddx))
    if ddbias is None:
        return ddout, product(dout, ddweight), dweight, None
    return ddout + ddbias, product(dout, ddweight), dweight, zeros_like(ddbias)


@second_order
def conv2d_backward_backward(
    ddx: Array, ddweight: Array, ddbias: Array | None, dout: Array, cache: Conv2dCache
) -> tuple[Array, Array, Array, Array | None]:
    """The backward of ``dx = dout * weight``, ``dweight = dout * x``, where * are sums over windows.

    Args:
        ddx: (B, C, H, W) gradient of dx.
        ddweight: (O, C / groups, kh, kw) gradient of dweight.
        ddbias: (O,) gradient of dbias, or ``None`` without a bias.
        dout: (B, O, Ho, Wo) gradient of the output.
        cache: from the forward.

    Returns:
        ddout (B, O, Ho, Wo), dx (B, C, H, W), dweight (O, C / groups, kh, kw), dbias (O,): zeros, or ``None`` without a
        bias.
    """
    x, weight, _, shape, windows, groups = cache
    x, weight = wide(x), wide(weight)
    ddout = convolved(ddx, weight, shape, windows, groups) + convolved(x, ddweight, shape, windows, groups)
    dx, _, _ = conv2d_backward.reference(dout, Conv2dCache(x, ddweight, None, shape, windows, groups))
    _, dweight, _ = conv2d_backward.reference(dout, Conv2dCache(ddx, weight, None, shape, windows, groups))
    if ddbias is None:
        return ddout, dx, dweight, None
    return ddout + ddbias[:, None, None], dx, dweight, zeros_like(ddbias)


@second_order
def scale_backward_backward(
    ddx: Array, ddlog_scale: Array, dout: Array, cache: ScaleCache
) -> tuple[Array, Array, Array]:
    """The backward of ``dx = s dout``, ``dlog_scale = s sum(dout * x)``.

    The factor s is the exponential of log_scale: it is its own derivative, or constant beyond the limit. Maps ddx
    (..., C), ddlog_scale () and dout (..., C) to ddout (..., C), dx (..., C) and dlog_scale ().
    """
    x, log_scale, limit = cache
    factor, moves = factor_of(log_scale, limit)
    slope = factor * moves  # of the factor
    bent = ddlog_scale * slope
    dlog_scale = slope * sum_over(ddx * dout) + bent * sum_over(x * dout)
    return factor * ddx + bent * x, bent * dout, array_module(x).asarray(dlog_scale)


@second_order
def gelu_linear_backward_backward(
    ddhidden: Array, ddweight: Array, ddbias: Array | None, dout: Array, cache: GeluLinearCache
) -> tuple[Array, Array, Array, Array | None]:
    """The two of ``gelu`` and ``linear``, one after the other.

    ``dhidden = f'(hidden) * dactivation`` with ``dactivation = dout @ weight``. A direction of ``hidden`` becomes one
    of the activation, ``f' ddhidden``. Shapes as in `linear_backward_backward`, with hidden (..., K) for x.
    """
    hidden, weight, bias, approximate = cache
    curve = gelu_curve(wide(hidden), approximate)
    inner = LinearCache(curve.value, wide(weight), bias)
    dactivation = linear_backward.reference(dout, inner)[0]
    ddout, dactivated, dweight, dbias = linear_backward_backward(ddhidden * curve.slope, ddweight, ddbias, dout, inner)
    dhidden = dactivated * curve.slope + ddhidden * dactivation * curve.curvature
    return ddout, dhidden, dweight, dbias


@second_order
def embedding_backward_backward(
    ddtokens: None, ddweight: Array, dout: Array, cache: EmbeddingCache
) -> tuple[Array, None, Array]:
    """A lookup is linear: ddweight (V, C), dout (..., C) to ddout (..., C), ``None``, dweight (V, C), which is 0.

    The row of padding has no gradient, so a change of it counts for nothing.
    """
    tokens, weight, padding_idx = cache
    ddout = ddweight[tokens]
    if padding_idx is not None:
        ddout = array_module(ddout).where((tokens == padding_idx)[..., None], 0, ddout)
    return ddout, None, zeros_like(weight)


@second_order
def residual_backward_backward(
    ddx: Array, ddbranch: Array, dout: Array, cache: ResidualCache
) -> tuple[Array, Array, Array]:
    """A sum: all (...,) to ddout, dx = 0, dbranch = 0."""
    return ddx + ddbranch, zeros_like(ddx), zeros_like(ddx)


@second_order
def dropout_backward_backward(ddx: Array, dout: Array, cache: DropoutCache) -> tuple[Array, Array]:
    """The mask is constant: all (B, ...) to ddout, dx = 0."""
    return dropout_backward.reference(ddx, cache), zeros_like(ddx)


@second_order
def drop_path_backward_backward(ddbranch: Array, dout: Array, cache: DropPathCache) -> tuple[Array, Array]:
    """The choice of samples is constant: all (B, ...) to ddout, dbranch = 0."""
    return drop_path_backward.reference(ddbranch, cache), zeros_like(ddbranch)


@second_order
def rope_backward_backward(ddx: Array, ddpositions: None, dout: Array, cache: RopeCache) -> tuple[Array, Array, None]:
    """A rotation: all (B, T, H, D) to ddout, dx = 0, and ``None`` for the positions."""
    return rotate(ddx, cache.cos, cache.sin), zeros_like(ddx), None

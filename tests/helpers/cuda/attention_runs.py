"""Attention's kernels on the CPU: calls of the twins, exact results, and how far a kernel may be from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minitrain.backend.precision import half_dtype, use_precision
from minitrain.kernels.cuda.attention import attention as twins
from minitrain.ops import attention_backward, attention_forward
from minitrain.ops.attention.attention import AttentionCache
from minitrain.ops.attention.attention_scores import biased, for_queries, heads_first, similarities
from minitrain.ops.linear.dropout import dropout_mask
from tests.helpers.cuda import emulated as emulate
from tests.helpers.cuda import launch

ROUNDOFF = {"float32": 0.0, "tf32": 2.0**-10, "bfloat16": 2.0**-8, "float16": 2.0**-10}
"""The relative error of an operand that is rounded, with room for one that is rounded after a sum in another order."""
SINGLE = 4e-6
"""Of a sum in float32 of some hundred terms, beside the sum of their absolute values."""


class Problem(NamedTuple):
    """A call of attention."""

    q: Any
    k: Any
    v: Any
    dout: Any
    options: dict[str, Any]


class Results(NamedTuple):
    """Arrays by name: (B, T, H, D), except lse (B, H, T)."""

    out: Any
    lse: Any
    dq: Any
    dk: Any
    dv: Any


def problem(B: int, T: int, S: int, H: int, G: int, D: int, *, seed: int = 0, **options: Any) -> Problem:
    """Normal numbers; values and gradients have a mean that is not 0, so that a lost term shows."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, mean: float = 0.0) -> Any:
        return (rng.standard_normal(shape) + mean).astype(np.float32)

    return Problem(
        normal(B, T, H, D), normal(B, S, G, D), normal(B, S, G, D, mean=0.3), normal(B, T, H, D, mean=0.2), options
    )


def run(p: Problem, precision: str = "float32", into: Any = (None, None, None, None)) -> Results:
    """The twins themselves, in whatever emulator is in force."""
    with use_precision(precision):
        forward = launch(twins.attention_forward, p.q, p.k, p.v, None, **p.options)
        assert forward is not NotImplemented
        out, cache = forward[0], AttentionCache(*forward[1])
        gradients = launch(twins.attention_backward, p.dout, cache, into=into)
    assert gradients is not NotImplemented
    return Results(out, cache.lse, *gradients[:3])


def emulated(p: Problem, precision: str = "float32") -> Results:
    """The twins in an emulator of two schedules, whose results must be the same bytes."""
    with emulate():
        return run(p, precision)


def operands(p: Problem, precision: str) -> Problem:
    """The problem in float64, with q, k, v and dout rounded as operands."""

    def rounded(x: Any) -> Any:
        if precision == "tf32":  # to 11 significant bits, ties away from zero
            return ((np.ascontiguousarray(x).view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32).astype(np.float64)
        return (x if precision == "float32" else x.astype(half_dtype(precision))).astype(np.float64)

    return p._replace(q=rounded(p.q), k=rounded(p.k), v=rounded(p.v), dout=rounded(p.dout))


def exact(p: Problem, precision: str) -> Results:
    """The reference in float64."""
    p = operands(p, precision)
    out, cache = attention_forward.reference(p.q, p.k, p.v, **p.options)
    return Results(out, cache.lse, *attention_backward.reference(p.dout, cache)[:3])


def bounds(p: Problem, precision: str, e: Results) -> Results:
    """How far each element may be from the exact result, from the sums of absolute values that make it.

    With u the roundoff of an operand: P is rounded before it meets V, dS before it meets K and Q, and the output before
    its product with dout gives delta.
    """
    u, p = ROUNDOFF[precision] + SINGLE, operands(p, precision)
    scale = p.options.get("scale") or p.q.shape[-1] ** -0.5
    causal, window, lengths, rate, key = (
        p.options.get(n) for n in ("causal", "window", "key_lengths", "dropout", "key")
    )
    similar = similarities(p.q, p.k, scale, None)  # (B, H, T, S)
    scores = biased(similar, None, None, bool(causal), window, lengths, None)
    lse = np.where(np.isneginf(e.lse), 0, e.lse)[..., None]
    P = np.exp(scores - lse)
    mask = dropout_mask(P, rate, key) if rate and key is not None else 1.0
    Q, K, V, G = (abs(heads_first(for_queries(x, p.q))) for x in (p.q, p.k, p.v, p.dout))
    products = scale * Q @ K.swapaxes(-1, -2)  # what a score is the sum of
    dp = mask * (heads_first(p.dout) @ heads_first(for_queries(p.v, p.q)).swapaxes(-1, -2))
    delta = (p.dout * e.out).sum(axis=-1).swapaxes(1, 2)[..., None]
    far = SINGLE * (1 + products + abs(lse))  # the relative error of P
    spread = abs(heads_first(e.out)) + (P * mask) @ V  # what the output is, and what its error comes from
    delta_error = u * (G * spread).sum(axis=-1, keepdims=True)
    ds_error = P * ((u + far) * abs(dp - delta) + delta_error + SINGLE * (mask * (G @ V.swapaxes(-1, -2)) + abs(delta)))

    def grouped(x: Any) -> Any:  # (B, H, S, D) -> (B, S, Hkv, D)
        B, H, S, D = x.shape
        heads = p.k.shape[2]
        return x.reshape(B, heads, H // heads, S, D).sum(axis=2).swapaxes(1, 2)

    weights = (u + far) * P * mask
    return Results(
        heads_first(weights @ V) + SINGLE,
        SINGLE * (1 + (P * products).max(axis=-1) + abs(lse[..., 0])),
        scale * heads_first(ds_error @ K) + SINGLE,
        scale * grouped(ds_error.swapaxes(-1, -2) @ Q) + SINGLE,
        grouped(weights.swapaxes(-1, -2) @ G) + SINGLE,
    )


def check(p: Problem, precision: str = "float32", got: Results | None = None) -> Results:
    """Compare the kernels with the exact results, element by element."""
    got = emulated(p, precision) if got is None else got
    expected = exact(p, precision)
    for name, a, e, bound in zip(Results._fields, got, expected, bounds(p, precision, expected), strict=True):
        assert a.shape == e.shape, name
        assert a.dtype == np.float32, name
        blind = np.isneginf(e)
        np.testing.assert_array_equal(np.isneginf(a), blind, err_msg=name)
        with np.errstate(invalid="ignore"):
            excess = np.where(blind, 0, abs(a - e) / bound)
        assert excess.max(initial=0) <= 1, f"{name}: {excess.max():.2f} times the bound, {abs(a - e)[~blind].max():.2e}"
        assert np.isfinite(excess).all(), name
    return got

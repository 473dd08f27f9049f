"""Operations restated as plainly as possible."""

from __future__ import annotations

import cmath
import math

import numpy as np


def plain_attention(
    q, k, v, bias=None, *, causal=False, key_lengths=None, mask=None, window=None, alibi_slopes=None, softcap=None,
    scale=None,
):  # fmt: skip
    """Loops over samples, heads and queries."""
    (B, T, H, D), (S, G) = q.shape, k.shape[1:3]
    scale = D**-0.5 if scale is None else scale
    bias = np.broadcast_to(0.0 if bias is None else bias, (B, H, T, S))
    mask = np.broadcast_to(True if mask is None else mask, (B, H, T, S))
    out = np.zeros_like(q)
    for b, h, t in np.ndindex(B, H, T):
        weights = {}
        for s in range(S):
            after = (T - 1 - t) - (S - 1 - s)  # counted from the end: how much later the key comes
            if (
                mask[b, h, t, s]
                and (key_lengths is None or s < key_lengths[b])
                and (not causal or after <= 0)
                and (window is None or -window < after < window)
            ):
                score = scale * q[b, t, h] @ k[b, s, h * G // H]
                score = score if softcap is None else softcap * math.tanh(score / softcap)
                slope = 0 if alibi_slopes is None else float(alibi_slopes[h])
                weights[s] = math.exp(score + bias[b, h, t, s] - slope * abs(after))
        for s, weight in weights.items():
            out[b, t, h] += weight / sum(weights.values()) * v[b, s, h * G // H]
    return out


def plain_rms_norm(x, weight, *, eps=1e-5):
    out = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        out[i] = weight * x[i] / math.sqrt(sum(z * z for z in x[i]) / len(x[i]) + eps)
    return out


def plain_rope(x, positions, *, base=10000.0, scaling=1.0, frequencies=None):
    """Each pair of elements as a complex number, which an angle multiplies."""
    (B, T, H, D), half = x.shape, x.shape[-1] // 2
    positions = np.broadcast_to(positions, (B, T))
    out = np.empty_like(x)
    for b, t, h, i in np.ndindex(B, T, H, half):
        frequency = base ** (-2 * i / D) if frequencies is None else frequencies[i]
        angle = positions[b, t] / scaling * frequency
        turned = complex(x[b, t, h, i], x[b, t, h, i + half]) * cmath.exp(1j * angle)
        out[b, t, h, i], out[b, t, h, i + half] = turned.real, turned.imag
    return out

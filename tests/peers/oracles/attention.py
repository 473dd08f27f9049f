"""PyTorch's attention and positions."""

import torch
import torch.nn.functional as F


def attention(
    q, k, v, bias, *, causal=False, key_lengths=None, mask=None, window=None, alibi_slopes=None, softcap=None,
    scale=None,
):  # fmt: skip
    (B, T, H, D), S = q.shape, k.shape[1]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
    grouped = k.shape[1] != H
    if causal and T == S and all(x is None for x in (bias, key_lengths, mask, window, alibi_slopes, softcap)):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    distance = torch.arange(T)[:, None] + S - T - torch.arange(S)
    may = torch.ones(B, 1, T, S, dtype=torch.bool)
    if causal:  # PyTorch's own flag aligns T != S at the top left
        may &= distance >= 0
    if window is not None:
        may &= distance.abs() < window
    if key_lengths is not None:
        may &= (torch.arange(S) < torch.from_numpy(key_lengths)[:, None])[:, None, None]
    if mask is not None:
        may = may & torch.from_numpy(mask)
    added = torch.zeros((), dtype=q.dtype).masked_fill(~may, -torch.inf)
    added = added if bias is None else added + bias
    if alibi_slopes is not None:
        added = added - torch.from_numpy(alibi_slopes).to(q.dtype)[:, None, None] * distance.abs()
    if softcap is None:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    k, v = (x.repeat_interleave(H // x.shape[1], dim=1) for x in (k, v))  # PyTorch has no cap: its formula
    scores = q @ k.mT * (D**-0.5 if scale is None else scale)
    scores = softcap * torch.tanh(scores / softcap) + added
    weights = torch.where(may, torch.softmax(scores.masked_fill(~may, -1e300), dim=-1), 0)  # a blind query gets zeros
    return (weights @ v).transpose(1, 2)


def pointer(logits, q, k, gate, source, *, key_lengths=None):
    S = k.shape[1]
    may = torch.ones(k.shape[:2], dtype=torch.bool)
    if key_lengths is not None:
        may = torch.arange(S) < torch.from_numpy(key_lengths)[:, None]
    none = ~may.any(1)[:, None, None]  # nothing to copy
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~may[:, None], -torch.inf)
    a = torch.softmax(scores.masked_fill(none, 0.0), dim=-1)
    copies = torch.zeros_like(logits).scatter_add(-1, source.long()[:, None].expand_as(a), a)
    g = torch.where(none, 1.0, torch.sigmoid(gate)[..., None])
    return torch.log(g * torch.softmax(logits, dim=-1) + (1 - g) * copies)


def rope(x, positions, *, base=10000.0, scaling=1.0, frequencies=None):
    half = x.shape[-1] // 2
    frequency = base ** -(torch.arange(half).double() / half)
    if frequencies is not None:
        frequency = torch.tensor(frequencies, dtype=torch.float64)
    angles = (positions.double() / scaling)[..., None, None] * frequency
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)

"""PyTorch's attention and positions."""

import torch
import torch.nn.functional as F


def attention(q, k, v, bias, *, causal=False, key_lengths=None, mask=None, scale=None):
    (B, T, H, _), S = q.shape, k.shape[1]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
    grouped = k.shape[1] != H
    if causal and T == S and bias is None and key_lengths is None and mask is None:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    may = torch.ones(B, 1, T, S, dtype=torch.bool)
    if causal:  # PyTorch's own flag aligns T != S at the top left
        may &= torch.arange(S) <= torch.arange(T)[:, None] + S - T
    if key_lengths is not None:
        may &= (torch.arange(S) < torch.from_numpy(key_lengths)[:, None])[:, None, None]
    if mask is not None:
        may = may & torch.from_numpy(mask)
    added = torch.zeros((), dtype=q.dtype).masked_fill(~may, -torch.inf)
    added = added if bias is None else added + bias
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2)


def rope(x, positions, *, base=10000.0, scaling=1.0):
    half = x.shape[-1] // 2
    angles = (positions.double() / scaling)[..., None, None] * base ** -(torch.arange(half).double() / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)

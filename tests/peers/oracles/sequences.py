"""PyTorch's joining, cutting and averaging of sequences."""

import torch


def concat(x, y, *, axis):
    return torch.cat([x, y], dim=axis)


def split(x, *, at, axis):
    return torch.split(x, [at, x.shape[axis] - at], dim=axis)


def mean_pool(x, *, mask=None, key_lengths=None):
    """``torch.masked.mean``; it gives NaN where nothing counts."""
    B, T, _ = x.shape
    counts = torch.ones(B, T, dtype=torch.bool) if mask is None else torch.from_numpy(mask)
    if key_lengths is not None:
        counts = counts & (torch.arange(T) < torch.from_numpy(key_lengths)[:, None])
    mean = torch.masked.mean(x, dim=1, mask=counts[..., None].expand_as(x))
    return torch.where(counts.any(dim=1)[:, None], mean, 0)

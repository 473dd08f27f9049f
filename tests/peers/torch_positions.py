"""The benchmark's PyTorch GPT, with the positions that it does not have."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from minitrain.benchmark.torch_gpt import GPT, Attention

from .oracles.attention import attention, rope


class PlacedAttention(Attention):
    """Attention with rotated queries and keys (``"rotary"``) or with slopes (``"alibi"``)."""

    positions = ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        H, G = self.n_head, self.n_kv_head
        q, k, v = self.qkv(x).view(B, T, H + 2 * G, self.width).split([H, G, G], dim=2)
        slopes = None
        if self.positions == "rotary":
            q, k = (rope(part, torch.arange(T)) for part in (q, k))
        else:
            slopes = (2.0 ** (-8 * torch.arange(1, H + 1).double() / H)).numpy()  # for a power of two of heads
        return self.out(attention(q, k, v, None, causal=True, alibi_slopes=slopes).reshape(B, T, C))


class Waves(nn.Module):
    """Sines at even elements and cosines at odd ones, in place of the table of vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        angle = places.double()[:, None] * 10000.0 ** (-torch.arange(0, self.width, 2).double() / self.width)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Nothing(nn.Module):
    """Adds nothing: attention knows the positions."""

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(places), 1).double()


class PlacedGPT(GPT):
    """``GPT`` with any of our ``positions``."""

    def __init__(self, *, positions: str, **settings: Any) -> None:
        super().__init__(**settings)
        if positions != "learned":
            self.pos_emb = Waves(settings["n_embd"]) if positions == "sinusoidal" else Nothing()
        if positions in ("rotary", "alibi"):
            for block in self.blocks:
                block.attention.__class__ = PlacedAttention
                block.attention.positions = positions

"""The PyTorch peer of a Llama: RMS norms, rotary positions, SwiGLU, grouped queries, with minitrain's parameter names.

It is written as fast PyTorch code usually is: one packed projection, precomputed cosines and sines, fused causal
attention, no tensor computed twice.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .torch_gpt import load_from_minitrain

__all__ = ["Llama", "load_from_minitrain"]


class Attention(nn.Module):
    """Causal self-attention with rotary positions and grouped queries."""

    def __init__(self, n_embd: int, n_head: int, n_kv_head: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.width = n_head, n_kv_head, n_embd // n_head
        self.qkv = nn.Linear(n_embd, (n_head + 2 * n_kv_head) * self.width, bias=False)
        self.out = nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend within ``x (B, T, C)``; ``cos`` and ``sin`` are (T, D/2)."""
        B, T, C = x.shape
        heads = self.qkv(x).view(B, T, -1, self.width).transpose(1, 2)  # (B, H + 2 Hkv, T, D)
        q, k, v = heads.split([self.n_head, self.n_kv_head, self.n_kv_head], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.n_kv_head != self.n_head)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the points (x[i], x[i + D/2]) of ``x (B, H, T, D)``."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class FeedForward(nn.Module):
    """SwiGLU: a gated layer without biases."""

    def __init__(self, n_embd: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(n_embd, hidden, bias=False)
        self.up = nn.Linear(n_embd, hidden, bias=False)
        self.down = nn.Linear(hidden, n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of ``x (B, T, C)``."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, n_embd: int, n_head: int, n_kv_head: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(n_embd, eps), nn.RMSNorm(n_embd, eps)
        self.attention = Attention(n_embd, n_head, n_kv_head)
        self.feed_forward = FeedForward(n_embd, hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend, then transform; each adds to the residual stream ``x (B, T, C)``."""
        x = x + self.attention(self.norm1(x), cos, sin)
        return x + self.feed_forward(self.norm2(x))


class Llama(nn.Module):
    """A Llama, taking settings of ``minitrain.models.llama.LlamaConfig`` as keyword arguments."""

    def __init__(
        self,
        *,
        vocab_size: int,
        block_size: int,
        n_layer: int,
        n_head: int,
        n_embd: int,
        n_kv_head: int | None = None,
        n_hidden: int | None = None,
        tie_weights: bool = False,
        rope_base: float = 10000.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        hidden = n_hidden or math.ceil(8 * n_embd / 3 / 32) * 32
        kv, D = n_kv_head or n_head, n_embd // n_head
        self.tok_emb = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.ModuleList(Block(n_embd, n_head, kv, hidden, eps) for _ in range(n_layer))
        self.norm = nn.RMSNorm(n_embd, eps)
        self.head = None if tie_weights else nn.Linear(n_embd, vocab_size, bias=False)
        frequency = rope_base ** (-torch.arange(0, D, 2).double() / D)
        angle = torch.arange(block_size).double()[:, None] * frequency  # (T, D/2)
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layer) if deep else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(B, T, V)`` of ``tokens (B, T)``."""
        T = tokens.shape[1]
        cos, sin = self.cos[:T], self.sin[:T]
        x = self.tok_emb(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.tok_emb.weight if self.head is None else self.head.weight)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of ``targets (B, T)`` given ``tokens (B, T)``."""
        logits = self(tokens)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))

"""The PyTorch peer: nanoGPT's model in plain PyTorch, with minitrain's parameter names.

Benchmarks and tests/peers compare minitrain with it: pre-norm blocks, fused causal attention, exact GELU,
tied embeddings, nanoGPT's initialisation, AdamW with decay on matrices only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal self-attention; ``qkv`` holds the rows of q, k and v in this order."""

    def __init__(self, n_embd: int, n_head: int, n_kv_head: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.width = n_head, n_kv_head, n_embd // n_head
        self.dropout = dropout
        self.qkv = nn.Linear(n_embd, n_embd + 2 * n_kv_head * self.width, bias=bias)
        self.out = nn.Linear(n_embd, n_embd, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within ``x (B, T, C)``."""
        B, T, C = x.shape
        kv_width = self.n_kv_head * self.width
        q, k, v = self.qkv(x).split([C, kv_width, kv_width], dim=2)
        q = q.view(B, T, self.n_head, self.width).transpose(1, 2)  # (B, H, T, D)
        k = k.view(B, T, self.n_kv_head, self.width).transpose(1, 2)
        v = v.view(B, T, self.n_kv_head, self.width).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        grouped = self.n_kv_head != self.n_head
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=grouped)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class FeedForward(nn.Module):
    """Two linear layers around the exact GELU, four times as wide inside."""

    def __init__(self, n_embd: int, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.down = nn.Linear(4 * n_embd, n_embd, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of ``x (B, T, C)``."""
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, n_embd: int, n_head: int, n_kv_head: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(n_embd, bias=bias)
        self.attention = Attention(n_embd, n_head, n_kv_head, bias, dropout)
        self.norm2 = nn.LayerNorm(n_embd, bias=bias)
        self.feed_forward = FeedForward(n_embd, bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform; each adds to the residual stream ``x (B, T, C)``."""
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.feed_forward(self.norm2(x)))


class GPT(nn.Module):
    """nanoGPT's decoder, taking the settings of ``minitrain.models.gpt.GPTConfig`` as keyword arguments."""

    def __init__(
        self,
        *,
        vocab_size: int,
        block_size: int,
        n_layer: int,
        n_head: int,
        n_embd: int,
        n_kv_head: int | None = None,
        dropout: float = 0.0,
        bias: bool = False,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, n_embd)
        self.pos_emb = nn.Embedding(block_size, n_embd)
        self.drop = nn.Dropout(dropout)
        kv = n_kv_head or n_head
        self.blocks = nn.ModuleList(Block(n_embd, n_head, kv, bias, dropout) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd, bias=bias)
        # With tied weights the head is the token table itself, which then has only one name.
        self.head = None if tie_weights else nn.Linear(n_embd, vocab_size, bias=False)
        self._initialise(n_layer)

    def _initialise(self, n_layer: int) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                nn.init.constant_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0)
            elif name.endswith(("attention.out.weight", "feed_forward.down.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layer))
            else:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(B, T, V)`` of ``tokens (B, T)``."""
        x = self.tok_emb(tokens) + self.pos_emb(torch.arange(tokens.shape[1], device=tokens.device))
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tok_emb.weight if self.head is None else self.head.weight)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of ``targets (B, T)`` given ``tokens (B, T)``."""
        logits = self(tokens)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def load_from_minitrain(model: GPT, state: Mapping[str, Any]) -> None:
    """Copy ``GPT.state_dict()`` of minitrain into ``model``; the names are the same on both sides.

    Raises:
        KeyError: if one side has a parameter that the other lacks.
        ValueError: if two shapes differ.
    """
    parameters = dict(model.named_parameters())
    if parameters.keys() != state.keys():
        raise KeyError(f"parameters differ: {sorted(parameters.keys() ^ state.keys())}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if tuple(parameter.shape) != tuple(state[name].shape):
                raise ValueError(f"{name}: PyTorch has {tuple(parameter.shape)}, minitrain {tuple(state[name].shape)}")
            parameter.copy_(torch.from_numpy(state[name].copy()))


def adamw(
    model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float, fused: bool
) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only, as in nanoGPT."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused)

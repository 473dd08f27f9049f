"""The models built from PyTorch's own modules, and which of their parameters holds which of ours.

A peer's ``places`` maps the path of each of our parameters to (tensor, rows): PyTorch packs the three projections of
cross-attention in one matrix, of which ours are slices.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .oracles.attention import rope

Places = dict[str, tuple[torch.Tensor, slice]]
ALL = slice(None)


def whole(prefix: str, module: nn.Module) -> Places:
    """Every parameter of ``module`` under its own name, after ``prefix``."""
    return {f"{prefix}.{name}": (parameter, ALL) for name, parameter in module.named_parameters()}


def load(places: Places, state: dict[str, Any]) -> None:
    """Copy our weights into the peer."""
    assert places.keys() == state.keys()
    with torch.no_grad():
        for path, (tensor, rows) in places.items():
            tensor[rows] = torch.from_numpy(np.asarray(state[path], np.float64)).reshape(tensor[rows].shape)


def attention_places(prefix: str, attention: nn.MultiheadAttention) -> Places:
    """Self-attention: queries, keys and values are packed alike in both."""
    return {
        f"{prefix}.qkv.weight": (attention.in_proj_weight, ALL),
        f"{prefix}.qkv.bias": (attention.in_proj_bias, ALL),
    } | whole(f"{prefix}.out", attention.out_proj)


def cross_places(prefix: str, attention: nn.MultiheadAttention) -> Places:
    """Cross-attention: our queries come from one matrix, keys and values from another."""
    C = attention.embed_dim
    parts = {"q": slice(C), "kv": slice(C, None)}
    tensors = {"weight": attention.in_proj_weight, "bias": attention.in_proj_bias}
    packed = {f"{prefix}.{part}.{name}": (t, rows) for part, rows in parts.items() for name, t in tensors.items()}
    return packed | whole(f"{prefix}.out", attention.out_proj)


def block_places(prefix: str, layer: Any) -> Places:
    """A layer of ``nn.TransformerEncoder`` or, with a third norm, of ``nn.TransformerDecoder``."""
    places = (
        attention_places(f"{prefix}.attention", layer.self_attn)
        | whole(f"{prefix}.feed_forward.up", layer.linear1)
        | whole(f"{prefix}.feed_forward.down", layer.linear2)
        | whole(f"{prefix}.norm1", layer.norm1)
        | whole(f"{prefix}.norm2", layer.norm2)
    )
    if hasattr(layer, "norm3"):
        places |= cross_places(f"{prefix}.cross", layer.multihead_attn) | whole(f"{prefix}.norm3", layer.norm3)
    return places


def encoder_stack(config: Any) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.n_embd, config.n_head, 4 * config.n_embd, 0.0, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, config.n_layer, nn.LayerNorm(config.n_embd), enable_nested_tensor=False)


def stack_places(stack: nn.TransformerEncoder) -> Places:
    places = whole("norm", stack.norm)
    for i, layer in enumerate(stack.layers):
        places |= block_places(f"blocks.{i}", layer)
    return places


class TorchEncoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.block_size, config.n_embd)
        self.stack = encoder_stack(config)
        self.head = nn.Linear(config.n_embd, config.n_classes)

    def places(self) -> Places:
        tables = whole("tok_emb", self.tokens) | whole("pos_emb", self.positions)
        return tables | stack_places(self.stack) | whole("head", self.head)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        T = tokens.shape[1]
        padding = torch.arange(T) >= lengths[:, None]
        x = self.stack(self.tokens(tokens) + self.positions(torch.arange(T)), src_key_padding_mask=padding)
        if self.config.pool == "first":
            return self.head(x[:, 0])
        kept = x.masked_fill(padding[..., None], 0)
        return self.head(kept.sum(1) / lengths[:, None])


class TorchMaskedEncoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, C = config, config.n_embd
        self.tokens = nn.Embedding(config.vocab_size, C)
        self.positions = nn.Embedding(config.block_size, C)
        self.stack = encoder_stack(config)
        self.transform, self.norm = nn.Linear(C, C), nn.LayerNorm(C)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def places(self) -> Places:
        tables = whole("tok_emb", self.tokens) | whole("pos_emb", self.positions)
        head = whole("transform", self.transform) | whole("transform_norm", self.norm) | {"head.bias": (self.bias, ALL)}
        return tables | stack_places(self.stack) | head

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        T = tokens.shape[1]
        x = self.tokens(tokens) + self.positions(torch.arange(T))
        x = self.stack(x, src_key_padding_mask=torch.arange(T) >= lengths[:, None])
        form = "tanh" if self.config.gelu == "tanh" else "none"
        x = self.norm(nn.functional.gelu(self.transform(x), approximate=form))
        return x @ self.tokens.weight.T + self.bias


class TorchViT(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        C, first = config.n_embd, config.pool == "first"
        count = config.patch.bit_length() - 1 if config.stem == "conv" else 0
        sizes = [config.channels, *(C >> (count - 1 - i) for i in range(count))]
        same = [nn.Conv2d(b, b, 3, 1, 1) for b in sizes[1:] for _ in range(config.stem_depth)]
        halving = [nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(sizes)]
        after = len(same) // max(1, len(halving))
        self.stem = nn.ModuleList(
            layer for i, one in enumerate(halving) for layer in (one, *same[i * after : (i + 1) * after])
        )
        self.patches = nn.Conv2d(sizes[-1], C, 1 if count else config.patch, 1 if count else config.patch)
        self.class_token = nn.Parameter(torch.zeros(C)) if first else None
        self.positions = nn.Parameter(torch.zeros(config.patches + first, C))
        self.stack = encoder_stack(config)
        self.head = nn.Linear(C * (config.patches if config.pool == "concat" else 1), config.n_classes)

    def places(self) -> Places:
        places = whole("patch_emb.project", self.patches) | {"pos_emb.weight": (self.positions, ALL)}
        for i, convolution in enumerate(self.stem):
            places |= whole(f"patch_emb.convolutions.{i}", convolution)
        if self.class_token is not None:
            places["class_token"] = (self.class_token, ALL)
        return places | stack_places(self.stack) | whole("head", self.head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for convolution in self.stem:
            images = convolution(images).relu()
        x = self.patches(images).flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, h w, C)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)
        x = self.stack(x + self.positions)
        if self.config.pool == "concat":
            return self.head(x.flatten(1))
        return self.head(x[:, 0] if self.class_token is not None else x.mean(1))


class RotaryAttention(nn.MultiheadAttention):
    """PyTorch's layer with rotated queries and keys."""

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        attn_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        layers = zip((query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (nn.functional.linear(*one).unflatten(-1, (self.num_heads, -1)) for one in layers)  # (B, T, H, D)
        q, k = (rope(one, torch.arange(one.shape[1])).transpose(1, 2) for one in (q, k))  # (B, H, T, D)
        added = torch.zeros(len(query), 1, query.shape[1], key.shape[1]).double()
        for hidden in (attn_mask, None if key_padding_mask is None else key_padding_mask[:, None, None]):
            if hidden is not None:  # true, or minus infinity, where a query may not look
                added = added.masked_fill(hidden if hidden.dtype is torch.bool else hidden < 0, -torch.inf)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v.transpose(1, 2), attn_mask=added)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


class TorchSeq2Seq(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        C, L = config.n_embd, config.n_layer
        self.source = nn.Embedding(config.vocab_size, C)
        self.target = self.source if config.share_embeddings else nn.Embedding(config.n_targets, C)
        self.body = nn.Transformer(
            C, config.n_head, L, L, 4 * C, 0.0, "gelu", encoder_stack(config), batch_first=True, norm_first=True
        )
        if config.positions == "rotary":
            for layer in self.body.modules():
                if isinstance(layer, nn.MultiheadAttention):
                    layer.__class__ = RotaryAttention
        self.head = nn.Linear(C, config.n_targets, bias=False)
        if config.tie_weights:
            self.head.weight = self.target.weight
        self.query, self.gate = (nn.Linear(C, n) for n in (C, 1)) if config.pointer else (None, None)

    def places(self) -> Places:
        config = self.config
        places = whole("source_emb", self.source)
        if not config.share_embeddings:
            places |= whole("target_emb", self.target)
        if not config.tie_weights:
            places |= whole("head", self.head)
        if config.pointer:
            places |= whole("pointer.query", self.query) | whole("pointer.gate", self.gate)
        for name in ("encoder", "decoder"):
            stack = getattr(self.body, name)
            places |= whole(f"{name}_norm", stack.norm)
            for i, layer in enumerate(stack.layers):
                places |= block_places(f"{name}.{i}", layer)
        return places

    def embed(self, table: nn.Embedding, tokens: torch.Tensor) -> torch.Tensor:
        C, T = self.config.n_embd, tokens.shape[1]
        if self.config.positions == "rotary":
            return table(tokens) * math.sqrt(C)
        angle = torch.arange(T)[:, None].double() / 10000 ** (torch.arange(0, C, 2).double() / C)
        waves = torch.zeros(T, C, dtype=torch.float64)
        waves[:, 0::2], waves[:, 1::2] = angle.sin(), angle.cos()
        return table(tokens) * math.sqrt(C) + waves

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        padding, T = source == self.config.pad_idx, target.shape[1]
        memory = self.body.encoder(self.embed(self.source, source), src_key_padding_mask=padding)
        x = self.body.decoder(
            self.embed(self.target, target),
            memory,
            tgt_mask=torch.ones(T, T, dtype=torch.bool).triu(1),
            tgt_key_padding_mask=target == self.config.pad_idx,
            memory_key_padding_mask=padding,
        )
        return self.head(x) if self.query is None else self.copied(self.head(x), x, memory, source, padding)

    def copied(self, logits: Any, x: Any, memory: Any, source: Any, padding: Any) -> torch.Tensor:
        """The logarithms of the probabilities of a pointer-generator."""
        scores = self.query(x) @ memory.mT / math.sqrt(x.shape[-1])
        places = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
        copies = torch.zeros_like(logits).scatter_add(-1, source[:, None].expand_as(places), places)
        g = torch.sigmoid(self.gate(x))
        return torch.log(g * logits.softmax(-1) + (1 - g) * copies)


class TorchLlamaBlock(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        C, D, hidden = config.n_embd, config.n_embd // config.n_head, config.hidden
        self.kv_heads = config.n_kv_head or config.n_head
        self.norm1, self.norm2 = nn.RMSNorm(C, config.eps), nn.RMSNorm(C, config.eps)
        self.qkv = nn.Linear(C, (config.n_head + 2 * self.kv_heads) * D, bias=False)
        self.q_norm, self.k_norm = (nn.RMSNorm(D, config.eps) if config.qk_norm else nn.Identity() for _ in range(2))
        self.out = nn.Linear(C, C, bias=False)
        self.gate, self.up = nn.Linear(C, hidden, bias=False), nn.Linear(C, hidden, bias=False)
        self.down = nn.Linear(hidden, C, bias=False)

    def places(self, prefix: str) -> Places:
        homes = {"attention": ("qkv", "q_norm", "k_norm", "out"), "feed_forward": ("gate", "up", "down")}
        places = whole(f"{prefix}.norm1", self.norm1) | whole(f"{prefix}.norm2", self.norm2)
        for home, names in homes.items():
            for name in names:
                places |= whole(f"{prefix}.{home}.{name}", getattr(self, name))
        return places

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        """Rotary positions as products of complex numbers: elements i and i + D/2 are one number."""
        T, D = x.shape[1], x.shape[3]
        frequency = self.config.rope_base ** (-torch.arange(0, D, 2).double() / D)
        angle = torch.arange(T).double()[:, None] / self.config.rope_scaling * frequency  # (T, D/2)
        turned = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat([turned.real, turned.imag], dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (B, T, C), H, G = x.shape, self.config.n_head, self.kv_heads
        q, k, v = self.qkv(self.norm1(x)).view(B, T, -1, C // H).split([H, G, G], dim=2)
        q, k = self.rotate(self.q_norm(q)), self.rotate(self.k_norm(k))
        distance = torch.arange(T)[:, None] - torch.arange(T)
        allowed = (distance >= 0) & (distance < (self.config.window or T))
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=allowed, enable_gqa=True
        )
        x = x + self.out(mixed.transpose(1, 2).reshape(B, T, C))
        normed = self.norm2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class TorchLlama(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(TorchLlamaBlock(config) for _ in range(config.n_layer))
        self.norm = nn.RMSNorm(config.n_embd, config.eps)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_weights:
            self.head.weight = self.tokens.weight

    def places(self) -> Places:
        places = whole("tok_emb", self.tokens) | whole("norm", self.norm)
        if not self.config.tie_weights:
            places |= whole("head", self.head)
        for i, block in enumerate(self.blocks):
            places |= block.places(f"blocks.{i}")
        return places

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

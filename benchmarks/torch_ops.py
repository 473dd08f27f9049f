"""PyTorch's counterparts of operations, for the kernel benchmark.

Each takes ``torch.nn.functional`` and the tensors of the operation's arguments, and gives the same outputs.
"""

from __future__ import annotations

import functools
from typing import Any

from minitrain.optim.rules.muon import COEFFICIENTS

Tensor = Any  # PyTorch is imported by the program that runs it, and by nobody else

WINDOW = 32
"""keys that a query sees"""


def attention(F: Any, q: Tensor, k: Tensor, v: Tensor, _: None) -> Tensor:
    """Causal attention; q, k and v are (B, T, H, D)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def attention_in_window(F: Any, q: Tensor, k: Tensor, v: Tensor, _: None) -> Tensor:
    """Causal attention to the latest ``WINDOW`` keys."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
    T = q.shape[2]
    band = q.new_ones(T, T).tril().triu(1 - WINDOW).bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=band).transpose(1, 2)


def cross_entropy(F: Any, logits: Tensor, targets: Tensor, _: None) -> Tensor:
    """Summed cross-entropy of logits (B, T, V)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten().long(), reduction="sum")


def linear(F: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map."""
    return F.linear(x, weight, bias)


def layer_norm(F: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A layer norm."""
    return F.layer_norm(x, weight.shape, weight, bias)


def residual_layer_norm(F: Any, x: Tensor, branch: Tensor, *norm: Tensor | None) -> tuple[Tensor, Tensor]:
    """The sum, and its layer norm."""
    total = x + branch
    return total, F.layer_norm(total, total.shape[-1:], *norm)


def rms_norm(F: Any, x: Tensor, weight: Tensor) -> Tensor:
    """A root-mean-square norm."""
    return F.rms_norm(x, weight.shape, weight, 1e-5)


def residual_rms_norm(F: Any, x: Tensor, branch: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, and its root-mean-square norm."""
    total = x + branch
    return total, rms_norm(F, total, weight)


@functools.cache
def _turns(T: int, D: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, 1, D): a model computes them once for all its layers."""
    import torch

    angle = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, D, 2) / D))  # (T, D/2)
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    return angle.cos(), angle.sin()


def rope(F: Any, x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions 0, 1, ... of x (B, T, H, D)."""
    import torch

    first, second = x.chunk(2, dim=-1)
    cos, sin = _turns(len(positions), x.shape[-1])
    return x * cos + torch.cat([-second, first], dim=-1) * sin


ADAMW: dict[str, Any] = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}


def adamw(F: Any, weight: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor) -> None:
    """One update by the fused AdamW."""
    import torch
    from torch.optim.adamw import adamw

    options = {**ADAMW, "fused": True, "amsgrad": False, "maximize": False}
    steps = [torch.tensor(9.0)]  # the call counts it up to 10
    adamw([weight], [grad], [exp_avg], [exp_avg_sq], [], steps, **options)


MUON: dict[str, Any] = {"lr": 1e-2, "momentum": 0.95, "nesterov": True, "ns_steps": 5, "eps": 1e-7, "weight_decay": 0.1}


def muon(F: Any, weight: Tensor, grad: Tensor, buffer: Tensor) -> None:
    """One update by PyTorch's Muon, whose products are in bfloat16."""
    from torch.optim._muon import muon

    options = {**MUON, "ns_coefficients": COEFFICIENTS, "adjust_lr_fn": "original", "has_complex": False}
    muon([weight], [grad], [buffer], foreach=False, **options)

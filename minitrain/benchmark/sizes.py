"""The model sizes that benchmarks train, and the arithmetic of one training step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

LEARNING_RATE = 1e-3
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Size:
    """One model and its batch: no biases, no dropout, float32; GPT with tied embeddings, Llama with a head of its own.

    Attributes:
        n_layer: transformer blocks.
        n_head: attention heads.
        n_embd: model width C.
        block_size: sequence length T.
        batch_size: sequences per step, B.
        vocab_size: tokens in the vocabulary, V.
        steps: training steps that a program runs in one turn.
        rounds: turns of every program.
        family: ``gpt``, or ``llama`` for RMS norms, rotary positions, SwiGLU and grouped queries.
        n_kv_head: key and value heads of a Llama.
    """

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    vocab_size: int
    steps: int
    rounds: int
    family: str = "gpt"
    n_kv_head: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens per step."""
        return self.batch_size * self.block_size

    def model(self) -> dict[str, Any]:
        """The keyword arguments that the model's config shares with the PyTorch peer."""
        names = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
        grouped = {"n_kv_head": self.n_kv_head} if self.family == "llama" else {}
        return {name: getattr(self, name) for name in names} | grouped

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer."""
        return 4 * self.n_embd if self.family == "gpt" else math.ceil(8 * self.n_embd / 3 / 32) * 32

    @property
    def block_weights(self) -> int:
        """Weights of the matrices of one block."""
        queries, gates = self.n_embd, 1 if self.family == "gpt" else 2
        keys = self.n_embd * (self.n_kv_head or self.n_head) // self.n_head
        return self.n_embd * (2 * queries + 2 * keys + (1 + gates) * self.hidden)


SIZES = {
    "char": Size(4, 4, 128, 64, 12, 65, steps=20, rounds=15),
    "baby": Size(6, 6, 384, 256, 16, 65, steps=3, rounds=7),
    "gpt2": Size(12, 12, 768, 64, 4, 50257, steps=2, rounds=9),
    "llama": Size(6, 6, 384, 256, 16, 65, steps=3, rounds=7, family="llama", n_kv_head=2),
}

FLOPS_FORMULA = (
    "6 * (L * weights of a block's matrices + V*C) * B*T for the matrix products of the blocks and the head (per "
    "weight and token 2 forward, 4 backward; the block of a GPT has 12*C^2), plus 12*C * L * B * T*(T+1)/2 for causal "
    "attention (per pair of positions 4*C forward, 8*C backward); look-ups, norms, activations, optimizer and "
    "recomputation count as nothing"
)


class Flops(NamedTuple):
    """Useful floating-point operations of one training step."""

    products: int
    attention: int

    @property
    def total(self) -> int:
        """Both parts together."""
        return self.products + self.attention


def step_flops(size: Size) -> Flops:
    """Useful work of one training step, by ``FLOPS_FORMULA``.

    The embedding table counts once, as the head's matrix; the look-up needs no arithmetic.
    """
    c, t = size.n_embd, size.block_size
    weights = size.n_layer * size.block_weights + size.vocab_size * c
    pairs = t * (t + 1) // 2
    return Flops(6 * weights * size.tokens, 12 * c * size.n_layer * size.batch_size * pairs)

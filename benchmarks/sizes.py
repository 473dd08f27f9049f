"""The model sizes that benchmarks train, and the arithmetic that one training step of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

LEARNING_RATE = 1e-3
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Size:
    """One GPT and its batch: no biases, no dropout, tied embeddings, float32.

    Attributes:
        n_layer: transformer blocks.
        n_head: attention heads.
        n_embd: model width C.
        block_size: sequence length T.
        batch_size: sequences a step, B.
        vocab_size: tokens in the vocabulary, V.
        steps: training steps a program runs in one turn.
        rounds: turns of every program.
    """

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    vocab_size: int
    steps: int
    rounds: int

    @property
    def tokens(self) -> int:
        """Tokens a step."""
        return self.batch_size * self.block_size

    def model(self) -> dict[str, Any]:
        """The keyword arguments that ``GPTConfig`` and the PyTorch peer have in common."""
        names = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
        return {name: getattr(self, name) for name in names}


SIZES = {
    "char": Size(4, 4, 128, 64, 12, 65, steps=20, rounds=15),
    "baby": Size(6, 6, 384, 256, 16, 65, steps=3, rounds=11),
    "gpt2": Size(12, 12, 768, 64, 4, 50257, steps=2, rounds=9),
}

FLOPS_FORMULA = (
    "6 * (12*L*C^2 + V*C) * B*T for the matrix products of the blocks and the head (per weight and token "
    "2 forward, 4 backward), plus 12*C * L * B * T*(T+1)/2 for causal attention (per pair of positions "
    "4*C forward, 8*C backward); look-ups, norms, activations, optimizer and recomputation count as nothing"
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

    The embedding table counts once, as the head's matrix; as a look-up it needs no arithmetic.
    """
    c, t = size.n_embd, size.block_size
    weights = 12 * size.n_layer * c * c + size.vocab_size * c
    pairs = t * (t + 1) // 2
    return Flops(6 * weights * size.tokens, 12 * c * size.n_layer * size.batch_size * pairs)

"""The models that are trained and decoded, and the small shapes that stand in for them where no card is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from minitrain.benchmark.sizes import Size, step_flops


class Workload(NamedTuple):
    """A training to measure.

    Attributes:
        size: of the model and its batch; ``steps`` and ``rounds`` of every program.
        bias: whether the layers of a GPT have biases.
        rivals: kinds of PyTorch programs, see ``programs.Kind``.
        ours: the same of minitrain.
    """

    size: Size
    bias: bool
    ours: tuple[str, ...]
    rivals: tuple[str, ...]

    def model(self) -> dict[str, Any]:
        """Keyword arguments of the model on both sides."""
        options = self.size.model()
        return options | ({"bias": self.bias} if self.size.family == "gpt" else {"tie_weights": False})

    @property
    def flops_of_a_step(self) -> int:
        """By ``FLOPS_FORMULA``."""
        return step_flops(self.size).total


VOCABULARY = 50304
"""GPT-2's 50,257 tokens, filled up to a multiple of 128 as in llm.c and nanoGPT; on both sides."""
TRAINING = {
    "gpt2": Workload(
        Size(12, 12, 768, 1024, 64, VOCABULARY, steps=3, rounds=4),
        True,
        ("minitrain bfloat16", "minitrain float8", "minitrain cudnn bfloat16"),
        ("eager bfloat16", "compiled bfloat16"),
    ),
    "llama": Workload(
        Size(12, 12, 768, 1024, 64, 32000, steps=3, rounds=4, family="llama", n_kv_head=4),
        False,
        ("minitrain bfloat16", "minitrain float8"),
        ("eager bfloat16", "compiled bfloat16"),
    ),
    "baby": Workload(
        Size(6, 6, 384, 256, 64, 65, steps=20, rounds=5),
        False,
        ("minitrain bfloat16", "minitrain graph bfloat16"),
        ("eager bfloat16", "compiled bfloat16"),
    ),
    "char": Workload(
        Size(4, 4, 128, 64, 12, 65, steps=100, rounds=7),
        False,
        ("minitrain graph float32", "minitrain float32"),
        ("eager float32", "compiled float32", "graph float32"),
    ),
}
TINY = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "block_size": 8,
    "batch_size": 2,
    "vocab_size": 65,
    "steps": 1,
    "rounds": 2,
}


def training(name: str, emulated: bool) -> Workload:
    """A workload, tiny without a card."""
    found = TRAINING[name]
    if not emulated:
        return found
    grouped = {"n_kv_head": 1} if found.size.family == "llama" else {}
    return found._replace(size=replace(found.size, **TINY, **grouped))


LOSSES = Workload(
    Size(12, 12, 768, 64, 4, VOCABULARY, steps=200, rounds=1), True, ("minitrain bfloat16",), ("eager bfloat16",)
)
"""GPT-2 124M on 256 tokens a step, so that the CPU's reference takes minutes and not hours."""


def losses(emulated: bool) -> Workload:
    """The workload of the losses, tiny without a card."""
    return LOSSES._replace(size=replace(LOSSES.size, **TINY | {"steps": 6})) if emulated else LOSSES


class Decoding(NamedTuple):
    """A decoder to measure; settings of ``LlamaConfig``."""

    model: dict[str, Any]
    batches: tuple[int, ...]
    prompt: int
    new: int


SMOL = Decoding(
    {
        "vocab_size": 49152, "block_size": 512, "n_layer": 30, "n_head": 9, "n_kv_head": 3, "n_embd": 576,
        "n_hidden": 1536, "tie_weights": True,
    },
    (1, 64), 16, 128,
)  # fmt: skip
"""SmolLM2-135M's shape with random weights."""


def decoding(emulated: bool) -> Decoding:
    """The decoder, tiny without a card."""
    if not emulated:
        return SMOL
    tiny = {"vocab_size": 65, "block_size": 32, "n_layer": 1, "n_head": 2, "n_kv_head": 1, "n_embd": 16, "n_hidden": 32}
    return Decoding({**SMOL.model, **tiny}, (1, 2), 3, 4)

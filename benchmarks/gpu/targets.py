"""The aims of the report, from the issue of the GPU backend, and the predictions of the cost model."""

from __future__ import annotations

from typing import Any

from minitrain.profiling.gpu import CARDS, Card, Shape, decoding_step, predict, training_step

from .shapes import SMOL, TRAINING

REACH = {
    "gpt2": "350,000 tokens/s; 1.0x eager with flash attention; memory 1.0x PyTorch's",
    "char": "1.5x PyTorch compiled with CUDA graphs",
    "decoding": "1.5x compiled transformers",
    "losses": "within 0.5 %",
}
STRETCH = {
    "gpt2": "468,000 tokens/s (llm.c); 1.0x compiled; memory 0.85x",
    "char": "3x",
    "decoding": "80 % of bandwidth",
}


def card_of(name: str) -> Card | None:
    """The card whose key is in a device's name; ``None`` if its limits are not known."""
    return next((card for key, card in CARDS.items() if key in name), None)


def predicted_step(shape: str, card: Card, precision: str, *, graph: bool) -> float | None:
    """Seconds of a training step by the cost model; it knows GPTs alone."""
    size = TRAINING[shape].size
    if size.family != "gpt" or (precision == "float8" and not card.float8):
        return None
    model = Shape(size.n_layer, size.n_embd, size.vocab_size, size.block_size)
    kernels = training_step(model, size.batch_size, half=precision != "float32", float8=precision == "float8")
    return predict(kernels, card, precision, graph=graph).seconds


def predicted_token(card: Card, batch: int, *, graph: bool) -> float:
    """Seconds of one decoding step by the cost model, for a GPT of the same width and depth."""
    m: dict[str, Any] = SMOL.model
    shape = Shape(m["n_layer"], m["n_embd"], m["vocab_size"], m["block_size"])
    return predict(decoding_step(shape, batch, SMOL.prompt + SMOL.new // 2), card, "float32", graph=graph).seconds

"""Small decoders of all kinds with random weights, and sequences of what is done to their sessions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from minitrain.models.common.decoder import Decoder

VOCABULARY = 23


@st.composite
def decoders(draw: Any, block_sizes: tuple[int, ...] = (24, 150, 700)) -> Decoder:
    """A GPT or Llama whose logits differ from token to token."""
    heads = draw(st.sampled_from([1, 2, 4]))
    shared: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "block_size": draw(st.sampled_from(block_sizes)),
        "positions": draw(st.sampled_from(["learned", "sinusoidal", "rotary", "alibi"])),
        "n_layer": draw(st.integers(1, 3)),
        "n_head": heads,
        "n_kv_head": draw(st.sampled_from([n for n in (1, 2, 4) if heads % n == 0])),
        "n_embd": heads * draw(st.sampled_from([8, 16, 20, 64])),
        "tie_weights": draw(st.booleans()),
    }
    if draw(st.booleans()):
        gelu = draw(st.sampled_from(["exact", "tanh"]))
        model: Decoder = GPT(GPTConfig(**shared, bias=draw(st.booleans()), gelu=gelu))
    else:
        window = draw(st.none() | st.integers(1, 200))
        model = Llama(LlamaConfig(**shared, window=window, qk_norm=draw(st.booleans())))
    randomize(model, draw(st.integers(0, 1000)))
    return model


def randomize(model: Any, seed: int) -> None:
    """Weights large enough that every layer matters, biases and norms among them."""
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        spread = 0.5 if parameter.data.ndim == 1 else 1.5 / np.sqrt(parameter.data.shape[-1])
        parameter.data[...] = spread * rng.standard_normal(parameter.data.shape) + (parameter.data.ndim == 1)

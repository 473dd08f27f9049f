"""A model's cache holds its blocks in lists that the backward pops, so activations are freed on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.backend.pool import POOL
from minitrain.models import (
    GPT,
    Encoder,
    EncoderConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    Seq2Seq,
    Seq2SeqConfig,
    ViT,
    ViTConfig,
)
from minitrain.nn import DecoderBlock, TransformerBlock
from tests.helpers.model_checks import KEY
from tests.helpers.model_zoo import Labelled, Pairs, Tokens

pytestmark = pytest.mark.usefixtures("compiled_kernels")  # reference code keeps more
B, T, V, C, LAYERS = 4, 64, 65, 128, 6
SHAPE: dict[str, Any] = {"n_layer": LAYERS, "n_head": 4, "n_embd": C, "dropout": 0.1}
rng = np.random.default_rng(0)


def ids(*shape: int) -> Any:
    return rng.integers(1, V, shape).astype(np.int32)


MODELS = {
    "gpt": (GPT(GPTConfig(V, T, **SHAPE)), Tokens(ids(B, T), ids(B, T))),
    "llama": (Llama(LlamaConfig(V, T, **SHAPE)), Tokens(ids(B, T), ids(B, T))),
    "encoder": (Encoder(EncoderConfig(V, 9, T, **SHAPE)), Labelled(ids(B, T), ids(B) % 9)),
    "vit": (
        ViT(ViTConfig(32, 4, 9, **SHAPE)),
        Labelled(rng.standard_normal((B, 3, 32, 32)).astype(np.float32), ids(B) % 9),
    ),
    "seq2seq": (Seq2Seq(Seq2SeqConfig(V, block_size=T, **SHAPE)), Pairs(ids(B, T), ids(B, T + 1))),
}
models = pytest.mark.parametrize(("model", "batch"), MODELS.values(), ids=MODELS)


class Memory(NamedTuple):
    """Bytes of the pool, above those in use before."""

    held: int  # after the forward
    peak: int  # during the backward
    left: int  # after the backward, while the cache is still alive


def step(model: Any, batch: Any) -> Memory:
    """Forward and backward, after one that made the gradients' memory."""
    for _ in range(2):
        model.zero_grad()
        before = POOL.in_use
        _, cache = model.loss(batch, key=KEY)
        held = POOL.in_use - before
        POOL.reset_peak()
        model.loss_backward(cache)
        memory = Memory(held, POOL.peak - before, POOL.in_use - before)
        del cache
    return memory


@models
def test_the_backward_frees_activations_on_the_way(model: Any, batch: Any) -> None:
    """Its peak is what the forward held and the wide gradients of one block; nothing but the logits is left."""
    memory = step(model, batch)
    wide = B * (T + 1) * 4 * C * 4  # bytes of a feed-forward layer's width, for a ViT with its class token
    assert memory.held > 4 * LAYERS * wide / 3
    assert memory.peak < memory.held + 4 * wide
    assert memory.left <= B * T * V * 4 * 1.2


@models
def test_each_block_is_freed_before_the_next_one_begins(model: Any, batch: Any) -> None:
    """What is in use falls from block to block, down to a small part of what the forward held."""
    used: list[int] = []
    blocks = [block for block in model.modules() if isinstance(block, TransformerBlock | DecoderBlock)]
    blocks = blocks or list(model.blocks)
    before = POOL.in_use
    for block in blocks:
        backward = block.backward

        def watched(*args: Any, _backward: Any = backward, **options: Any) -> Any:
            used.append(POOL.in_use - before)
            return _backward(*args, **options)

        block.backward = watched
    try:
        held = step(model, batch).held
    finally:
        for block in blocks:
            del block.backward
    falling = used[len(used) // 2 :]  # of the second step
    assert len(falling) == len(blocks)
    assert all(later < earlier for earlier, later in pairwise(falling))
    assert falling[-1] < 0.35 * held


def test_a_decoders_block_keeps_what_a_gpt_block_keeps_and_its_cross_attention() -> None:
    """The norm's output that the feed-forward layer reads is not among it."""
    x, memory = (rng.standard_normal((B, T, C)).astype(np.float32) for _ in range(2))

    def held(block: Any, *inputs: Any) -> float:
        block.forward(*inputs)
        before = POOL.in_use
        _out, _cache = block.forward(*inputs)
        return (POOL.in_use - before) / x.nbytes  # in arrays (B, T, C)

    plain = held(TransformerBlock(C, 4, np.random.default_rng(0)), x)
    decoder = held(DecoderBlock(C, 4, np.random.default_rng(0)), x, memory)
    # norm's output, queries, keys and values, what is mixed, and the stream after it; a little for statistics.
    assert decoder - plain < 6 + 0.5

"""The attention weights of a head over a text, for the page.

The model's forward keeps no weights, only the queries and keys. The weights of one head are computed from those again.
"""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array, to_device, to_numpy
from ..errors import ConfigError
from ..generation.sessions.session import Tokens
from ..inside.layers import attention_weights as weights_of
from ..models.common.decoder import Decoder
from ..ops.attention.attention import AttentionCache


def heads_of(model: Any) -> tuple[int, int]:
    """The numbers of layers and of heads in each; zeros for a model whose attention cannot be shown."""
    if not isinstance(model, Decoder):
        return 0, 0
    heads = {getattr(getattr(block, "attention", None), "heads", 0) for block in model.blocks}
    return (len(model.blocks), heads.pop()) if len(heads) == 1 and 0 not in heads else (0, 0)


def attention_weights(model: Any, tokens: Tokens, layer: int, head: int, *, device: str = "cpu") -> Array:
    """The attention weights of one head: row ``t`` says how much position ``t`` takes from each position.

    Args:
        model: a decoder; runs without dropout.
        tokens: (T,) token ids, T at most the model's ``block_size``.
        layer: number of the block, from 0.
        head: number of the query head, from 0.
        device: the model's device.

    Returns:
        (T, T) float32 on the CPU; rows sum to 1, and what a position may not see has weight 0.

    Raises:
        ConfigError: if there is no such layer or head, or the model's attention cannot be shown.
        ShapeError: if the text is too long.
        TokenError: if a token is outside the vocabulary.
    """
    layers, heads = heads_of(model)
    if not 0 <= layer < layers or not 0 <= head < heads:
        raise ConfigError(f"there is no head {head} in layer {layer}: the model has {layers} layers of {heads} heads")
    _, cache = model.forward_hidden(to_device(tokens[None], device))  # keeps each layer's queries and keys
    kept: AttentionCache = cache.blocks[layer].attention.attention
    group = heads // kept.k.shape[2]  # query heads that share a key head
    q, k = kept.q[:, :, head : head + 1], kept.k[:, :, head // group : head // group + 1]  # (1, T, 1, D)
    slopes = None if kept.alibi_slopes is None else kept.alibi_slopes[head : head + 1]
    weights = weights_of(kept._replace(q=q, k=k, alibi_slopes=slopes))  # (1, 1, T, T)
    return to_numpy(weights)[0, 0]  # type: ignore[no-any-return]

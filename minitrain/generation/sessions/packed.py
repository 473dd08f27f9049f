"""A decoder's weights in the form that the kernels of generation read; see ``kernels/cpu/generation/_layout.py``.

The weights are copied: a `PackedDecoder` has those of the time when it was made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...backend.kernels_mode import kernels_enabled
from ...backend.pool import ALIGNMENT
from ...backend.precision import current_precision, half_dtype
from ...models.common.decoder import Decoder
from ...nn.attention.heads import Rope, prepare
from ...nn.attention.positions import LearnedPositions, SinusoidalPositions
from ...nn.attention.self_attention import MultiHeadAttention
from ...nn.blocks.block import PreNormBlock, TransformerBlock
from ...nn.core.module import Module
from ...nn.layers.feed_forward import FeedForward
from ...nn.layers.gated_feed_forward import GatedFeedForward
from ...nn.layers.layer_norm import LayerNorm
from ...nn.layers.linear import Linear
from ...nn.layers.rms_norm import RMSNorm
from .weights import check_weights, quantize, rounded

PANEL_TYPES: dict[str, Any] = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
WIDEST_HEAD = 256
"""The kernels sum over a head's elements in one piece, up to a product's DEPTH."""


class PackedDecoder:
    """The weights of a decoder, packed.

    Args:
        model: a decoder for which `why_not` finds nothing.
        weights: ``"float32"``, ``"bfloat16"`` or ``"int8"``, see `minitrain.generation.sessions.weights`.

    Attributes:
        panels: (n,) all matrices: float32, bits of bfloat16 (uint16) or int8.
        vectors: (n,) all biases and norms.
        table: (layers + 1, 21) where they begin.
        embedding: (V, C) the table of tokens.
        places: (block_size, C) vectors of the positions, or no rows.
        cos: (block_size, D / 2) cosines of rotary positions, or no rows.
        sin: likewise.
        slopes: (H,) of ALiBi, or empty.
        eps: (3,) of the blocks' norms, of those of queries and keys, and of the final norm.
    """

    def __init__(self, model: Decoder, weights: str = "float32") -> None:
        from ...kernels.cpu.generation._layout import ABSENT, Entry

        check_weights(weights)
        self.weights = weights
        config, block = model.config, model.blocks[0]
        attention, feed_forward = block.attention, block.feed_forward
        self.heads, self.kv_heads, self.head_width = attention.heads, attention.kv_heads, attention.head_width
        self.layers, self.width, self.vocabulary = len(model.blocks), config.n_embd, config.vocab_size
        self.window, self.longest = attention.window, config.block_size
        gated = isinstance(feed_forward, GatedFeedForward)
        self.hidden = feed_forward.up.out_features
        self.tanh = not gated and feed_forward.approximate == "tanh"
        self.rms = isinstance(block.norm1, RMSNorm)
        head_eps = 0.0 if attention.q_norm is None else attention.q_norm.eps
        self.eps = np.array([block.norm1.eps, head_eps, model.norm.eps], np.float32)
        table = model.tok_emb.weight
        self.embedding = (rounded(table.data, weights) if table is model.head.weight else table.data).copy()
        self.places = _places(model.pos_emb, self.longest, self.width)
        self.cos, self.sin = _angles(attention.rope, self.longest, self.head_width)
        self.slopes = np.asarray([] if attention.alibi_slopes is None else attention.alibi_slopes, np.float32)

        self.table = np.full((self.layers + 1, len(Entry)), ABSENT, np.int64)
        matrices, vectors = _Pile(PANEL_TYPES[weights]), _Pile(np.float32)
        for entry, block in zip(self.table, model.blocks, strict=False):
            _put_norm(entry, Entry.NORM1, vectors, block.norm1)
            _put_linear(entry, Entry.QKV, matrices, vectors, block.attention.qkv)
            for column, norm in ((Entry.Q_NORM, block.attention.q_norm), (Entry.K_NORM, block.attention.k_norm)):
                if norm is not None:
                    entry[column] = vectors.put(norm.weight.data)
            _put_linear(entry, Entry.OUT, matrices, vectors, block.attention.out)
            _put_norm(entry, Entry.NORM2, vectors, block.norm2)
            layer = block.feed_forward
            _put_linear(entry, Entry.ACTIVATED, matrices, vectors, layer.gate if gated else layer.up)
            if gated:
                _put_linear(entry, Entry.UP, matrices, vectors, layer.up)
            _put_linear(entry, Entry.DOWN, matrices, vectors, layer.down)
        _put_norm(self.table[-1], Entry.NORM1, vectors, model.norm)
        _put_linear(self.table[-1], Entry.QKV, matrices, vectors, model.head)
        self.panels, self.vectors = matrices.array(), vectors.array()


def why_not(model: Any, device: str = "cpu") -> str | None:
    """Why the kernels of generation cannot run a model, in a few words; ``None`` if they can."""
    if device != "cpu" or not kernels_enabled() or current_precision() != "float32":
        return "they run on the CPU in float32, where kernels are on"
    if not isinstance(model, Decoder) or any(p.data.dtype != np.float32 for p in model.parameters()):
        return "they run decoders with float32 weights"
    if any("forward" in vars(layer) for layer in model.modules()):
        return "somebody looks inside the model, and they do not call its layers"
    from ...backend.cpu.products.blas import blas

    product = blas()
    if product is None or product.product.name != "own":
        return "they take the project's own matrix product, which is not in use"
    plain = (Linear, LayerNorm, RMSNorm, MultiHeadAttention, FeedForward, GatedFeedForward)
    for block in model.blocks:
        if type(block) not in (PreNormBlock, TransformerBlock) or not _only(block, plain):
            return f"they do not know the layers of {type(block).__name__}"
        attention = block.attention
        if attention.softcap is not None or not attention.causal or attention.head_width > WIDEST_HEAD:
            return "they do not know a cap of the scores, attention to later positions, or heads wider than 256"
        if getattr(block.feed_forward, "activation", "swiglu") != "swiglu":
            return "they know GELU and SwiGLU"
    return None if type(model.head) is Linear and model.head.bias is None else "they do not know this head"


def _only(module: Module, known: tuple[type, ...]) -> bool:
    """Whether all layers inside a block are exactly of known types: an adapter, for one, is not."""
    return all(type(part) in known for part in module.modules() if part is not module)


class _Pile:
    """Arrays of a type, one after the other."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._arrays: list[Array] = []
        self._size = 0

    def put(self, array: Array) -> int:
        """Add an array; returns where it begins."""
        begin = self._size
        self._arrays.append(array.ravel())
        self._size += array.size
        return begin

    def array(self) -> Array:
        """All of them in one array, which begins at a cache line."""
        memory = np.empty(self._size + ALIGNMENT // self.dtype.itemsize, self.dtype)
        start = (-memory.ctypes.data % ALIGNMENT) // self.dtype.itemsize
        out = memory[start : start + self._size]
        np.concatenate(self._arrays, out=out)
        return out


def _put_norm(entry: Array, column: int, vectors: _Pile, norm: Any) -> None:
    """Put a norm's weight, and its bias if there is one."""
    entry[column] = vectors.put(norm.weight.data)
    if getattr(norm, "bias", None) is not None:
        entry[column + 1] = vectors.put(norm.bias.data)


def _put_linear(entry: Array, column: int, matrices: _Pile, vectors: _Pile, linear: Linear) -> None:
    """Put a layer's matrix, and its bias and scales if there are any, as long as the panels are wide."""
    from ...kernels.cpu.generation._layout import Entry, whole_strips
    from ...kernels.cpu.generation._panels import to_panels

    weight = linear.weight.data
    padding = (0, whole_strips(len(weight)) - len(weight))
    if matrices.dtype == np.int8:
        numbers, scale = quantize(weight)
        entry[Entry[f"{Entry(column).name}_SCALE"]] = vectors.put(np.pad(scale, padding))
        panels = to_panels(numbers.astype(np.float32)).astype(np.int8)
    else:
        panels = to_panels(weight)
        if matrices.dtype == np.uint16:
            panels = panels.astype(half_dtype("bfloat16")).view(np.uint16)
    entry[column] = matrices.put(panels)
    if linear.bias is not None:
        entry[column + 1] = vectors.put(np.pad(linear.bias.data, padding))


def _places(positions: Any, longest: int, width: int) -> Array:
    """The vectors (longest, C) that the layer of positions adds; no rows if there is none."""
    if isinstance(positions, LearnedPositions):
        return positions.weight.data.copy()
    if isinstance(positions, SinusoidalPositions):
        (places,), _ = positions.forward(np.zeros((1, longest, width), np.float32))
        return places  # type: ignore[no-any-return]
    return np.empty((0, width), np.float32)


def _angles(rope: Rope | None, longest: int, head_width: int) -> tuple[Array, Array]:
    """Cosines and sines (longest, D / 2) of rotary positions; no rows if there are none."""
    if rope is None:
        return np.empty((0, head_width // 2), np.float32), np.empty((0, head_width // 2), np.float32)
    _, cache = prepare(np.zeros((1, longest, 1, head_width), np.float32), None, rope, np.arange(longest))
    return tuple(np.ascontiguousarray(table[:, 0]) for table in cache.rope)  # type: ignore  # (T, 1, D/2) -> (T, D/2)

"""Cases of attention and of positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.attention.cross_attention import CrossAttention
from ...nn.attention.heads import Rope
from ...nn.attention.positions import LearnedPositions, SinusoidalPositions
from ...nn.attention.self_attention import MultiHeadAttention
from ...nn.layers.pointer_head import PointerHead
from ...random import Key
from .. import strategies as mt
from .base import Call, Extent, case, draw_sizes, key, maybe, normal
from .layer import layer_case


def _left_to_reference(call: Call) -> bool:
    """A bias, a boolean mask, ALiBi and a soft cap are the reference's."""
    return call.inputs[3] is not None or not {"mask", "alibi_slopes", "softcap"}.isdisjoint(call.options)


@case(left_to_reference=_left_to_reference)
def attention(draw: Any, extent: Extent) -> Call:
    B, T, S, D = draw_sizes(draw, extent.batch, extent.length, extent.length, extent.width)
    if draw(st.booleans()):
        S = T
    G, group = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 3]))
    H = G * group
    inputs = normal(draw, B, T, H, D), normal(draw, B, S, G, D), normal(draw, B, S, G, D)
    options: dict[str, Any] = {"causal": draw(st.booleans())}
    if draw(st.booleans()):
        options["window"] = draw(st.sampled_from([1, 2, 3, 40, 64, 70, 1000]))
    if draw(st.booleans()):
        lengths = np.random.default_rng(draw(mt.seeds())).integers(0, S + 1, B)
        options["key_lengths"] = lengths.astype(draw(st.sampled_from([np.int64, np.int32])))
    if draw(st.booleans()):
        options.update(dropout=draw(st.sampled_from([0.2, 0.7])), key=maybe(draw, lambda: key(draw)))
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.5, 1.0]))

    def broadcasting() -> tuple[int, ...]:
        shape = [n if draw(st.booleans()) else 1 for n in (B, H, T, S)]
        return tuple(shape[draw(st.integers(0, 3)) :])

    bias = None
    if draw(st.integers(0, 3)) == 3:  # rarely: the kernel twins leave these to the reference
        bias = normal(draw, *broadcasting())
    if draw(st.integers(0, 3)) == 3:
        options["mask"] = draw(mt.masks(broadcasting(), keep_one=draw(st.booleans())))
    if draw(st.integers(0, 3)) == 3:
        options["alibi_slopes"] = abs(normal(draw, H)).astype(draw(st.sampled_from([np.float64, np.float32])))
    if draw(st.integers(0, 3)) == 3:
        options["softcap"] = draw(st.sampled_from([0.7, 2.0, 50.0]))
    return Call((*inputs, bias), options)


@case()
def pointer(draw: Any, extent: Extent) -> Call:
    B, T, S, C, V = draw_sizes(draw, extent.batch, extent.length, extent.length, extent.width, extent.width)
    V += 1  # the only token of a vocabulary is certain, and all gradients are 0
    source = draw(mt.integer_arrays((B, S), V, draw(st.sampled_from([np.int64, np.int32]))))  # often the same tokens
    options = {}
    if draw(st.booleans()):
        lengths = np.random.default_rng(draw(mt.seeds())).integers(0, S + 1, B)
        options["key_lengths"] = lengths.astype(draw(st.sampled_from([np.int64, np.int32])))
    inputs = normal(draw, B, T, V), normal(draw, B, T, C), normal(draw, B, S, C), normal(draw, B, T)
    return Call((*inputs, source), options)


@case()
def rope(draw: Any, extent: Extent) -> Call:
    B, T, pairs = draw_sizes(draw, extent.batch, extent.length, extent.width)
    x = normal(draw, B, T, draw(st.sampled_from([1, 2, 3])), 2 * pairs)
    dtype = draw(st.sampled_from([np.int64, np.int32]))
    positions = draw(mt.integer_arrays(draw(st.sampled_from([(T,), (B, T)])), 100, dtype))
    given = {"frequencies": tuple(np.linspace(0.01, 2, pairs).tolist())}
    return Call((x, positions), draw(st.sampled_from([{}, {"base": 500.0, "scaling": 3.0}, given])))


def _queries_and_memory(rng: np.random.Generator) -> tuple[Any, ...]:
    """X (B, T, C) = (2, 3, 8) and a memory (B, S, M) = (2, 5, 6)."""
    return rng.standard_normal((2, 3, 8)), rng.standard_normal((2, 5, 6))


def _nine_wide(rng: np.random.Generator) -> tuple[Any, ...]:
    """The input x (B, T, C) = (2, 4, 9) of three heads."""
    return (rng.standard_normal((2, 4, 9)),)


ALL_BUT_ONE = np.arange(4) != np.array([[0], [2]])[:, :, None, None]  # (2, 1, 1, 4): each sample may not see one key

layer_case("attention", lambda rng: MultiHeadAttention(8, 4, rng))
layer_case(
    "attention, grouped queries, padded",
    lambda rng: MultiHeadAttention(8, 4, rng, kv_heads=2, causal=False, bias=False),
    key_lengths=np.array([4, 2]),
)
layer_case("attention with dropout", lambda rng: MultiHeadAttention(8, 2, rng, dropout=0.3), key=Key.from_seed(8))
layer_case("attention, multi-query", lambda rng: MultiHeadAttention(8, 4, rng, kv_heads=1))
layer_case("attention, window", lambda rng: MultiHeadAttention(8, 2, rng, window=2))
layer_case("attention, window on both sides", lambda rng: MultiHeadAttention(8, 2, rng, causal=False, window=2))
layer_case("attention, mask", lambda rng: MultiHeadAttention(8, 2, rng, causal=False), mask=ALL_BUT_ONE)
layer_case("attention, rotary", lambda rng: MultiHeadAttention(8, 2, rng, rope=Rope(base=50.0, scaling=2.0)))
layer_case(
    "attention, rotary, positions",
    lambda rng: MultiHeadAttention(8, 2, rng, kv_heads=1, rope=Rope()),
    positions=np.array([[0, 1, 2, 3], [5, 0, 9, 1]]),
)
layer_case(
    "attention, Llama 3's rotation",
    lambda rng: MultiHeadAttention(8, 2, rng, rope=Rope(base=50.0, scaling=4.0, kind="llama3", original=30)),
)
layer_case(
    "attention, head width, biases of queries, keys and values",
    lambda rng: MultiHeadAttention(8, 2, rng, kv_heads=1, head_width=6, rope=Rope(), qk_norm=True, out_bias=False),
)
layer_case("attention, QK-norm", lambda rng: MultiHeadAttention(8, 2, rng, qk_norm=True))
layer_case(
    "attention, QK-norm, rotary, grouped queries",
    lambda rng: MultiHeadAttention(8, 4, rng, kv_heads=2, qk_norm=True, rope=Rope(), bias=False),
)
layer_case("attention, soft cap", lambda rng: MultiHeadAttention(8, 2, rng, softcap=1.5))
layer_case("attention, ALiBi", lambda rng: MultiHeadAttention(9, 3, rng, alibi=True), _nine_wide)
layer_case("cross-attention", lambda rng: CrossAttention(8, 2, rng, memory_width=6), _queries_and_memory)
layer_case(
    "cross-attention, grouped queries, padded, QK-norm",
    lambda rng: CrossAttention(8, 4, rng, kv_heads=2, memory_width=6, qk_norm=True, bias=False),
    _queries_and_memory,
    key_lengths=np.array([5, 3]),
)
layer_case(
    "cross-attention, rotary, positions of the queries",
    lambda rng: CrossAttention(8, 2, rng, memory_width=6, rope=Rope(base=50.0), qk_norm=True),
    _queries_and_memory,
    key_lengths=np.array([5, 3]),
    positions=np.array([2, 3, 4]),
)
layer_case(
    "cross-attention, mask, dropout",
    lambda rng: CrossAttention(8, 2, rng, memory_width=6, dropout=0.3),
    _queries_and_memory,
    mask=np.arange(5) != np.arange(3)[:, None],
    key=Key.from_seed(8),
)
layer_case(
    "pointer head",
    lambda rng: PointerHead(8, rng),
    lambda rng: (rng.standard_normal((2, 3, 7)), rng.standard_normal((2, 3, 8)), rng.standard_normal((2, 5, 8))),
    source=np.array([[1, 3, 1, 6, 0], [2, 2, 5, 0, 0]]),
    key_lengths=np.array([5, 3]),
)
layer_case("learned positions", lambda rng: LearnedPositions(5, 8, rng))
layer_case("learned positions, given", lambda rng: LearnedPositions(5, 8, rng), positions=np.array([3, 0, 0, 4]))
layer_case("sinusoidal positions", lambda rng: SinusoidalPositions(8))

"""Cases of attention and of positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.attention import MultiHeadAttention
from ...random import Key
from .. import strategies as mt
from .base import Call, Extent, case, draw_sizes, key, maybe, normal
from .layer import layer_case


@case(left_to_reference=lambda call: call.inputs[3] is not None or call.options.get("mask") is not None)
def attention(draw: Any, extent: Extent) -> Call:
    B, T, S, D = draw_sizes(draw, extent.batch, extent.length, extent.length, extent.width)
    if draw(st.booleans()):
        S = T
    G, group = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 3]))
    H = G * group
    inputs = normal(draw, B, T, H, D), normal(draw, B, S, G, D), normal(draw, B, S, G, D)
    options: dict[str, Any] = {"causal": draw(st.booleans())}
    if draw(st.booleans()):
        lengths = np.random.default_rng(draw(mt.seeds())).integers(0, S + 1, B)
        options["key_lengths"] = lengths.astype(draw(st.sampled_from([np.int64, np.int32])))
    if draw(st.booleans()):
        options.update(dropout=draw(st.sampled_from([0.2, 0.7])), rng=maybe(draw, lambda: key(draw)))
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.5, 1.0]))

    def broadcasting() -> tuple[int, ...]:
        shape = [n if draw(st.booleans()) else 1 for n in (B, H, T, S)]
        return tuple(shape[draw(st.integers(0, 3)) :])

    bias = None
    if draw(st.integers(0, 3)) == 3:  # rarely: the kernel twins leave these two to the reference
        bias = normal(draw, *broadcasting())
    if draw(st.integers(0, 3)) == 3:
        options["mask"] = draw(mt.masks(broadcasting(), keep_one=draw(st.booleans())))
    return Call((*inputs, bias), options)


@case()
def rope(draw: Any, extent: Extent) -> Call:
    B, T, pairs = draw_sizes(draw, extent.batch, extent.length, extent.width)
    x = normal(draw, B, T, draw(st.sampled_from([1, 2, 3])), 2 * pairs)
    dtype = draw(st.sampled_from([np.int64, np.int32]))
    positions = draw(mt.integer_arrays(draw(st.sampled_from([(T,), (B, T)])), 100, dtype))
    return Call((x, positions), draw(st.sampled_from([{}, {"base": 500.0, "scaling": 3.0}])))


layer_case("attention", lambda rng: MultiHeadAttention(8, 4, rng))
layer_case(
    "attention, grouped queries, padded",
    lambda rng: MultiHeadAttention(8, 4, rng, kv_heads=2, causal=False, bias=False),
    key_lengths=np.array([4, 2]),
)
layer_case("attention with dropout", lambda rng: MultiHeadAttention(8, 2, rng, dropout=0.3), rng=Key.from_seed(8))

"""Cases of linear layers, embeddings, dropout, stochastic depth, the residual stream and scaling."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.adapters.lora import LoRALinear
from ...nn.layers.embedding import Embedding
from ...nn.layers.linear import Linear
from ...nn.layers.temperature import Temperature
from ...random import Key
from .. import strategies as mt
from .base import SMALL, Call, Extent, away_from, case, draw_lead, key, maybe, normal
from .layer import layer_case


@case()
def linear(draw: Any, extent: Extent) -> Call:
    lead, K, N = draw_lead(draw, extent, extent.width, extent.width)
    return Call((normal(draw, *lead, K), normal(draw, N, K), maybe(draw, lambda: normal(draw, N))), {})


@case()
def gelu_linear(draw: Any, extent: Extent) -> Call:
    form = draw(st.sampled_from(["tanh", "none"]))
    return replace(linear(draw, extent), options={"approximate": form})


@case()
def float8_linear(draw: Any, extent: Extent) -> Call:
    """Under the other precisions it is a linear map; with all widths a multiple of 16 it can have 8 bits."""
    return replace(linear(draw, extent), options={"gelu": draw(st.sampled_from([None, "tanh", "none"]))})


@case()
def low_rank(draw: Any, extent: Extent) -> Call:
    lead, K, N = draw_lead(draw, extent, extent.width, extent.width)
    R = draw(st.integers(1, 3))
    return Call((normal(draw, *lead, K), normal(draw, R, K), normal(draw, N, R)), {"scale": draw(st.floats(0.1, 4))})


@case()
def embedding(draw: Any, extent: Extent) -> Call:
    lead, V, C = draw_lead(draw, extent, extent.length, extent.width)
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint16]))
    tokens = draw(mt.integer_arrays(lead, V, dtype))
    if V == 1 or draw(st.booleans()):
        return Call((tokens, normal(draw, V, C)), {})
    padding_idx = draw(st.integers(0, V - 1))
    if extent is SMALL:  # a padding row moves the output and has no gradient all the same: a difference would show it
        tokens = np.where(tokens == padding_idx, (padding_idx + 1) % V, tokens).astype(dtype)
    return Call((tokens, normal(draw, V, C)), {"padding_idx": padding_idx})


@case(left_to_reference=lambda call: call.options["key"] is None or call.options["p"] == 0)
def dropout(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width, scalar=False)
    p = draw(st.sampled_from([0.5, 0.1, 0.9, 0.0]))
    return Call((normal(draw, *lead, C),), {"p": p, "key": maybe(draw, lambda: key(draw))})


case(name="drop_path")(dropout)


@case()
def residual(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((normal(draw, *lead, C), normal(draw, *lead, C)), {})


@case()
def scale(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    limit = draw(st.sampled_from([100.0, 0.5]))
    return Call((normal(draw, *lead, C), away_from(normal(draw), math.log(limit))), {"limit": limit})


layer_case("linear", lambda rng: Linear(8, 5, rng))
layer_case("linear without bias", lambda rng: Linear(8, 5, rng, bias=False))
layer_case("linear with an adapter", lambda rng: LoRALinear(Linear(8, 5, rng), 2, 3.0, rng))
layer_case(
    "linear with an adapter and dropout",
    lambda rng: LoRALinear(Linear(8, 5, rng, bias=False), 3, 1.0, rng, dropout=0.4),
    key=Key.from_seed(8),
)
layer_case("embedding", lambda rng: Embedding(5, 3, rng), lambda rng: (np.array([[0, 4, 4], [1, 0, 4]]),))
layer_case("temperature", lambda rng: Temperature())

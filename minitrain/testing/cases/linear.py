"""Cases of linear layers, embeddings, dropout, stochastic depth and the residual stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.embedding import Embedding
from ...nn.linear import Linear
from .. import strategies as mt
from .base import Call, Extent, case, draw_lead, key, maybe, normal
from .layer import layer_case


@case()
def linear(draw: Any, extent: Extent) -> Call:
    lead, K, N = draw_lead(draw, extent, extent.width, extent.width)
    return Call((normal(draw, *lead, K), normal(draw, N, K), maybe(draw, lambda: normal(draw, N))), {})


@case()
def linear_gelu(draw: Any, extent: Extent) -> Call:
    form = draw(st.sampled_from(["tanh", "none"]))
    return replace(linear(draw, extent), options={"approximate": form})


@case()
def embedding(draw: Any, extent: Extent) -> Call:
    lead, V, C = draw_lead(draw, extent, extent.length, extent.width)
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint16]))
    return Call((draw(mt.integer_arrays(lead, V, dtype)), normal(draw, V, C)), {})


@case(left_to_reference=lambda call: call.options["rng"] is None or call.options["p"] == 0)
def dropout(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width, scalar=False)
    p = draw(st.sampled_from([0.5, 0.1, 0.9, 0.0]))
    return Call((normal(draw, *lead, C),), {"p": p, "rng": maybe(draw, lambda: key(draw))})


@case()
def drop_path(draw: Any, extent: Extent) -> Call:
    return dropout(draw, extent)


@case()
def residual(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((normal(draw, *lead, C), normal(draw, *lead, C)), {})


layer_case("linear", lambda rng: Linear(8, 5, rng))
layer_case("linear without bias", lambda rng: Linear(8, 5, rng, bias=False))
layer_case("embedding", lambda rng: Embedding(5, 3, rng), lambda rng: (np.array([[0, 4, 4], [1, 0, 4]]),))

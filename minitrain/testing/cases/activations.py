"""Cases of element-wise functions and of softmax."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from ...nn.feed_forward import FeedForward
from ...nn.gated_feed_forward import GatedFeedForward
from .base import Call, Extent, away_from_zero, case, draw_lead, normal
from .layer import layer_case


@case()
def softmax(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C),), {})


@case()
def gelu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C),), {"approximate": draw(st.sampled_from(["tanh", "none"]))})


@case()
def relu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((away_from_zero(draw, *lead, C),), {})


@case()
def silu(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def tanh(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def sigmoid(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def softplus(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def swiglu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C), normal(draw, *lead, C)), {})


@case()
def geglu(draw: Any, extent: Extent) -> Call:
    return replace(swiglu(draw, extent), options={"approximate": draw(st.sampled_from(["tanh", "none"]))})


layer_case("feed-forward", lambda rng: FeedForward(8, 7, rng))
layer_case("feed-forward, tanh, no bias", lambda rng: FeedForward(8, 7, rng, approximate="tanh", bias=False))
layer_case("gated feed-forward", lambda rng: GatedFeedForward(8, 7, rng))
layer_case("gated feed-forward, geglu, bias", lambda rng: GatedFeedForward(8, 7, rng, activation="geglu", bias=True))

"""Cases of element-wise functions and of softmax."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from ...nn.adapters.lora import LoRALinear
from ...nn.layers.feed_forward import FeedForward
from ...nn.layers.gated_feed_forward import GatedFeedForward
from ...random import Key
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


for name in ("silu", "tanh", "sigmoid", "softplus"):
    case(name=name)(softmax)


@case()
def swiglu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C), normal(draw, *lead, C)), {})


@case()
def geglu(draw: Any, extent: Extent) -> Call:
    return replace(swiglu(draw, extent), options={"approximate": draw(st.sampled_from(["tanh", "none"]))})


def adapted(layer: Any, rng: Any) -> Any:
    """The feed-forward layer with an adapter beside its second map."""
    layer.down = LoRALinear(layer.down, 2, 3.0, rng, dropout=0.4)
    return layer


layer_case("feed-forward", lambda rng: FeedForward(8, 7, rng))
layer_case("feed-forward, tanh, no bias", lambda rng: FeedForward(8, 7, rng, approximate="tanh", bias=False))
layer_case("gated feed-forward", lambda rng: GatedFeedForward(8, 7, rng))
layer_case("gated feed-forward, geglu, bias", lambda rng: GatedFeedForward(8, 7, rng, activation="geglu", bias=True))
layer_case("feed-forward with an adapter", lambda rng: adapted(FeedForward(8, 7, rng), rng), key=Key.from_seed(8))
layer_case(
    "gated feed-forward with an adapter", lambda rng: adapted(GatedFeedForward(8, 7, rng), rng), key=Key.from_seed(8)
)

"""Cases of normalisations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from ...nn.layers.group_norm import GroupNorm
from ...nn.layers.layer_norm import LayerNorm
from ...nn.layers.rms_norm import RMSNorm
from .base import Call, Extent, away_from_zero, case, draw_lead, draw_sizes, maybe, normal
from .layer import layer_case


@case()
def layer_norm(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    bias = maybe(draw, lambda: normal(draw, C))
    # A larger eps keeps narrow rows, which may have hardly any variance, smooth enough for finite differences.
    options = draw(st.sampled_from([{"eps": 0.1}, {"eps": 0.01}, {}] if C > 2 else [{"eps": 0.1}, {"eps": 0.01}]))
    return Call((normal(draw, *lead, C), normal(draw, C), bias), options)


@case()
def residual_layer_norm(draw: Any, extent: Extent) -> Call:
    call = layer_norm(draw, extent)
    x, weight, bias = call.inputs
    return replace(call, inputs=(x, normal(draw, *x.shape), weight, bias))


@case()
def rms_norm(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((normal(draw, *lead, C), normal(draw, C)), draw(st.sampled_from([{"eps": 0.1}, {"eps": 0.01}])))


@case()
def residual_rms_norm(draw: Any, extent: Extent) -> Call:
    call = rms_norm(draw, extent)
    x, weight = call.inputs
    return replace(call, inputs=(x, normal(draw, *x.shape), weight))


@case()
def group_norm(draw: Any, extent: Extent) -> Call:
    B, T, width = draw_sizes(draw, extent.batch, extent.length, extent.width)
    groups = draw(st.sampled_from([1, 2, 3]))
    C = groups * width
    x = normal(draw, B, C, *draw(st.sampled_from([(), (T,), (2, 3)])))
    options = {"groups": groups, "eps": draw(st.sampled_from([0.1, 0.01]))}
    return Call((x, normal(draw, C), maybe(draw, lambda: normal(draw, C))), options)


@case()
def l2_normalize(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((away_from_zero(draw, *lead, C),), draw(st.sampled_from([{}, {"eps": 100.0}])))


layer_case("layer norm", lambda rng: LayerNorm(8, eps=0.1))
layer_case("layer norm without bias", lambda rng: LayerNorm(8, bias=False, eps=0.1))
layer_case("group norm", lambda rng: GroupNorm(4, 2, eps=0.1))
layer_case("group norm without bias", lambda rng: GroupNorm(4, 1, bias=False, eps=0.1))
layer_case("rms norm", lambda rng: RMSNorm(8, eps=0.1))

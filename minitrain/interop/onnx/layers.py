"""Layers as nodes of a graph: linear maps, norms, activations, feed-forward layers, tables."""

from __future__ import annotations

from typing import Any

from ...nn.layers.embedding import Embedding
from ...nn.layers.feed_forward import FeedForward
from ...nn.layers.gated_feed_forward import GatedFeedForward
from ...nn.layers.layer_norm import LayerNorm
from ...nn.layers.linear import Linear
from ...nn.layers.rms_norm import RMSNorm
from ...ops.activations.gelu import CUBIC, SQRT_2_OVER_PI, SQRT_HALF
from .graph import Graph, Name


def embedding(g: Graph, ids: Name, layer: Embedding) -> Name:
    """Rows (..., C) of ids (...)."""
    g.require(layer, Embedding)
    return g.node("Gather", g.weight(layer.weight), ids)


def linear(g: Graph, x: Name, layer: Linear) -> Name:
    """``x @ weight.T + bias``: (..., K) to (..., N)."""
    g.require(layer, Linear)
    out = g.node("MatMul", x, g.transposed(layer.weight))
    return g.node("Add", out, g.weight(layer.bias)) if layer.bias is not None else out


def norm(g: Graph, x: Name, layer: LayerNorm | RMSNorm) -> Name:
    """A norm over the last axis."""
    g.require(layer, LayerNorm, RMSNorm)
    if isinstance(layer, RMSNorm):
        return rms_norm(g, x, layer)
    parameters = [g.weight(p) for p in (layer.weight, layer.bias) if p is not None]
    return g.node("LayerNormalization", x, *parameters, axis=-1, epsilon=layer.eps)


def rms_norm(g: Graph, x: Name, layer: RMSNorm) -> Name:
    """``x / sqrt(mean(x^2) + eps) * weight``."""
    weight = g.weight(layer.weight)
    if g.fused:
        return g.node("RMSNormalization", x, weight, axis=-1, epsilon=layer.eps)
    square = mean(g, g.node("Mul", x, x), -1, keepdims=1)
    root = g.node("Sqrt", g.node("Add", square, g.constant(layer.eps)))
    return g.node("Mul", g.node("Div", x, root), weight)


def mean(g: Graph, x: Name, axis: int, *, keepdims: int) -> Name:
    """The mean over an axis, which was an attribute before it became an input."""
    if g.opset < 18:
        return g.node("ReduceMean", x, axes=[axis], keepdims=keepdims)
    return g.node("ReduceMean", x, g.ints(axis), keepdims=keepdims)


def gelu(g: Graph, x: Name, form: str) -> Name:
    """GELU in the form ``"tanh"``, or exact."""
    if g.fused:
        return g.node("Gelu", x, approximate="tanh" if form == "tanh" else "none")
    if form == "tanh":
        cube = g.node("Mul", x, g.node("Mul", x, x))
        inside = g.node("Add", x, g.node("Mul", cube, g.constant(CUBIC)))
        curve = g.node("Tanh", g.node("Mul", inside, g.constant(SQRT_2_OVER_PI)))
    else:
        curve = g.node("Erf", g.node("Mul", x, g.constant(SQRT_HALF)))
    return g.node("Mul", g.node("Mul", x, g.constant(0.5)), g.node("Add", curve, g.constant(1)))


def silu(g: Graph, x: Name) -> Name:
    """``x * sigmoid(x)``."""
    return g.node("Mul", x, g.node("Sigmoid", x))


def feed_forward(g: Graph, x: Name, layer: Any) -> Name:
    """A feed-forward layer, plain or gated: (..., C) to (..., C)."""
    g.require(layer, FeedForward, GatedFeedForward)
    if isinstance(layer, FeedForward):
        hidden = gelu(g, linear(g, x, layer.up), layer.approximate)
    else:
        gate = linear(g, x, layer.gate)
        gate = silu(g, gate) if layer.activation == "swiglu" else gelu(g, gate, "exact")
        hidden = g.node("Mul", gate, linear(g, x, layer.up))
    return linear(g, hidden, layer.down)

"""Models with one answer for an input as graphs: the text encoder, the vision transformer, the MLP."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...models.common.classifier import Classifier
from ...models.encoder import Encoder
from ...models.mlp import MLP
from ...models.vit import ViT
from ...nn.layers.conv_stem import ConvStem
from .blocks import block
from .graph import Graph, Name
from .layers import embedding, gelu, linear, mean, norm, silu
from .places import FLOAT, Places
from .refusals import require_methods

ACTIVATIONS: dict[str, Callable[[Graph, Name], Name]] = {
    "relu": lambda g, x: g.node("Relu", x),
    "gelu": lambda g, x: gelu(g, x, "tanh"),  # the default form of the operation, which an MLP uses
    "silu": silu,
    "tanh": lambda g, x: g.node("Tanh", x),
    "sigmoid": lambda g, x: g.node("Sigmoid", x),
}


def encoder_graph(model: Encoder, opset: int) -> Graph:
    """The graph of a text encoder: ``input_ids`` (B, T) and ``lengths`` (B,) to ``logits`` (B, n_classes)."""
    require_methods(model, Encoder, "forward", "embed")
    g = Graph(type(model).__name__, opset, model)
    ids = g.input("input_ids", np.int64, ("batch", "length"))
    lengths = g.input("lengths", np.int64, ("batch",))
    places = Places(g, g.size(ids, 1), None, model.config.block_size)
    with g.scope("embedding"):
        x = places.added_positions(embedding(g, ids, model.tok_emb), model.pos_emb)
    return _classified(g, x, model, places, lengths)


def vit_graph(model: ViT, opset: int) -> Graph:
    """The graph of a vision transformer: ``images`` (B, channels, size, size) to ``logits`` (B, n_classes)."""
    require_methods(model, ViT, "forward", "embed")
    g, config = Graph(type(model).__name__, opset, model), model.config
    size, P, channels = config.image_size, config.patch, config.channels
    images = g.input("images", np.float32, ("batch", channels, size, size))
    with g.scope("embedding"):
        n = size // P
        if isinstance(model.patch_emb, ConvStem):
            x = images
            for layer in model.patch_emb.convolutions:
                x = g.node(
                    "Conv",
                    x,
                    *(g.weight(one) for one in (layer.weight, layer.bias) if one),
                    strides=[2, 2],
                    pads=[1, 1, 1, 1],
                )
                x = g.node("Relu", x)  # (B, c, h, w)
            rows = g.node("Reshape", x, g.ints(0, config.n_embd, n * n))
            patches = g.node("Transpose", rows, perm=[0, 2, 1])  # (B, n n, C)
        else:
            tiles = g.node("Reshape", images, g.ints(0, channels, n, P, n, P))
            tiles = g.node("Transpose", tiles, perm=[0, 2, 4, 1, 3, 5])  # (B, n, n, channels, P, P)
            patches = g.node("Reshape", tiles, g.ints(0, n * n, channels * P * P))
        x = linear(g, patches, model.patch_emb.project)  # (B, n n, C)
        if model.class_token is not None:
            one = g.ints(1)
            shape = g.node("Concat", g.size(images, 0), one, g.ints(config.n_embd), axis=0)
            first = g.node("Expand", g.weight(model.class_token), shape)  # (C,) -> (B, 1, C)
            x = g.node("Concat", first, x, axis=1)
        places = Places(g, g.size(x, 1), None, config.patches + 1)
        x = places.added_positions(x, model.pos_emb)
    return _classified(g, x, model, places, None)


def mlp_graph(model: MLP, opset: int) -> Graph:
    """The graph of an MLP: ``inputs`` (B, widths[0]) to ``outputs`` (B, widths[-1])."""
    require_methods(model, MLP, "forward")
    g = Graph(type(model).__name__, opset, model)
    x = g.input("inputs", np.float32, ("batch", model.config.widths[0]))
    *hidden, last = model.layers
    for layer in hidden:
        x = ACTIVATIONS[model.config.activation](g, linear(g, x, layer))
    g.output("outputs", linear(g, x, last), np.float32, ("batch", model.config.widths[-1]))
    return g


def _classified(g: Graph, x: Name, model: Classifier, places: Places, lengths: Name | None) -> Graph:
    """The blocks, the pooling and the head, from x (B, T, C); ``lengths`` (B,) leave out padding."""
    for i, layer in enumerate(model.blocks):
        with g.scope(f"blocks.{i}"):
            x, _ = block(g, x, layer, places, lengths=lengths)
    x = norm(g, x, model.norm)
    if model.config.pool == "first":
        pooled = g.node("Gather", x, g.constant(0, np.int64), axis=1)  # (B, T, C) -> (B, C)
    elif lengths is None:
        pooled = mean(g, x, 1, keepdims=0)
    else:
        pooled = _mean(g, x, places, lengths)
    g.output("logits", linear(g, pooled, model.head), np.float32, ("batch", model.config.n_classes))
    return g


def _mean(g: Graph, x: Name, places: Places, lengths: Name) -> Name:
    """The mean over the positions before the length: (B, T, C) to (B, C); zeros for a length of 0."""
    one = g.ints(1)
    real = g.node("Less", places.keys, g.node("Unsqueeze", lengths, one))  # (B, T)
    weights = g.node("Unsqueeze", g.node("Cast", real, to=FLOAT), one)  # (B, 1, T)
    total = g.node("Squeeze", g.node("MatMul", weights, x), one)  # (B, 1, C) -> (B, C)
    number = g.node("Cast", g.node("Max", lengths, one), to=FLOAT)
    return g.node("Div", total, g.node("Unsqueeze", number, one))

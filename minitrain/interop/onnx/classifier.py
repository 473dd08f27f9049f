"""Encoders and the MLP as graphs: of texts, with one answer or one for each token, and of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...models.common.classifier import Classifier
from ...models.encoder import Encoder
from ...models.masked import MaskedEncoder
from ...models.mlp import MLP
from ...models.vit import ViT
from .blocks import block
from .graph import Graph, Name
from .images import embedded_images, image_input
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
    return _classified(g, *_padded_texts(g, model), model)


def masked_graph(model: MaskedEncoder, opset: int) -> Graph:
    """The graph of a masked language model: ``input_ids`` (B, T) and ``lengths`` (B,) to ``logits`` (B, T, V)."""
    require_methods(model, MaskedEncoder, "forward")
    g = Graph(type(model).__name__, opset, model)
    x, places, lengths = _padded_texts(g, model)
    x = norm(g, _blocks(g, x, model, places, lengths), model.norm)
    x = gelu(g, linear(g, x, model.transform), model.config.gelu)
    logits = linear(g, norm(g, x, model.transform_norm), model.head)
    g.output("logits", logits, np.float32, ("batch", "length", model.config.vocab_size))
    return g


def vit_graph(model: ViT, opset: int) -> Graph:
    """The graph of a vision transformer: ``images`` (B, channels, size, size) to ``logits`` (B, n_classes)."""
    require_methods(model, ViT, "forward", "embed")
    g = Graph(type(model).__name__, opset, model)
    x, places = embedded_images(g, image_input(g, model), model)
    return _classified(g, x, places, None, model)


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


def _padded_texts(g: Graph, model: Encoder | MaskedEncoder) -> tuple[Name, Places, Name]:
    """The vectors (B, T, C) of the input ``input_ids``, their places, and the input ``lengths`` (B,)."""
    ids = g.input("input_ids", np.int64, ("batch", "length"))
    lengths = g.input("lengths", np.int64, ("batch",))
    places = Places(g, g.size(ids, 1), None, model.config.block_size)
    with g.scope("embedding"):
        return places.added_positions(embedding(g, ids, model.tok_emb), model.pos_emb), places, lengths


def _blocks(g: Graph, x: Name, model: Classifier | MaskedEncoder, places: Places, lengths: Name | None) -> Name:
    """All blocks, from and to x (B, T, C); ``lengths`` (B,) leave out padding."""
    for i, layer in enumerate(model.blocks):
        with g.scope(f"blocks.{i}"):
            x, _ = block(g, x, layer, places, lengths=lengths)
    return x


def _classified(g: Graph, x: Name, places: Places, lengths: Name | None, model: Classifier) -> Graph:
    """The blocks, the pooling and the head, from x (B, T, C); ``lengths`` (B,) leave out padding."""
    x = _blocks(g, x, model, places, lengths)
    x = norm(g, x, model.norm)
    if model.config.pool == "first":
        pooled = g.node("Gather", x, g.constant(0, np.int64), axis=1)  # (B, T, C) -> (B, C)
    elif model.config.pool == "concat":
        pooled = g.node("Reshape", x, g.ints(0, -1))  # (B, T, C) -> (B, T C)
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

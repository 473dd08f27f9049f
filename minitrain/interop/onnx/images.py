"""Images as the input of a graph: patches as vectors, a class token if there is one, positions."""

from __future__ import annotations

import numpy as np

from ...models.common.image_embedding import EmbedsImages
from ...nn.layers.conv_stem import ConvStem
from .graph import Graph, Name
from .layers import linear
from .places import Places

IMAGES = "images"


def image_input(g: Graph, model: EmbedsImages) -> Name:
    """The input ``images``, (B, channels, size, size)."""
    size = model.config.image_size
    return g.input(IMAGES, np.float32, ("batch", model.config.channels, size, size))


def embedded_images(g: Graph, images: Name, model: EmbedsImages) -> tuple[Name, Places]:
    """The vectors (B, T, C) of images (B, channels, size, size), and their places."""
    config = model.config
    with g.scope("embedding"):
        if isinstance(model.patch_emb, ConvStem):
            patches = _convolved(g, images, model.patch_emb, model.patches)
        else:
            patches = _tiles(g, images, config.channels, config.image_size // config.patch, config.patch)
        x = linear(g, patches, model.patch_emb.project)  # (B, n n, C)
        if model.class_token is not None:
            shape = g.node("Concat", g.size(images, 0), g.ints(1), g.ints(config.n_embd), axis=0)
            first = g.node("Expand", g.weight(model.class_token), shape)  # (C,) -> (B, 1, C)
            x = g.node("Concat", first, x, axis=1)
        places = Places(g, g.size(x, 1), None, model.image_length)
        return places.added_positions(x, model.pos_emb), places


def _convolved(g: Graph, x: Name, stem: ConvStem, patches: int) -> Name:
    """The outputs of the convolutions, a row for each place: (B, patches, c)."""
    for layer in stem.convolutions:
        parameters = [g.weight(one) for one in (layer.weight, layer.bias) if one is not None]
        x = g.node(
            "Relu", g.node("Conv", x, *parameters, strides=[layer.stride] * 2, pads=[1, 1, 1, 1])
        )  # (B, c, h, w)
    rows = g.node("Reshape", x, g.ints(0, -1, patches))
    return g.node("Transpose", rows, perm=[0, 2, 1])


def _tiles(g: Graph, images: Name, channels: int, n: int, P: int) -> Name:
    """The pixels of each patch: (B, channels, n P, n P) to (B, n n, channels P P)."""
    tiles = g.node("Reshape", images, g.ints(0, channels, n, P, n, P))
    tiles = g.node("Transpose", tiles, perm=[0, 2, 4, 1, 3, 5])  # (B, n, n, channels, P, P)
    return g.node("Reshape", tiles, g.ints(0, n * n, channels * P * P))

"""The input of an encoder of images: patches as vectors, a class token if there is one, positions, dropout."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ...backend.targets import SKIP, deliver
from ...errors import ConfigError, ShapeError
from ...nn.attention.positions import LearnedPositions, LearnedPositionsCache
from ...nn.core.init import normal
from ...nn.core.parameter import Parameter
from ...nn.layers.conv_stem import ConvStem, ConvStemCache
from ...nn.layers.patch_embedding import PatchEmbedding, PatchEmbeddingCache
from ...ops.contract.sums import sum_over
from ...ops.linear.dropout import DropoutCache, dropout_backward, dropout_forward
from ...ops.sequences.concat import ConcatCache, concat_backward, concat_forward
from ...random import Key
from ..flops import linear_flops


class ImageEmbedCache(NamedTuple):
    """Saved for the backward of the embedding."""

    patches: PatchEmbeddingCache | ConvStemCache
    joined: ConcatCache | None  # None without a class token
    positions: LearnedPositionsCache
    dropout: DropoutCache


def check_patches(config: Any) -> None:
    """Raise a ``ConfigError`` unless patches divide the image, and a stem of convolutions can be built."""
    if config.image_size % config.patch:
        fitting = [size for size in range(1, config.image_size + 1) if config.image_size % size == 0]
        raise ConfigError(
            f"patch = {config.patch} does not divide image_size = {config.image_size}: use one of "
            f"{', '.join(map(str, fitting))}"
        )
    if config.stem_depth and config.stem != "conv":
        raise ConfigError(f"stem_depth = {config.stem_depth} needs stem = 'conv': only convolutions have a depth")
    if config.stem == "conv" and (config.patch < 2 or config.patch & (config.patch - 1)):
        raise ConfigError(f"patch = {config.patch} must be a power of 2 with stem = 'conv'")
    if config.stem == "conv" and config.n_embd % (config.patch // 2):
        raise ConfigError(
            f"n_embd = {config.n_embd} must be a multiple of patch / 2 = {config.patch // 2} with stem = 'conv'"
        )


class EmbedsImages:
    """The base of models of images: its layers, and their forward and backward.

    Its ``config`` has ``image_size``, ``patch``, ``channels``, ``stem``, ``stem_depth``, ``n_embd``, ``dropout``, and
    ``pool``: ``"first"`` asks for a class token.

    Attributes:
        patch_emb: maps images to vectors, a `PatchEmbedding` or a `ConvStem`.
        class_token: (C,) the vector before the patches, or ``None``.
        pos_emb: adds the positions.
    """

    config: Any

    def make_embedding(self, init_rng: np.random.Generator, dtype: Any) -> None:
        """The projection of patches, the class token and the table of positions."""
        config = self.config
        C = config.n_embd
        sizes = config.channels, config.patch, C
        self.patch_emb: PatchEmbedding | ConvStem
        if config.stem == "conv":
            self.patch_emb = ConvStem(*sizes, init_rng, depth=config.stem_depth, dtype=dtype)
        else:
            self.patch_emb = PatchEmbedding(*sizes, init_rng, dtype=dtype)
        self.class_token = Parameter(normal(init_rng, (C,), 0.02, dtype)) if config.pool == "first" else None
        self.pos_emb = LearnedPositions(self.image_length, C, init_rng, dtype=dtype)

    @property
    def patches(self) -> int:
        """Number of patches in an image."""
        return int(self.config.image_size // self.config.patch) ** 2

    @property
    def image_length(self) -> int:
        """Length T of the sequence: the patches, and the class token if there is one."""
        return self.patches + (self.class_token is not None)

    @property
    def pooled(self) -> int:
        """Number of positions side by side that a head reads."""
        return self.patches if self.config.pool == "concat" else 1

    def embed(self, inputs: Array, *, key: Key | None) -> tuple[Array, ImageEmbedCache]:
        """Map images (B, channels, image_size, image_size) to x (B, T, C).

        Raises:
            ShapeError: if the images are of another size.
        """
        config = self.config
        expected = (config.channels, config.image_size, config.image_size)
        if inputs.shape[1:] != expected:
            raise ShapeError(
                f"{type(self).__name__}.forward: inputs has shape {inputs.shape}, expected (B, "
                f"{', '.join(map(str, expected))}); resize the images or build the model for this size"
            )
        x, patches = self.patch_emb.forward(inputs)  # (B, patches, C)
        joined = None
        if self.class_token is not None:
            first = array_module(x).broadcast_to(self.class_token.data, (len(x), 1, config.n_embd))  # (C,) -> (B, 1, C)
            x, joined = concat_forward(first, x, axis=1)  # (B, 1 + patches, C)
        x, positions = self.pos_emb.forward(x)
        x, dropout = dropout_forward(x, p=config.dropout, key=key)
        return x, ImageEmbedCache(patches, joined, positions, dropout)

    def embed_backward(self, dx: Array, cache: ImageEmbedCache) -> None:
        """Gradients of patch embedding, class token and positions, from dx (B, T, C)."""
        dx = dropout_backward(dx, cache.dropout)
        dx = self.pos_emb.backward(dx, cache.positions)
        if self.class_token is not None and cache.joined is not None:
            dfirst, dx = concat_backward(dx, cache.joined)  # (B, 1, C), (B, patches, C)
            deliver(sum_over(dfirst, (0, 1)), self.class_token.into())  # (B, 1, C) -> (C,)
        stem: Any = self.patch_emb
        stem.backward(dx, cache.patches, dx=SKIP)

    def embedding_flops(self) -> int:
        """Operations that turn one image into vectors."""
        convolutions = self.patch_emb.convolutions if isinstance(self.patch_emb, ConvStem) else ()
        size: int = self.config.image_size
        total = 0
        for layer in convolutions:
            size //= 2 if layer.stride == 2 else 1
            total += 2 * size**2 * layer.weight.data.size
        return total + linear_flops(self.patch_emb, self.patches)

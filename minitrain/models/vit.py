"""The vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929): an image is a sequence of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..backend.targets import SKIP, deliver
from ..errors import ConfigError, ShapeError
from ..nn.attention.positions import LearnedPositions, LearnedPositionsCache
from ..nn.core.init import normal
from ..nn.core.parameter import Parameter
from ..nn.layers.conv_stem import ConvStem
from ..nn.layers.patch_embedding import PatchEmbedding
from ..ops.contract.sums import sum_over
from ..ops.linear.dropout import DropoutCache, dropout_backward, dropout_forward
from ..ops.sequences.concat import ConcatCache, concat_backward, concat_forward
from ..random import Key
from .common.classifier import Classifier
from .common.config import ClassifierConfig
from .flops import Flops, attention_flops, linear_flops


@dataclass(frozen=True)
class ViTConfig(ClassifierConfig):
    """Shape of a vision transformer; see also `ClassifierConfig`.

    Attributes:
        image_size: height and width of an image, in pixels.
        patch: height and width of a patch; divides ``image_size``.
        channels: number of channels of an image, 1 for grey and 3 for colour.
        n_classes: number of classes.
        pool: ``"first"`` classifies the class token, a trained vector before the patches; ``"mean"`` classifies the
            mean of the patches, without a class token.
        stem: how a patch becomes a vector: ``"patch"`` by one linear map, ``"conv"`` by strided convolutions (see
            `ConvStem`); ``patch`` is then a power of 2.
    """

    image_size: int
    patch: int
    n_classes: int
    channels: int = 3
    pool: str = "first"
    stem: str = "patch"

    def check_together(self) -> None:
        """Check that patches divide the image, and that a stem of convolutions can be built."""
        if self.image_size % self.patch:
            fitting = [size for size in range(1, self.image_size + 1) if self.image_size % size == 0]
            raise ConfigError(
                f"patch = {self.patch} does not divide image_size = {self.image_size}: use one of "
                f"{', '.join(map(str, fitting))}"
            )
        if self.stem == "conv" and (self.patch < 2 or self.patch & (self.patch - 1)):
            raise ConfigError(f"patch = {self.patch} must be a power of 2 with stem = 'conv'")
        if self.stem == "conv" and self.n_embd % (self.patch // 2):
            raise ConfigError(
                f"n_embd = {self.n_embd} must be a multiple of patch / 2 = {self.patch // 2} with stem = 'conv'"
            )

    @property
    def patches(self) -> int:
        """Number of patches in an image."""
        return (self.image_size // self.patch) ** 2


class ViTEmbedCache(NamedTuple):
    """Saved for the backward of the embedding."""

    patches: Any  # PatchEmbeddingCache or ConvStemCache
    joined: ConcatCache | None  # None without a class token
    positions: LearnedPositionsCache
    dropout: DropoutCache


class ViT(Classifier):
    """A vision transformer.

    Its ``forward`` takes images (B, channels, image_size, image_size).

    Attributes:
        patch_emb: maps images to vectors, a `PatchEmbedding` or a `ConvStem`.
        class_token: (C,) the vector before the patches, or ``None``.
    """

    config_type = ViTConfig

    def make_embedding(self, init_rng: np.random.Generator, dtype: Any) -> None:
        """The projection of patches, the class token and the table of positions."""
        config = self.config
        C = config.n_embd
        stem = {"patch": PatchEmbedding, "conv": ConvStem}[config.stem]
        self.patch_emb: PatchEmbedding | ConvStem = stem(config.channels, config.patch, C, init_rng, dtype=dtype)
        self.class_token = Parameter(normal(init_rng, (C,), 0.02, dtype)) if config.pool == "first" else None
        self.pos_emb = LearnedPositions(self._length, C, init_rng, dtype=dtype)

    @property
    def _length(self) -> int:
        """Length T of the sequence: the patches, and the class token if there is one."""
        return self.config.patches + (self.class_token is not None)  # type: ignore[no-any-return]

    def embed(self, inputs: Array, *, key: Key | None) -> tuple[Array, ViTEmbedCache]:
        """Map images (B, channels, image_size, image_size) to x (B, T, C).

        Raises:
            ShapeError: if the images are of another size.
        """
        config = self.config
        expected = (config.channels, config.image_size, config.image_size)
        if inputs.shape[1:] != expected:
            raise ShapeError(
                f"ViT.forward: inputs has shape {inputs.shape}, expected (B, {', '.join(map(str, expected))}); "
                "resize the images or build the model for this size"
            )
        x, patches = self.patch_emb.forward(inputs)  # (B, patches, C)
        joined = None
        if self.class_token is not None:
            first = array_module(x).broadcast_to(self.class_token.data, (len(x), 1, config.n_embd))  # (C,) -> (B, 1, C)
            x, joined = concat_forward(first, x, axis=1)  # (B, 1 + patches, C)
        x, positions = self.pos_emb.forward(x)
        x, dropout = dropout_forward(x, p=config.dropout, key=key)
        return x, ViTEmbedCache(patches, joined, positions, dropout)

    def embed_backward(self, dx: Array, cache: ViTEmbedCache) -> None:
        """Gradients of patch embedding, class token and positions, from dx (B, T, C)."""
        dx = dropout_backward(dx, cache.dropout)
        dx = self.pos_emb.backward(dx, cache.positions)
        if self.class_token is not None and cache.joined is not None:
            dfirst, dx = concat_backward(dx, cache.joined)  # (B, 1, C), (B, patches, C)
            deliver(sum_over(dfirst, (0, 1)), self.class_token.into())  # (B, 1, C) -> (C,)
        self.patch_emb.backward(dx, cache.patches, dx=SKIP)

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one image; see `minitrain.models.flops`."""
        T = self._length
        size = self.config.image_size
        products = [(self.patch_emb, self.config.patches), (self.head, 1), *((block, T) for block in self.blocks)]
        convolutions = 0
        for i, layer in enumerate(self.patch_emb.convolutions if isinstance(self.patch_emb, ConvStem) else (), 1):
            convolutions += 2 * (size >> i) ** 2 * layer.weight.data.size
        return Flops(
            tokens=T,
            products=convolutions + sum(linear_flops(module, rows) for module, rows in products),
            attention=attention_flops(self.config.n_embd, len(self.blocks) * T * T),
        )

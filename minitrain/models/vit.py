"""The vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929): an image is a sequence of patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import ConfigError
from .common.classifier import Classifier
from .common.config import ClassifierConfig, at_least_zero
from .common.image_embedding import EmbedsImages, check_patches
from .flops import Flops, attention_flops, linear_flops


@dataclass(frozen=True)
class ViTConfig(ClassifierConfig):
    """Shape of a vision transformer; see also `ClassifierConfig`.

    Attributes:
        n_layer: number of blocks; with 0, which needs ``stem="conv"``, it is a network of convolutions.
        image_size: height and width of an image, in pixels.
        patch: height and width of a patch; divides ``image_size``.
        channels: number of channels of an image, 1 for grey and 3 for colour.
        n_classes: number of classes.
        pool: ``"first"`` classifies the class token, a trained vector before the patches; ``"mean"`` classifies the
            mean of the patches, and ``"concat"`` all patches side by side, both without a class token. Where things
            have their place in the image, ``"concat"`` learns from fewer images; its head has a weight for each patch.
        stem: how a patch becomes a vector: ``"patch"`` by one linear map, ``"conv"`` by strided convolutions (see
            `ConvStem`); ``patch`` is then a power of 2.
        stem_depth: convolutions of the stem after each that halves the image, which keep its size.
    """

    image_size: int
    patch: int
    n_classes: int
    channels: int = 3
    pool: str = "first"
    stem: str = "patch"
    stem_depth: int = 0

    own_checks: ClassVar[Mapping[str, Any]] = {"n_layer": at_least_zero}

    def check_together(self) -> None:
        """Check that patches divide the image, that a stem can be built, and that something mixes the patches."""
        check_patches(self)
        if self.n_layer == 0 and self.stem != "conv":
            raise ConfigError("n_layer = 0 needs stem = 'conv': without blocks, only convolutions look beyond a patch")
        if self.n_layer == 0 and self.pool == "first":
            raise ConfigError("n_layer = 0 needs pool = 'mean' or 'concat': without blocks, a class token sees nothing")

    @property
    def patches(self) -> int:
        """Number of patches in an image."""
        return (self.image_size // self.patch) ** 2


class ViT(EmbedsImages, Classifier):
    """A vision transformer; `EmbedsImages` turns an image into a sequence.

    Its ``forward`` takes images (B, channels, image_size, image_size).
    """

    config_type = ViTConfig

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one image; see `minitrain.models.flops`."""
        T = self.image_length
        return Flops(
            tokens=T,
            products=self.embedding_flops() + linear_flops(self.head, 1) + linear_flops(self.blocks, T),
            attention=attention_flops(self.config.n_embd, len(self.blocks) * T * T),
        )

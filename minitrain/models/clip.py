"""CLIP's two encoders as one model with one configuration: a `ViT` for images and an `Encoder` for texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from ..nn.layers.contrastive import ClipLoss, SiglipLoss
from .common.config import CheckedConfig, at_least_zero, check_config
from .dual_encoder import DualEncoder
from .encoder import Encoder, EncoderConfig
from .flops import Flops
from .vit import ViT, ViTConfig


@dataclass(frozen=True)
class ClipConfig(CheckedConfig):
    """Shape of a `Clip`.

    Attributes:
        vocab_size: number V of token ids.
        image_size: height and width of an image, in pixels.
        patch: height and width of a patch; divides ``image_size``.
        channels: number of channels of an image, 1 for grey and 3 for colour.
        block_size: longest text, in tokens.
        n_features: width C of the space that both sides share.
        n_layer: number of blocks of the image encoder; with 0, which needs ``stem="conv"``, it is a network of
            convolutions.
        n_head: number of its heads; divides ``n_embd``.
        n_embd: its width.
        pool: ``"mean"`` pools all patches, ``"first"`` takes a class token, ``"concat"`` all patches side by side.
        stem: how a patch becomes a vector: ``"patch"`` by one linear map, ``"conv"`` by strided convolutions.
        stem_depth: convolutions of the stem after each that halves the image, which keep its size.
        text_layer: number of blocks of the text encoder.
        text_head: number of its heads; divides ``text_embd``.
        text_embd: its width.
        contrast: the loss: ``"info_nce"``, as in CLIP, finds the partner among all of the batch; ``"siglip"`` asks of
            each pair whether it belongs together.
        scale: initial factor of the cosines, one over the temperature; ``None`` takes that of the paper, 1 / 0.07 or
            10.
        dropout: probability of dropping, in [0, 1).
        drop_path: probability that the last block drops its branches for a sample, in [0, 1).
    """

    vocab_size: int
    image_size: int
    patch: int = 4
    channels: int = 3
    block_size: int = 32
    n_features: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    pool: str = "mean"
    stem: str = "patch"
    stem_depth: int = 0
    text_layer: int = 2
    text_head: int = 4
    text_embd: int = 128
    contrast: str = "info_nce"
    scale: float | None = None
    dropout: float = 0.0
    drop_path: float = 0.0

    own_checks: ClassVar[Mapping[str, Any]] = {"n_layer": at_least_zero}

    def check_together(self) -> None:
        """Check what each side checks."""
        if self.text_embd % self.text_head:
            raise ConfigError(f"text_embd = {self.text_embd} is not a multiple of text_head = {self.text_head}")
        if self.contrast == "info_nce" and self.scale is not None and self.scale > LARGEST_SCALE:
            raise ConfigError(f"scale = {self.scale} must be at most {LARGEST_SCALE:g} with contrast = 'info_nce'")
        self.image, self.text  # noqa: B018 (made to be checked)

    @property
    def image(self) -> ViTConfig:
        """The shape of the image encoder."""
        return ViTConfig(
            self.image_size,
            self.patch,
            self.n_features,
            self.channels,
            self.pool,
            self.stem,
            self.stem_depth,
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_embd=self.n_embd,
            dropout=self.dropout,
            drop_path=self.drop_path,
        )

    @property
    def text(self) -> EncoderConfig:
        """The shape of the text encoder."""
        return EncoderConfig(
            self.vocab_size,
            self.n_features,
            self.block_size,
            n_layer=self.text_layer,
            n_head=self.text_head,
            n_embd=self.text_embd,
            dropout=self.dropout,
            drop_path=self.drop_path,
        )


LARGEST_SCALE = 100.0


class Clip(DualEncoder):
    """A vision transformer and a text encoder with one feature space, see `DualEncoder`.

    Args:
        config: the shape.
        seed: of the initial weights.
        dtype: float32, or float64 for gradient checks.
    """

    config_type = ClipConfig

    def __init__(self, config: ClipConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        given = {} if config.scale is None else {"initial": config.scale}
        kinds: dict[str, Any] = {"info_nce": ClipLoss, "siglip": SiglipLoss}
        super().__init__(
            ViT(config.image, seed=seed, dtype=dtype),
            Encoder(config.text, seed=seed + 1, dtype=dtype),
            contrast=kinds[config.contrast](**given, dtype=dtype),
        )

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one image and one text of ``block_size`` tokens, without the comparison."""
        return Flops(
            *(a + b for a, b in zip(self.image.forward_flops(), self.text.forward_flops(), strict=True)),
        )

"""Two encoders with one feature space, as in CLIP (Radford et al., 2021, arXiv:2103.00020).

A matching image and text should have features in the same direction, all other pairs of a batch in different ones. Any
encoders can be used, such as a `ViT` and an `Encoder` whose ``n_classes`` is the width of the space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..nn.core.module import Module
from ..nn.layers.contrastive import ClipLoss, SiglipLoss
from ..ops.contract.loss import Loss
from ..ops.contrastive.info_nce import InfoNCECache
from ..ops.contrastive.siglip import SiglipCache
from ..random import Key, fold
from .batches import BatchFields, read_batch


class ImageTextBatch(NamedTuple):
    """Images and their texts, row by row.

    Attributes:
        images: (B, ...) input of the image encoder.
        texts: (B, T) integers, token ids.
        lengths: (B,) integers, number of tokens in each text; ``None`` if none is padded.
        groups: (B,) integers; pairs of one number, such as those with equal texts, are no negatives of each other.
            ``None`` if each stands alone.
    """

    images: Array
    texts: Array
    lengths: Array | None = None
    groups: Array | None = None


class FeaturesCache(NamedTuple):
    """Saved for the backward of both encoders."""

    image: Any
    text: Any


class DualEncoderCache(NamedTuple):
    """Saved for ``loss_backward``."""

    features: FeaturesCache
    loss: InfoNCECache | SiglipCache


class DualEncoder(Module):
    """An image encoder and a text encoder under a contrastive loss with a learned temperature.

    The loss compares all pairs of a batch. A trainer with accumulation takes the features of all micro-batches before
    it compares them, so that any split has the gradient of the whole batch, see `minitrain.losses.gradient_caching`.

    Args:
        image: ``forward(images, key=)`` returns features (B, C) and a cache, ``backward(dfeatures, cache)``.
        text: the same with ``forward(texts, lengths=, key=)``.
        scale: initial factor of the cosines, one over the temperature.
        dtype: dtype of the temperature.
        contrast: the loss; by default `ClipLoss`, the symmetric InfoNCE.

    Attributes:
        contrast: the loss, which owns the temperature.
    """

    batch_fields = BatchFields(("images", "texts"), ("lengths", "groups"))
    is_likelihood = False
    counts = "pairs"

    def __init__(
        self,
        image: Module,
        text: Module,
        *,
        scale: float = 1 / 0.07,
        dtype: Any = np.float32,
        contrast: ClipLoss | SiglipLoss | None = None,
    ) -> None:
        self.image: Any = image
        self.text: Any = text
        self.contrast: Any = ClipLoss(scale, dtype=dtype) if contrast is None else contrast

    def forward(
        self, images: Array, texts: Array, lengths: Array | None = None, *, key: Key | None = None
    ) -> tuple[Array, Array, FeaturesCache]:
        """The features of images and texts.

        Args:
            images: (B, ...) input of the image encoder.
            texts: (B, T) integers, token ids.
            lengths: (B,) integers, number of tokens in each text; ``None`` if none is padded.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            features of the images (B, C) and of the texts (B, C), and the cache.
        """
        image_features, image = self.image.forward(images, key=fold(key, "image"))  # (B, C)
        text_features, text = self.text.forward(texts, lengths=lengths, key=fold(key, "text"))  # (B, C)
        return image_features, text_features, FeaturesCache(image, text)

    def backward(self, dimage: Array, dtext: Array, cache: FeaturesCache) -> None:
        """Add the gradients of both encoders' parameters, from those of the features (B, C)."""
        self.text.backward(dtext, cache.text)
        self.image.backward(dimage, cache.image)

    def inputs_and_groups(self, batch: Any) -> tuple[tuple[Any, ...], Array | None]:
        """The arguments of ``forward`` from a batch, and those of the loss besides the features."""
        images, texts, lengths, groups = read_batch(self, batch)
        return (images, texts, lengths), groups

    def loss(self, batch: Any, *, key: Key | None = None) -> tuple[Loss, DualEncoderCache]:
        """The contrastive loss, summed over the pairs of the batch.

        Args:
            batch: has ``images`` (B, ...), ``texts`` (B, T), if texts are padded ``lengths`` (B,), and ``groups`` (B,)
                if some pairs are no negatives of each other, as attributes, as keys, or in a plain tuple in this order.
            key: random key of the dropout masks; ``None`` means evaluation.

        Raises:
            DataError: if a field is missing.
        """
        loss, cache, _ = self._run(batch, key)
        return loss, cache

    def loss_and_outputs(self, batch: Any) -> tuple[Loss, tuple[Array, Array]]:
        """The loss and the features of both sides, (B, C) each, in evaluation."""
        loss, _, features = self._run(batch, None)
        return loss, features

    def loss_backward(self, cache: DualEncoderCache, dtotal: float = 1.0) -> None:
        """Gradients of ``dtotal * loss.total`` for all parameters."""
        dimage, dtext = self.contrast.backward(dtotal, cache.loss)
        self.backward(dimage, dtext, cache.features)

    def _run(self, batch: Any, key: Key | None) -> tuple[Loss, DualEncoderCache, tuple[Array, Array]]:
        inputs, groups = self.inputs_and_groups(batch)
        *features, cache = self.forward(*inputs, key=key)
        loss, compared = self.contrast.forward(*features, groups)
        return loss, DualEncoderCache(cache, compared), (features[0], features[1])

"""Two encoders with one feature space, as in CLIP (Radford et al., 2021, arXiv:2103.00020).

A matching image and text should have features in the same direction, all other pairs of a batch in different ones. Any
encoders can be used, such as a `ViT` and an `Encoder` whose ``n_classes`` is the width of the space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..nn.core.module import Module
from ..nn.layers.contrastive import ClipLoss
from ..ops.contract.loss import Loss
from ..ops.contrastive.info_nce import InfoNCECache
from ..random import Key, fold
from .batches import BatchFields, read_batch


class ImageTextBatch(NamedTuple):
    """Images and their texts, row by row.

    Attributes:
        images: (B, ...) input of the image encoder.
        texts: (B, T) integers, token ids.
        lengths: (B,) integers, number of tokens in each text; ``None`` if none is padded.
    """

    images: Array
    texts: Array
    lengths: Array | None = None


class DualEncoderCache(NamedTuple):
    """Saved for the backward."""

    image: Any
    text: Any
    loss: InfoNCECache


class DualEncoder(Module):
    """An image encoder and a text encoder under the symmetric contrastive loss, with a learned temperature.

    The loss compares all pairs of a batch. With accumulation, each micro-batch is a batch of its own with fewer
    negatives. `minitrain.losses.gradient_caching` gives the gradient of the whole batch.

    Args:
        image: ``forward(images, key=)`` returns features (B, C) and a cache, ``backward(dfeatures, cache)``.
        text: the same with ``forward(texts, lengths=, key=)``.
        scale: initial factor of the cosines, one over the temperature.
        dtype: dtype of the temperature.

    Attributes:
        contrast: the loss, which owns the temperature.
    """

    batch_fields = BatchFields(("images", "texts"), ("lengths",))
    is_likelihood = False

    def __init__(self, image: Module, text: Module, *, scale: float = 1 / 0.07, dtype: Any = np.float32) -> None:
        self.image: Any = image
        self.text: Any = text
        self.contrast = ClipLoss(scale, dtype=dtype)

    def loss(self, batch: Any, *, key: Key | None = None) -> tuple[Loss, DualEncoderCache]:
        """The contrastive loss, summed over the pairs of the batch.

        Args:
            batch: has ``images`` (B, ...), ``texts`` (B, T) and, if texts are padded, ``lengths`` (B,), as attributes,
                as keys, or in a plain tuple in this order.
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
        self.text.backward(dtext, cache.text)
        self.image.backward(dimage, cache.image)

    def _run(self, batch: Any, key: Key | None) -> tuple[Loss, DualEncoderCache, tuple[Array, Array]]:
        images, texts, lengths = read_batch(self, batch)
        image_features, image = self.image.forward(images, key=fold(key, "image"))  # (B, C)
        text_features, text = self.text.forward(texts, lengths=lengths, key=fold(key, "text"))  # (B, C)
        loss, contrast = self.contrast.forward(image_features, text_features)
        return loss, DualEncoderCache(image, text, contrast), (image_features, text_features)

"""Gradient caching (Gao et al., 2021, arXiv:2101.06983): micro-batches for losses that compare the samples of a batch.

A contrastive loss needs large batches, and all features of a batch at once. The features are small; the encoders'
activations fill the memory. But once the gradient of all features is known, the backward of each sample through the
encoder is independent of the others::

    1. compute the features of all micro-batches, one after another, and drop their caches
    2. compute the loss of all features together, and the gradient of each
    3. run each micro-batch forward again, and backward with its slice of that gradient

This costs a second forward and gives the gradient of the whole batch. That holds with dropout too: a mask is a function
of the key and of a sample's index in the batch, so both forwards drop the same elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend.arrays import Array, array_module
from ..errors import ShapeError
from ..random import Key


def gradient_caching(
    model: Any,
    loss_fn: Any,
    micro_batches: Sequence[tuple[Any, ...]],
    targets: Sequence[Any] = (),
    *,
    key: Key | None = None,
    dloss: Any = 1.0,
) -> Any:
    """Add the gradient of a loss over the whole batch to a model's parameters, one micro-batch at a time.

    Args:
        model: an encoder. ``forward(*micro_batch)`` returns features (n, ...), one array or several, and a cache;
            ``backward`` takes as many gradients and the cache. If there is a ``key``, the forward gets it as ``key``.
        loss_fn: ``forward(*features, *targets)`` returns the loss and a cache; ``backward(dloss, cache)`` returns the
            gradients of the features first, as ``InfoNCELoss`` and ``ClipLoss`` do.
        micro_batches: the arguments of each forward, in the order of the batch.
        targets: further arguments of the loss for the whole batch, such as labels.
        key: random key of the dropout masks at the first sample; ``None`` means none.
        dloss: gradient of the loss.

    Returns:
        The loss, as its forward returns it.

    Raises:
        ShapeError: if there are no micro-batches.
    """
    whole = features_in_parts(model, micro_batches, key=key)
    loss, loss_cache = loss_fn.forward(*whole, *targets)
    gradients = loss_fn.backward(dloss, loss_cache)
    gradients = gradients[: len(whole)] if isinstance(gradients, tuple) else (gradients,)
    backward_in_parts(model, micro_batches, gradients, key=key)
    return loss


def features_in_parts(
    model: Any, micro_batches: Sequence[tuple[Any, ...]], *, key: Key | None = None
) -> tuple[Array, ...]:
    """The features (N, ...) of a whole batch, one array or several, computed one micro-batch at a time.

    Arguments are those of `gradient_caching`.

    Raises:
        ShapeError: if there are no micro-batches.
    """
    if not micro_batches:
        raise ShapeError("gradient_caching: there are no micro-batches; give at least one")
    first = 0
    parts: list[list[Array]] = []
    for batch in micro_batches:
        parts.append(_features(model, batch, _options(key, first)))
        first += len(parts[-1][0])
    return tuple(array_module(kind[0]).concatenate(kind) for kind in zip(*parts, strict=True))  # (n, ...) -> (N, ...)


def backward_in_parts(
    model: Any, micro_batches: Sequence[tuple[Any, ...]], gradients: Sequence[Array], *, key: Key | None = None
) -> None:
    """Add the gradients of the parameters, from those of the features (N, ...); each micro-batch runs forward again.

    Arguments are those of `gradient_caching`.
    """
    start = 0
    for batch in micro_batches:
        start += _backward(model, batch, _options(key, start), [gradient[start:] for gradient in gradients])


def _options(key: Key | None, first: int) -> dict[str, Key]:
    """Of the forward of a micro-batch that begins with this sample of the batch."""
    return {} if key is None else {"key": key.at_sample(key.sample + first)}


# These are separate functions so that a cache is freed on return, before the next micro-batch makes another.


def _features(model: Any, batch: tuple[Any, ...], options: dict[str, Key]) -> list[Array]:
    """The features of a micro-batch."""
    features: list[Array]
    *features, _ = model.forward(*batch, **options)
    return features


def _backward(model: Any, batch: tuple[Any, ...], options: dict[str, Key], gradients: list[Array]) -> int:
    """Run forward again, then backward from the first of the gradients; returns the number of samples."""
    *features, cache = model.forward(*batch, **options)
    count = len(features[0])
    model.backward(*(gradient[:count] for gradient in gradients), cache)
    return count

"""Fusion of ``linear`` and ``cross_entropy`` for the head of a language model: the (N, V) logits never exist.

With N tokens and a vocabulary of V, logits and their gradient are often the largest arrays of a training step. Here the
forward takes one *chunk* of rows at a time. It computes the chunk's logits and losses, overwrites the logits with their
gradient, and computes from it the chunk's part of ``dhidden`` and ``dweight``. The gradients of the total are kept in
the cache, and the backward only multiplies them by ``dtotal``. The Liger kernel works the same way (Hsu et al., 2024,
arXiv:2410.10989); Cut Your Losses (Wijmans et al., 2024, arXiv:2411.09009) recomputes the logits instead.

The logits are recomputed here too if the cache has no gradients. That is so with ``gradients=False``, which saves an
evaluation their cost, and with ``each``, whose cotangents are not known before the backward.

The forward has no kernel of its own. It uses the kernels of the two operations: one overwrites the logits, the other
adds to ``dweight``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...backend.pool import empty_like
from ...backend.precision import current_precision, use_precision
from ...errors import ShapeError
from ..contract.loss import Loss, chain, is_per_loss, summed
from ..contract.op import Into, op
from ..contract.sums import flat_rows
from ..linear.embedding import check_ids
from ..linear.linear import linear_backward, linear_forward
from .cross_entropy import check_entropy_options, cross_entropy_backward, cross_entropy_forward

CHUNK = 256
"""Rows per chunk: with GPT-2's vocabulary, 50 MB of logits in float32."""


class EntropyOptions(NamedTuple):
    """The options of ``cross_entropy_forward``."""

    label_smoothing: float
    ignore_index: int
    z_loss: float
    others_only: bool


class HeadGradients(NamedTuple):
    """Gradients of the head's inputs."""

    dhidden: Array  # (..., C)
    dweight: Array  # (V, C)
    dbias: Array | None  # (V,)


class LinearCrossEntropyCache(NamedTuple):
    """Saved for the backward."""

    hidden: Array  # (..., C) the input
    weight: Array  # (V, C)
    targets: Array  # (...,) integers
    bias: Array | None  # (V,)
    class_weight: Array | None  # (V,)
    options: EntropyOptions
    chunk: int
    precision: str  # of the forward: a backward that computes the logits again must round the same
    gradients: HeadGradients | None  # of the total; None: the backward computes them


def _check(hidden: Array, weight: Array, *_: Any, chunk: int = CHUNK, **options: Any) -> None:
    if chunk < 1:
        raise ShapeError(f"linear_cross_entropy_forward: chunk = {chunk} must be at least 1 row")
    check_entropy_options("linear_cross_entropy_forward", weight.shape[0], **options)


@op("hidden: *N C; weight: V C; targets: int *N; bias: V; class_weight: V", check=_check)
def linear_cross_entropy_forward(
    hidden: Array,
    weight: Array,
    targets: Array,
    bias: Array | None = None,
    class_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    others_only: bool = False,
    chunk: int = CHUNK,
    gradients: bool = True,
    each: bool = False,
) -> tuple[Loss, LinearCrossEntropyCache]:
    """``cross_entropy(hidden @ weight.T + bias, targets)``, a chunk of rows at a time.

    Args:
        hidden: (..., C) input of the head.
        weight: (V, C) weight of the head.
        targets: (...,) integers in [0, V), or ``ignore_index``.
        bias: (V,), or ``None`` for none.
        class_weight: (V,) weight of each class, ``None`` for 1. It has no gradient.
        label_smoothing: share of the target spread over all classes, see ``cross_entropy_forward``.
        ignore_index: rows with this target add nothing to total, count or gradient.
        z_loss: factor of the squared log-sum-exp.
        others_only: whether smoothing leaves out the target's own class and ``ignore_index``.
        chunk: rows per chunk, whose logits are in memory at once.
        gradients: whether the forward computes the gradients. If not, or with ``each``, the forward is as cheap as the
            loss alone, and the backward recomputes the logits.
        each: return the loss of each row instead of the sum.

    Returns:
        The loss of ``cross_entropy_forward``, with its errors, and the cache.
    """
    xp = array_module(hidden)
    real = xp.where(targets != ignore_index, targets, 0)
    check_ids("linear_cross_entropy_forward", "targets", real, weight.shape[0])
    options = EntropyOptions(label_smoothing, ignore_index, z_loss, others_only)
    hidden = xp.ascontiguousarray(hidden)  # copy a strided array once, not for every chunk
    cache = LinearCrossEntropyCache(
        hidden, weight, targets, bias, class_weight, options, chunk, current_precision(), None
    )
    # float16 scales the loss in the backward: a gradient computed now, without the scale, would underflow.
    computed = _buffers(cache) if gradients and not each and cache.precision != "float16" else None
    losses = [_process_chunk(cache, part, 1.0, computed, each) for part in _chunks(cache)]
    count = xp.stack([xp.asarray(loss.count) for loss in losses]).sum()
    if each:
        total = xp.concatenate([loss.total for loss in losses]).reshape(targets.shape)  # (R,) -> (...,)
    else:
        total = summed(xp.stack([xp.asarray(loss.total) for loss in losses]), False)
    return Loss(total, count), cache._replace(gradients=computed)


@op("cache.hidden: *N C; cache.weight: V C")
def linear_cross_entropy_backward(
    dtotal: Any, cache: LinearCrossEntropyCache
) -> tuple[Array, Array, None, Array | None, None]:
    """Gradient of the total.

    Maps dtotal () or (...,) to dhidden (..., C), dweight (V, C), ``None`` for the targets,
    dbias (V,) or ``None`` without a bias, and ``None`` for the class weights.
    """
    name = "linear_cross_entropy_backward"
    per_loss = is_per_loss(name, dtotal, cache.targets.shape)
    if cache.gradients is None or per_loss:
        gradients = _buffers(cache)
        with use_precision(cache.precision):
            for part in _chunks(cache):
                _process_chunk(cache, part, dtotal.reshape(-1)[part] if per_loss else dtotal, gradients, False)
        dhidden, dweight, dbias = gradients
    else:
        dhidden, dweight = chain(name, dtotal, cache.gradients.dhidden), chain(name, dtotal, cache.gradients.dweight)
        dbias = None if cache.gradients.dbias is None else chain(name, dtotal, cache.gradients.dbias)
    return dhidden, dweight, None, dbias, None


def _chunks(cache: LinearCrossEntropyCache) -> list[slice]:
    """The rows of each chunk; a batch without rows is one empty chunk."""
    return [slice(start, start + cache.chunk) for start in range(0, cache.targets.size, cache.chunk) or (0,)]


def _buffers(cache: LinearCrossEntropyCache) -> HeadGradients:
    """Memory for the gradients."""
    hidden, weight, bias = cache.hidden, cache.weight, cache.bias
    return HeadGradients(empty_like(hidden), empty_like(weight), None if bias is None else empty_like(bias))


def _process_chunk(
    cache: LinearCrossEntropyCache, part: slice, dtotal: Any, gradients: HeadGradients | None, each: bool
) -> Loss:
    """Compute the losses of one chunk and, if there is memory for them, its gradients.

    The chunk's logits are freed when this returns, so the next chunk can reuse their memory.

    Args:
        cache: the arguments of the call.
        part: the chunk's rows.
        dtotal: () gradient of the total, or of each loss of the chunk.
        gradients: buffers for ``dhidden``, of which this chunk writes its rows, and for the other gradients, which the
            first chunk overwrites and later ones add to.
        each: return the loss of each row instead of the sum.
    """
    hidden, targets = flat_rows(cache.hidden)[part], cache.targets.reshape(-1)[part]  # (..., C) -> (R, C) -> a part
    logits, head = linear_forward(hidden, cache.weight, cache.bias)  # (R', V)
    loss, entropy = cross_entropy_forward(logits, targets, cache.class_weight, each=each, **cache.options._asdict())
    if gradients is not None:
        cross_entropy_backward(dtotal, entropy, into=(Into(logits), None, None))
        dhidden, more = flat_rows(gradients.dhidden)[part], part.start > 0
        dbias = None if gradients.dbias is None else Into(gradients.dbias, more)
        linear_backward(logits, head, into=(Into(dhidden), Into(gradients.dweight, more), dbias))
    return loss

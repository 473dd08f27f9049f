"""Buckets: parts of the flat buffers of a model that ranks add, and keep a share of, one after the other.

A bucket has whole parameters that follow each other in memory, about as many as the backward finishes together. Each
bucket is cut into one part for each rank: a rank's share of the gradients and moments is its part of every bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..backend.arrays import Array
from ..nn.core.module import Module
from ..nn.core.parameter import Parameter
from .groups import flat_groups

SMALLEST = 1 << 20
"""Elements of a bucket, at least: small messages take as long as their latency. The last one may be smaller."""


class Bucket(NamedTuple):
    """Some gradients that travel together.

    Attributes:
        grad: (n,) their memory.
        parameters: by path, in the order of the memory.
    """

    grad: Array
    parameters: dict[str, Parameter]


def cut(spans: Mapping[str, slice], end: int) -> Iterable[tuple[slice, list[str]]]:
    """Cut a flat buffer into buckets.

    Args:
        spans: the range of each parameter, by path, in the order of the memory.
        end: size of the buffer.

    Yields:
        The range of a bucket and the paths of its parameters. All ranges together are the whole buffer.
    """
    start, paths, names = 0, list[str](), list(spans)
    for number, name in enumerate(names):
        paths.append(name)
        stop = end if name == names[-1] else spans[names[number + 1]].start
        if stop - start >= SMALLEST or stop == end:
            yield slice(start, stop), paths
            start, paths = stop, []


def buckets_of(model: Module) -> list[Bucket]:
    """The trainable gradients of a model as buckets; of one that is not packed, a bucket for each parameter."""
    flat = flat_groups(model)
    if not flat:
        trainable: Iterable[tuple[str, Any]] = ((path, p) for path, p in model.named_parameters() if p.trainable)
        return [Bucket(p.grad_buffer().reshape(-1), {path: p}) for path, p in trainable]
    return [
        Bucket(group.grad[where], {path: group.parameters[path] for path in paths})
        for group in flat
        for where, paths in cut(group.spans, group.grad.size)
    ]

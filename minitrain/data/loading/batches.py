"""Batches, and the protocol of all loaders: a batch is requested by the number of its step.

A sample is a batch without its first axis, and has the same type: a named tuple of arrays. So samples can be stacked
into a batch, and a batch can be split, whatever its fields are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import is_array
from ...errors import ConfigError

IGNORED = -100
"""A target that the losses of this library and of PyTorch ignore."""
UNWANTED = -1000
"""The target ``UNWANTED - c`` says that token c should not come; see `minitrain.losses.UnlikelihoodLoss`."""


class Batch(NamedTuple):
    """Inputs of the model and their targets.

    Attributes:
        inputs: ``(B, T)`` int32 token ids; in other data sets ``(B, ...)`` inputs of any kind.
        targets: ``(B, T)`` int32, the token after each input; in other data sets ``(B, ...)`` targets of any kind.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]


class PaddedBatch(NamedTuple):
    """Sequences of different lengths, padded at the end.

    Attributes:
        inputs: ``(B, T)`` int32 token ids, then padding.
        targets: ``(B, T)`` int32, `IGNORED` at padding; or ``(B,)``, one class for each sequence.
        lengths: ``(B,)`` int32, number of tokens in each sequence; attention calls them ``key_lengths``.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    lengths: NDArray[np.int32]


class Loader(Protocol):
    """The protocol of a loader.

    A loader keeps no position: batch ``step`` is a pure function of the loader's settings and ``step``. To resume, only
    the number of the step is needed. A source that can only be read from the beginning is a `BatchIterator` instead.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sample comes at least once."""
        ...

    def batch(self, step: int) -> Any:
        """The batch of step ``step``, counted from 0: a named tuple of arrays whose first axis counts samples."""
        ...

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample in the whole batch."""
        ...


B = TypeVar("B")


def split_batch(batch: B, parts: int) -> list[tuple[int, B]]:
    """``batch`` in ``parts`` whose sizes differ by at most one.

    Args:
        batch: arrays ``(B, ...)`` in a named tuple, tuple, list or dictionary. Anything else goes into every part.
        parts: how many, from 1 to B.

    Returns:
        Pairs ``(first_sample, part)``; ``first_sample`` is the index of the part's first row in the whole
        batch. Pass it to `Key.at_sample`, so that random numbers do not depend on the split. Parts are views.

    Raises:
        ConfigError: if there are more parts than samples, or none.
    """
    size = batch_rows(batch)
    if not 1 <= parts <= size:
        raise ConfigError(
            f"cannot split a batch of batch_size={size} in accumulation_steps={parts} "
            f"parts: choose 1 to {size}, or a larger batch_size"
        )
    bounds = [size * part // parts for part in range(parts + 1)]
    return [(first, map_arrays(batch, lambda x, s=slice(first, last): x[s])) for first, last in pairwise(bounds)]


def batch_rows(batch: Any) -> int:
    """Number of samples in ``batch``."""
    return len(next(arrays_in(batch)))


def map_arrays(tree: Any, change: Any) -> Any:
    """Apply ``change`` to every array of ``tree``, nested tuples, named tuples, lists and dictionaries."""
    if is_array(tree):
        return change(tree)
    if isinstance(tree, Mapping):
        return {name: map_arrays(value, change) for name, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_arrays(value, change) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(map_arrays(value, change) for value in tree)
    return tree


def arrays_in(tree: Any) -> Iterator[Any]:
    """The arrays of ``tree``, as `map_arrays` finds them."""
    if is_array(tree):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from arrays_in(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from arrays_in(value)


def checked_step(step: int) -> int:
    """``step``, which must not be negative.

    Raises:
        ConfigError: if it is.
    """
    if step < 0:
        raise ConfigError(f"steps are counted from 0, so a step cannot be {step}")
    return step


def checked_batch_size(batch_size: int) -> int:
    """``batch_size``, which must be at least 1.

    Raises:
        ConfigError: if it is not.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    return batch_size

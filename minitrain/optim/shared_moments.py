"""Moments that ranks share: which part of them a rank keeps, and how its weights reach the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy
from ..distributed.background import Background, beside
from ..distributed.group import Group
from ..distributed.pieces import Piece
from ..errors import ConfigError, MinitrainError
from ..states import Arrays, Kind
from .buckets import cut
from .groups import Span
from .state import load_arrays


class SharedMoments:
    """The part of one rank; see `Optimizer.share`.

    Args:
        group: the ranks.
        spans: of the optimizer.
        owner: its name, for messages.
        packed: whether its model is packed.

    Raises:
        ConfigError: if a span is not a flat buffer; says whether the model or the optimizer is the reason.
    """

    def __init__(self, group: Group, spans: Sequence[Span], owner: str, *, packed: bool = True) -> None:
        self.group = group
        if not packed:
            raise ConfigError(
                f"{owner} cannot share its moments among ranks, since the model is not packed: call pack(model) before "
                "the optimizer is made, or set zero=0"
            )
        if any(span.flat_grad is None for span in spans):
            raise ConfigError(
                f"{owner} cannot share its moments among ranks, since it updates whole matrices: set zero=0, or take "
                "another optimizer, such as AdamW"
            )
        self._background = beside(spans[0].data) if spans else Background()

    def take_over(self, group: Group, owner: str) -> None:
        """Go on with another group of as many ranks, in which this rank has the same number.

        Raises:
            ConfigError: if it is none such: this rank has no other part of the moments.
        """
        if (group.rank, group.size) != (self.group.rank, self.group.size):
            raise ConfigError(
                f"{owner} has shared its moments as rank {self.group.rank} of {self.group.size}, and cannot go on as "
                f"rank {group.rank} of {group.size}: save a checkpoint, and make the optimizer anew"
            )
        self.group = group

    def own(self, span: Span) -> list[slice]:
        """The parts of a span's buffer that belong to this rank: its part of every bucket.

        Raises:
            MinitrainError: if a parameter was frozen meanwhile.
        """
        refuse_frozen([span])
        return [_part(bucket, self.group) for bucket, _ in _buckets(span)]

    def of_own(self, span: Span, array: Array) -> Array:
        """A copy of this rank's parts of an array that is laid out like the span, one after the other."""
        own = [array[part] for part in self.own(span)]
        return array_module(array).concatenate(own)  # type: ignore[no-any-return]

    def parts(self, span: Span, moments: Mapping[str, Array]) -> Iterator[tuple[slice, dict[str, Array]]]:
        """Each part of the span with its moments. After its update, `send` is called, and `wait` after the last one."""
        start = 0
        for part in self.own(span):
            stop = start + part.stop - part.start
            yield part, {name: array[start:stop] for name, array in moments.items()}
            start = stop

    def send(self, span: Span, number: int) -> None:
        """Give the others this rank's weights in bucket ``number``, and take theirs, while the next is updated."""
        bucket = span.data[_buckets(span)[number][0]]
        self._background.submit(lambda: self.group.all_gather(bucket))

    def wait(self) -> None:
        """Wait until all weights have come."""
        self._background.wait()

    def pieces(self, span: Span, moments: Mapping[str, Array]) -> Iterator[tuple[str, Piece]]:
        """This rank's pieces of a span's moments, by ``<moment>.<path>``; some are empty."""
        before = 0  # elements of this rank in the buckets before
        for (_, paths), own in zip(_buckets(span), self.own(span), strict=True):
            for path in paths:  # a parameter lies in one bucket, so that a rank has one piece of it
                parameter, where = span.parts[path]
                assert where is not None  # since the span is a flat buffer
                start, stop = max(where.start, own.start), min(where.stop, own.stop)
                stop = max(start, stop)
                for name, array in moments.items():
                    data = array[before + start - own.start : before + stop - own.start]
                    yield f"{name}.{path}", Piece(data, tuple(parameter.data.shape), start - where.start)
            before += own.stop - own.start


def refuse_frozen(spans: Sequence[Span]) -> None:
    """Raise a ``MinitrainError`` if a parameter was frozen after the moments were shared."""
    for span in spans:
        if frozen := span.frozen():
            raise MinitrainError(f"{frozen[0]} was frozen while ranks share the moments: freeze before the training")


def _buckets(span: Span) -> list[tuple[slice, list[str]]]:
    return list(cut({path: where for path, (_, where) in span.parts.items() if where is not None}, span.data.size))


def _part(bucket: slice, group: Group) -> slice:
    own = group.part(bucket.stop - bucket.start)
    return slice(bucket.start + own.start, bucket.start + own.stop)


def kinds_of(arrays: Mapping[str, Any]) -> Kind:
    """The kinds of a saved state: whole arrays in place of pieces."""
    return Arrays({name: _whole(array) if isinstance(array, Piece) else array for name, array in arrays.items()})


def load_moments(own: Mapping[str, Any], given: Mapping[str, Any], complaint: str) -> None:
    """Take whole arrays into arrays, or the parts that this rank keeps into its pieces; see `load_arrays`."""
    memory = {name: array.data if isinstance(array, Piece) else array for name, array in own.items()}
    parts = dict(given)
    for name, piece in own.items():
        if isinstance(piece, Piece) and name in given:
            parts[name] = piece.of(to_numpy(given[name]))
    load_arrays(memory, parts, complaint)


def _whole(piece: Piece) -> Array:
    """An array of the shape and type of the whole that takes no memory."""
    whole: Array = np.broadcast_to(np.zeros((), piece.data.dtype), piece.shape)
    return whole

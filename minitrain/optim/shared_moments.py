"""Moments that ranks share: which part of them a rank keeps, and how its weights reach the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..distributed.group import Group
from ..distributed.pieces import Piece
from ..errors import ConfigError, MinitrainError
from ..states import Arrays, Kind
from .groups import Span
from .state import load_arrays


class SharedMoments:
    """The part of one rank; see `Optimizer.share`.

    Args:
        group: the ranks.
        spans: of the optimizer.
        owner: its name, for messages.

    Raises:
        ConfigError: if a span is not a flat buffer.
    """

    def __init__(self, group: Group, spans: Sequence[Span], owner: str) -> None:
        self.group = group
        if any(span.flat_grad is None for span in spans):
            raise ConfigError(
                f"{owner} cannot share its moments, since it updates parameters one by one: call pack(model) before "
                "the optimizer is made; Muon and Adafactor need whole matrices, take AdamW instead"
            )

    def own(self, span: Span) -> slice:
        """The part of a span's buffer that belongs to this rank.

        Raises:
            MinitrainError: if a parameter was frozen meanwhile.
        """
        if frozen := span.frozen():
            raise MinitrainError(f"{frozen[0]} was frozen while ranks share the moments: freeze before the training")
        return self.group.part(span.data.size)

    def send(self, span: Span) -> None:
        """Give the others this rank's weights, and take theirs."""
        self.group.all_gather(span.data)

    def pieces(self, span: Span, moments: Mapping[str, Array]) -> Iterator[tuple[str, Piece]]:
        """This rank's pieces of a span's moments, by ``<moment>.<path>``; some are empty."""
        own = self.own(span)
        for path, (parameter, where) in span.parts.items():
            assert where is not None  # since the span is a flat buffer
            start, stop = max(where.start, own.start), min(where.stop, own.stop)
            stop = max(start, stop)
            for name, array in moments.items():
                data = array[start - own.start : stop - own.start]
                yield f"{name}.{path}", Piece(data, tuple(parameter.data.shape), start - where.start)


def kinds_of(arrays: Mapping[str, Any]) -> Kind:
    """What a saved state has in the place of arrays or pieces: whole arrays."""
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

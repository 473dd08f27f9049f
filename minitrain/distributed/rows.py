"""Arrays of which each rank has some rows, joined on every rank: on the CPU, or on the GPU of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, library_for
from ..errors import ShapeError
from .group import Group


def gather_rows(group: Group, arrays: Sequence[Array], device: str = "cpu") -> list[Array]:
    """Join the rows of all ranks, in the order of the ranks.

    Every rank gets the same bytes. Ranks may have different numbers of rows.

    Args:
        group: the ranks.
        arrays: one or several of this rank, (n, ...) each. A rank that has no rows may give none at all.
        device: where they are, and where the results shall be; of a rank without rows too.

    Returns:
        As many arrays (N, ...) as the ranks with rows have; N is the number of rows of all ranks.

    Raises:
        ShapeError: on every rank, if two ranks have rows of different shapes or dtypes, or other numbers of arrays.
    """
    xp: Any = library_for(device)
    every = group.gather([[array.dtype.name, list(array.shape)] for array in arrays])
    kinds = [[(dtype, shape[1:]) for dtype, shape in told] for told in every if told]
    if any(kind != kinds[0] for kind in kinds):
        raise ShapeError(
            f"ranks have rows that do not fit together: {kinds[0]} and {next(k for k in kinds if k != kinds[0])}"
        )
    joined = []
    for number, (dtype, shape) in enumerate(kinds[0] if kinds else []):
        counts = [told[number][1][0] if told else 0 for told in every]
        ends = np.cumsum(counts)
        whole = xp.empty((int(ends[-1]), *shape), dtype)
        parts = [whole[end - count : end] for end, count in zip(ends, counts, strict=True)]
        if arrays:
            parts[group.rank][...] = arrays[number]
        memory = [part.reshape(-1).view(np.uint8) for part in parts]
        group.exchange_arrays(
            dict.fromkeys(group.others, memory[group.rank]), {rank: memory[rank] for rank in group.others}
        )
        joined.append(whole)
    return joined

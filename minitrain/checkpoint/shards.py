"""Weights and moments in shards, one file for each rank: how they are cut and put together again.

Each array is cut into as many parts as there are ranks, along its elements in order, and rank r writes part r. Names in
a shard are ``model/…`` and ``optimizer/…``. An array of the first shard also has its whole shape, as an array of
integers ``shape/…``. Whoever reads joins the parts, so any number of ranks, or one process, may go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import Array, to_numpy
from ..distributed.group import part
from ..distributed.pieces import Piece
from ..errors import CheckpointError
from .tensors import read_tensors


def shard_of(arrays: Mapping[str, Mapping[str, Array | Piece]], rank: int, ranks: int) -> dict[str, Array]:
    """The shard of a rank.

    Args:
        arrays: by kind, ``model`` or ``optimizer``, and name: whole arrays, of which the rank takes its part, or its
            pieces of them.
        rank: which.
        ranks: of how many.
    """
    shard: dict[str, Array] = {}
    for kind, named in arrays.items():
        for name, array in named.items():
            if isinstance(array, Piece):
                shard[f"{kind}/{name}"] = array.data
            else:
                shard[f"{kind}/{name}"] = to_numpy(array).reshape(-1)[part(array.size, rank, ranks)]
            if rank == 0:
                shard[f"shape/{kind}/{name}"] = np.array(array.shape, np.int64)
    return shard


def join_shards(folder: Path, names: Sequence[str]) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """The weights and the moments in all shards.

    Args:
        folder: of the checkpoint.
        names: of the shards, by rank.

    Raises:
        CheckpointError: if a shard is damaged, or they do not fit together.
    """
    shards = [read_tensors(folder / name) for name in names]
    shapes = {name[len("shape/") :]: array for name, array in shards[0].items() if name.startswith("shape/")}
    joined: dict[str, dict[str, NDArray[Any]]] = {"model": {}, "optimizer": {}}
    for name, shape in shapes.items():
        if shape.ndim != 1 or shape.dtype != np.int64 or (shape < 0).any():
            raise CheckpointError(f"{folder} is damaged: the shape of {name:.200} is not a list of whole numbers")
        parts = [shard.get(name) for shard in shards]
        size = math.prod(shape.tolist())
        if any(one is None or one.ndim != 1 or one.dtype != parts[0].dtype for one in parts) or (  # type: ignore[union-attr]
            sum(one.size for one in parts if one is not None) != size
        ):
            raise CheckpointError(f"{folder} is damaged: the shards of {name:.200} do not make an array of {size}")
        kind, _, path = name.partition("/")
        if kind not in joined:
            raise CheckpointError(f"{folder} is damaged: its shards hold {name:.200}")
        joined[kind][path] = np.concatenate(parts).reshape(shape.tolist())  # type: ignore[arg-type]
    return joined["model"], joined["optimizer"]

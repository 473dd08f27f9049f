"""Finding targets, references and keys in a batch, whatever its type is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..errors import DataError

Targets = Callable[[Any], Array]
"""The targets (B, ...) of a batch."""


def inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch: attributes or keys of these names, or the two elements of a pair.

    Raises:
        DataError: if it is none of these.
    """
    if isinstance(batch, Mapping) and {"inputs", "targets"} <= batch.keys():
        return batch["inputs"], batch["targets"]
    if hasattr(batch, "inputs") and hasattr(batch, "targets"):
        return batch.inputs, batch.targets
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise DataError(
        f"a batch is a {type(batch).__name__}: give pairs (inputs, targets), objects or dictionaries with these two "
        "names, or a model with a loss(batch) of its own that knows the format"
    )


def targets_of(batch: Any) -> Array:
    """The targets of a batch; in a plain tuple, lengths may follow them.

    Raises:
        DataError: if it has none.
    """
    if isinstance(batch, tuple | list) and not hasattr(batch, "_fields"):
        batch = batch[:2]
    targets: Array = inputs_and_targets(batch)[1]
    return targets


def lengths_of(batch: Any) -> Any:
    """The lengths of a padded batch, an attribute or a key; ``None`` if it has none."""
    return batch.get("lengths") if isinstance(batch, Mapping) else getattr(batch, "lengths", None)


def field_of(batch: Any, name: str) -> Any:
    """A field of a batch, an attribute or a key.

    Raises:
        DataError: if it has none of that name; says which there are.
    """
    if isinstance(batch, Mapping) and name in batch:
        return batch[name]
    if not isinstance(batch, Mapping) and hasattr(batch, name):
        return getattr(batch, name)
    known = list(batch) if isinstance(batch, Mapping) else getattr(batch, "_fields", ())
    there = f"it has {', '.join(map(str, known))}" if known else "it has no named fields"
    raise DataError(f"the batch is a {type(batch).__name__} without {name}; {there}")


def references_of(batch: Any) -> Sequence[Any]:
    """The reference of each sample: the field ``references``, or the batch itself if it is a plain list."""
    if isinstance(batch, list) or (isinstance(batch, tuple) and not hasattr(batch, "_fields")):
        return batch
    found: Sequence[Any] = field_of(batch, "references")
    return found


def counted(targets: Array, ignore_index: int, classes: int) -> Array:
    """Which targets count, (...,) booleans on the device of the targets.

    Args:
        targets: (...,) integers.
        ignore_index: the target that does not count.
        classes: V, the number of classes.

    Raises:
        DataError: if a target that counts is no class; says which.
    """
    counts: Array = targets != ignore_index
    wrong = counts & ((targets < 0) | (targets >= classes))
    if to_numpy(wrong.any()):
        raise DataError(
            f"the target {int(to_numpy(targets[wrong])[0])} is no class: the model has {classes}, numbered from 0; "
            f"targets of {ignore_index} do not count"
        )
    return counts


def per_sample(values: Array) -> Array:
    """Sums over all but the first axis: (B, ...) to (B,) float64 on the CPU."""
    there = to_numpy(values)
    sums: Array = there.sum(axis=tuple(range(1, there.ndim)), dtype=np.float64)
    return sums

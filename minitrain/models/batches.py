"""Reads a model's batch: named fields, the keys of a dictionary, or a plain tuple in the documented order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..backend.arrays import check_array
from ..errors import DataError


class BatchFields(NamedTuple):
    """The fields of a model's batch, in the order of a plain tuple.

    Attributes:
        required: fields that every batch has.
        optional: fields that may follow; a missing one is ``None``.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All fields."""
        return self.required + self.optional

    def describe(self) -> str:
        """The fields in words, for messages."""
        words = " and ".join(self.required)
        return words + (f" (and {' and '.join(self.optional)} if it is needed)" if self.optional else "")


def read_batch(model: Any, batch: Any) -> list[Any]:
    """The arrays of a batch in the order of ``model.batch_fields``; a missing optional one is ``None``.

    Args:
        model: has ``batch_fields``.
        batch: an object with these fields as attributes, such as a named tuple; a dictionary with them as keys; or a
            plain tuple or list in their order.

    Raises:
        DataError: if a required field is missing; the message names the fields.
        ShapeError: if a field is not an array.
    """
    fields: BatchFields = model.batch_fields
    where = f"{type(model).__name__}.loss"
    if isinstance(batch, Mapping):
        found = {name: batch[name] for name in fields.names if name in batch}
    elif isinstance(batch, tuple | list) and not hasattr(batch, "_fields"):
        if not len(fields.required) <= len(batch) <= len(fields.names):
            raise DataError(f"{where}: the batch is a {type(batch).__name__} of {len(batch)}; {_expected(fields)}")
        found = dict(zip(fields.names, batch, strict=False))
    else:
        found = {name: getattr(batch, name) for name in fields.names if hasattr(batch, name)}
    for name in fields.required:
        if name not in found:
            raise DataError(f"{where}: the batch is a {type(batch).__name__} without {name}; {_expected(fields)}")
    for name, value in found.items():
        if value is not None or name in fields.required:
            check_array(f"{where}: {name}", value)
    return [found.get(name) for name in fields.names]


def _expected(fields: BatchFields) -> str:
    return f"it needs {fields.describe()}, as attributes, as keys, or as a plain tuple in this order"

"""Loads saved arrays by name, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..backend.arrays import Array, array_module, is_array, to_numpy
from ..errors import CheckpointError


def load_arrays(own: Mapping[str, Array], given: Mapping[str, Array], complaint: str) -> None:
    """Copy the values of ``given`` into the arrays of ``own``, from any device.

    Args:
        own: arrays by name, written to.
        given: arrays of the same names and shapes.
        complaint: the first words of an error message.

    Raises:
        CheckpointError: if a name is missing or unknown, or a shape differs. Nothing is loaded then.
    """
    for name in sorted(own.keys() ^ given.keys()):
        raise CheckpointError(f"{complaint}: only one of the two has {name}")
    for name, array in own.items():
        if not is_array(given[name]):
            raise CheckpointError(f"{complaint}: {name} is not an array in it")
        there, here = tuple(given[name].shape), tuple(array.shape)
        if there != here:
            raise CheckpointError(f"{complaint}: {name} has shape {there} in it but {here} here")
    for name, array in own.items():
        array[...] = array_module(array).asarray(np.asarray(to_numpy(given[name])))

"""A random key as kernels get it: two numbers of the host, or two words that they read on the device."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....random import refuse_in_capture


def key_arguments(key: Any, like: Array) -> tuple[int, int, Array | None]:
    """What a kernel gets for its parameters ``u4 k0, u4 k1`` and ``u4* key?``.

    In a captured step the words are on the device (`minitrain.random.Key.words`), because numbers would be frozen.

    Args:
        key: the key.
        like: an array on the device.

    Raises:
        DeviceError: for a key of the host in a captured step.
    """
    refuse_in_capture(array_module(like), key)
    words = key.words
    return (key.k0, key.k1, None) if words is None else (0, 0, words)

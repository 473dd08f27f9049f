"""The same computation on the CPU and on an emulated GPU, and what must be equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minitrain.backend import is_array, to_device, to_numpy
from minitrain.data.loading.batches import map_arrays


def placed(batch: Any, device: str) -> Any:
    """A batch, or any nested arrays, on a device."""
    return map_arrays(batch, lambda x: to_device(x, device))


def flat(tree: Any) -> Iterator[Any]:
    """The leaves of nested tuples and lists."""
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from flat(part)
    else:
        yield tree


def assert_same_bits(there: Any, here: Any) -> None:
    """Every array of ``there`` is on the GPU and has the bytes of the one ``here``; numbers are equal.

    A number of NumPy, such as the sum of an array, is an array () on a GPU.
    """
    found, expected = list(flat(there)), list(flat(here))
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if isinstance(b, np.ndarray | np.generic):
            assert not isinstance(a, np.ndarray | np.generic), f"result {i} is on the host"
            assert is_array(a), f"result {i} is a {type(a).__name__}"
            host = to_numpy(a)
            assert (host.dtype, host.shape) == (b.dtype, np.shape(b)), i
            np.testing.assert_array_equal(host, b, err_msg=f"result {i}")
        else:
            assert a is b or a == b, i

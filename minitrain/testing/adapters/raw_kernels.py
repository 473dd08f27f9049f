"""CUDA kernels of CuPy, as functions of arrays and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...backend.arrays import is_array


def raw_kernel(
    kernel: Any,
    *,
    elements: Callable[..., int] | None = None,
    threads: int = 256,
    whole: Any = np.int32,
    shared_mem: int = 0,
) -> Callable[..., None]:
    """Let a ``cupy.RawKernel`` be called like a function, for ``writing_pair``.

    CuPy's elementwise and reduction kernels are callable as they are.

    Args:
        kernel: takes ``(blocks,), (threads,), arguments``.
        elements: given the kernel's arguments, how many threads there must be in all; by default the size of the
            largest array.
        threads: in a block.
        whole: the type that the kernel's whole numbers have: ``numpy.int32`` for ``int``, ``numpy.int64`` for
            ``long long``. CuPy would pass Python's as 64 bits.
        shared_mem: bytes of dynamic shared memory.

    Returns:
        A callable that takes the kernel's arguments.
    """
    extra: Mapping[str, int] = {"shared_mem": shared_mem} if shared_mem else {}

    def call(*arguments: Any) -> None:
        sizes = [x.size for x in arguments if is_array(x)]
        count = max(sizes, default=1) if elements is None else elements(*arguments)
        typed = tuple(whole(x) if type(x) is int else x for x in arguments)
        kernel((max(1, -(-count // threads)),), (threads,), typed, **extra)

    return call

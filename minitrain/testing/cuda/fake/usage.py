"""How much memory of the emulated device is in use, and how much there may be."""

from __future__ import annotations

from typing import Any


class OutOfMemoryError(MemoryError):
    """The emulated device is full."""

    __module__ = "cupy.cuda.memory"


class Usage:
    """Bytes of device memory that arrays hold now, at most, and may hold."""

    def __init__(self) -> None:
        self.used = self.peak = 0
        self.limit: int | None = None

    def take(self, size: int) -> None:
        """Count a new block."""
        if self.limit is not None and self.used + size > self.limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {self.used:,} bytes, limit set to: "
                f"{self.limit:,} bytes)."
            )
        self.used += size
        self.peak = max(self.peak, self.used)
        for hook in _hooks:
            hook.malloc_postprocess(device_id=0, size=size, mem_size=size, mem_ptr=0, pmem_id=0)

    def give_back(self, size: int) -> None:
        """Count a block that is gone."""
        self.used -= size
        for hook in _hooks:
            hook.free_postprocess(device_id=0, mem_size=size, mem_ptr=0, pmem_id=0)


class MemoryHook:
    """CuPy's base class of what is told of each block that comes and goes, inside its ``with`` block."""

    __module__ = "cupy.cuda"
    name = "MemoryHook"

    def __enter__(self) -> MemoryHook:
        _hooks.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _hooks.remove(self)

    def malloc_postprocess(self, **block: Any) -> None:
        """A block came: ``device_id``, ``size``, ``mem_size``, ``mem_ptr``, ``pmem_id``."""

    def free_postprocess(self, **block: Any) -> None:
        """A block went: the same without ``size``."""


_hooks: list[MemoryHook] = []

USAGE = Usage()

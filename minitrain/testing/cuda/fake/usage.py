"""How much memory of the emulated device is in use, and how much there may be."""

from __future__ import annotations


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

    def give_back(self, size: int) -> None:
        """Count a block that is gone."""
        self.used -= size


USAGE = Usage()

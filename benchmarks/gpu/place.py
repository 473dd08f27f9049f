"""Where a part runs: on a card, or on the emulated one with PyTorch on the CPU."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

from minitrain.backend.devices import require_gpu

LOST = (
    "illegal memory",
    "illegal address",
    "misaligned address",
    "launch failure",
    "device-side assert",
    "illegal instruction",
)
"""Words of CUDA errors after which a process can do nothing more on the card."""


@contextlib.contextmanager
def place(emulated: bool) -> Iterator[Place]:
    """The card inside a ``with`` block.

    Raises:
        DeviceError: if there is no usable card, with the reason.
    """
    if not emulated:
        yield Place(require_gpu(), "cuda")
        return
    from minitrain.testing.cuda.fake import emulated_device

    with emulated_device() as device:
        yield Place(device.cupy, "cpu")


class Place:
    """A card.

    Attributes:
        cupy: the array library of its arrays.
        torch_device: where PyTorch runs beside it.
    """

    def __init__(self, cupy: Any, torch_device: str) -> None:
        self.cupy, self.torch_device = cupy, torch_device

    @property
    def emulated(self) -> bool:
        """Whether nothing here is a card."""
        return self.torch_device == "cpu"

    def wait(self) -> None:
        """Wait until all work on the card is done."""
        self.cupy.cuda.runtime.deviceSynchronize()

    def give_back(self) -> None:
        """Free memory that no array holds, for the other programs on the card."""
        gc.collect()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def cudnn(self) -> Any:
        """The stand-in for the package ``cudnn``: nothing on a card."""
        if not self.emulated:
            return None
        from minitrain.testing.cuda.fake.products import emulated_cudnn

        return emulated_cudnn()

    def held(self) -> int:
        """Bytes that CuPy's pool holds, in use or not."""
        pool = self.cupy.get_default_memory_pool()
        return int(pool.total_bytes())


def context_lost(error: BaseException) -> bool:
    """Whether an error leaves the process unable to use the card."""
    text = str(error).lower().replace("_", " ")
    return any(words in text or words.replace(" ", "") in text for words in LOST)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the card is full."""
    return "OutOfMemory" in type(error).__name__ or "out of memory" in str(error).lower()


def peak_of(place: Place, call: Callable[[], Any]) -> int | None:
    """The most bytes of arrays at once during a call, or ``None`` if the array library cannot tell.

    CuPy's pool knows what it holds now and not what it held at most, so each block is counted as it comes and goes.
    """
    base: Any = getattr(place.cupy.cuda, "MemoryHook", None)
    if base is None:
        call()
        return None
    used = int(place.cupy.get_default_memory_pool().used_bytes())
    most = used

    class Counter(base):  # type: ignore[misc]
        name = "peak of minitrain's report"

        def malloc_postprocess(self, **block: Any) -> None:
            nonlocal used, most
            used += block["mem_size"]
            most = max(most, used)

        def free_postprocess(self, **block: Any) -> None:
            nonlocal used
            used -= block["mem_size"]

    with Counter():
        call()
    return most

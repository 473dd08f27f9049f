"""Stand-ins for cuBLASLt and cuDNN on the emulated device: their work is ordered on streams and captured in graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....backend.cuda.gemm import close_planners
from ....backend.cuda.products.bindings import use_binding
from ..cublaslt import FakeCublasLt
from ..cublaslt.library import Stretches, Work
from ..cudnn import FakeCudnn
from . import record
from .devices import Settings
from .memory import Memory, holding
from .streams import STREAMS, any_capture, current_stream


@contextmanager
def emulated_products() -> Iterator[FakeCublasLt]:
    """Multiply through the stand-in inside the ``with`` block; what it made must be destroyed in the end."""

    def noted(stream: int, work: Work, reads: Stretches, writes: Stretches) -> None:
        record.multiplied(library.latest)
        submit(stream, work, reads, writes)

    library = FakeCublasLt(
        capturing=any_capture, submit=noted, memory_at=holding, capability=lambda: Settings.capability
    )
    with use_binding(library):
        try:
            yield library
        finally:
            close_planners()
    if left := library.alive():
        raise RuntimeError(f"descriptors of cuBLASLt were never destroyed: {left}")


def emulated_cudnn(kind: type[FakeCudnn] = FakeCudnn, **options: Any) -> FakeCudnn:
    """A stand-in for the package ``cudnn``; ``options`` are those of its ``kind``."""
    return kind(capturing=any_capture, current_stream=lambda: current_stream().ptr, submit=submit, **options)


def submit(stream_handle: int, work: Work, reads: Stretches, writes: Stretches) -> None:
    """Put work on a stream, with the memory that it reads and writes."""
    stream = STREAMS[stream_handle]
    number = stream.work()
    for address, nbytes in reads:
        _block(address).marks.read(stream, number, (address, address + nbytes))
    for address, nbytes in writes:
        _block(address).marks.write(stream, number, (address, address + nbytes))
        if stream.recording is not None:
            stream.recording.keep(_block(address))
    work()
    if stream.recording is not None:
        stream.recording.add("matmul", work)


def _block(address: int) -> Memory:
    found = holding(address)
    if found is None:
        raise RuntimeError(f"a product uses the address {address:#x}, which is no device memory")
    return found

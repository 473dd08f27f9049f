"""Graph capture on the emulated device: what is enqueued on a captured stream is noted, and runs when the graph does.

As on a device, a capture computes nothing: when it ends, all memory that was written is as it was before. Numbers of
the host are frozen at their values, and so are addresses. What CUDA or minitrain does not allow in a capture is an
error: waiting, transfers, and choosing algorithms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import record

Work = Callable[[], object]


class CaptureError(RuntimeError):
    """Something that must not happen while a stream is captured."""


class Recording:
    """The work that was enqueued since the capture of a stream began.

    Attributes:
        names: of the calls, in order.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._works: list[Work] = []
        self._memory: dict[tuple[int, int], tuple[Any, Any, bytes]] = {}  # bytes, marks, content; no array lives longer

    def keep(self, memory: Any) -> None:
        """Remember what is in a block of memory that is about to be written."""
        place = (memory.ptr, memory.size)
        if place not in self._memory:
            self._memory[place] = memory.raw, memory.marks, memory.raw.tobytes()

    def add(self, name: str, work: Work) -> None:
        """Note a call that was made just now, so that a graph can make it again."""
        self.names.append(name)
        self._works.append(work)

    def finish(self, current_stream: Callable[[], Any]) -> Graph:
        """Undo what was computed, and return the graph, which asks for the current stream when it is launched."""
        for raw, _, content in reversed(self._memory.values()):
            raw[...] = np.frombuffer(content, np.uint8)
        marks = [(marks, (ptr, ptr + size)) for (ptr, size), (_, marks, _) in self._memory.items()]
        return Graph(self.names, self._works, marks, current_stream)


class Graph:
    """A captured sequence of calls.

    Attributes:
        names: of the calls, in order.
        launches: how often it ran.
    """

    def __init__(
        self,
        names: list[str],
        works: list[Work],
        marks: list[tuple[Any, tuple[int, int]]],
        current_stream: Callable[[], Any],
    ) -> None:
        self.names, self.launches = names, 0
        self._works, self._marks, self._current_stream = works, marks, current_stream

    def launch(self, stream: Any = None) -> None:
        """Run all calls on a stream, the current one by default."""
        stream = self._current_stream() if stream is None else stream
        number = stream.work()
        for marks, where in self._marks:
            marks.write(stream, number, where)
        self.launches += 1
        with np.errstate(all="ignore"):
            for work in self._works:
                work()

    def upload(self, stream: Any = None) -> None:
        """Prepare it on the device; nothing to do here."""


def refuse(recording: Recording | None, what: str) -> None:
    """Raise an error if a stream is captured.

    Args:
        recording: of the stream.
        what: must not happen.

    Raises:
        CaptureError: in the words of CUDA, with the caller.
    """
    if recording is not None:
        raise CaptureError(
            f"{record.caller()}: cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing: "
            f"{what}"
        )


def again(function: Callable[..., Any], args: Any, options: dict[str, Any], result: Any) -> Work:
    """Work that calls a function of NumPy again and writes its results where they were written first.

    Args:
        function: of NumPy.
        args: what it gets; arrays are views of device memory.
        options: more of it.
        result: the array, or the arrays, that it returned the first time, as NumPy views of device memory.
    """

    def work() -> None:
        found = function(*args, **options)
        pairs = zip(result, found, strict=True) if isinstance(result, list) else [(result, found)]
        for place, value in pairs:
            if place is not None and place is not value:
                place[...] = value

    return work

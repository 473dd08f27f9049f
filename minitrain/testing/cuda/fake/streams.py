"""Streams and events of the emulated device, and the check that what they order is ordered.

Work on different streams may run in any order, unless an event puts it in one. The emulated device computes at once, so
it cannot show a wrong order by a wrong result. It keeps account instead: each stream numbers its work, each block of
memory knows which work wrote and read it last, and each stream knows how far it has waited for the others. Work that
touches memory before it waited is an error.
"""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

from . import record
from .capture import Graph, Recording, refuse

_numbers = count(1)
_LOCAL = threading.local()
STREAMS: dict[int, Stream] = {}


class StreamOrderError(RuntimeError):
    """Work on a stream uses memory that another stream may still write or read."""


class Stream:
    """A stream: work in order. ``Stream.null`` is the default stream.

    Args:
        null: whether it is the default stream.
        non_blocking: whether it runs beside the default stream; otherwise each waits for the other.
    """

    null: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self.ptr = 0 if null else next(_numbers)
        self.non_blocking, self.priority = non_blocking, priority
        self.device_id = current_device()
        self.done = 0  # work enqueued so far
        self.seen: dict[int, int] = {}  # how far this stream has waited for others
        self.host_seen = 0  # how far the host has waited for this one
        self.recording: Recording | None = None  # while it is captured
        self._outer: list[Stream] = []
        STREAMS[self.ptr] = self

    def __enter__(self) -> Stream:
        self._outer.append(current_stream())
        _LOCAL.stream = self
        return self

    def __exit__(self, *error: object) -> None:
        _LOCAL.stream = self._outer.pop()

    def use(self) -> Stream:
        """Make it the current stream of this thread."""
        _LOCAL.stream = self
        return self

    def work(self) -> int:
        """Enqueue one piece of work; its number."""
        self.done += 1
        return self.done

    def record(self, event: Event | None = None) -> Event:
        """Note in an event how far this stream is."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Make all that is enqueued here from now on run after the work that the event notes."""
        if event.stream is None:
            return  # as CUDA does for an event that was never recorded
        self._wait(event.stream, event.number, event.seen)

    def _wait(self, other: Stream, number: int, seen: dict[int, int]) -> None:
        for stream, known in (*seen.items(), (other.ptr, number)):
            self.seen[stream] = max(self.seen.get(stream, 0), known)

    def has_seen(self, stream: Stream, number: int) -> bool:
        """Whether work enqueued here now runs after work ``number`` of another stream."""
        if stream is self or self.seen.get(stream.ptr, 0) >= number or stream.host_seen >= number:
            return True
        return 0 in (stream.ptr, self.ptr) and not (stream.non_blocking or self.non_blocking)

    def begin_capture(self, mode: Any = None) -> None:
        """Note what is enqueued from now on."""
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        refuse(self.recording, "another capture")
        self.recording = Recording()

    def end_capture(self) -> Graph:
        """The graph of what was enqueued."""
        if self.recording is None:
            raise RuntimeError("cudaErrorIllegalState: the stream is not capturing")
        recording, self.recording = self.recording, None
        return recording.finish(current_stream)

    def is_capturing(self) -> bool:
        """Whether it is captured."""
        return self.recording is not None

    def synchronize(self) -> None:
        """Wait until all work is done."""
        refuse(self.recording, "the host waits for a stream")
        record.synchronised()
        self.finish(self.done, self.seen)

    def finish(self, number: int, seen: dict[int, int]) -> None:
        """The host now knows that work up to ``number`` is done, and all that this work waited for."""
        self.host_seen = max(self.host_seen, number)
        for ptr, known in seen.items():
            if (other := STREAMS.get(ptr)) is not None:
                other.host_seen = max(other.host_seen, known)
        PENDING.check()


class Event:
    """How far a stream was when the event was recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.stream: Stream | None = None
        self.number, self.seen = 0, dict[int, int]()

    def record(self, stream: Stream | None = None) -> None:
        """Note how far a stream is; the current one by default."""
        self.stream = current_stream() if stream is None else stream
        self.number, self.seen = self.stream.done, dict(self.stream.seen)

    @property
    def done(self) -> bool:
        """Whether the host knows that it is reached. The emulated device is never ahead of what was waited for."""
        return self.stream is None or self.stream.host_seen >= self.number

    def synchronize(self) -> None:
        """Wait until it is reached."""
        record.count("event_waits")
        if self.stream is not None:
            self.stream.finish(self.number, self.seen)


Stretch = tuple[int, int]
"""Addresses of bytes: of the first one, and behind the last one."""
EVERYWHERE: Stretch = (0, 1 << 64)
Uses = dict[tuple[int, int, int], tuple["Stream", int]]
"""The last work of a stream, by its stretch of memory and the stream's address."""


class Marks:
    """Who wrote and who read a block of memory last, and where in it."""

    __slots__ = ("reads", "writes")

    def __init__(self) -> None:
        self.writes: Uses = {}
        self.reads: Uses = {}

    def read(self, stream: Stream, number: int, where: Stretch = EVERYWHERE) -> None:
        """Note a read, after a check that the last writes come before it."""
        _check(self.writes, stream, where, "reads", "writes")
        self.reads[*where, stream.ptr] = (stream, number)

    def write(self, stream: Stream, number: int, where: Stretch = EVERYWHERE) -> None:
        """Note a write, after a check that the last writes and all reads come before it."""
        _check(self.writes, stream, where, "writes", "writes")
        _check(self.reads, stream, where, "writes", "reads")
        for uses in (self.writes, self.reads):
            for place in [one for one in uses if where[0] <= one[0] and one[1] <= where[1]]:
                del uses[place]
        self.writes[*where, stream.ptr] = (stream, number)

    def everywhere(self) -> Marks:
        """The same uses, but of the whole block, wherever it is."""
        whole = Marks()
        for old, new in ((self.writes, whole.writes), (self.reads, whole.reads)):
            for stream, number in old.values():
                place = (*EVERYWHERE, stream.ptr)
                new[place] = (stream, max(number, new[place][1] if place in new else 0))
        return whole


def _check(uses: Uses, stream: Stream, where: Stretch, verb: str, earlier: str) -> None:
    """Check that work of a stream on a stretch comes after what others did there."""
    start, stop = where
    for (first, end, _), (other, number) in uses.items():
        if other is not stream and first < stop and start < end and not stream.has_seen(other, number):
            raise StreamOrderError(_sentence(stream, verb, other, earlier))


def _sentence(stream: Stream, verb: str, other: Stream, earlier: str) -> str:
    return (
        f"{record.caller()}: {_name(stream)} {verb} memory that {_name(other)} may still be at: it {earlier} it, and "
        f"nothing orders the two; record an event there and call wait_event here"
    )


def _name(stream: Stream) -> str:
    return "the default stream" if stream.ptr == 0 else f"stream {stream.ptr}"


class PendingCopies:
    """Copies from pinned memory that the host has not seen finished."""

    def __init__(self) -> None:
        self.copies: list[tuple[Stream, int, Any, bytes]] = []

    def add(self, stream: Stream, number: int, source: Any) -> None:
        """A copy out of pinned memory was enqueued."""
        self.check()
        for _, _, other, _ in self.copies:
            if other.size and source.size and _overlap(other, source):
                raise StreamOrderError(
                    f"{record.caller()}: pinned memory is used for another copy before the host waited for the last "
                    "one: synchronize with the event of that copy before writing to the buffer"
                )
        self.copies.append((stream, number, source, source.tobytes()))

    def check(self) -> None:
        """Forget the copies that are done; each must have had its source unchanged."""
        left = []
        for stream, number, source, content in self.copies:
            if source.tobytes() != content:
                self.copies.clear()
                raise StreamOrderError("pinned memory was written to while a copy from it may have been running")
            if stream.host_seen < number:
                left.append((stream, number, source, content))
        self.copies = left


def _overlap(a: Any, b: Any) -> bool:
    start_a, start_b = a.ctypes.data, b.ctypes.data
    return bool(start_a < start_b + b.nbytes and start_b < start_a + a.nbytes)


PENDING = PendingCopies()


def current_stream(device_id: int | None = None) -> Stream:
    """The current stream of this thread."""
    found: Stream | None = getattr(_LOCAL, "stream", None)
    return Stream.null if found is None else found


def recording() -> Recording | None:
    """The record of the current stream, ``None`` unless it is captured."""
    return current_stream().recording


def any_capture() -> bool:
    """Whether any stream is captured."""
    return any(stream.recording is not None for stream in STREAMS.values())


def current_device() -> int:
    """The number of the current device of this thread."""
    number: int = getattr(_LOCAL, "device", 0)
    return number


def set_device(number: int) -> None:
    """Make a device the current one of this thread."""
    _LOCAL.device = number


def reset() -> None:
    """Begin anew: no stream but the default one, no copy under way."""
    STREAMS.clear()
    PENDING.copies.clear()
    Stream.null = Stream(null=True)
    _LOCAL.stream, _LOCAL.device = None, 0


Stream.null = Stream(null=True)

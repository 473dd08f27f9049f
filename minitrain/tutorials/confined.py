"""Calls a function of somebody else in a process of its own, which cannot reach the judge."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ..backend.arrays import Array
from ..errors import MinitrainError

MEMORY = 4 * 2**30
"""Bytes that a call may take in addition."""
PLACE = "<handed in>"
"""The file name under which somebody else's code is compiled: errors show its lines."""
LONGEST = 2000
"""Characters of an error."""
LARGEST = 256 * 2**20
"""Bytes of the largest result."""
NUMBERS = "biufc"


class AnswerError(MinitrainError):
    """A call failed, took too long, or returned something else than numbers. The message is for the student."""


class Confined:
    """A function whose calls each run in a fork of this process.

    The call sees copies of everything, the arguments included, and only numbers come back: it cannot change what this
    process knows or decides. Time, memory and written files are limited. Reading files and the network are not.

    Args:
        prepare: makes the function; it runs in the fork too.
        seconds: for all calls together.
    """

    def __init__(self, prepare: Callable[[], Callable[..., Any]], seconds: float) -> None:
        self._prepare, self._seconds, self._left = prepare, seconds, seconds

    def __call__(self, *arguments: Any) -> Any:
        """Call the function.

        Raises:
            AnswerError: if it raises, does not end in time, dies, or returns something else than numbers.
        """
        start = time.monotonic()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of this process: the fork needs none of them
            pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._run(writing, arguments)
        os.close(writing)
        try:
            answer = _read(reading, start + self._left)
        finally:
            os.close(reading)
            for kill in (os.killpg, os.kill):  # its children too
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._left -= time.monotonic() - start
        if answer is None:
            self._left = 0.0
            raise AnswerError(f"It did not end within {self._seconds:g} seconds: a loop without an end?")
        return _decoded(answer)

    def _run(self, writing: int, arguments: tuple[Any, ...]) -> NoReturn:
        try:
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (for the life of this process)
            _limit(self._left)
            answer = _encoded(self._prepare()(*arguments))
        except BaseException as error:  # also SystemExit and KeyboardInterrupt: nothing may go on in this fork
            answer = _header({"kind": "error", "text": _where(error)})
        with contextlib.suppress(BaseException):
            while answer:
                answer = answer[os.write(writing, answer) :]
        os._exit(0)


def _limit(seconds: float) -> None:
    import resource  # Windows has none

    whole = math.ceil(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:  # Linux has it
        most = int(file.read().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _read(reading: int, deadline: float) -> bytes | None:
    """All that comes before the writer closes; None after the deadline."""
    parts, total = [], 0
    while total <= LARGEST:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(reading, 2**20)
        if not part:
            break
        parts.append(part)
        total += len(part)
    return b"".join(parts)


def _header(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _encoded(result: Any) -> bytes:
    """A line of JSON, then the bytes of the arrays."""
    kind = "tuple" if isinstance(result, tuple) else "list" if isinstance(result, list) else "one"
    leaves = list(result) if kind == "tuple" else [result]
    arrays = [None if leaf is None else _numbers(leaf) for leaf in leaves]
    shapes = [None if array is None else [array.dtype.str, list(array.shape)] for array in arrays]
    return _header({"kind": kind, "shapes": shapes}) + b"".join(a.tobytes() for a in arrays if a is not None)


def _numbers(leaf: Any) -> Array:
    array = np.asarray(leaf)
    if array.dtype.kind in NUMBERS:
        return array
    try:
        return array.astype(np.float64)  # bfloat16, whole numbers beyond 64 bits
    except (TypeError, ValueError):
        raise AnswerError(f"It returns a {type(leaf).__name__}, not an array of numbers.") from None


def _decoded(answer: bytes) -> Any:
    """The result; the bytes come from a process that somebody else's code ran in."""
    line, _, data = answer.partition(b"\n")
    if len(answer) > LARGEST:
        raise AnswerError("It returns too much.")
    if not line:
        raise AnswerError("Its process died: too much memory, a recursion without an end, or os._exit?")
    try:
        content = json.loads(line)
        if content["kind"] == "error":
            raise AnswerError(str(content["text"]))
        values: list[Any] = []
        place = 0
        for entry in content["shapes"]:
            if entry is None:
                values.append(None)
                continue
            dtype, shape = np.dtype(entry[0]), tuple(map(int, entry[1]))
            if dtype.kind not in NUMBERS or any(size < 0 for size in shape):
                raise ValueError
            size = math.prod(shape) * dtype.itemsize
            values.append(np.frombuffer(data[place : place + size], dtype).reshape(shape)[()].copy())
            place += size
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, SyntaxError):
        raise AnswerError("It returns something else than numbers.") from None
    if content["kind"] == "tuple":
        return tuple(values)
    return values[0] if values else None


def _where(error: BaseException) -> str:
    """The error in a line, with the last line of the student's code before it."""
    if isinstance(error, MinitrainError):
        return str(error)[:LONGEST]
    line = next(
        (frame.line for frame in reversed(traceback.extract_tb(error.__traceback__)) if frame.filename == PLACE), ""
    )
    return f"{type(error).__name__}: {error}"[:LONGEST] + (f"\nin the line: {line}" if line else "")

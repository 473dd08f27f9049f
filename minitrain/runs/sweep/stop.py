"""Asking the jobs of a sweep to stop: a file that all of them watch, whatever engine runs them and wherever."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType


@dataclass(frozen=True)
class StopFile:
    """A file that is absent while jobs may run; each request makes it a byte longer.

    A request is thus a level, not an event, and no job counts one twice that reaches it on two ways.

    Attributes:
        path: of the file; its folder has to be visible on all machines that run jobs.
    """

    path: Path

    @classmethod
    def new(cls, folder: Path) -> StopFile:
        """One of a name that nobody else has, so that no stop asked earlier is found."""
        return cls((folder / f".stop-{secrets.token_hex(6)}").resolve())

    def level(self) -> int:
        """0: go on. 1: finish the step, save, end. 2: end at once. 3 and more: be ended."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def number(self) -> int:
        """The signal that asked last; 0 if none did."""
        try:
            return self.path.read_bytes()[-1]
        except (OSError, IndexError):
            return 0

    def ask(self, number: int) -> None:
        """Raise the level by one, since signal ``number`` came."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, bytes([number]))
        finally:
            os.close(file)

    def remove(self) -> None:
        """Remove the file, when no job runs any more."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def asked_by_signals(self) -> Iterator[None]:
        """Within the block SIGINT and SIGTERM raise the level and do nothing else."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.ask(number)

        with signals_handled(handle):
            yield


@contextlib.contextmanager
def signals_blocked(*numbers: int) -> Iterator[None]:
    """Processes that this thread starts within the block never see these signals, nor do their threads."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_handled(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Within the block ``handle`` is called for SIGINT and SIGTERM.

    In a thread other than the main one this does nothing, since handlers belong to the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

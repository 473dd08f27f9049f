"""Ctrl-C, SIGTERM and SIGHUP while training: finish the step, save, say how to go on."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ..errors import MinitrainError

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(MinitrainError):
    """Training was asked to stop and did, with everything saved; the message says how to go on.

    Attributes:
        signal_number: the signal that asked, such as ``signal.SIGINT``.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell expects after this signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal_number


class StopSignals:
    """Within a ``with`` block, the first SIGINT, SIGTERM or SIGHUP only sets `received`; a second one stops at once.

    Handlers can be set in the main thread only; in another thread this does nothing. A signal that the program was
    told to ignore, as ``nohup`` does, stays ignored. The earlier handlers are restored at the end.

    Attributes:
        received: number of the signal that came, 0 for none.
        at_once: set it when there is nothing left to save: then the first signal stops at once too.
    """

    def __init__(self) -> None:
        self.received = 0
        self.at_once = False
        self._found: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._found = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._found.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received or self.at_once:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = number

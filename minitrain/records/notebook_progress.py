"""Progress in a notebook: one line below the cell that changes in place."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from ..errors import printable
from .time_left import TOKENS, TimeLeft

WIDTH = 24  # characters of the bar
PAUSE = 0.2  # seconds between two changes of the line, at least


class NotebookProgress:
    """A line with a bar, the metrics and the time left, through IPython's display; needs no widgets.

    It is text that replaces itself, without carriage returns: a saved notebook keeps the last state alone.

    Args:
        first_step: updates done before.
        max_steps: updates in all.
        clock: seconds of a clock that never goes back.
        counted: what ``tokens_per_second`` counts.
    """

    def __init__(
        self,
        first_step: int,
        max_steps: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        counted: str = TOKENS,
    ) -> None:
        self._time, self._last = TimeLeft(first_step, max_steps, clock, counted=counted), max_steps
        self._step, self._metrics = first_step, ""
        self._handle: Any = None
        self._shown_at = 0.0

    def __enter__(self) -> NotebookProgress:
        display = importlib.import_module("IPython.display").display
        self._handle = display(self._content(), raw=True, display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._show()

    def advance(self, step: int) -> None:
        """Move the bar, if the last change was a while ago."""
        self._step = step
        if self._time.elapsed() - self._shown_at >= PAUSE:
            self._show()

    def log(self, record: Mapping[str, Any]) -> None:
        """Change the metrics; they appear with the next move of the bar."""
        self._metrics = self._time.describe(record)

    def say(self, message: str) -> None:
        """Print a line that stays."""
        print(printable(message), flush=True)

    def compiling(self, kernel: str) -> None:
        """Name the kernel next to the bar."""
        self._metrics = f"compiling {kernel}, once for this machine"
        self._show()

    def _show(self) -> None:
        self._shown_at = self._time.elapsed()
        self._handle.update(self._content(), raw=True)

    def _content(self) -> dict[str, str]:
        done = WIDTH * self._step // max(1, self._last)
        bar = "█" * done + "░" * (WIDTH - done)
        return {"text/plain": f"step {self._step}/{self._last} {bar} {self._metrics}".rstrip()}

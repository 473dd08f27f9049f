"""Progress in a notebook: a line and the losses so far below the cell, which change in place."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from ..display.markup import block, code, element
from ..errors import printable
from .collector import MetricsCollector
from .loss_curves import loss_curves
from .time_left import TOKENS, TimeLeft

WIDTH = 24  # characters of the bar
PAUSE = 0.5  # seconds between two changes, at least
REST = 50  # times as long as drawing took: the curves of a long run take longer


class NotebookProgress:
    """A bar, the metrics, the time left and the losses as curves, through IPython's display; needs no widgets.

    It replaces itself, without carriage returns: a saved notebook keeps the last state alone. Front ends that show
    only text get the line.

    Args:
        first_step: updates done before.
        max_steps: updates in all.
        clock: seconds of a clock that never goes back.
        counted: the unit of ``tokens_per_second``.
        history: the losses so far; whoever trains adds to it.
    """

    def __init__(
        self,
        first_step: int,
        max_steps: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        counted: str = TOKENS,
        history: MetricsCollector | None = None,
    ) -> None:
        self._time, self._last = TimeLeft(first_step, max_steps, clock, counted=counted), max_steps
        self._step, self._metrics = first_step, ""
        self._history = history or MetricsCollector()
        self._handle: Any = None
        self._shown_at, self._pause = 0.0, PAUSE

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
        if self._time.elapsed() - self._shown_at >= self._pause:
            self._show()

    def log(self, record: Mapping[str, Any]) -> None:
        """Change the metrics; they appear with the next move of the bar."""
        self._metrics = self._time.describe(record)

    def evaluated(self, step: int, loss: float, *, best: bool) -> None:
        """Nothing: the curve of the validation loss shows it."""

    def say(self, message: str) -> None:
        """Print a line that stays."""
        print(printable(message), flush=True)

    def compiling(self, kernel: str) -> None:
        """Name the kernel next to the bar."""
        self._metrics = f"compiling {kernel}, once for this machine"
        self._show()

    def _show(self) -> None:
        begun = self._time.elapsed()
        self._handle.update(self._content(), raw=True)
        self._shown_at = self._time.elapsed()
        self._pause = max(PAUSE, REST * (self._shown_at - begun))

    def _content(self) -> dict[str, str]:
        done = WIDTH * self._step // max(1, self._last)
        bar = "█" * done + "░" * (WIDTH - done)
        line = f"step {self._step}/{self._last} {bar} {self._metrics}".rstrip()
        try:
            curves = loss_curves(self._history.curves())
        except Exception:  # a picture must not end a training
            return {"text/plain": line}
        return {"text/plain": line, "text/html": block(element("div", code(line)), curves)}

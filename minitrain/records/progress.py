"""Progress of a run: a live bar on a terminal, curves that grow in a notebook, else plain lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

from ..backend import kernels_enabled
from ..errors import printable
from .collector import MetricsCollector
from .time_left import TOKENS, TimeLeft, describe, evaluation_line


class Progress(Protocol):
    """The calls by which the trainer reports its progress; a context manager around the training loop."""

    def __enter__(self) -> Progress:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, leaving the screen in order."""
        ...

    def advance(self, step: int) -> None:
        """``step`` updates are done."""
        ...

    def log(self, record: Mapping[str, Any]) -> None:
        """A training record was logged: ``step``, ``loss``, ``lr``, ``grad_norm``, ``tokens_per_second``."""
        ...

    def evaluated(self, step: int, loss: float, *, best: bool) -> None:
        """The validation loss was measured; ``best`` if it is the lowest so far."""
        ...

    def say(self, message: str) -> None:
        """Print a line that stays."""
        ...

    def compiling(self, kernel: str) -> None:
        """The training waits for ``kernel`` to be compiled."""
        ...


def make_progress(
    first_step: int, max_steps: int, counted: str = TOKENS, history: MetricsCollector | None = None
) -> Progress:
    """The display for standard output: a live bar on a terminal, curves that grow in a notebook, else plain lines.

    Args:
        first_step: updates done before; they do not count for the time that is left.
        max_steps: updates in all.
        counted: the unit of ``tokens_per_second``.
        history: the logged values, for the curves.
    """
    if in_notebook():
        from .notebook_progress import NotebookProgress

        return NotebookProgress(first_step, max_steps, counted=counted, history=history)
    kind = LiveProgress if sys.stdout.isatty() else PlainProgress
    return kind(first_step, max_steps, counted=counted)


def in_notebook() -> bool:
    """Whether this process serves a notebook: IPython is loaded (never by us), and its shell talks to a front end.

    JupyterLab and VS Code run ipykernel's shell, and Colab's inherits from it. In a terminal, IPython has another one.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


@contextlib.contextmanager
def compilation_shown(progress: Progress) -> Iterator[None]:
    """Tell ``progress`` of each CPU kernel that is compiled within the ``with`` block."""
    with compilations(progress.compiling):
        yield


@contextlib.contextmanager
def compilations(listen: Callable[[str], None]) -> Iterator[None]:
    """Call ``listen`` with the name of each CPU kernel before it is compiled within the ``with`` block."""
    if not kernels_enabled():
        yield
        return
    from ..backend.cpu import jit

    before, jit.compile_listener = jit.compile_listener, listen
    try:
        yield
    finally:
        jit.compile_listener = before


class PlainProgress:
    """Lines on standard output: each of the first records, and then fewer, so that the log of a long run stays short.

    After the first 20 lines, the next comes when a fiftieth of the time so far has passed since the last one, at least
    a second and at most a minute: a log of ten hours has less than a thousand lines. The record of the last step is
    always there.

    Args:
        first_step: updates done before.
        max_steps: updates in all.
        clock: seconds of a clock that never goes back.
        counted: the unit of ``tokens_per_second``.
    """

    ALL_OF, SHARE, SHORTEST, LONGEST = 20, 1 / 50, 1.0, 60.0

    def __init__(
        self,
        first_step: int,
        max_steps: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        counted: str = TOKENS,
    ) -> None:
        self._time, self._last = TimeLeft(first_step, max_steps, clock, counted=counted), max_steps
        self._lines, self._shown_at = 0, 0.0
        self._told = False

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def advance(self, step: int) -> None:
        """Nothing to show between records."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Print the record and the time left, if it is time for a line."""
        elapsed = self._time.elapsed()
        pause = min(max(self.SHARE * elapsed, self.SHORTEST), self.LONGEST)
        if self._lines < self.ALL_OF or elapsed - self._shown_at >= pause or record["step"] == self._last:
            self._lines, self._shown_at = self._lines + 1, elapsed
            step = f"{record['step']:>{len(str(self._last))}}"
            self.say(f"step {step}/{self._last}  {self._time.describe(record)}")

    def evaluated(self, step: int, loss: float, *, best: bool) -> None:
        """Print the validation loss."""
        self.say(evaluation_line(step, loss, best=best))

    def say(self, message: str) -> None:
        """Print ``message`` at once, also into a pipe."""
        print(printable(message), flush=True)

    def compiling(self, kernel: str) -> None:
        """Say it once."""
        if not self._told:
            self.say("compiling the CPU kernels; they are kept on disk for the next run")
        self._told = True


class LiveProgress:
    """A bar with rates and the time left that redraws itself, by rich."""

    def __init__(self, first_step: int, max_steps: int, *, counted: str = TOKENS) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        self._bar = Bar(
            TextColumn("step {task.completed}/{task.total}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),  # takes what the metrics leave: little, at 80 characters
            TextColumn("{task.fields[metrics]}", markup=False, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("left", table_column=Column(no_wrap=True)),
            refresh_per_second=4,  # a thread redraws: more often would take time from the training
        )
        self._counted = counted
        self._task = self._bar.add_task("train", total=max_steps, completed=first_step, metrics="")

    def __enter__(self) -> LiveProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step)

    def log(self, record: Mapping[str, Any]) -> None:
        """Change the metrics next to the bar."""
        self._bar.update(self._task, metrics=" ".join(describe(record, self._counted).split()))

    def evaluated(self, step: int, loss: float, *, best: bool) -> None:
        """Print the validation loss above the bar."""
        self.say(evaluation_line(step, loss, best=best))

    def say(self, message: str) -> None:
        """Print ``message`` above the bar."""
        self._bar.console.print(printable(message), markup=False, highlight=False)

    def compiling(self, kernel: str) -> None:
        """Name the kernel next to the bar."""
        self._bar.update(self._task, metrics=f"compiling {kernel}, once for this machine")

"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

from ..backend import kernels_enabled


class Progress(Protocol):
    """What the trainer tells of its progress; a context manager around the training loop."""

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

    def say(self, message: str) -> None:
        """Print a line that stays."""
        ...

    def compiling(self, kernel: str) -> None:
        """The training waits for ``kernel`` to be compiled."""
        ...


def make_progress(first_step: int, max_steps: int) -> Progress:
    """A live bar if standard output is a terminal, plain lines if it is a file or a pipe.

    Args:
        first_step: updates done before; they do not count for the time that is left.
        max_steps: updates in all.
    """
    live = sys.stdout.isatty()
    return LiveProgress(first_step, max_steps) if live else PlainProgress(first_step, max_steps)


@contextlib.contextmanager
def compilation_shown(progress: Progress) -> Iterator[None]:
    """Tell ``progress`` of each CPU kernel that is compiled within the ``with`` block."""
    if not kernels_enabled():
        yield
        return
    from ..backend import jit

    before, jit.compile_listener = jit.compile_listener, progress.compiling
    try:
        yield
    finally:
        jit.compile_listener = before


class PlainProgress:
    """One line for each record, on standard output."""

    def __init__(self, first_step: int, max_steps: int) -> None:
        self._first, self._last = first_step, max_steps
        self._started = time.monotonic()
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
        """Print the record and the time left, judged by the pace since the start."""
        step = record["step"]
        left = (time.monotonic() - self._started) / max(1, step - self._first) * (self._last - step)
        width = len(str(self._last))
        self.say(f"step {step:>{width}}/{self._last}  {_describe(record)}  {_clock(left)} left")

    def say(self, message: str) -> None:
        """Print ``message`` at once, also into a pipe."""
        print(message, flush=True)

    def compiling(self, kernel: str) -> None:
        """Say it once."""
        if not self._told:
            self.say("compiling the CPU kernels; they are kept on disk for the next run")
        self._told = True


class LiveProgress:
    """A bar with rates and the time left that redraws itself, by rich."""

    def __init__(self, first_step: int, max_steps: int) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        self._bar = Bar(
            TextColumn("step {task.completed}/{task.total}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),  # takes what the figures leave: little, at 80 characters
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("left", table_column=Column(no_wrap=True)),
            refresh_per_second=4,  # a thread redraws: more often would take time from the training
        )
        self._task = self._bar.add_task("train", total=max_steps, completed=first_step, figures="")

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
        """Change the figures next to the bar."""
        self._bar.update(self._task, figures=" ".join(_describe(record).split()))

    def say(self, message: str) -> None:
        """Print ``message`` above the bar."""
        self._bar.console.print(message, markup=False, highlight=False)

    def compiling(self, kernel: str) -> None:
        """Name the kernel next to the bar."""
        self._bar.update(self._task, figures=f"compiling {kernel}, once for this machine")


def _describe(record: Mapping[str, Any]) -> str:
    """The figures of a training record in one line."""
    return (
        f"loss {record['loss']:.4f}  lr {record['lr']:.1e}  grad {record['grad_norm']:.2f}  "
        f"{record['tokens_per_second']:,.0f} tok/s"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

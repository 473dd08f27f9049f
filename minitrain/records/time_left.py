"""A record in one line, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..formats import clock as clock_time

TOKENS = "tokens"
"""The unit of a language model. Other models count targets."""


class TimeLeft:
    """Tells the time that is left, by the pace since the start.

    Args:
        first_step: updates done before.
        max_steps: updates in all.
        clock: seconds of a clock that never goes back.
        counted: the unit of ``tokens_per_second``.
    """

    def __init__(
        self,
        first_step: int,
        max_steps: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        counted: str = TOKENS,
    ) -> None:
        self._first, self._last, self._clock, self._counted = first_step, max_steps, clock, counted
        self._started = clock()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def describe(self, record: Mapping[str, Any]) -> str:
        """The metrics of a record and the time left in one line."""
        step = record["step"]
        left = self.elapsed() / max(1, step - self._first) * (self._last - step)
        return f"{describe(record, self._counted)}  {clock_time(left)} left"


def describe(record: Mapping[str, Any], counted: str = TOKENS) -> str:
    """The metrics of a training record in one line; ``counted`` is what ``tokens_per_second`` counts."""
    spent = f"  epsilon {record['epsilon']:.3g}" if record.get("epsilon") is not None else ""
    return (
        f"loss {record['loss']:.4f}  lr {record['lr']:.1e}  grad {record['grad_norm']:.2f}  "
        f"{record['tokens_per_second']:,.0f} {counted}/s{spent}"
    )


def evaluation_line(step: int, loss: float, *, best: bool) -> str:
    """A validation loss in one line; ``best`` if it is the lowest so far."""
    return f"step {step}: validation loss {loss:.4f}{' (best so far)' if best else ''}"

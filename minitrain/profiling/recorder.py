"""Records every call of an operation or update, with its time, its operations and its bytes.

::

    with Profile(model) as recorded:
        for step in range(10):
            ...                         # anything that calls operations
            recorded.step()             # results are means over the steps
    report = recorded.report()

An operation called inside another counts as part of it. The time of the recording itself is measured and subtracted.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from ..backend.memory import page_faults
from ..backend.pool import POOL
from ..errors import MinitrainError
from ..nn.core.module import Module
from ..ops.contract.op import observe
from .costs import cost_of
from .layers import Layers
from .machine import Machine
from .products import Call
from .report import REST, Report, Row


class Kind(NamedTuple):
    """The key by which calls are summed."""

    op: str
    direction: str
    path: str


class Sums:
    """The sums over calls of one kind."""

    def __init__(self) -> None:
        self.calls, self.seconds, self.nbytes = 0, 0.0, 0
        self.flops: int | None = 0

    def add(self, seconds: float, flops: int | None, nbytes: int) -> None:
        """Add one call."""
        self.calls += 1
        self.seconds += seconds
        self.nbytes += nbytes
        self.flops = None if flops is None or self.flops is None else self.flops + flops


class Profile:
    """A context manager that records the operations inside it; one at a time, for code in one thread.

    Times are those of the CPU: a GPU is still working when a call returns.

    Args:
        model: its layers are distinguished by path; ``None`` does not distinguish layers.
    """

    def __init__(self, model: Module | None = None) -> None:
        self._layers = Layers(model)
        self._sums: defaultdict[Kind, Sums] = defaultdict(Sums)
        self._open = False
        self._began = self._seconds = self._overhead = 0.0
        self._steps = self._faults = self._peak = 0

    def __enter__(self) -> Profile:
        """Begin.

        Raises:
            MinitrainError: if another profile is being recorded.
        """
        other = observe(None)
        if other is not None:
            observe(other)
            raise MinitrainError("a profile is being recorded already: end that `with` block first")
        self._layers.watch()
        observe(self._record)
        self._open = True
        POOL.reset_peak()
        self._faults -= page_faults() or 0
        self._began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._seconds += time.perf_counter() - self._began
        self._faults += page_faults() or 0
        self._peak = max(self._peak, POOL.peak)
        self._open = False
        observe(None)
        self._layers.leave()

    def step(self) -> None:
        """Count a finished step."""
        self._steps += 1

    def report(self, machine: Machine | None = None) -> Report:
        """The recorded results, as means over the steps.

        Args:
            machine: the machine's speeds to compare with; ``None`` compares with nothing.
        """
        steps = max(self._steps, 1)
        rows = [
            Row(*kind, sums.calls / steps, sums.seconds / steps, _mean(sums.flops, steps), sums.nbytes / steps)
            for kind, sums in self._sums.items()
        ]
        wall = (self._seconds - self._overhead) / steps
        rest = max(0.0, wall - sum(row.seconds for row in rows))
        faults = None if page_faults() is None else self._faults / steps
        return Report((*rows, Row(REST, "", "", 0.0, rest, None, 0.0)), steps, wall, faults, self._peak, machine)

    def _record(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Make a call and record its cost."""
        entered = time.perf_counter()
        observe(None)  # calls inside this call count as part of it
        try:
            began = time.perf_counter()
            result = function(*args, **options)
            seconds = time.perf_counter() - began
            cost = cost_of(Call(function.__name__, args, options, result))
        finally:
            if self._open:
                observe(self._record)
        self._sums[Kind(*kind_of(function), self._layers.path)].add(seconds, *cost)
        self._overhead += time.perf_counter() - entered - seconds
        return result


def kind_of(function: Callable[..., Any]) -> tuple[str, str]:
    """An operation's name and direction; updates and reductions over gradients have directions of their own."""
    name = function.__name__
    for direction in ("forward", "backward"):
        if name.endswith(f"_{direction}"):
            return name.removesuffix(f"_{direction}"), direction
    return name.removesuffix("_update"), "clip" if function.__module__.endswith(".clip") else "optimizer"


def _mean(total: int | None, steps: int) -> float | None:
    return None if total is None else total / steps

"""How fast a training runs, how much memory it takes, and how well it uses the machine."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

from ....backend.memory import peak_memory
from ....backend.pool import POOL
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback

MOST = 4096  # steps that the quantiles look back on, at most


class Throughput(Callback):
    """Adds speed, memory and use of the machine to the records.

    Beside ``tokens_per_second``, which is always there, a record then has:

    - ``samples_per_second``, if the loader has a ``batch_size``;
    - ``step_seconds_p50``, ``step_seconds_p95``: half of the steps since the last record, and 95 in 100, took less;
    - ``peak_memory_bytes`` of the process, where the system tells, and ``pool_bytes``, the most that the kernels' pool
      has handed out at a time;
    - ``flops_per_second`` of the model's matrix products, if the model has ``forward_flops``, and ``utilisation``,
      these over the speed of a large matrix product on this machine (model FLOPs utilisation, Chowdhery et al., 2022,
      arXiv:2204.02311, appendix B).

    All of it depends on the clock or the machine: `metrics.TIMING` has the names.

    Args:
        utilisation: whether to measure the matrix product, once, which takes a fraction of a second.
    """

    def __init__(self, *, utilisation: bool = True) -> None:
        self.utilisation = utilisation
        self._durations: deque[float] = deque(maxlen=MOST)
        self._begun = 0.0
        self._setup: Setup | None = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep what is trained."""
        self._setup = setup

    def on_step_begin(self, view: StepView) -> None:
        """Look at the clock."""
        self._begun = time.perf_counter()

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Keep how long the step took."""
        self._durations.append(time.perf_counter() - self._begun)

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Add the metrics, and begin anew."""
        from .utilisation import flops_per_second, sgemm_peak

        setup = self._setup
        assert setup is not None  # since training has begun
        batch_size = getattr(setup.data, "batch_size", None)
        samples_per_second = None
        if self._durations:
            half, most = np.quantile(self._durations, (0.5, 0.95))
            record |= {"step_seconds_p50": float(half), "step_seconds_p95": float(most)}
            if batch_size is not None:
                samples_per_second = batch_size * len(self._durations) / sum(self._durations)
                record["samples_per_second"] = samples_per_second
        self._durations.clear()
        if (peak := peak_memory()) is not None:
            record["peak_memory_bytes"] = peak
        record["pool_bytes"] = POOL.peak
        flops = flops_per_second(setup.model, record["tokens_per_second"], samples_per_second)
        if flops is not None:
            record["flops_per_second"] = flops
            if self.utilisation:
                record["utilisation"] = flops / sgemm_peak(setup.device)

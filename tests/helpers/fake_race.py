"""Programs of the benchmarks that take no time: workers with made-up answers, and what is measured with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from minitrain.benchmark import contestants, train_step
from minitrain.benchmark.sgemm import SGEMM_FLOPS
from minitrain.errors import WorkerError

SECONDS = {"minitrain": 0.010, "minitrain_mkl": 0.008, "eager": 0.014, "compiled": 0.012}
MEMORY = {"minitrain": 210.0, "minitrain_mkl": 300.0, "eager": 300.0, "compiled": 420.0}
SECONDS |= {"minitrain_bfloat16": 0.008, "eager_bfloat16": 0.020, "compiled_bfloat16": 0.016}
MEMORY |= {"minitrain_bfloat16": 168.0, "eager_bfloat16": 240.0, "compiled_bfloat16": 336.0}
HELD_BACK = 2  # how much longer a program takes when it is held to AVX2
GFLOPS = {"sgemm-minitrain": 200.0, "sgemm-numpy": 250.0, "sgemm-torch": 100.0}


class FakeWorker:
    """Answers like a program of the race; ``broken`` ones do not start."""

    broken: frozenset[str] = frozenset()
    slowness = 2.0
    started: list[FakeWorker]

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        if name in self.broken:
            raise WorkerError(f"{name} stopped: out of\nluck")
        self.name, self.arguments, self.environment = name, arguments, environment
        self.seconds_to_ready = 1.25
        self.greeting = {
            "threads": 2,
            "blas": None if name.startswith(contestants.PEERS) else "FakeBLAS 1.0",
            "first_step_seconds": 0.5,
            "first_loss": 4.2,
            "rss_after_build_mb": 100.0,
            "cpu_seconds": 0.0,
        }
        if arguments[0].endswith("probe"):
            self.greeting = {"seconds": 0.1 * self.slowness, "float32_seconds": 0.1, "slowness": self.slowness}
        self.turns = 0
        self.started.append(self)

    def ask(self, command: str) -> dict[str, Any]:
        """A machine that takes twice as long in every round: only ratios within a round are steady."""
        self.turns += 1
        product = SGEMM_FLOPS / (1e9 * GFLOPS[self.name]) if self.name in GFLOPS else None
        own, held = self.name.removesuffix("_avx2"), HELD_BACK if self.name.endswith("_avx2") else 1
        seconds = product or held * SECONDS[own] * 2 ** (self.turns - 1)
        return {
            "seconds": seconds,
            "fastest": seconds,
            "page_faults": 0.0,
            "cores": 2.0,
            "loss": 3.0,
            "peak_rss_mb": MEMORY.get(own, 50.0),
            "cpu_seconds": 1.0,
            "idle_cpu_seconds": 0.0,
            "pool_peak_mb": 50.0 if "bfloat16" in self.name else 100.0,
        }

    def close(self) -> None:
        """Nothing runs."""


def fake_race(
    monkeypatch: Any,
    *,
    broken: tuple[str, ...] = (),
    torch: bool = True,
    mkl: bool = False,
    instructions: str | None = "AVX2",
) -> type:
    """Let ``train_step.measure`` meet fake workers, on a machine with or without PyTorch, MKL and AVX-512."""

    class Fake(FakeWorker):
        started: list[FakeWorker] = []  # noqa: RUF012  # of this race

    Fake.broken = frozenset(broken)
    monkeypatch.setattr(train_step, "Worker", Fake)
    monkeypatch.setattr(train_step, "markov_tokens", lambda vocab_size: np.zeros(1, np.int32))
    monkeypatch.setattr(train_step, "import_seconds", lambda module, environment: 0.1)
    monkeypatch.setattr(train_step, "torch_installed", lambda: torch)
    monkeypatch.setattr(contestants, "torch_installed", lambda: torch)
    monkeypatch.setattr(contestants, "version", lambda package: "2026.0" if mkl else None)
    monkeypatch.setattr(train_step, "widest_instructions", lambda: instructions)
    monkeypatch.setattr(contestants, "widest_instructions", lambda: instructions)
    monkeypatch.setattr("minitrain.benchmark.turns.PAUSE", 0.0)
    monkeypatch.setattr("minitrain.benchmark.turns.time.sleep", lambda seconds: None)
    monkeypatch.delenv("MINITRAIN_BLAS", raising=False)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    return Fake

"""The gain of a second thread: a ``baby`` step, and matrix products alone, on one thread and on two, in turn."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.ratios import Spread, pairwise_ratio
from minitrain.benchmark.report import Table, say
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import markov_tokens
from minitrain.benchmark.train_step import SGEMM_REPEATS, program, thread_settings
from minitrain.benchmark.turns import Worker, take_turns

CONFIG, STEPS, ROUNDS = "baby", 1, 5
PROGRAMS = {
    "minitrain": "training step",
    "sgemm-minitrain": "product of 2048 x 2048 matrices, minitrain's linear layer",
    "sgemm-numpy": "product of 2048 x 2048 matrices, NumPy",
}


def measure(*, rounds: int | None = None) -> dict[str, Any]:
    """Run every program on one thread and on two.

    Raises:
        WorkerError: if a program does not run.
    """
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder, contextlib.ExitStack() as stack:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, markov_tokens(SIZES[CONFIG].vocab_size))
        workers = []
        for name in PROGRAMS:
            for threads in (1, 2):
                say(f"{threads} of 2 threads: starting {name} …")
                environment = thread_settings(threads) | default_install()
                worker = Worker(f"{name} {threads}", program(name, CONFIG, tokens), environment)
                workers.append(stack.enter_context(contextlib.closing(worker)))
        commands = {w.name: f"run {SGEMM_REPEATS if w.name.startswith('sgemm') else STEPS}" for w in workers}
        watch = OtherLoad()
        replies = take_turns(workers, commands, rounds or ROUNDS)
        own = sum(replies[w.name][-1]["cpu_seconds"] - w.greeting["cpu_seconds"] for w in workers)
        others = watch.cores(own)
    seconds = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
    return {
        "speedup": {name: pairwise_ratio(seconds[f"{name} 1"], seconds[f"{name} 2"])._asdict() for name in PROGRAMS},
        "rounds": seconds,
        "cores_used_by_others": others,
        "machine": describe(),
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """A row for each program."""
    rows = [[label, str(Spread(**result["speedup"][name]))] for name, label in PROGRAMS.items()]
    return [Table(f"from 1 to 2 threads, {CONFIG}", ["", "times as fast"], rows)]

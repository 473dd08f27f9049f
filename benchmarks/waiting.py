"""How threads wait: a training step and an empty launch on three thread pools in turn, beside other programs.

    python -m benchmarks.waiting --config char --busy 0,1,2,4

The pools are minitrain's own, whose threads adapt how long they spin, and numba's (GNU OpenMP), whose threads spin for
a fixed number of rounds. Busy programs are Python loops, each of which would keep a core busy alone.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.ratios import pairwise_ratio
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import markov_tokens
from minitrain.benchmark.train_step import program, thread_settings
from minitrain.benchmark.turns import Reply, Worker, serve, take_turns
from minitrain.errors import WorkerError

from .output import out_file

SUMMARY = "Compare how threads wait for one another, beside busy programs."
POOLS = {
    "own": {},
    "numba, 2000": {"MINITRAIN_THREAD_POOL": "numba", "GOMP_SPINCOUNT": "2000"},
    "numba, 200000": {"MINITRAIN_THREAD_POOL": "numba", "GOMP_SPINCOUNT": "200000"},
}
LAUNCHES = 300
PAUSE = 0.05  # seconds between turns; a thread spins for 10 ms after its last work


@contextlib.contextmanager
def busy_programs(number: int) -> Iterator[None]:
    """Within the ``with`` block, so many other programs want a core each."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for one in programs:
            one.kill()
            one.wait()


def measure(config: str, pools: dict[str, dict[str, str]], busy: list[int], rounds: int, threads: int) -> Any:
    """Milliseconds of a step (or microseconds of an empty launch, for ``launch``) by pool and busy programs.

    Raises:
        WorkerError: if a program does not run.
    """
    steps = 3 if config == "char" else 1  # of a turn
    watch, own = OtherLoad(), 0.0
    results: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder, contextlib.ExitStack() as stack:
        tokens = Path(folder) / "tokens.npy"
        if config != "launch":
            np.save(tokens, markov_tokens(SIZES[config].vocab_size))
        workers = []
        for name, environment in pools.items():
            say(f"{config}: starting {name} …")
            what = ["benchmarks.waiting", "--serve"] if config == "launch" else program("minitrain", config, tokens)
            worker = Worker(name, what, thread_settings(threads) | default_install() | environment)
            workers.append(stack.enter_context(contextlib.closing(worker)))
        for number in busy:
            with busy_programs(number):
                replies = take_turns(workers, f"run {steps}", rounds, PAUSE)
            results[number] = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
            say(f"{config}, {number} busy: " + ", ".join(f"{k} {median_ms(v):.2f}" for k, v in results[number].items()))
        own = sum(replies[w.name][-1]["cpu_seconds"] - w.greeting["cpu_seconds"] for w in workers)
    return {"config": config, "seconds": results, "cores_used_by_others_and_busy_programs": watch.cores(own)}


def median_ms(seconds: list[float]) -> float:
    """The median, in milliseconds."""
    return 1e3 * statistics.median(seconds)


def serve_launches() -> None:
    """The child's side of ``launch``: launches of a kernel with hardly any work, in two parts."""
    from minitrain.kernels.cpu.activations import relu

    x, out = np.ones(64, np.float32), np.empty(64, np.float32)

    def run(count: str) -> Reply:
        for _ in range(10):
            relu._forward(x, out, 2)
        began = time.perf_counter()
        for _ in range(LAUNCHES):
            relu._forward(x, out, 2)
        return {"seconds": (time.perf_counter() - began) / LAUNCHES}

    serve(lambda: run("1"), {"run": run})


def table(result: Any) -> Table:
    """A row for each number of busy programs."""
    rows = []
    for number, seconds in result["seconds"].items():
        others = [name for name in seconds if name != "own"]
        ratios = [str(pairwise_ratio(seconds[name], seconds["own"])) for name in others if "own" in seconds]
        rows.append([str(number), *(f"{median_ms(column):.3f}" for column in seconds.values()), *ratios])
    names = list(seconds)
    head = ["busy programs", *(f"{name}, ms" for name in names), *(f"{name} / own" for name in names if name != "own")]
    return Table(f"{result['config']}: time by thread pool", head, rows)


def main() -> int:
    """Measure what the command line asks for; 1 if a program does not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=SUMMARY)
    parser.add_argument("--config", default="launch,char,baby", help=f"comma-separated: launch, {', '.join(SIZES)}")
    parser.add_argument("--busy", default="0,1,2,4", help="numbers of busy programs, comma-separated")
    parser.add_argument("--rounds", type=int, default=10, help="turns of every program")
    parser.add_argument("--threads", type=int, default=2, help="threads of every program")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_launches()
        return 0
    busy = [int(number) for number in arguments.busy.split(",")]
    results = []
    try:
        for config in arguments.config.split(","):
            results.append(measure(config, POOLS, busy, arguments.rounds, arguments.threads))
            say(load_line(results[-1]["cores_used_by_others_and_busy_programs"]))
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    for result in results:
        show(table(result))
    say(f"figures written to {write_json(out_file('waiting.json'), {'results': results, 'machine': describe()})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

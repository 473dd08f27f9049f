"""The gain of each kernel twin: its time against its readable reference and against PyTorch.

    python -m benchmarks.kernels --sizes char,baby --ops layer_norm,gelu

Three programs run in turn, each in its own process: minitrain with its kernels, minitrain with the reference
code alone, PyTorch. A twin that is less than 1.1 times as fast as its reference is not worth its lines.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from minitrain.backend.pool import POOL
from minitrain.benchmark.contestants import available, default_install
from minitrain.benchmark.machine import OtherLoad, describe, held_back
from minitrain.benchmark.ratios import pairwise_ratio, spread
from minitrain.benchmark.report import load_line, say, show, write_json
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker, peak_rss_mb, serve, take_turns
from minitrain.errors import WorkerError

from . import kernel_report
from .kernel_table import ROWS, SHAPES, Calls, Row, minitrain_calls, torch_calls, twins_of
from .output import out_file

SUMMARY = "Time each kernel twin against its reference and PyTorch."
PAUSE = 0.25  # seconds before a turn
ROUNDS = 5
BLOCK = 0.03  # seconds of repeated calls that one figure comes from
PROGRAMS = ("twin", "reference", "torch")


def measure(
    jobs: Iterable[tuple[Row, str]],
    programs: Iterable[str] = PROGRAMS,
    *,
    rounds: int = ROUNDS,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time rows of the table.

    Args:
        jobs: a row, and the name of the shape in ``SHAPES`` that its arguments are drawn for; measured in this order.
        programs: some of ``PROGRAMS``; PyTorch is left out where it is not installed.
        rounds: turns of every program, for each job.
        threads: threads for every program; by default each decides for itself.

    Raises:
        WorkerError: if a program does not run.
    """
    failures: dict[str, str] = {}
    names = [name for name in programs if name != "torch" or available(("torch",), failures)]
    with contextlib.ExitStack() as stack:
        workers = []
        for name in names:
            mode = {"MINITRAIN_KERNELS": "reference" if name == "reference" else "auto"}
            environment = thread_settings(threads) | default_install() | mode
            worker = Worker(name, ["benchmarks.kernels", "--serve", name], environment)
            workers.append(stack.enter_context(contextlib.closing(worker)))
        watch, lines = OtherLoad(), []
        own = -sum(worker.greeting["cpu_seconds"] for worker in workers)
        for row, size in jobs:
            say(f"{size}: {row.label} …")
            prepared = {worker.name: worker.ask(f"prepare {ROWS.index(row)} {size}") for worker in workers}
            replies = take_turns(workers, "run", rounds, PAUSE)
            lines += [compare(row, size, direction, replies) for direction in row.directions]
            if row.differentiable:
                lines.append(compare(row, size, "both", replies))
            lines[-1]["memory"] = {name: memory_of(reply) for name, reply in prepared.items()}
        own += sum(worker.ask("rest")["cpu_seconds"] for worker in workers)
        others = watch.cores(own)
    settings = {"rounds": rounds, "threads": threads, "block_seconds": BLOCK}
    return {
        "lines": lines,
        "settings": settings,
        "failures": failures,
        "cores_used_by_others": others,
        "machine": describe(),
    }


def jobs_of(sizes: Iterable[str], rows: Iterable[Row]) -> list[tuple[Row, str]]:
    """Every row at every size."""
    return [(row, size) for size, row in itertools.product(sizes, list(rows))]


def compare(row: Row, size: str, direction: str, replies: Mapping[str, list[Reply]]) -> dict[str, Any]:
    """One line of the result: seconds of each program, and how often the twin fits into the others' time.

    Args:
        row: the row of the table.
        size: the name of its shape.
        direction: one of the row's, or ``both`` for forward and backward together.
        replies: of each program, in the order of the rounds.
    """
    parts = row.directions if direction == "both" else (direction,)
    seconds = {name: [sum(reply[part] for part in parts) for reply in turns] for name, turns in replies.items()}
    has_twin = bool(set(parts) & set(twins_of(row)))
    return {
        "op": row.op,
        "label": row.label,
        "size": size,
        "direction": direction,
        "has_twin": has_twin,
        "seconds": {name: spread(times).median for name, times in seconds.items()},
        "ratios": {
            f"{name}_to_twin": pairwise_ratio(times, seconds["twin"])._asdict()
            for name, times in seconds.items()
            if "twin" in seconds and name != "twin" and (has_twin or name == "torch")
        },
    }


def memory_of(reply: Reply) -> dict[str, float | None]:
    """The most memory that a program held, in MB: physical before and after its first calls, and in the pool."""
    return {key: reply[key] for key in ("rss_before_mb", "peak_rss_mb", "pool_mb")}


def print_result(result: dict[str, Any]) -> None:
    """Show the lines as one table, and the twins that buy too little."""
    show(kernel_report.table(result))
    say(kernel_report.candidates_line(result))
    say(load_line(result["cores_used_by_others"]))


def serve_program(name: str) -> None:
    """The child's side: prepare a row when it comes up, time its calls when asked."""
    calls: Calls = {}
    make: Callable[..., Calls] = torch_calls if name == "torch" else minitrain_calls

    def run() -> Reply:
        return {what: seconds_a_call(call) for what, call in calls.items()}

    def prepare(index: str, size: str) -> Reply:
        nonlocal calls
        calls = {}  # the arrays of the row before go first
        before = peak_rss_mb()
        POOL.reset_peak()
        calls = make(ROWS[int(index)], SHAPES[size])
        run()
        return {"rss_before_mb": before, "pool_mb": POOL.peak / 1e6}

    serve(dict, {"prepare": prepare, "run": run, "rest": dict})


def seconds_a_call(call: Callable[[], Any], block: float = BLOCK) -> float:
    """Mean time of a call over about ``block`` seconds, after a third of that, and two calls at least, uncounted."""
    began, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < block / 3 or calls < 2:
        call()
        calls += 1
    repeats = max(1, round(block * calls / elapsed))
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def main() -> int:
    """Time the rows, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=SUMMARY)
    parser.add_argument("--sizes", default="char,baby", help=f"any of {', '.join(SHAPES)} (default: char,baby)")
    parser.add_argument("--ops", help="operations, comma-separated (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of every program for each row")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--threads", type=int, help="threads for every program")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--serve", choices=PROGRAMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_program(arguments.serve)
        return 0
    sizes = tuple(arguments.sizes.split(","))
    ops = set(arguments.ops.split(",")) if arguments.ops else {row.op for row in ROWS}
    for what, given, known in (("sizes", set(sizes), set(SHAPES)), ("ops", ops, {row.op for row in ROWS})):
        if given - known:
            parser.error(f"unknown {what} {sorted(given - known)}: choose from {', '.join(sorted(known))}")
    programs = PROGRAMS[:2] if arguments.no_torch else PROGRAMS
    rows = [row for row in ROWS if row.op in ops]
    if line := held_back():
        say(line)
    try:
        result = measure(jobs_of(sizes, rows), programs, rounds=arguments.rounds, threads=arguments.threads)
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    print_result(result)
    say(f"figures written to {write_json(arguments.json or out_file('kernels.json'), result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

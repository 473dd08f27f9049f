"""What each kernel twin buys: its time against its readable reference and against PyTorch.

    python -m benchmarks.kernels --sizes char,baby --ops layer_norm,gelu

Three programs run in turn, each in its own process: minitrain with its kernels, minitrain with the reference
code alone, PyTorch. A twin that is less than 1.1 times as fast as its reference is not worth its lines.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .kernel_table import ROWS, Calls, Row, has_twin, minitrain_calls, torch_calls
from .machine import OtherLoad, describe
from .report import say, say_load, show, write_json
from .sizes import SIZES
from .train_step import available, thread_settings
from .turns import Reply, Spread, Worker, WorkerError, pairwise_ratio, serve, spread, take_turns

SUMMARY = "Time each kernel twin against its reference and PyTorch."
PAUSE = 0.25  # seconds before a turn
ROUNDS = 5
BLOCK = 0.03  # seconds of repeated calls that one figure comes from
PROGRAMS = ("twin", "reference", "torch")


def measure(
    sizes: tuple[str, ...],
    rows: list[Row],
    *,
    rounds: int = ROUNDS,
    with_torch: bool = True,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time every row at every size.

    Args:
        sizes: names of ``SIZES``.
        rows: rows of the table.
        rounds: turns of every program, for each row and size.
        with_torch: also time PyTorch.
        threads: threads for every program; by default each decides for itself.
    """
    failures: dict[str, str] = {}
    names = ("twin", "reference", *available(("torch",) if with_torch else (), failures))
    with contextlib.ExitStack() as stack:
        workers = []
        for name in names:
            mode = {"MINITRAIN_KERNELS": "reference" if name == "reference" else "auto"}
            worker = Worker(name, ["benchmarks.kernels", "--serve", name], thread_settings(threads) | mode)
            workers.append(stack.enter_context(contextlib.closing(worker)))
        watch, lines = OtherLoad(), []
        own = -sum(worker.greeting["cpu_seconds"] for worker in workers)
        for size in sizes:
            for row in rows:
                say(f"{size}: {row.label} …")
                index = ROWS.index(row)
                prepared = {worker.name: worker.ask(f"prepare {index} {size}") for worker in workers}
                active = workers if prepared["twin"]["has_twin"] else workers[1:]
                replies = take_turns(active, "run", rounds, PAUSE)
                lines += [compare(row, size, direction, replies) for direction in row.directions]
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


def compare(row: Row, size: str, direction: str, replies: dict[str, list[Reply]]) -> dict[str, Any]:
    """One line of the result: seconds of each program, and how often the twin fits into the others' time."""
    seconds = {name: [reply[direction] for reply in turns] for name, turns in replies.items()}
    twin = seconds.get("twin")
    return {
        "op": row.op,
        "label": row.label,
        "size": size,
        "direction": direction,
        "seconds": {name: spread(times).median for name, times in seconds.items()},
        "ratios": {
            f"{name}_to_twin": pairwise_ratio(times, twin)._asdict()
            for name, times in seconds.items()
            if twin is not None and name != "twin"
        },
    }


def print_result(result: dict[str, Any]) -> None:
    """Show the lines as one table."""
    rows = []
    for line in result["lines"]:
        seconds, ratios = line["seconds"], line["ratios"]
        cells = [f"{1e6 * seconds[name]:,.0f}" if name in seconds else "" for name in PROGRAMS]
        quotients = [
            str(Spread(**ratios[key])) if (key := f"{name}_to_twin") in ratios else "" for name in PROGRAMS[1:]
        ]
        rows.append([line["label"], line["size"], line["direction"], *cells, *quotients])
    columns = ["operation", "size", "", "twin µs", "reference µs", "PyTorch µs"]
    show("kernels", [*columns, "reference / twin", "PyTorch / twin"], rows)
    say_load(result["cores_used_by_others"])


def serve_program(name: str) -> None:
    """The child's side: prepare a row when it comes up, time its calls when asked."""
    calls: Calls = {}
    make: Callable[..., Calls] = torch_calls if name == "torch" else minitrain_calls

    def run() -> Reply:
        return {what: seconds_a_call(call) for what, call in calls.items()}

    def prepare(index: str, size: str) -> Reply:
        nonlocal calls
        row = ROWS[int(index)]
        calls = make(row, SIZES[size])
        run()
        return {"has_twin": name == "twin" and has_twin(row)}

    serve(dict, {"prepare": prepare, "run": run, "rest": dict})


def seconds_a_call(call: Callable[[], Any]) -> float:
    """Mean time of a call over a block of about ``BLOCK`` seconds, after a third of that uncounted."""
    began, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < BLOCK / 3 or calls < 2:
        call()
        calls += 1
    repeats = max(1, round(BLOCK * calls / elapsed))
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def main() -> int:
    """Time the rows, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=SUMMARY)
    parser.add_argument("--sizes", default="char,baby", help=f"any of {', '.join(SIZES)} (default: char,baby)")
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
    for what, given, known in (("sizes", set(sizes), set(SIZES)), ("ops", ops, {row.op for row in ROWS})):
        if given - known:
            parser.error(f"unknown {what} {sorted(given - known)}: choose from {', '.join(sorted(known))}")
    try:
        result = measure(
            sizes,
            [row for row in ROWS if row.op in ops],
            rounds=arguments.rounds,
            with_torch=not arguments.no_torch,
            threads=arguments.threads,
        )
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    print_result(result)
    write_json(arguments.json, "kernels", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())

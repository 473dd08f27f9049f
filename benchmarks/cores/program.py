"""The gain of more cores: a model fitted on one and two threads, checked on two, told for 16 and 64.

    python -m benchmarks.cores --configs char,baby --saturation 200

Each size runs in a process of its own, on one thread and on two in turn. The model takes the one-thread times of all
calls of a step, the bandwidth of one thread and of two, and what it costs to wake the second one. That it predicts
the step on two threads is checked here; what it says of more cores rests on two assumptions, which the output states.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.programs import Minitrain
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import BatchStream, markov_tokens
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker, serve
from minitrain.errors import WorkerError
from minitrain.ops.contract.op import observe
from minitrain.profiling.costs import cost_of
from minitrain.profiling.machine import APART
from minitrain.profiling.products import Call
from minitrain.profiling.recorder import kind_of

from ..output import out_file
from .model import Cores, Timed, by_operation, step_seconds
from .splits import Split, split_of

SUMMARY = "Predict a training step on more cores, and check the prediction on two."
CONFIGS = ("char", "baby", "gpt2")
MANY = (16, 64)
ROUNDS = 7
STEPS = {"char": 10, "baby": 1, "gpt2": 1, "llama": 1}  # in a turn
SATURATION = 150.0
"""GB/s of all cores together: about three quarters of eight channels of DDR4-3200."""
TRIAD = 1 << 24  # elements of each array, 64 MiB
SMALL = 64  # elements of a loop that costs nothing but its launch


def measure(
    configs: Sequence[str] = CONFIGS, *, rounds: int | None = None, saturation: float = SATURATION
) -> dict[str, Any]:
    """Measure, predict and compare, one size after the other.

    Args:
        configs: sizes.
        rounds: turns on one thread and on two.
        saturation: GB/s that any number of cores share.

    Raises:
        WorkerError: if a program does not run.
    """
    watch, own, found = OtherLoad(), 0.0, {}
    for config in configs:
        say(f"{config} on one thread and on two …")
        with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder:
            tokens = Path(folder) / "tokens.npy"
            np.save(tokens, markov_tokens(SIZES[config].vocab_size))
            arguments = ["benchmarks.cores", "--serve", config, "--tokens", str(tokens)]
            with contextlib.closing(Worker(config, arguments, thread_settings(2) | default_install())) as worker:
                turns: dict[int, list[Reply]] = {1: [], 2: []}
                for _ in range(rounds or ROUNDS):
                    for threads, replies in turns.items():
                        replies.append(worker.ask(f"run {threads}"))
        own += turns[2][-1]["cpu_seconds"]
        found[config] = predicted(turns, saturation)
    return {
        "configs": found,
        "saturation_gb": saturation,
        "cores_used_by_others": watch.cores(own),
        "machine": describe(),
    }


def predicted(turns: Mapping[int, Sequence[Reply]], saturation: float) -> dict[str, Any]:
    """The model of one size, what it says of two threads, and what was measured there.

    Args:
        turns: replies on one thread and on two.
        saturation: GB/s that any number of cores share.
    """
    middle: dict[int, list[float]] = {}
    for threads, replies in turns.items():
        each = zip(*(reply["seconds"] for reply in replies), strict=True)
        middle[threads] = [statistics.median(times) for times in each]
    known = turns[1][0]["calls"]
    calls = [
        Timed(call["name"], seconds, call["nbytes"], None if call["split"] is None else Split(*call["split"]))
        for call, seconds in zip(known, middle[1], strict=True)
    ]
    rest = statistics.median(reply["rest"] for reply in turns[1])
    cores = Cores(
        max(reply["bandwidth"] for reply in turns[1]),
        max(reply["bandwidth"] for reply in turns[2]),
        1e9 * saturation,
        max(0.0, min(r["launch"] for r in turns[2]) - min(r["launch"] for r in turns[1])),
    )
    measured = sum(middle[2]) + statistics.median(reply["rest"] for reply in turns[2])
    on_two = dict.fromkeys((call.name for call in calls), 0.0)
    for call, seconds in zip(calls, middle[2], strict=True):
        on_two[call.name] += seconds
    steps = {threads: step_seconds(calls, rest, cores, threads) for threads in (1, 2, *MANY)}
    return {
        "cores": cores.__dict__,
        "rest": rest,
        "step_seconds": steps,
        "measured_2": measured,
        "error_2": steps[2] / measured - 1,
        "operations": {
            threads: [
                one._asdict() | {"speedup": one.speedup, "measured_2": on_two[one.name]}
                for one in by_operation(calls, cores, threads)
            ]
            for threads in (2, *MANY)
        },
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The steps, then the operations that stop scaling first."""
    rows = []
    for config, found in result["configs"].items():
        steps = found["step_seconds"]
        cells = [f"{1e3 * steps[1]:.1f}", f"{1e3 * found['measured_2']:.1f}", f"{1e3 * steps[2]:.1f}"]
        cells += [f"{found['error_2']:+.1%}", *(f"{steps[1] / steps[n]:.1f}x" for n in MANY)]
        rows.append([config, *cells])
    columns = ["", "1 thread ms", "2 threads ms", "predicted", "error", *(f"{n} cores: times as fast" for n in MANY)]
    pages = [Table(f"a step on more cores, {result['machine']['cpu']}", columns, rows)]
    for config, found in result["configs"].items():
        at = {n: {one["name"]: one for one in found["operations"][n]} for n in (2, *MANY)}
        total = found["step_seconds"][MANY[-1]]
        rows = []
        for name, last in at[MANY[-1]].items():
            if last["many"] < 0.01 * total:
                continue
            two = at[2][name]
            speedups = [f"{at[n][name]['speedup']:.1f}x" for n in MANY]
            checked = f"{two['one'] / two['measured_2']:.2f}x"
            rows.append(
                [name, f"{two['speedup']:.2f}x", checked, *speedups, f"{last['many'] / total:.0%}", last["limit"]]
            )
        columns = ["", "2 predicted", "2 measured", *(f"{n} cores" for n in MANY)]
        columns += [f"of the step on {MANY[-1]}", f"limit on {MANY[-1]}"]
        pages.append(Table(f"{config}: operations with 1 % of the step on {MANY[-1]} cores and more", columns, rows))
    return pages


def notes(result: Mapping[str, Any]) -> list[str]:
    """The measured parameters, and what is assumed."""
    lines = []
    for config, found in result["configs"].items():
        cores = found["cores"]
        lines.append(
            f"{config}: triad {cores['bandwidth_1'] / 1e9:.1f} GB/s on one thread, {cores['bandwidth_2'] / 1e9:.1f} on "
            f"two; a launch on two costs {1e6 * cores['launch_2']:.1f} us; {1e3 * found['rest']:.2f} ms of a step are "
            "outside of operations"
        )
    lines.append(
        "assumed for more cores: each adds the bandwidth that the second one added, up to "
        f"{result['saturation_gb']:g} GB/s; each adds 0.1 us to a launch; the clock does not fall; one socket"
    )
    return lines


def serve_program(config: str, tokens: str) -> None:
    """The child's side: a training step of which every call is timed, on any number of threads."""
    size = SIZES[config]
    program: Minitrain

    def greet() -> Reply:
        nonlocal program
        program = Minitrain(size, BatchStream(np.load(tokens), size.batch_size, size.block_size))
        program.prepare(2)
        program.step(), program.step()
        return {}

    def run(threads: str) -> Reply:
        from minitrain.backend import set_threads

        set_threads(int(threads))
        program.prepare(1 + STEPS[config])
        program.step()
        records = [recorded_step(program.step) for _ in range(STEPS[config])]
        calls = records[0][0]
        return {
            "calls": [{"name": name, "nbytes": nbytes, "split": split} for name, _, nbytes, split in calls],
            "seconds": [min(one[0][i][1] for one in records) for i in range(len(calls))],
            "rest": min(rest for _, rest in records),
            "bandwidth": bandwidth(),
            "launch": launch_seconds(),
        }

    serve(greet, {"run": run})


def recorded_step(step: Callable[[], object]) -> tuple[list[Timed], float]:
    """Every call of operations in a step with its time, and the time outside of them, without the recording's own."""
    calls: list[Timed] = []
    recording = 0.0

    def record(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        nonlocal recording
        entered = time.perf_counter()
        observe(None)  # calls inside this one are part of it
        try:
            began = time.perf_counter()
            result = function(*args, **options)
            seconds = time.perf_counter() - began
            call = Call(function.__name__, args, options, result)
            name = " ".join(kind_of(function))
            calls.append(Timed(name, seconds, cost_of(call).nbytes, split_of(call)))
        finally:
            observe(record)
        recording += time.perf_counter() - entered - seconds
        return result

    began = time.perf_counter()
    observe(record)
    try:
        step()
    finally:
        observe(None)
    whole = time.perf_counter() - began - recording
    return calls, whole - sum(call.seconds for call in calls)


def bandwidth() -> float:
    """Bytes per second of the fastest of a few triads, on the threads that are set now."""
    from minitrain.kernels.cpu.triad import triad

    a, b = np.ones((2, TRIAD + APART), np.float32)[:, :TRIAD]
    triad(a, b, 0.5)

    def seconds() -> float:
        began = time.perf_counter()
        triad(a, b, 0.5)
        return time.perf_counter() - began

    return float(3 * a.nbytes) / min(seconds() for _ in range(3))


def launch_seconds(calls: int = 200) -> float:
    """Seconds of a loop with nothing in it, on the threads that are set now: the fastest of some calls."""
    from minitrain.kernels.cpu.triad import triad

    a, b = np.ones((2, SMALL), np.float32)
    best = float("inf")
    for _ in range(calls):
        began = time.perf_counter()
        triad(a, b, 0.5)
        best = min(best, time.perf_counter() - began)
    return best


def main() -> int:
    """Measure what the command line asks for, print the tables and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cores", description=SUMMARY)
    parser.add_argument("--configs", default=",".join(CONFIGS), help=f"sizes, comma-separated: {', '.join(SIZES)}")
    parser.add_argument("--rounds", type=int, help=f"turns on one thread and on two ({ROUNDS})")
    parser.add_argument("--saturation", type=float, default=SATURATION, help="GB/s of all cores together (%(default)g)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--serve", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_program(arguments.serve, arguments.tokens)
        return 0
    configs = arguments.configs.split(",")
    if unknown := [config for config in configs if config not in SIZES]:
        parser.error(f"unknown sizes {', '.join(unknown)}: choose from {', '.join(SIZES)}")
    try:
        result = measure(configs, rounds=arguments.rounds, saturation=arguments.saturation)
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    for table in tables(result):
        show(table)
    for line in [*notes(result), load_line(result["cores_used_by_others"])]:
        say(line)
    say(f"figures written to {write_json(arguments.json or out_file('cores.json'), result)}")
    return 0

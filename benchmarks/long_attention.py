"""Causal attention to long contexts against PyTorch's fused one: time, and memory beyond the inputs.

    python -m benchmarks.long_attention --lengths 1024,4096 --rounds 3

B=1, H=2, D=64, in float32 and bfloat16, forward and backward. Each program and length has a process of its own, so that
its peak memory is that of this length alone. PyTorch's bfloat16 first shows on a short sequence how slow it is here,
on one thread: a program that is ``SLOW`` times as slow as its float32 is told and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install, torch_installed
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.probe import SLOW
from minitrain.benchmark.ratios import Spread, fitted_exponent, pairwise_ratio, spread
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker, peak_rss_mb, serve, take_turns
from minitrain.errors import WorkerError

from .output import out_file

SUMMARY = "Time causal attention to long contexts, and measure its memory."
LENGTHS = (1024, 2048, 4096, 8192, 16384)
H, D = 2, 64
PRECISIONS = ("float32", "bfloat16")
PROBE = 512  # length that shows how slow PyTorch's bfloat16 is
ROUNDS = 5
BLOCK = 0.2  # seconds of calls in a turn, and one call at least
PARTS = ("forward", "backward")
Step = dict[str, Callable[[], Any]]


def measure(
    lengths: Sequence[int] = LENGTHS, *, rounds: int | None = None, threads: int | None = None, with_torch: bool = True
) -> dict[str, Any]:
    """Time all programs at each length, in turn.

    Raises:
        WorkerError: if a program does not run.
    """
    environment = thread_settings(threads) | default_install()
    names = [f"minitrain {precision}" for precision in PRECISIONS]
    slowness = None
    if with_torch and torch_installed():
        names.append("torch float32")
        slowness = probed()
        if slowness <= SLOW:
            names.append("torch bfloat16")
    watch, own, lines = OtherLoad(), 0.0, []
    for T in lengths:
        say(f"T={T} …")
        with contextlib.ExitStack() as stack:
            workers = []
            for name in names:
                worker = Worker(name, ["benchmarks.long_attention", "--serve", name, "--lengths", str(T)], environment)
                workers.append(stack.enter_context(contextlib.closing(worker)))
            replies = take_turns(workers, "run", rounds or ROUNDS)
            memory = {worker.name: worker.greeting["extra_mb"] for worker in workers}
            own += sum(turns[-1]["cpu_seconds"] for turns in replies.values())
        lines.append(line(T, replies, memory))
    return {
        "lines": lines,
        "memory_exponents": exponents(lines),
        "bfloat16_slowness_of_torch": slowness,
        "cores_used_by_others": watch.cores(own),
        "machine": describe(),
    }


def probed() -> float:
    """CPU time of PyTorch's bfloat16 over its float32, on one thread and a short sequence."""
    seconds = []
    for precision in PRECISIONS:
        arguments = ["benchmarks.long_attention", "--serve", f"torch {precision}", "--lengths", str(PROBE)]
        with contextlib.closing(Worker(f"torch {precision}", arguments, thread_settings(1))) as worker:
            seconds.append(worker.ask("run")["cpu_a_call"])
    return float(seconds[1] / seconds[0])


def line(T: int, replies: Mapping[str, Sequence[Reply]], memory: Mapping[str, float | None]) -> dict[str, Any]:
    """The figures of one length: seconds, ratios to the best of PyTorch in each part, and memory in MB."""
    seconds = {
        name: {part: [reply[part] for reply in turns] for part in PARTS}
        | {"both": [reply["forward"] + reply["backward"] for reply in turns]}
        for name, turns in replies.items()
    }
    ratios: dict[str, Any] = {}
    rivals = [name for name in seconds if name.startswith("torch")]
    for name, times in seconds.items():
        if name.startswith("minitrain") and rivals:
            ratios[name] = {
                part: min(pairwise_ratio(seconds[rival][part], times[part]) for rival in rivals)._asdict()
                for part in (*PARTS, "both")
            }
    middle = {name: {part: spread(values).median for part, values in parts.items()} for name, parts in seconds.items()}
    return {"length": T, "seconds": middle, "ratios": ratios, "extra_mb": dict(memory)}


def exponents(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The power of T that each program's memory grows with; 1 is linear."""
    found = {}
    for name in lines[0]["extra_mb"]:
        values = [one["extra_mb"][name] for one in lines]
        if len(values) > 1 and all(value is not None and value > 0 for value in values):
            found[name] = fitted_exponent([one["length"] for one in lines], values)
    return found


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Times with their ratios to PyTorch's best, and memory."""
    names = list(result["lines"][0]["seconds"])
    ours = [name for name in names if name.startswith("minitrain")]
    rows, memory = [], []
    for one in result["lines"]:
        cells = ["/".join(f"{1e3 * one['seconds'][name][part]:.1f}" for part in PARTS) for name in names]
        for name in ours:
            parts = one["ratios"].get(name)
            cells.append(
                "" if parts is None else f"{parts['forward']['median']:.2f}, {parts['backward']['median']:.2f}"
            )
            cells.append("" if parts is None else str(Spread(**parts["both"])))
        rows.append([str(one["length"]), *cells])
        memory.append([str(one["length"]), *(_mb(one["extra_mb"][name]) for name in names)])
    memory.append(["as a power of T", *(_exponent(result, name) for name in names)])
    columns = ["T", *(f"{name} ms" for name in names)]
    for name in ours:
        columns += [f"PyTorch / {name}: forward, backward", "both"]
    title = f"causal attention, forward/backward, B=1, H={H}, D={D}, {result['machine']['cpu']}"
    return [
        Table(title, columns, rows),
        Table("peak memory beyond inputs, MB", ["T", *names], memory),
    ]


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _exponent(result: Mapping[str, Any], name: str) -> str:
    return f"{result['memory_exponents'][name]:.2f}" if name in result["memory_exponents"] else ""


def notes(result: Mapping[str, Any]) -> list[str]:
    """Which program was left out, and why."""
    slowness = result["bfloat16_slowness_of_torch"]
    if slowness is None:
        return []
    left_out = ", and is left out" if slowness > SLOW else ""
    return [
        f"PyTorch's bfloat16 takes {slowness:.1f} times as long as its float32 here (one thread, T={PROBE}){left_out}"
    ]


def minitrain_step(T: int, precision: str) -> Step:
    """The forward and backward of minitrain; the backward follows the latest forward."""
    from minitrain.backend import use_precision
    from minitrain.ops import attention_backward, attention_forward

    q, k, v, dout = np.random.default_rng(0).standard_normal((4, 1, T, H, D), np.float32)
    kept: list[Any] = []

    def forward() -> None:
        kept.clear()
        with use_precision(precision):
            kept.append(attention_forward(q, k, v, causal=True)[1])

    return {"forward": forward, "backward": lambda: attention_backward(dout, kept[0])}


def torch_step(T: int, precision: str) -> Step:
    """The same in PyTorch; in bfloat16 all arrays are."""
    import torch

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    arrays = np.random.default_rng(0).standard_normal((4, 1, T, H, D), np.float32)
    q, k, v, dout = (torch.from_numpy(x).to(dtype).transpose(1, 2) for x in arrays)  # (B, H, T, D)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    kept: list[Any] = []

    def forward() -> None:
        kept.clear()
        kept.append(torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True))

    return {"forward": forward, "backward": lambda: torch.autograd.grad(kept[0], inputs, dout, retain_graph=True)}


def serve_program(name: str, T: int) -> None:
    """The child's side: its first calls show its memory, later ones its time."""
    kind, precision = name.split()
    make = torch_step if kind == "torch" else minitrain_step
    step: Step = {}

    def greet() -> Reply:
        nonlocal step
        for call in make(64, precision).values():  # loads libraries and compiled code
            call()
        step = make(T, precision)
        before = peak_rss_mb()
        for call in step.values():
            call()
        after = peak_rss_mb()
        return {"extra_mb": None if before is None or after is None else after - before}

    def run() -> Reply:
        for call in step.values():
            call()
        began, cpu, seconds, repeats = time.perf_counter(), time.process_time(), dict.fromkeys(step, 0.0), 0
        while repeats == 0 or time.perf_counter() - began < BLOCK:
            for part, call in step.items():
                entered = time.perf_counter()
                call()
                seconds[part] += time.perf_counter() - entered
            repeats += 1
        means = {part: total / repeats for part, total in seconds.items()}
        return means | {"cpu_a_call": (time.process_time() - cpu) / repeats}

    serve(greet, {"run": run})


def main() -> int:
    """Measure what the command line asks for, print the tables and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_attention", description=SUMMARY)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)), help="comma-separated (%(default)s)")
    parser.add_argument("--rounds", type=int, help=f"turns of every program ({ROUNDS})")
    parser.add_argument("--threads", type=int, help="threads for every program")
    parser.add_argument("--no-torch", action="store_true", help="measure minitrain alone")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        lengths = [int(text) for text in arguments.lengths.split(",")]
    except ValueError:
        parser.error(f"--lengths {arguments.lengths}: give whole numbers, comma-separated")
    if min(lengths) < 1:
        parser.error(f"--lengths {arguments.lengths}: give 1 or more")
    if arguments.serve:
        serve_program(arguments.serve, lengths[0])
        return 0
    try:
        result = measure(lengths, rounds=arguments.rounds, threads=arguments.threads, with_torch=not arguments.no_torch)
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    for table in tables(result):
        show(table)
    for text in [*notes(result), load_line(result["cores_used_by_others"])]:
        say(text)
    say(f"figures written to {write_json(arguments.json or out_file('long_attention.json'), result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A training step of minitrain against PyTorch, and against the machine's own limit.

    python -m benchmarks.train_step --config char --json out.json

Four programs run in turn (``benchmarks.turns``): minitrain, PyTorch eager with fused AdamW, PyTorch compiled,
and a plain matrix product that tells what the machine can do at that very time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .machine import OtherLoad, describe
from .programs import SGEMM_SIZE
from .report import say, say_load, show, write_json
from .sizes import FLOPS_FORMULA, SIZES, Size, step_flops
from .tokens import markov_tokens
from .turns import ROOT, Reply, Spread, Worker, WorkerError, pairwise_ratio, spread, take_turns

PEERS = ("eager", "compiled")
LABELS = {"minitrain": "minitrain", "eager": "PyTorch eager", "compiled": "PyTorch compiled"}
SUMMARY = "Compare a training step of minitrain with PyTorch and with the machine's own limit."
SGEMM_REPEATS = 5
START_TIMES = ("first_step_seconds", "start_seconds", "cold_first_step_seconds", "cold_start_seconds")
Result = dict[str, Any]


def measure(
    config: str,
    *,
    rounds: int | None = None,
    steps: int | None = None,
    peers: tuple[str, ...] = PEERS,
    threads: int | None = None,
) -> Result:
    """Run the comparison for one size.

    Args:
        config: ``char``, ``baby``, ``gpt2`` or ``llama``.
        rounds: turns of every program; the size's own number by default.
        steps: training steps a turn; the size's own number by default.
        peers: the PyTorch programs to compare with; those that cannot run are reported and left out.
        threads: threads for every program; by default each decides for itself, as it does for a user.

    Raises:
        WorkerError: if minitrain itself does not run.
    """
    size = SIZES[config]
    rounds, steps = rounds or size.rounds, steps or size.steps
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder, contextlib.ExitStack() as stack:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, markov_tokens(size.vocab_size))
        # Empty caches of compiled code: the first start of a program is a cold one, the second a warm one.
        environment = {
            "MINITRAIN_CACHE_DIR": f"{folder}/minitrain",
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        }
        environment |= thread_settings(threads)
        failures: dict[str, str] = {}
        starts: dict[str, Result] = {}
        workers: list[Worker] = []
        for name in ("minitrain", *available(peers, failures)):
            say(f"{config}: starting {LABELS[name]} …")
            try:
                worker, starts[name] = start(name, config, tokens, environment)
            except WorkerError as error:
                if name == "minitrain":
                    raise
                failures[name] = str(error)
                say(f"{config}: leaving out {LABELS[name]}: {error}")
                continue
            workers.append(stack.enter_context(contextlib.closing(worker)))
        sgemm = Worker("sgemm", program("sgemm", config, tokens), environment)
        workers.append(stack.enter_context(contextlib.closing(sgemm)))
        say(f"{config}: {rounds} rounds of {steps} steps, {len(workers)} programs in turn …")
        watch = OtherLoad()
        commands = {worker.name: f"run {SGEMM_REPEATS if worker is sgemm else steps}" for worker in workers}
        replies = take_turns(workers, commands, rounds)
        own = sum(replies[w.name][-1]["cpu_seconds"] - w.greeting["cpu_seconds"] for w in workers)
        others = watch.cores(own)
    return {
        "config": config,
        **summarise(size, replies, starts),
        "settings": {
            "rounds": rounds,
            "steps_per_round": steps,
            "threads": threads,
            "flops_formula": FLOPS_FORMULA,
        },
        "failures": failures,
        "cores_used_by_others": others,
        "machine": describe(),
    }


def summarise(size: Size, replies: dict[str, list[Reply]], starts: dict[str, Result]) -> Result:
    """The figures: ratios of the same round, tokens per second, efficiency, memory, start times."""
    seconds = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
    peak = 2 * SGEMM_SIZE**3 / min(reply["fastest"] for reply in replies["sgemm"])  # FLOP/s
    flops = step_flops(size)
    programs: Result = {}
    for name, start_figures in starts.items():
        last = replies[name][-1]
        median = statistics.median(seconds[name])
        programs[name] = {
            **start_figures,
            "step_seconds": spread(seconds[name])._asdict(),
            "tokens_per_second": size.tokens / median,
            "efficiency": flops.total / median / peak,
            "peak_rss_mb": last["peak_rss_mb"],
            "cores": statistics.median(reply["cores"] for reply in replies[name]),
            "idle_cpu_seconds_per_turn": statistics.median(reply["idle_cpu_seconds"] for reply in replies[name]),
            "last_loss": last["loss"],
        }
    ratios = {peer: pairwise_ratio(seconds[peer], seconds["minitrain"]) for peer in PEERS if peer in programs}
    ours = programs["minitrain"]["peak_rss_mb"]
    figures: Result = {}
    for peer in PEERS:
        ratio = ratios.get(peer)
        figures[f"ratio_to_torch_{peer}"] = ratio.median if ratio else None
        figures[f"ratio_to_torch_{peer}_quartiles"] = [ratio.low, ratio.high] if ratio else None
    return {
        **figures,
        "sgemm_efficiency": programs["minitrain"]["efficiency"],
        "peak_rss_ratio": ours / programs["eager"]["peak_rss_mb"] if "eager" in programs else None,
        "tokens_per_second": {name: figures["tokens_per_second"] for name, figures in programs.items()},
        "sgemm_gflops": peak / 1e9,
        "sgemm_cores": statistics.median(reply["cores"] for reply in replies["sgemm"]),
        "step_gflop": {"products": flops.products / 1e9, "attention": flops.attention / 1e9},
        "programs": programs,
        "rounds": seconds,
    }


def start(name: str, config: str, tokens: Path, environment: dict[str, str]) -> tuple[Worker, Result]:
    """Start a program; where it keeps compiled code, once cold before. Returns it and its start times."""
    figures: Result = {"import_seconds": import_seconds("minitrain" if name == "minitrain" else "torch", environment)}
    if name != "eager":
        with contextlib.closing(Worker(name, program(name, config, tokens), environment)) as cold:
            figures["cold_first_step_seconds"] = cold.greeting["first_step_seconds"]
            figures["cold_start_seconds"] = cold.seconds_to_ready
    worker = Worker(name, program(name, config, tokens), environment)
    figures["first_step_seconds"] = worker.greeting["first_step_seconds"]
    figures["start_seconds"] = worker.seconds_to_ready
    figures |= {key: worker.greeting[key] for key in ("threads", "first_loss", "rss_after_build_mb")}
    return worker, figures


def program(name: str, config: str, tokens: Path) -> list[str]:
    """The child's command line after ``python -m``."""
    return ["benchmarks.programs", name, "--config", config, "--tokens", str(tokens)]


def available(peers: tuple[str, ...], failures: dict[str, str]) -> tuple[str, ...]:
    """``peers``, or none with one clear line if PyTorch is missing."""
    if peers and importlib.util.find_spec("torch") is None:
        message = "PyTorch is not installed (pip install 'minitrain[peers]'): minitrain runs alone"
        say(message)
        failures |= dict.fromkeys(peers, message)
        return ()
    return peers


def thread_settings(threads: int | None) -> dict[str, str]:
    """Environment variables that hold every program to ``threads``; empty for ``None``."""
    names = ("MINITRAIN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {} if threads is None else dict.fromkeys(names, str(threads))


def import_seconds(module: str, environment: dict[str, str], repeats: int = 3) -> float:
    """Median time of ``import module`` in fresh processes."""
    code = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    command = [sys.executable, "-c", code]
    variables = {**os.environ, **environment}
    runs = [subprocess.check_output(command, cwd=ROOT, env=variables, text=True) for _ in range(repeats)]
    return statistics.median(map(float, runs))


def print_result(result: Result) -> None:
    """Show the figures as tables."""
    size = SIZES[result["config"]]
    title = (
        f"{result['config']}: {size.n_layer} layers, {size.n_head} heads, width {size.n_embd}, "
        f"B={size.batch_size}, T={size.block_size}, V={size.vocab_size}"
    )
    programs = result["programs"]
    speed = []
    for name, figures in programs.items():
        quartiles = result.get(f"ratio_to_torch_{name}_quartiles")
        ratio = Spread(result[f"ratio_to_torch_{name}"], *quartiles) if quartiles else ""
        speed.append(
            [
                LABELS[name],
                f"{figures['tokens_per_second']:,.0f}",
                f"{1e3 * figures['step_seconds']['median']:.1f}",
                f"{figures['efficiency']:.1%}",
                f"{figures['cores']:.2f}",
                f"{figures['peak_rss_mb']:,.0f}",
                str(ratio),
            ]
        )
    columns = [
        "program",
        "tokens/s",
        "step ms",
        "of sgemm peak",
        "cores",
        "peak MB",
        "its time / minitrain's",
    ]
    show(title, columns, speed)
    begin = [
        [
            LABELS[name],
            f"{figures['import_seconds']:.2f}",
            *(f"{figures[key]:.2f}" if key in figures else "" for key in START_TIMES),
            f"{figures['first_loss']:.3f} → {figures['last_loss']:.3f}",
        ]
        for name, figures in programs.items()
    ]
    columns = [
        "starting up",
        "import s",
        "first step s",
        "from start s",
        "cold: first step s",
        "cold: from start s",
    ]
    show("", [*columns, "loss"], begin)
    line = f"sgemm peak {result['sgemm_gflops']:.0f} GFLOP/s on {result['sgemm_cores']:.2f} cores"
    if result["peak_rss_ratio"] is not None:
        line += f"; peak memory {result['peak_rss_ratio']:.2f} of PyTorch eager's"
    say(line)
    say_load(result["cores_used_by_others"])


def main() -> int:
    """Measure one size, print the tables and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=SUMMARY)
    parser.add_argument("--config", choices=SIZES, default="char")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--rounds", type=int, help="turns of every program")
    parser.add_argument("--steps", type=int, help="training steps a turn")
    parser.add_argument("--peers", default=",".join(PEERS), help="PyTorch programs to compare with")
    parser.add_argument("--no-torch", action="store_true", help="measure minitrain alone")
    parser.add_argument("--threads", type=int, help="threads for every program")
    arguments = parser.parse_args()
    peers = () if arguments.no_torch else tuple(filter(None, arguments.peers.split(",")))
    if unknown := set(peers) - set(PEERS):
        parser.error(f"unknown peers {sorted(unknown)}: choose from {', '.join(PEERS)}")
    try:
        result = measure(
            arguments.config,
            rounds=arguments.rounds,
            steps=arguments.steps,
            peers=peers,
            threads=arguments.threads,
        )
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    print_result(result)
    write_json(arguments.json, f"train_step_{arguments.config}", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())

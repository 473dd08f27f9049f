"""Compares a training step of minitrain with PyTorch and with the machine's limit.

The programs run in turn (``turns.py``): minitrain, PyTorch eager with fused AdamW, PyTorch compiled, and plain matrix
products, which show what the machine can do at that time. ``contestants.py`` says who else takes part: both in another
precision, both held to AVX2, minitrain with MKL's products.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WorkerError
from .comparisons import compared
from .contestants import PEERS, Contestant, contestants, torch_installed, widest_instructions
from .machine import OtherLoad, describe
from .probe import SLOW
from .ratios import pairwise_ratio, spread
from .report import say
from .sgemm import SGEMM_FLOPS, SGEMMS
from .sizes import FLOPS_FORMULA, SIZES, Size, step_flops
from .tokens import markov_tokens
from .turns import ROOT, Reply, Worker, take_turns

SGEMM_REPEATS = 5
Result = dict[str, Any]


def measure(
    config: str,
    *,
    rounds: int | None = None,
    steps: int | None = None,
    peers: tuple[str, ...] = PEERS,
    threads: int | None = None,
    precision: str = "float32",
    equal_instructions: bool = False,
) -> Result:
    """Run the comparison for one size.

    Args:
        config: ``char``, ``baby``, ``gpt2`` or ``llama``.
        rounds: turns of every program; the size's number by default.
        steps: training steps per turn; the size's number by default.
        peers: the PyTorch programs to compare with; those that cannot run are reported and left out.
        threads: threads for every program; by default each chooses its own number, as for a user.
        precision: ``float32``, or ``bfloat16``: then both precisions of both take part, except programs that a small
            step finds too slow to wait for (``probe.py``).
        equal_instructions: whether all also run held to AVX2, if the processor has AVX-512.

    Raises:
        WorkerError: if minitrain itself does not run.
    """
    size = SIZES[config]
    rounds, steps = rounds or size.rounds, steps or size.steps
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder, contextlib.ExitStack() as stack:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, markov_tokens(size.vocab_size))
        environment = thread_settings(threads)
        failures: dict[str, str] = {}
        starts: dict[str, Result] = {}
        probes: dict[str, Reply] = {}
        workers: list[Worker] = []
        field = contestants(peers, failures, precision=precision, equal_instructions=equal_instructions)
        for one in field:
            variables = environment | caches(folder, one.name) | dict(one.variables)
            try:
                if one.half and not one.ours:
                    say(f"{config}: one small step of {one.label} …")
                    probes[one.name] = probed(one, config, variables | caches(folder, "probe"))
                say(f"{config}: starting {one.label} …")
                worker, starts[one.name] = start(one, config, tokens, variables)
            except WorkerError as error:
                if one.ours and not one.mkl:
                    raise
                if isinstance(error, TooSlow):
                    probes[one.name] = error.reply
                failures[one.name] = str(error)
                say(f"{config}: leaving out {one.label}: {error}")
                continue
            workers.append(stack.enter_context(contextlib.closing(worker)))
        for name in SGEMMS:
            if name != "sgemm-torch" or torch_installed():
                product = Worker(name, program(name, config, tokens), environment | caches(folder, name))
                workers.append(stack.enter_context(contextlib.closing(product)))
        say(f"{config}: {rounds} rounds of {steps} steps, {len(workers)} programs in turn …")
        watch = OtherLoad()
        commands = {worker.name: f"run {SGEMM_REPEATS if worker.name in SGEMMS else steps}" for worker in workers}
        replies = take_turns(workers, commands, rounds)
        own = sum(replies[w.name][-1]["cpu_seconds"] - w.greeting["cpu_seconds"] for w in workers)
        others = watch.cores(own)
    running = [one for one in field if one.name in starts]
    return {
        "config": config,
        "precision": precision,
        "instructions": widest_instructions(),
        **summarise(size, replies, starts, running),
        "settings": {
            "rounds": rounds,
            "steps_per_round": steps,
            "threads": threads,
            "equal_instructions": equal_instructions,
            "flops_formula": FLOPS_FORMULA,
        },
        "probes": probes,
        "failures": failures,
        "cores_used_by_others": others,
        "machine": describe(),
    }


def probed(one: Contestant, config: str, environment: Mapping[str, str]) -> Reply:
    """The time of a small step in both precisions.

    Raises:
        WorkerError: if the program is too slow to wait for, or does not run.
    """
    arguments = ["minitrain.benchmark.probe", one.kind, "--config", config, "--precision", one.precision]
    with contextlib.closing(Worker(one.name, arguments, environment)) as worker:
        reply = {key: worker.greeting[key] for key in ("seconds", "float32_seconds", "slowness")}
    if reply["slowness"] > SLOW:
        raise TooSlow(one, reply)
    return reply


class TooSlow(WorkerError):
    """A program that a small step found too slow."""

    def __init__(self, one: Contestant, reply: Reply) -> None:
        self.reply = reply
        super().__init__(
            f"a small step (one layer, one sequence) took {reply['seconds']:.3g} s in {one.precision} and "
            f"{reply['float32_seconds']:.3g} s in float32, {reply['slowness']:.0f} times as long"
        )


def summarise(
    size: Size, replies: Mapping[str, list[Reply]], starts: Mapping[str, Result], running: Sequence[Contestant]
) -> Result:
    """The results: ratios within the same round, tokens per second, efficiency, memory, start times."""
    seconds = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
    products = {
        name: SGEMM_FLOPS / min(reply["fastest"] for reply in replies[name]) for name in SGEMMS if name in replies
    }
    fastest = max(products, key=products.__getitem__)
    peak = products[fastest]  # FLOP/s
    flops = step_flops(size)
    programs: Result = {}
    for one in running:
        turns, median = replies[one.name], statistics.median(seconds[one.name])
        programs[one.name] = {
            **starts[one.name],
            "label": one.label,
            "ours": one.ours,
            "precision": one.precision,
            "step_seconds": spread(seconds[one.name])._asdict(),
            "tokens_per_second": size.tokens / median,
            "efficiency": flops.total / median / peak,
            "peak_rss_mb": turns[-1]["peak_rss_mb"],
            "pool_peak_mb": turns[-1]["pool_peak_mb"] if one.ours else None,
            "page_faults": None if turns[-1]["page_faults"] is None else median_of(turns, "page_faults"),
            "cores": median_of(turns, "cores"),
            "idle_cpu_seconds_per_turn": median_of(turns, "idle_cpu_seconds"),
            "last_loss": turns[-1]["loss"],
        }
    for one in running:
        if one.ours:
            rivals = [other.name for other in running if not other.ours and other.masked == one.masked]
            programs[one.name]["ratios"] = {
                rival: pairwise_ratio(seconds[rival], seconds[one.name])._asdict() for rival in rivals
            }
    main = running[0].name
    ratios = programs[main]["ratios"]
    memory = [programs[name]["peak_rss_mb"] for name in (main, "eager") if name in programs]
    return {
        "main": main,
        **{f"ratio_to_torch_{peer}": ratios[peer]["median"] if peer in ratios else None for peer in PEERS},
        "comparisons": compared(programs, seconds, running),
        "sgemm_efficiency": programs[main]["efficiency"],
        "peak_rss_ratio": memory[0] / memory[1] if len(memory) == 2 and None not in memory else None,
        "tokens_per_second": {name: measured["tokens_per_second"] for name, measured in programs.items()},
        "sgemm_gflops": peak / 1e9,
        "sgemm_fastest": fastest,
        "sgemm_gflops_by_program": {name: product / 1e9 for name, product in products.items()},
        "sgemm_cores": median_of(replies[fastest], "cores"),
        "step_gflop": {"products": flops.products / 1e9, "attention": flops.attention / 1e9},
        "programs": programs,
        "rounds": seconds,
    }


def median_of(replies: list[Reply], key: str) -> float:
    """The median of one measurement over the rounds."""
    return float(statistics.median(reply[key] for reply in replies))


def start(one: Contestant, config: str, tokens: Path, environment: Mapping[str, str]) -> tuple[Worker, Result]:
    """Start a program; one that caches compiled code is started cold first. Returns it and its start times."""
    measured: Result = {"import_seconds": import_seconds("minitrain" if one.ours else "torch", environment)}
    arguments = program(one.kind, config, tokens, one.precision)
    if one.kind != "eager":
        with contextlib.closing(Worker(one.name, arguments, environment)) as cold:
            measured["cold_first_step_seconds"] = cold.greeting["first_step_seconds"]
            measured["cold_start_seconds"] = cold.seconds_to_ready
    worker = Worker(one.name, arguments, environment)
    measured["first_step_seconds"] = worker.greeting["first_step_seconds"]
    measured["start_seconds"] = worker.seconds_to_ready
    measured |= {key: worker.greeting[key] for key in ("threads", "blas", "first_loss", "rss_after_build_mb")}
    return worker, measured


def program(name: str, config: str, tokens: Path, precision: str = "float32") -> list[str]:
    """The child's command line after ``python -m``; that of float32 is also understood by earlier versions."""
    arguments = ["minitrain.benchmark.programs", name, "--config", config, "--tokens", str(tokens)]
    return arguments if precision == "float32" else [*arguments, "--precision", precision]


def thread_settings(threads: int | None) -> dict[str, str]:
    """Environment variables that limit every program to ``threads``; empty for ``None``."""
    names = ("MINITRAIN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {} if threads is None else dict.fromkeys(names, str(threads))


def caches(folder: str, name: str) -> dict[str, str]:
    """Environment variables of empty caches of compiled code: a program's first start is cold, its second warm."""
    return {
        "MINITRAIN_CACHE_DIR": f"{folder}/{name}/minitrain",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/{name}/inductor",
    }


def import_seconds(module: str, environment: Mapping[str, str], repeats: int = 3) -> float:
    """Median time of ``import module`` in fresh processes."""
    code = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    command = [sys.executable, "-c", code]
    variables = {**os.environ, **environment}
    runs = [subprocess.check_output(command, cwd=ROOT, env=variables, text=True) for _ in range(repeats)]
    return statistics.median(map(float, runs))

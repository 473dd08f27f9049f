"""Compares a training step of minitrain with PyTorch and with the machine's limit.

The programs run in turn (``turns.py``): minitrain, PyTorch eager with fused AdamW, PyTorch compiled, and plain matrix
products, which show what the machine can do at that time. Where MKL is installed, minitrain runs twice: with the
products of a default install, and with MKL's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.info import version
from ..errors import WorkerError
from .machine import OtherLoad, describe
from .ratios import pairwise_ratio, spread
from .report import say
from .sgemm import SGEMM_FLOPS, SGEMMS
from .sizes import FLOPS_FORMULA, SIZES, Size, step_flops
from .tokens import markov_tokens
from .turns import ROOT, Reply, Worker, take_turns

PEERS = ("eager", "compiled")
OURS = ("minitrain", "minitrain_mkl")
LABELS = {
    "minitrain": "minitrain",
    "minitrain_mkl": "minitrain [mkl]",
    "eager": "PyTorch eager",
    "compiled": "PyTorch compiled",
}
NO_TORCH = "PyTorch is not installed (pip install torch): minitrain runs alone"
NO_MKL = "mkl is not installed (pip install 'minitrain[mkl]')"
SGEMM_REPEATS = 5
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
        rounds: turns of every program; the size's number by default.
        steps: training steps per turn; the size's number by default.
        peers: the PyTorch programs to compare with; those that cannot run are reported and left out.
        threads: threads for every program; by default each chooses its own number, as for a user.

    Raises:
        WorkerError: if minitrain itself does not run.
    """
    size = SIZES[config]
    rounds, steps = rounds or size.rounds, steps or size.steps
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder, contextlib.ExitStack() as stack:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, markov_tokens(size.vocab_size))
        # The caches of compiled code are empty: a program's first start is cold, its second warm.
        environment = {
            "MINITRAIN_CACHE_DIR": f"{folder}/minitrain",
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        }
        environment |= thread_settings(threads)
        failures: dict[str, str] = {}
        starts: dict[str, Result] = {}
        workers: list[Worker] = []
        for name, choice in contestants(peers, failures).items():
            say(f"{config}: starting {LABELS[name]} …")
            try:
                worker, starts[name] = start(name, config, tokens, environment | choice)
            except WorkerError as error:
                if name == "minitrain":
                    raise
                failures[name] = str(error)
                say(f"{config}: leaving out {LABELS[name]}: {error}")
                continue
            workers.append(stack.enter_context(contextlib.closing(worker)))
        for name in SGEMMS:
            if name != "sgemm-torch" or torch_installed():
                product = Worker(name, program(name, config, tokens), environment)
                workers.append(stack.enter_context(contextlib.closing(product)))
        say(f"{config}: {rounds} rounds of {steps} steps, {len(workers)} programs in turn …")
        watch = OtherLoad()
        commands = {worker.name: f"run {SGEMM_REPEATS if worker.name in SGEMMS else steps}" for worker in workers}
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


def summarise(size: Size, replies: Mapping[str, list[Reply]], starts: Mapping[str, Result]) -> Result:
    """The results: ratios within the same round, tokens per second, efficiency, memory, start times."""
    seconds = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
    products = {
        name: SGEMM_FLOPS / min(reply["fastest"] for reply in replies[name]) for name in SGEMMS if name in replies
    }
    fastest = max(products, key=products.__getitem__)
    peak = products[fastest]  # FLOP/s
    flops = step_flops(size)
    programs: Result = {}
    for name, start_figures in starts.items():
        turns, median = replies[name], statistics.median(seconds[name])
        programs[name] = {
            **start_figures,
            "step_seconds": spread(seconds[name])._asdict(),
            "tokens_per_second": size.tokens / median,
            "efficiency": flops.total / median / peak,
            "peak_rss_mb": turns[-1]["peak_rss_mb"],
            "page_faults": None if turns[-1]["page_faults"] is None else median_of(turns, "page_faults"),
            "cores": median_of(turns, "cores"),
            "idle_cpu_seconds_per_turn": median_of(turns, "idle_cpu_seconds"),
            "last_loss": turns[-1]["loss"],
        }
    for name in OURS:
        if name in programs:
            rivals = [peer for peer in PEERS if peer in programs]
            programs[name]["ratios"] = {peer: pairwise_ratio(seconds[peer], seconds[name])._asdict() for peer in rivals}
    ratios = programs["minitrain"]["ratios"]
    memory = [programs[name]["peak_rss_mb"] for name in ("minitrain", "eager") if name in programs]
    return {
        **{f"ratio_to_torch_{peer}": ratios[peer]["median"] if peer in ratios else None for peer in PEERS},
        "sgemm_efficiency": programs["minitrain"]["efficiency"],
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


def start(name: str, config: str, tokens: Path, environment: Mapping[str, str]) -> tuple[Worker, Result]:
    """Start a program; one that caches compiled code is started cold first. Returns it and its start times."""
    ours = name in OURS
    measured: Result = {"import_seconds": import_seconds("minitrain" if ours else "torch", environment)}
    arguments = program("minitrain" if ours else name, config, tokens)
    if name != "eager":
        with contextlib.closing(Worker(name, arguments, environment)) as cold:
            measured["cold_first_step_seconds"] = cold.greeting["first_step_seconds"]
            measured["cold_start_seconds"] = cold.seconds_to_ready
    worker = Worker(name, arguments, environment)
    measured["first_step_seconds"] = worker.greeting["first_step_seconds"]
    measured["start_seconds"] = worker.seconds_to_ready
    measured |= {key: worker.greeting[key] for key in ("threads", "blas", "first_loss", "rss_after_build_mb")}
    return worker, measured


def program(name: str, config: str, tokens: Path) -> list[str]:
    """The child's command line after ``python -m``."""
    return ["minitrain.benchmark.programs", name, "--config", config, "--tokens", str(tokens)]


def contestants(peers: tuple[str, ...], failures: dict[str, str]) -> dict[str, dict[str, str]]:
    """The programs to run, with the environment variables of each; those that cannot run go into ``failures``."""
    names = {"minitrain": default_install()}
    if version("mkl") is None:
        failures["minitrain_mkl"] = NO_MKL
    elif chosen := os.environ.get("MINITRAIN_BLAS"):
        failures["minitrain_mkl"] = f"MINITRAIN_BLAS={chosen} is set: minitrain runs on that alone"
    else:
        names["minitrain_mkl"] = {"MINITRAIN_BLAS": "mkl"}
    return names | {peer: {} for peer in available(peers, failures)}


def default_install() -> dict[str, str]:
    """Variables that make minitrain run as without the ``mkl`` extra, which it may prefer if it is installed.

    A user's own ``MINITRAIN_BLAS`` is kept.
    """
    if version("mkl") is None or os.environ.get("MINITRAIN_BLAS"):
        return {}
    from ..backend.cpu.sgemm import instructions

    return {"MINITRAIN_BLAS": "openblas" if instructions() is None else "own"}


def available(peers: tuple[str, ...], failures: dict[str, str]) -> tuple[str, ...]:
    """``peers``, or nothing if PyTorch is missing; ``failures`` then says so."""
    if peers and not torch_installed():
        say(NO_TORCH)
        failures |= dict.fromkeys(peers, NO_TORCH)
        return ()
    return peers


def torch_installed() -> bool:
    """Whether PyTorch can be measured."""
    return importlib.util.find_spec("torch") is not None


def thread_settings(threads: int | None) -> dict[str, str]:
    """Environment variables that limit every program to ``threads``; empty for ``None``."""
    names = ("MINITRAIN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {} if threads is None else dict.fromkeys(names, str(threads))


def import_seconds(module: str, environment: Mapping[str, str], repeats: int = 3) -> float:
    """Median time of ``import module`` in fresh processes."""
    code = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    command = [sys.executable, "-c", code]
    variables = {**os.environ, **environment}
    runs = [subprocess.check_output(command, cwd=ROOT, env=variables, text=True) for _ in range(repeats)]
    return statistics.median(map(float, runs))

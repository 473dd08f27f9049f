"""Several ranks on this machine, in wall and CPU time: ``python -m benchmarks.ranks --configs baby,gpt2``.

- A step of two ranks with one thread each, against one rank with two threads; and with stage 1 of ZeRO.
- What overlap hides, as it is and over a slower link, and what bfloat16 saves there.
- Memory of a rank in each stage of ZeRO.
- The sum of a buffer over two ranks, against as many bytes copied in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.ratios import pairwise_ratio, spread
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import markov_tokens
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker

from ..output import out_file

SUMMARY = "Measure several ranks on this machine: steps, overlap, memory and sums."
CONFIGS, ROUNDS, MEGABYTES = ("baby", "gpt2"), 3, 200
LINK = 125e6
"""Bytes a second of a link of 1 Gbit/s, which `SlowLink` keeps to by sleeping."""
WAYS = {
    "as it is, afterwards": (False, 0, "float32", 0.0),
    "as it is, overlapped": (True, 0, "float32", 0.0),
    "1 Gbit/s, afterwards": (False, 0, "float32", LINK),
    "1 Gbit/s, overlapped": (True, 0, "float32", LINK),
    "1 Gbit/s, overlapped, bfloat16": (True, 0, "bfloat16", LINK),
}
STAGES = (0, 1, 2)


def measure(configs: Sequence[str] = CONFIGS, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure all of it.

    Args:
        configs: sizes of models.
        rounds: how often each way takes its turn.

    Raises:
        WorkerError: if a program does not run.
    """
    watch, own = OtherLoad(), 0.0
    result: dict[str, Any] = {"steps": {}, "ways": {}, "memory": {}}
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder:
        for config in configs:
            tokens = Path(folder) / f"{config}.npy"
            np.save(tokens, markov_tokens(SIZES[config].vocab_size))
            with contextlib.ExitStack() as stack:
                one = start(stack, config, 0, 2, tokens)
                two, sharing = (start(stack, config, 2, 1, tokens) for _ in range(2))
                prepare(sharing, True, 1, "float32", 0.0)
                say(f"{config}: one rank with two threads, and two ranks with one, in turn …")
                turns = [[worker.ask("run 1") for worker in (one, two, sharing)] for _ in range(rounds)]
                result["steps"][config] = dict(zip(("one", "two", "sharing"), zip(*turns, strict=True), strict=True))
                one.close()
                sharing.close()
                found: dict[str, list[Reply]] = {name: [] for name in WAYS}
                for _ in range(rounds):
                    for name, way in WAYS.items():
                        say(f"{config}: {name} …")
                        prepare(two, *way)
                        found[name].append(two.ask("run 1"))
                result["ways"][config] = found
                own += sum(turn["cpu"] for name in found for turn in found[name])
            result["memory"][config] = {}
            for stage in STAGES:
                with contextlib.ExitStack() as stack:
                    say(f"{config}: memory with zero={stage} …")
                    ranks = start(stack, config, 2, 1, tokens)
                    prepare(ranks, True, stage, "float32", 0.0)
                    result["memory"][config][stage] = ranks.ask("run 1")["resident_mb"]
        with contextlib.ExitStack() as stack:
            say("sums over two ranks, and copies …")
            result["sums"] = start(stack, configs[0], 2, 1, tokens).ask(f"sums {MEGABYTES}")
    return result | {"cores_used_by_others": watch.cores(own), "machine": describe()}


def start(stack: contextlib.ExitStack, config: str, ranks: int, threads: int, tokens: Path) -> Worker:
    """A program of so many ranks; 0 for one that has no group."""
    arguments = ["benchmarks.ranks.program", config, str(ranks), "--tokens", str(tokens)]
    worker = Worker(f"{config} {ranks}x{threads}", arguments, thread_settings(threads) | default_install())
    return stack.enter_context(contextlib.closing(worker))


def prepare(worker: Worker, overlap: bool, zero: int, dtype: str, bandwidth: float) -> None:
    """Choose how gradients are added from now on."""
    worker.ask(f"prepare {int(overlap)} {zero} {dtype} {bandwidth}")


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Steps, overlap, memory and sums."""
    steps, ways, memory = [], [], []
    for config, found in result["steps"].items():
        for what, label in (("seconds", "wall"), ("cpu", "CPU")):
            one, *others = ([turn[what] for turn in found[name]] for name in ("one", "two", "sharing"))
            cells = [cell for x in others for cell in (f"{spread(x).median:.2f}", str(pairwise_ratio(x, one)))]
            steps.append([config, label, f"{spread(one).median:.2f}", *cells])
    for config, found in result["ways"].items():
        for name, turns in found.items():
            middle = {
                what: spread(turn[what] for turn in turns).median for what in ("seconds", "cpu", "busy", "waited")
            }
            hidden = 1 - min(1.0, middle["waited"] / middle["busy"])
            ways.append([config, name, *(f"{middle[what]:.2f}" for what in middle), f"{hidden:.0%}"])
    for config, stages in result["memory"].items():
        memory += [[config, str(stage), f"{megabytes:.0f}"] for stage, megabytes in stages.items()]
    sums = result["sums"]
    rows = [
        [what, f"{sums[f'add_{what}']:.3f}", f"{sums[f'copy_{what}']:.3f}", share(sums, what)]
        for what in ("seconds", "cpu")
    ]
    return [
        Table(
            "two ranks with a thread each against one rank with two",
            ["", "time", "1 x 2, s", "2 x 1, s", "over 1 x 2", "2 x 1 with zero=1, s", "over 1 x 2"],
            steps,
        ),
        Table(
            "adding gradients during the backward",
            ["", "how", "step, s", "CPU of both, s", "adding, s", "waited for, s", "hidden"],
            ways,
        ),
        Table("memory of a rank of two", ["", "zero", "MB"], memory),
        Table(f"the sum of {MEGABYTES} MB over two ranks", ["time", "sum, s", "copies, s", "copies over sum"], rows),
    ]


def share(sums: Mapping[str, float], what: str) -> str:
    """How near a sum comes to copying as many bytes as it sends and receives."""
    return f"{sums[f'copy_{what}'] / sums[f'add_{what}']:.0%}"


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=SUMMARY)
    parser.add_argument("--configs", default=",".join(CONFIGS), help=f"any of {', '.join(SIZES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    result = measure(arguments.configs.split(","), rounds=arguments.rounds)
    for table in tables(result):
        show(table)
    say(load_line(result["cores_used_by_others"]))
    say(f"figures written to {write_json(out_file('ranks.json'), result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

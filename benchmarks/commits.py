"""Step times of two commits of minitrain, in turn: did a change make training slower?

    python -m benchmarks.commits b549f24 --config char,baby --threads 1

Each commit runs from a checkout of its own. A pair of processes takes single steps in turn, so both meet the same
minute of the machine; several pairs are started, because a process keeps the memory it was given at its start.
What is judged is the ratio of the old time to the new, and its lower confidence bound. A commit against itself
(``b549f24 --new b549f24``) shows what the machine's noise alone would print.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.ratios import lower_bound, spread
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import markov_tokens
from minitrain.benchmark.train_step import program, thread_settings
from minitrain.benchmark.turns import ROOT, Reply, Worker
from minitrain.errors import WorkerError

from .output import out_file

SUMMARY = "Compare the training step of two commits."
GOAL = 0.97  # the lower confidence bound of old time over new


@contextlib.contextmanager
def checkout(commit: str | None) -> Iterator[Path]:
    """A folder with the files of ``commit``, removed afterwards; this working tree for ``None``.

    Raises:
        WorkerError: if git does not know the commit.
    """
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="minitrain-commit-") as parent:
        folder = Path(parent) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        added = subprocess.run([*git, "add", "--detach", str(folder), commit], capture_output=True, text=True)
        if added.returncode:
            raise WorkerError(f"cannot check out {commit!r}: {added.stderr.strip().splitlines()[-1]}")
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=False, capture_output=True)


def steps_in_turn(pair: tuple[Worker, Worker], steps: int) -> list[list[Reply]]:
    """``steps`` steps of each program, one at a time; who goes first changes every time."""
    replies: list[list[Reply]] = [[], []]
    for i in range(steps):
        for which in (0, 1) if i % 2 else (1, 0):
            replies[which].append(pair[which].ask("run 1"))
    return replies


def seconds_of(reply: Reply, clock: str) -> float:
    """Wall time of a step, or CPU time of all its threads."""
    return float(reply["seconds"] * (reply["cores"] if clock == "cpu" else 1.0))


def measure(config: str, roots: tuple[Path, Path], *, pairs: int, steps: int, clock: str, threads: int | None) -> Any:
    """Ratios of old time to new for one size: a list for each pair of processes, and medians."""
    environment = thread_settings(threads) | default_install()
    watch, own = OtherLoad(), 0.0
    ratios, times = [], []
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, markov_tokens(SIZES[config].vocab_size))
        for number in range(pairs):
            with contextlib.ExitStack() as stack:
                workers = {}
                for which in (0, 1) if number % 2 else (1, 0):  # who starts first changes every time, too
                    worker = Worker(
                        ("the old commit", "the new commit")[which],
                        program("minitrain", config, tokens),
                        environment | {"MINITRAIN_CACHE_DIR": f"{folder}/cache{which}"},
                        root=roots[which],
                    )
                    workers[which] = stack.enter_context(contextlib.closing(worker))
                replies = steps_in_turn((workers[0], workers[1]), steps)
            own += sum(answers[-1]["cpu_seconds"] for answers in replies)
            old, new = ([seconds_of(reply, clock) for reply in answers] for answers in replies)
            ratios.append([a / b for a, b in zip(old, new, strict=True)])
            times.append((statistics.median(old), statistics.median(new)))
            say(f"{config}: pair {number + 1} of {pairs}: old over new {statistics.median(ratios[-1]):.3f}")
    return {
        "config": config,
        "ratio": spread(value for group in ratios for value in group)._asdict(),
        "lower_bound": lower_bound(ratios),
        "milliseconds": [1e3 * statistics.median(column) for column in zip(*times, strict=True)],
        "ratios": ratios,
        "cores_used_by_others": watch.cores(own),
    }


def table(results: list[Any]) -> Table:
    """A row for each size."""
    rows = []
    for result in results:
        ratio, (old, new) = result["ratio"], result["milliseconds"]
        verdict = "reached" if result["lower_bound"] >= GOAL else "not reached"
        quartiles = f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        bound = f"{result['lower_bound']:.3f}"
        rows.append([result["config"], f"{old:.1f}", f"{new:.1f}", quartiles, bound, verdict])
    goal = f"at least {GOAL}"
    return Table("Step time, old over new", ["size", "old ms", "new ms", "ratio", "lower bound", goal], rows)


def main() -> int:
    """Measure what the command line asks for; 1 if a program does not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commits", description=SUMMARY)
    parser.add_argument("old", help="the commit to compare with")
    parser.add_argument("--new", help="the other commit (this working tree)")
    parser.add_argument("--config", default="char,baby", help=f"sizes, comma-separated: {', '.join(SIZES)}")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of processes")
    parser.add_argument("--steps", type=int, help="steps of each process (40, or 8 of the large sizes)")
    parser.add_argument("--threads", type=int, help="threads for both")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu suits a busy machine")
    arguments = parser.parse_args()
    sizes = arguments.config.split(",")
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"unknown sizes {sorted(unknown)}: choose from {', '.join(SIZES)}")
    results = []
    try:
        with checkout(arguments.old) as old, checkout(arguments.new) as new:
            for config in sizes:
                steps = arguments.steps or (40 if config == "char" else 8)
                results.append(
                    measure(
                        config,
                        (old, new),
                        pairs=arguments.pairs,
                        steps=steps,
                        clock=arguments.clock,
                        threads=arguments.threads,
                    )
                )
                say(load_line(results[-1]["cores_used_by_others"]))
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    show(table(results))
    report = {"old": arguments.old, "new": arguments.new, "results": results, "machine": describe()}
    say(f"figures written to {write_json(out_file('commits.json'), report)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

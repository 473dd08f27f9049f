"""How long until a validation loss: minitrain's recipes against nanoGPT's in PyTorch, as wall time.

    python -m benchmarks.time_to_quality --text tinyshakespeare.txt --seeds 1337 1338 1339

For each seed the programs train in turn, each in its own process: a turn ends with an evaluation over the whole
validation split (the last tenth of the text, in windows of 64 side by side), the same for all. The clock counts
training alone, from the first step on and with what that step loads or compiles. It leaves out, for all alike, what
comes before the first step (told apart) and the evaluations. A program's time is that of its first evaluation at or
below the goal; after it the program is done. Evaluations come at the same shares of every program's steps, closer
together in the last quarter, where a falling rate makes most of the losses. A first round of two steps fills the caches
of compiled code.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minitrain.benchmark.contestants import available
from minitrain.benchmark.machine import OtherLoad, describe, held_back
from minitrain.benchmark.ratios import Spread, pairwise_ratio
from minitrain.benchmark.report import Table, load_line, say, show, write_json
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import PAUSE, Worker
from minitrain.errors import WorkerError

from .output import out_file
from .quality_programs import PROGRAMS, RECIPES

SUMMARY = "Time minitrain's Shakespeare recipes and PyTorch until they reach a validation loss."
GOAL = 1.92  # nats; where nanoGPT's settings arrive near the end of their 2000 steps
MISSED = "not reached"
LABELS = {
    "char": "minitrain, shakespeare_char",
    "fast": "minitrain, shakespeare_fast",
    "eager": "PyTorch, eager",
    "compiled": "PyTorch, compiled",
}


class Point(NamedTuple):
    """An evaluation: updates done, seconds of training so far, loss over the whole validation split."""

    step: int
    seconds: float
    val_loss: float


def evaluation_steps(total: int) -> list[int]:
    """After which updates to evaluate: every 5 % of the run for three quarters of it, then every 1.25 %."""
    shares = [*range(4, 60, 4), *range(60, 81)]  # in eightieths
    return sorted({max(1, total * share // 80) for share in shares})


def first_at(curve: Iterable[Point], goal: float) -> Point | None:
    """The first point at or below the goal, ``None`` if there is none."""
    return next((point for point in curve if point.val_loss <= goal), None)


class Race:
    """One program on its way to the goal.

    Args:
        worker: the program.
        goal: the loss at which it is done.

    Attributes:
        curve: its evaluations so far.
        cpu_seconds: what its process has used.
    """

    def __init__(self, worker: Worker, goal: float) -> None:
        self.worker, self.goal = worker, goal
        self.curve: list[Point] = []
        self.cpu_seconds = 0.0
        self._steps = iter(evaluation_steps(worker.greeting["total_steps"]))

    def turn(self) -> bool:
        """Train up to the next evaluation; returns whether to go on after it."""
        step = next(self._steps, None)
        if step is None:
            return False
        reply = self.worker.ask(f"train {step}")
        before = self.curve[-1].seconds if self.curve else 0.0
        self.curve.append(Point(step, before + reply["seconds"], reply["val_loss"]))
        self.cpu_seconds = reply["cpu_seconds"]
        return reply["val_loss"] > self.goal  # type: ignore[no-any-return]

    def result(self, seed: int) -> dict[str, Any]:
        """The result for the JSON file."""
        reached = first_at(self.curve, self.goal)
        return {
            "program": self.worker.name,
            "seed": seed,
            "reached": reached and reached._asdict(),
            "start_seconds": self.worker.seconds_to_ready,
            "cpu_seconds": self.cpu_seconds,
            "curve": self.curve,
        }


def command(program: str, text: Path, seed: int, folder: Path) -> list[str]:
    """The child's command line after ``python -m``."""
    run_dir = folder / f"{program}-{seed}"
    return ["benchmarks.quality_programs", program, f"--text={text}", f"--seed={seed}", f"--run-dir={run_dir}"]


def race(
    programs: Sequence[str], text: Path, seed: int, goal: float, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """Let the programs train in turn, from one evaluation to the next, until each is at the goal or at its end."""
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder, contextlib.ExitStack() as stack:
        commands = {name: command(name, text, seed, Path(folder)) for name in programs}
        races = [
            Race(stack.enter_context(contextlib.closing(Worker(name, words, environment))), goal)
            for name, words in commands.items()
        ]
        going = list(races)
        while going:
            for one in list(going):
                time.sleep(PAUSE)
                if not one.turn():
                    going.remove(one)
                    step, seconds, loss = one.curve[-1]
                    say(f"seed {seed}: {LABELS[one.worker.name]}: {loss:.4f} after {step} steps, {seconds:.1f} s")
        return [one.result(seed) for one in races]


def fill_caches(programs: Sequence[str], text: Path, environment: dict[str, str]) -> None:
    """Two steps of each program, so that no seed compiles what another one finds on disk."""
    with tempfile.TemporaryDirectory(prefix="minitrain-bench-") as folder:
        for name in programs:
            with contextlib.closing(Worker(name, command(name, text, 0, Path(folder)), environment)) as worker:
                worker.ask("train 2")


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By program: the seconds to the goal by seed, their median, and how often they fit into those of eager PyTorch.

    A median or a ratio is ``None`` where a seed did not arrive.
    """
    seconds: dict[str, list[float | None]] = {}
    for run in runs:
        seconds.setdefault(run["program"], []).append(run["reached"] and run["reached"]["seconds"])
    whole = {name: times for name, times in seconds.items() if None not in times}
    return {
        name: {
            "seconds": times,
            "median": statistics.median(whole[name]) if name in whole else None,
            "eager_to_this": pairwise_ratio(whole["eager"], whole[name]) if {name, "eager"} <= whole.keys() else None,
        }
        for name, times in seconds.items()
    }


def table(runs: Sequence[dict[str, Any]], goal: float) -> Table:
    """One row a program and seed, then its median and the ratio to eager PyTorch."""
    rows = []
    for name, summary in summarise(runs).items():
        for run in runs:
            if run["program"] != name:
                continue
            reached, last = run["reached"], Point(*run["curve"][-1])
            when = f"{reached['seconds']:.1f}" if reached else MISSED
            told = (when, str(last.step), f"{last.val_loss:.4f}", f"{run['start_seconds']:.1f}")
            rows.append([LABELS[name], str(run["seed"]), *told, ""])
        median, ratio = summary["median"], summary["eager_to_this"]
        when = MISSED if median is None else f"{median:.1f}"
        rows.append(["", "median", when, "", "", "", str(Spread(*ratio)) if ratio else ""])
    columns = ["", "seed", f"seconds to {goal}", "steps", "last loss", "start, s", "eager / this"]
    return Table(f"time to a validation loss of {goal}", columns, rows)


def draw(runs: Sequence[dict[str, Any]], goal: float, path: Path) -> None:
    """Write a picture of the validation losses against the seconds of training, one line a program and seed."""
    from minitrain.plotting.style import COLORS, GUESS, new_figures, save_figure

    title = "Validation loss of tiny Shakespeare against seconds of training"
    figure, (axes,) = new_figures([(title, "nats per character, whole validation split")], xlabel="seconds")
    axes.axhline(goal, color=GUESS, linestyle="--", linewidth=1, label=f"goal, {goal}")
    for name, color in zip(LABELS, COLORS, strict=False):
        for i, run in enumerate([run for run in runs if run["program"] == name]):
            _, seconds, losses = zip(*run["curve"], strict=True)
            axes.plot(seconds, losses, color=color, linewidth=1.4, alpha=0.85, label=LABELS[name] if i == 0 else None)
            if run["reached"]:
                axes.plot(run["reached"]["seconds"], run["reached"]["val_loss"], "o", color=color, markersize=5)
    axes.set_xlim(left=0)
    axes.set_ylim(goal - 0.08, min(3.0, axes.get_ylim()[1]))
    axes.legend(frameon=False)
    save_figure(figure, path)


def main() -> int:
    """Race with each seed, print the table, write figures and picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_quality", description=SUMMARY)
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare, 1,115,394 characters")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1337, 1338, 1339])
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=["char", "fast", "eager"])
    parser.add_argument("--goal", type=float, default=GOAL, help=f"validation loss in nats (default: {GOAL})")
    parser.add_argument("--threads", type=int, help="threads for every program")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--png", type=Path, help="file for the picture")
    arguments = parser.parse_args()
    if not arguments.text.is_file():
        parser.error(f"there is no file {arguments.text}: give the path of tinyshakespeare.txt")
    text, failures = arguments.text.resolve(), {}
    peers = available(tuple(name for name in arguments.programs if name not in RECIPES), failures)
    programs = [name for name in arguments.programs if name in RECIPES or name in peers]
    environment = thread_settings(arguments.threads)
    watch, runs = OtherLoad(), []
    try:
        say("two steps of each program, to fill the caches of compiled code …")
        fill_caches(programs, text, environment)
        for seed in arguments.seeds:
            runs += race(programs, text, seed, arguments.goal, environment)
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    others = watch.cores(sum(run["cpu_seconds"] for run in runs))
    show(table(runs, arguments.goal))
    say(load_line(others))
    if line := held_back():
        say(line)
    result = {"goal": arguments.goal, "runs": runs, "summary": summarise(runs), "failures": failures}
    result |= {"cores_used_by_others": others, "machine": describe()}
    say(f"figures written to {write_json(arguments.json or out_file('time_to_quality.json'), result)}")
    picture = arguments.png or out_file("time_to_quality.png")
    draw(runs, arguments.goal, picture)
    say(f"picture written to {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The cost of a step as batch and sequence grow: times, fitted exponents, and a plot with both axes logarithmic.

The model is ``baby`` with room for 2048 positions. Arithmetic of the layers is linear in tokens, that of attention
quadratic in the length of a sequence; a cost that grows faster has a mistake in it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minitrain.benchmark.contestants import default_install
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.programs import Minitrain
from minitrain.benchmark.ratios import fitted_exponent, spread
from minitrain.benchmark.report import Table, say
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import BatchStream, markov_tokens
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker, serve
from minitrain.plotting.style import COLORS, GUESS, new_figures, save_figure

from . import kernels
from .attention import ATTENTION
from .kernel_report import find
from .kernel_table import ATTENTION_LENGTHS
from .output import out_file

SIZE = dataclasses.replace(SIZES["baby"], block_size=2048)
ROUNDS = 3
LENGTH, BATCHES = 256, (1, 2, 4, 8, 16)
BATCH, LENGTHS = 2, (128, 256, 512, 1024, 2048)
BLOCK = 0.2  # seconds of steps that one figure comes from
CURVES = {
    "batch": f"step against batch, T={LENGTH}",
    "length": f"step against T, B={BATCH}",
    "attention": "attention alone against T",
}
EXPECTED = {"batch": 1, "length": 1, "attention": 2}
"""The power that arithmetic alone gives, for long sequences in the case of attention."""


def measure(*, rounds: int | None = None, threads: int | None = None) -> dict[str, Any]:
    """Time a step at every batch and length, and attention at every length, each in every round.

    Raises:
        WorkerError: if a program does not run.
    """
    rounds = rounds or ROUNDS
    points = {"batch": [(B, LENGTH) for B in BATCHES], "length": [(BATCH, T) for T in LENGTHS]}
    replies: dict[tuple[int, int], list[Reply]] = {shape: [] for shapes in points.values() for shape in shapes}
    environment = thread_settings(threads) | default_install()
    with contextlib.closing(Worker("scaling", ["benchmarks.scaling", "--serve"], environment)) as worker:
        say(f"scaling: {rounds} rounds of {len(replies)} shapes …")
        watch = OtherLoad()
        for _ in range(rounds):
            for (B, T), turns in replies.items():
                turns.append(worker.ask(f"run {B} {T}"))
        own = max(reply["cpu_seconds"] for turns in replies.values() for reply in turns)
        others = watch.cores(own - worker.greeting["cpu_seconds"])
    seconds = {shape: spread(reply["seconds"] for reply in turns).median for shape, turns in replies.items()}
    attention = kernels.measure(
        [(ATTENTION, f"T={T}") for T in ATTENTION_LENGTHS], ("twin",), rounds=rounds, threads=threads
    )
    lines = [find(attention, "attention", f"T={T}", "both") for T in ATTENTION_LENGTHS]
    curves = {
        "batch": curve(BATCHES, [seconds[shape] for shape in points["batch"]]),
        "length": curve(LENGTHS, [seconds[shape] for shape in points["length"]]),
        "attention": curve(ATTENTION_LENGTHS, [line["seconds"]["twin"] for line in lines if line is not None]),
    }
    return {"curves": curves, "cores_used_by_others": others, "machine": describe()}


def curve(sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    """The points of a curve and its exponent."""
    return {"sizes": list(sizes), "seconds": list(seconds), "exponent": fitted_exponent(sizes, seconds)}


def tables(result: Mapping[str, Any]) -> list[Table]:
    """A row for each curve."""
    rows = []
    for name, label in CURVES.items():
        found = result["curves"][name]
        times = ", ".join(f"{1e3 * t:.1f}" for t in found["seconds"])
        rows.append([label, ", ".join(map(str, found["sizes"])), times, f"{found['exponent']:.2f}"])
    return [Table("cost of a baby step, and of attention (B=2, H=8, D=64)", ["", "at", "ms", "exponent"], rows)]


def notes(result: Mapping[str, Any]) -> list[str]:
    """Draw the plot, and say where."""
    return [f"drawn in {draw(result, out_file('scaling.png'))}"]


def draw(result: Mapping[str, Any], path: Path) -> Path:
    """Draw the curves, both axes logarithmic, each with the slope that is expected; returns the path of the PNG."""
    plots = [("a baby step against its batch", "seconds"), ("against the length of sequences", "seconds")]
    figure, (batch, length) = new_figures(plots, columns=2)
    batch.set_xlabel("sequences in a batch, B")
    length.set_xlabel("tokens in a sequence, T")
    for axes, names in ((batch, ["batch"]), (length, ["length", "attention"])):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for color, name in zip(COLORS, names, strict=False):
            found = result["curves"][name]
            label = f"{CURVES[name]}: exponent {found['exponent']:.2f}"
            axes.plot(found["sizes"], found["seconds"], "o-", color=color, label=label)
            sizes, last, power = found["sizes"], found["seconds"][-1], EXPECTED[name]
            guide = [last * (x / sizes[-1]) ** power for x in sizes]
            style = {1: ":", 2: "--"}[power]
            axes.plot(sizes, guide, style, color=GUESS, linewidth=1.2, zorder=0, label=f"exponent {power}")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(top=3 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False, loc="upper left")
    save_figure(figure, path)
    return path


def serve_program() -> None:
    """The child's side: a model that takes steps of any shape."""
    tokens = markov_tokens(SIZE.vocab_size)
    program: Minitrain

    def greet() -> Reply:
        nonlocal program
        program = Minitrain(SIZE, BatchStream(tokens, BATCH, LENGTH))
        return {}

    def run(batch: str, length: str) -> Reply:
        program.stream = BatchStream(tokens, int(batch), int(length))

        def step() -> None:
            program.prepare(1)
            program.step()

        return {"seconds": kernels.seconds_a_call(step, BLOCK)}

    serve(greet, {"run": run})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--serve", action="store_true", required=True, help=argparse.SUPPRESS)
    parser.parse_args()
    serve_program()

"""How good a training ends in 16 bits, compared with float32 over several seeds. It can be stopped and continued.

    python -m benchmarks.precision_quality --text tinyshakespeare.txt --tasks shakespeare_char grokking

Each training is a run folder with checkpoints, so that a stopped one goes on from its last. A result is one line of a
JSON file, and what is there is not trained again. ``shakespeare_char`` is the recipe of that name (2,000 steps);
``baby`` a GPT of 10.6 million parameters with a context of 256 for 1,000 steps; both are measured by the mean loss
over the whole held-out text. ``grokking`` is division modulo 97 (Power et al., 2022, arXiv:2201.02177), measured as
there by the steps until 99 % of the unseen equations are right.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minitrain.backend.cpu.products.bf16_units import bf16_unit
from minitrain.backend.info import processor_name
from minitrain.backend.precision import use_precision
from minitrain.benchmark.report import Table, say, show
from minitrain.cli.compose import compose_config
from minitrain.models import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW
from minitrain.runs import resume_run, start_run
from minitrain.training import train_step

from .output import out_file
from .shakespeare import windows

SUMMARY = "Train in float32 and in 16 bits over several seeds, and compare how the trainings end."
BABY = (
    "model.n_layer=6", "model.n_head=6", "model.n_embd=384", "data.block_size=256", "trainer.batch_size=16",
    "trainer.max_steps=1000",
)  # fmt: skip
EVERY = ("trainer.validation_frequency=250", "trainer.save_every=100", "trainer.keep_checkpoints=1")
MODULUS = 97
MOST_STEPS = 8000


class Result(NamedTuple):
    """How one training ended.

    Attributes:
        value: a loss in nats, or a number of steps.
        made_on: the processor, and what multiplied bfloat16 numbers.
    """

    task: str
    precision: str
    seed: int
    value: float
    made_on: str


def train_on_text(overrides: Iterable[str], text: Path, precision: str, seed: int, folder: Path) -> float:
    """Train, or go on from the last checkpoint.

    Returns:
        The mean loss in nats over the held-out text, computed in the same precision.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("checkpoints/*")):
        run = resume_run(folder, warn=say)
    else:
        fixed = ("recipe=shakespeare_char", f"data.path={text}", f"seed={seed}", f"run_dir={folder}")
        run = start_run(compose_config([*fixed, f"trainer.precision={precision}", *EVERY, *overrides]), warn=say)
    if not run.is_finished():
        run.train()
    held_out, length = run.prepared.data.val[:].astype(np.int32), run.config.data.block_size
    with use_precision(precision):
        total = sum(float(run.trainer.model.loss(batch)[0].total) for batch in windows(held_out, length, 32))
    return total / (len(held_out) - 1)


def grok(precision: str, seed: int) -> float:
    """Train on half of all equations a / b = c modulo 97.

    Returns:
        Steps, to the next hundred, until the answers to 99 % of the others are right; not a number if they are not
        after ``MOST_STEPS``.
    """
    a, b = np.divmod(np.arange(MODULUS * (MODULUS - 1)), MODULUS - 1)
    b += 1
    c = a * np.array([pow(int(x), -1, MODULUS) for x in b]) % MODULUS
    signs = np.full_like(a, MODULUS), np.full_like(a, MODULUS + 1)
    rng = np.random.default_rng(seed)
    equations = rng.permutation(np.stack([a, signs[0], b, signs[1], c], axis=1)).astype(np.int32)
    unseen, seen = equations[: len(equations) // 2], equations[len(equations) // 2 :]
    config = GPTConfig(vocab_size=MODULUS + 2, block_size=4, n_layer=2, n_head=4, n_embd=128, tie_weights=False)
    model = GPT(config, seed=seed)
    pack(model)
    optimizer = AdamW(model, betas=(0.9, 0.98), weight_decay=1.0)
    with use_precision(precision):
        for step in range(1, MOST_STEPS + 1):
            rows = seen[rng.integers(0, len(seen), 512)]
            targets = np.full((512, 4), -100, np.int32)
            targets[:, -1] = rows[:, -1]
            train_step(
                model, optimizer, [(0, (rows[:, :-1], targets))], lr=1e-3 * min(1.0, step / 10), max_grad_norm=1.0
            )
            if step % 100 == 0:
                logits, _ = model.forward(unseen[:, :-1])
                if (logits[:, -1].argmax(-1) == unseen[:, -1]).mean() >= 0.99:
                    return step
    return math.nan


def tasks(text: Path | None, folder: Path) -> dict[str, Callable[[str, int], float]]:
    """Trainings by name: functions of precision and seed."""

    def on_text(name: str, overrides: Iterable[str]) -> Callable[[str, int], float]:
        def train(precision: str, seed: int) -> float:
            if text is None:
                raise SystemExit(f"{name} needs --text, a file with tiny Shakespeare")
            return train_on_text(overrides, text, precision, seed, folder / f"{name}-{precision}-{seed}")

        return train

    return {"shakespeare_char": on_text("shakespeare_char", ()), "baby": on_text("baby", BABY), "grokking": grok}


def read(path: Path) -> list[Result]:
    """The results so far."""
    return [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def table(results: list[Result]) -> Table:
    """One row for each task and precision: every seed's result, their mean, and the distance from float32.

    The distance is in units of its standard error, from the spread of the seeds in both precisions: below 2 it is
    within the noise of seeds.
    """
    rows = []
    for task, precision, made_on in dict.fromkeys((r.task, r.precision, r.made_on) for r in results):

        def values(precision: str, task: str = task, made_on: str = made_on) -> list[float]:
            return [r.value for r in results if (r.task, r.precision, r.made_on) == (task, precision, made_on)]

        own, other = values(precision), values("float32")
        digits = 0 if task == "grokking" else 4
        distance = ""
        if precision != "float32" and min(len(own), len(other)) > 1:
            error = (statistics.variance(own) / len(own) + statistics.variance(other) / len(other)) ** 0.5
            difference = statistics.mean(own) - statistics.mean(other)
            distance = f"{difference:+.{digits}f} ({difference / error if error else 0:+.1f})"
        each = ", ".join(f"{value:.{digits}f}" for value in own)
        rows.append([task, precision, each, f"{statistics.mean(own):.{digits}f}", distance, made_on])
    header = ["training", "precision", "seeds", "mean", "from float32 (in standard errors)", "made on"]
    return Table("How trainings end", header, rows)


def main() -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision_quality", description=SUMMARY)
    parser.add_argument("--text", type=Path, help="tiny Shakespeare, for the trainings on text")
    parser.add_argument("--tasks", nargs="+", default=["shakespeare_char", "grokking"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    path = out_file("precision_quality.jsonl")
    known = tasks(arguments.text and arguments.text.resolve(), path.parent / "precision_quality")
    if unknown := set(arguments.tasks) - set(known):
        parser.error(f"unknown tasks {sorted(unknown)}: choose from {', '.join(known)}")
    made_on = f"{processor_name()}, bfloat16 by {bf16_unit().name}"
    for task in arguments.tasks:
        for seed in arguments.seeds:
            for precision in arguments.precisions:
                wanted = (task, precision, seed, made_on)
                if any((r.task, r.precision, r.seed, r.made_on) == wanted for r in read(path)):
                    continue
                say(f"{task}, {precision}, seed {seed} …")
                result = Result(task, precision, seed, known[task](precision, seed), made_on)
                with path.open("a") as file:
                    file.write(json.dumps(result._asdict()) + "\n")
    show(table(read(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

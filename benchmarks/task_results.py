"""The results of the recipes of all tasks, over several seeds. It can be stopped and continued: ``make results``.

    python -m benchmarks.task_results copy digits shapes --seeds 1    # no download, a minute each
    python -m benchmarks.task_results g2p                             # three seeds
    python -m benchmarks.task_results fashion --path fashion=FOLDER   # files that lie elsewhere

Each training is a run folder with checkpoints, so a stopped one goes on from its last. A finished one is a line of a
JSON file and is not trained again. The exit code is 1 if a recipe ends below what it is to reach.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from minitrain.backend.info import processor_name
from minitrain.benchmark.report import Table, say, show
from minitrain.cli.compose import compose_config
from minitrain.runs import resume_run, start_run
from minitrain.tasks.outcome import Measured

from .output import out_file


class Goal(NamedTuple):
    """The aim of a recipe.

    Attributes:
        measure: a measure of its outcome.
        reach: the value to reach.
        at_most: whether smaller is better.
        over: the row of the outcome that the value is counted from; empty for none.
    """

    measure: str
    reach: float
    at_most: bool = False
    over: str = ""

    def value(self, measures: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> float:
        """The figure of a run."""
        return measures[self.measure] - (others[self.over][self.measure] if self.over else 0.0)

    def met(self, value: float) -> bool:
        """Whether it is good enough."""
        return value <= self.reach if self.at_most else value >= self.reach


GOALS: dict[str, tuple[Goal, ...]] = {
    "copy": (Goal("right %", 0.95),),
    "digits": (Goal("accuracy %", 0.93),),
    "shapes": (
        Goal("zero-shot %", 1.0),
        Goal("text R@1 %", 1.0),
        Goal("image R@1 %", 1.0),
        Goal("loss", 0.01, at_most=True),
    ),
    "captioning": (Goal("right %", 0.99),),
    "g2p": (Goal("errors of words %", 0.054, at_most=True), Goal("right %", 1 - 0.232)),
    "bible": (Goal("BLEU", 2.0, over="copying the source"),),
    "fashion": (Goal("accuracy %", 0.925),),
    "emoji": (Goal("text R@1 %", 0.5), Goal("image R@1 %", 0.5)),
}
"""Goals by recipe."""


class Result(NamedTuple):
    """How one training ended.

    Attributes:
        recipe: its name.
        seed: its seed.
        minutes: of training, by the clock.
        made_on: the processor.
        measures: of the model on the test data.
        others: the same of what needs no model.
        notes: such as the signature of a score.
    """

    recipe: str
    seed: int
    minutes: float
    made_on: str
    measures: dict[str, float]
    others: dict[str, dict[str, float]]
    notes: list[str]


def train(recipe: str, seed: int, folder: Path, settings: Sequence[str]) -> Result:
    """Train, or go on from the last checkpoint, to the end."""
    if any(folder.glob("checkpoints/*")):
        run = resume_run(folder)
    else:
        config = compose_config([f"recipe={recipe}", f"seed={seed}", f"run_dir={folder}", *settings])
        folder.parent.mkdir(parents=True, exist_ok=True)
        run = start_run(config)
    result = run.train()
    outcome = result.validation
    if not isinstance(outcome, Measured):
        raise SystemExit(f"{recipe} has no measures but its loss")
    others = {name: dict(values) for name, values in outcome.others.items()}
    measures = {"loss": outcome.loss, **outcome.values}
    minutes = run.trainer.state.seconds / 60
    return Result(recipe, seed, minutes, processor_name(), measures, others, list(outcome.notes))


def table(results: Sequence[Result]) -> Table:
    """A row for each goal: mean and spread over the seeds, what is to be reached, time and processor."""
    rows = []
    for recipe, goals in GOALS.items():
        found = [one for one in results if one.recipe == recipe]
        for goal in goals if found else ():
            values = [goal.value(one.measures, one.others) for one in found]
            spread = f" ± {_shown(goal, statistics.stdev(values))}" if len(values) > 1 else ""
            sign = "≤" if goal.at_most else "≥"
            rows.append(
                [
                    recipe,
                    goal.measure + (f", more than {goal.over}" if goal.over else ""),
                    _shown(goal, statistics.mean(values)) + spread,
                    f"{sign} {_shown(goal, goal.reach)}",
                    str(len(found)),
                    f"{statistics.mean(one.minutes for one in found):.1f}",
                    ", ".join(sorted({one.made_on for one in found})),
                ]
            )
    columns = ["recipe", "measure", "on test data", "reach", "seeds", "minutes", "processor"]
    return Table("What the recipes end with", columns, rows)


def missed(results: Sequence[Result]) -> list[str]:
    """The goals that the mean over the seeds does not meet."""
    found = []
    for recipe, goals in GOALS.items():
        of_recipe = [one for one in results if one.recipe == recipe]
        for goal in goals if of_recipe else ():
            if not goal.met(mean := statistics.mean(goal.value(one.measures, one.others) for one in of_recipe)):
                found.append(f"{recipe}: {goal.measure} is {_shown(goal, mean)}, not {_shown(goal, goal.reach)}")
    return found


def _shown(goal: Goal, value: float) -> str:
    return f"{100 * value:.2f} %" if goal.measure.endswith(" %") else f"{value:.2f}"


def read(path: Path) -> list[Result]:
    """The results in a file."""
    if not path.exists():
        return []
    return [Result(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.task_results", description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"which of {', '.join(GOALS)} (all)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each (%(default)s)")
    parser.add_argument("--path", action="append", default=[], metavar="RECIPE=FOLDER", help="where its data is")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting")
    parser.add_argument("--out", type=Path, help="folder of the runs and of results.jsonl (benchmarks/out/tasks)")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.recipes if name not in GOALS]:
        parser.error(f"{unknown[0]} is none of {', '.join(GOALS)}")
    folder = arguments.out or out_file("tasks")
    folder.mkdir(parents=True, exist_ok=True)
    paths = dict(one.split("=", 1) for one in arguments.path)
    chosen = arguments.recipes or list(GOALS)
    results = read(folder / "results.jsonl")
    for recipe in chosen:
        settings = [*arguments.set, *([f"data.path={paths[recipe]}"] if recipe in paths else [])]
        for seed in range(1, arguments.seeds + 1):
            if any((one.recipe, one.seed) == (recipe, seed) for one in results):
                continue
            say(f"{recipe}, seed {seed}, {time.strftime('%H:%M')}")
            results.append(train(recipe, seed, folder / f"{recipe}-{seed}", settings))
            with (folder / "results.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(results[-1]._asdict()) + "\n")
    results = [one for one in results if one.recipe in chosen]
    show(table(results))
    for miss in (misses := missed(results)):
        say(f"below what is to be reached: {miss}")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())

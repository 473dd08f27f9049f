"""Measures what `minitrain.scaling.measured.fit` needs, and the trainings that its predictions are compared with.

All ranks have one thread. Measurements take turns for some rounds, so that all meet the same machine, and the median
counts. CPU seconds are those of whole processes; on a busy machine they are steadier than times, but caches and cores
that are shared with other programs still show in them.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...benchmark.machine import OtherLoad, describe
from ...benchmark.report import say
from ...distributed.launch.processes import run_processes
from ...errors import WorkerError
from .fit import Costs, Exchanged, costs_from

MICRO_BATCHES = 8
FIT_MICRO_BATCHES = (1, 4)
Key = tuple[str, int, int]
"""The measured configurations: on how many ranks, with how many micro-batches."""


def measure(size: str, ranks: Sequence[int], *, rounds: int = 5, steps: int = 10) -> dict[str, Any]:
    """Measure, fit and compare.

    Args:
        size: of the model; a name of `minitrain.benchmark.sizes.SIZES`.
        ranks: numbers of ranks that the prediction is compared for; they divide `MICRO_BATCHES`.
        rounds: turns of each measurement.
        steps: training steps of a turn.

    Raises:
        WorkerError: if a rank fails.
        ConfigError: if there would be more than four ranks to a core.
    """
    keys: list[Key] = [("train", 1, count) for count in FIT_MICRO_BATCHES]
    keys += [("add", 1, MICRO_BATCHES), ("exchange", 2, 1), ("exchange", 4, 1), ("train", 2, 2)]
    keys += [("train", count, MICRO_BATCHES) for count in ranks]
    found: dict[Key, list[dict[str, Any]]] = {key: [] for key in keys}
    watch, before = OtherLoad(), _children()
    for number in range(rounds):
        for key in keys:
            kind, count, parts = key
            share = f"{count} rank{'s' * (count > 1)}, {parts} micro-batch{'es' * (parts > 1)}"
            say(f"round {number + 1} of {rounds}: {kind} on {share}")
            found[key].append(_on_ranks(key, size, steps))
    others = watch.cores(_children() - before)
    costs = _fit(found)
    rows = []
    for count in ranks:
        turns = found["train", count, MICRO_BATCHES]
        seconds = statistics.median(turn["cpu"] for turn in turns)
        sent = statistics.median(turn["wire"] for turn in turns)
        predicted, bytes_said = costs.seconds(count, MICRO_BATCHES), costs.bytes_of_step(count)
        rows.append(
            {
                "ranks": count,
                "cpu_seconds": seconds,
                "predicted_cpu_seconds": predicted,
                "parts": costs.parts(count, MICRO_BATCHES),
                "bytes": sent,
                "predicted_bytes": bytes_said,
                "wall_seconds": statistics.median(turn["seconds"] for turn in turns),
                "cpu_seconds_of_rounds": [turn["cpu"] for turn in turns],
            }
        )
    return {
        "size": size,
        "micro_batches": MICRO_BATCHES,
        "rounds": rounds,
        "steps": steps,
        "costs": costs._asdict(),
        "rows": rows,
        "cores_used_by_others": others,
        "machine": describe(),
    }


def _fit(found: dict[Key, list[dict[str, Any]]]) -> Costs:
    def median(key: Key, name: str) -> float:
        return float(statistics.median(turn[name] for turn in found[key]))

    def exchanged(ranks: int, name: str) -> Exchanged:
        turns = [turn[name] for turn in found["exchange", ranks, 1]]
        seconds = statistics.median(turn["cpu"] for turn in turns)
        calls = turns[0]["calls"] / 10  # of all ranks; each sends a message to every other
        return Exchanged(seconds / 10, turns[0]["wire"] / 10, calls, calls * (ranks - 1))

    return costs_from(
        {count: median(("train", 1, count), "cpu") for count in FIT_MICRO_BATCHES},
        statistics.median(turn["tree"]["cpu"] for turn in found["add", 1, MICRO_BATCHES]) / 10 / (MICRO_BATCHES - 1),
        exchanged(2, "large"),
        exchanged(2, "small"),
        exchanged(4, "small"),
        weights=found["train", 2, 2][0]["weights"],
        calls=found["train", 2, 2][0]["calls"] / 2,
    )


def _on_ranks(key: Key, size: str, steps: int) -> dict[str, Any]:
    """One turn: what a step took, on all ranks together (``seconds``: on rank 0)."""
    kind, ranks, micro_batches = key
    with tempfile.TemporaryDirectory(prefix="minitrain-scaling-") as folder:
        module = "minitrain.scaling.measured.rank"
        command = [sys.executable, "-m", module, kind, size, str(micro_batches), str(steps), folder]
        before = os.environ.get("MINITRAIN_NUM_THREADS")
        os.environ["MINITRAIN_NUM_THREADS"] = "1"
        try:
            code = run_processes(command, ranks)
        finally:
            if before is None:
                del os.environ["MINITRAIN_NUM_THREADS"]
            else:
                os.environ["MINITRAIN_NUM_THREADS"] = before
        if code:
            raise WorkerError(f"a measurement on {ranks} ranks ended with exit code {code}; its error stands above")
        read = [json.loads(Path(folder, f"rank-{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]
    if kind == "train":
        return {"weights": read[0]["weights"], **_of_all([one["readings"] for one in read])}
    return {name: _of_all([one[name] for one in read]) for name in read[0]}


def _of_all(readings: list[list[dict[str, float]]]) -> dict[str, float]:
    """The median step of each rank, added up over the ranks."""
    found: dict[str, float] = {}
    for name in readings[0][0]:
        steps = [[after[name] - before[name] for before, after in itertools.pairwise(one)] for one in readings]
        found[name] = sum(map(statistics.median, steps))
    found["seconds"] /= len(readings)
    return found


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system

"""``minitrain bench --scaling``: how training on several ranks scales, measured here and predicted for GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SIZES = ("char", "baby")
"""Whose memory eight ranks of one machine have room for."""


def scaling(size: str, ranks: Sequence[int], rounds: int, steps: int, out: Path) -> int:
    """Measure, fit, compare, predict; print the tables and write figures and pictures; returns the exit code."""
    from ...benchmark.report import say, show, write_json
    from ...files import make_folder
    from ...scaling import picture, tables
    from ...scaling.measured.runs import measure

    make_folder(out)
    result = measure(size, ranks, rounds=rounds, steps=steps)
    for table in tables.measured(result):
        show(table)
    for line in tables.verdict(result):
        say(line)
    numbers = write_json(out / "scaling.json", result)
    here, there = picture.draw_measured(result, out / "scaling.png"), picture.draw_gpus(out / "gpus.png")
    show(tables.gpus("124M", 64))
    say("for GPUs: predicted from published speeds, no cluster was met; docs/scaling.md has the assumptions")
    say(f"results in {numbers}, pictures in {here} and {there}")
    return 0

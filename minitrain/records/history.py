"""The history of a run, from its file of metrics: a checkpoint keeps where it was in that file, and no metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .collector import MetricsCollector
from .jsonl import metrics_of, read_metrics


def read_history(path: str | Path, end: int, directions: Mapping[str, str] | None = None) -> MetricsCollector:
    """The history as it was when the file had ``end`` bytes; empty if there is no file.

    Args:
        path: the JSONL file.
        end: how much of it counts.
        directions: see `MetricsCollector`.

    Raises:
        FileError: if the file cannot be read.
    """
    history = MetricsCollector(directions)
    for record in map(metrics_of, read_metrics(path, end=end) if Path(path).exists() else []):
        step = record.pop("step", None)
        if not isinstance(step, int) or step < 0:
            continue
        if "loss" not in record:  # an evaluation: its time is not a metric
            record.pop("seconds", None)
        history.update({"train_loss" if name == "loss" else name: value for name, value in record.items()}, step=step)
    return history

"""What a tracker has to have of a run."""

from __future__ import annotations

from pathlib import Path

from minitrain.records import read_metrics


def expected_scalars(run: Path, name: str) -> dict[int, float]:
    return {record["step"]: record[name] for record in read_metrics(run / "metrics.jsonl") if name in record}

"""A run folder as a notebook shows it: what it is, how far it came, and its losses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..display.markup import block, element, shown, table
from ..errors import DataError
from ..folder import RunFolder
from ..folder.names import METRICS
from ..formats import duration
from ..records.jsonl import read_metrics
from ..records.loss_curves import loss_curves
from .python_run import written_settings
from .report import history_of, smooths

SHOWN = ("model", "optimizer", "scheduler", "data", "trainer")


class RunView:
    """What a run folder holds: settings, progress and losses. A notebook shows it as a table and curves.

    The folder is only read, and may be one in which a run trains now.

    Args:
        run_dir: the run folder.

    Attributes:
        run_dir: the folder.
        settings: what its configuration says.
        history: the metrics that were logged.

    Raises:
        CheckpointError: if the folder is no run.
        DataError: if its settings or metrics are damaged, or nothing has been logged.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir, folder = Path(run_dir), RunFolder(run_dir)
        self.settings: Mapping[str, Any] = written_settings(folder)
        if not folder.exists(METRICS):
            raise DataError(f"{self.run_dir} has no {METRICS}: nothing has been logged yet")
        self.history = history_of(read_metrics(folder.file(METRICS)), smoothed=smooths(self.run_dir))

    @property
    def rows(self) -> dict[str, str]:
        """What it came to, as names and values."""
        history, rows = self.history, {}
        steps = max((at[-1] for at, _ in history.curves().values() if at), default=0)
        rows["updates"] = f"{steps:,}"
        for name in ("train_loss", "val_loss"):
            if (latest := history.get_latest(name)) is not None:
                rows[name.replace("_", " ")] = f"{latest:.4f}, best {history.get_summary()[name]['best']:.4f}"
        if seconds := history.get_latest("seconds"):
            rows["time"] = duration(seconds)
        for found in history.diagnose_training_issues():
            rows[found.kind] = found.message
        for group in SHOWN:
            if isinstance(given := self.settings.get(group), Mapping):
                rows[group] = ", ".join(f"{key} {value}" for key, value in given.items() if _is_short(value))
        return {name: value for name, value in rows.items() if value}

    def __str__(self) -> str:
        rows = {"run": str(self.run_dir), **self.rows}
        wide = max(map(len, rows))
        return "\n".join(f"{name:{wide}}  {value}" for name, value in rows.items())

    def __repr__(self) -> str:
        return f"<RunView of {self.run_dir}>"

    @shown
    def _repr_html_(self) -> str:
        title = element("div", element("b", str(self.run_dir)))
        return block(title, loss_curves(self.history.curves()), table([], list(self.rows.items())))


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) and len(str(value)) <= 40

"""A run folder as a notebook shows it: how far it came, its losses, its settings."""

from __future__ import annotations

import os
from pathlib import Path

from ..display.markup import LINES, block, element, shown, table
from ..folder import RunFolder
from ..folder.names import CONFIG, METRICS
from ..folder.not_a_run import not_a_run
from ..formats import duration
from ..records.collector import MetricsCollector
from ..records.history import read_history
from ..records.loss_curves import loss_curves

MOST = 1 << 50  # bytes of metrics: all of them


class RunView:
    """The content of a run folder. A notebook shows its curves, a table and the settings; printed, it is the table.

    The folder is only read. A run may be training in it: make the view again for the newest state.

    Args:
        run_dir: the run folder.

    Attributes:
        run_dir: the folder.
        history: the metrics that were logged.
        settings: the text of its configuration; empty without one.

    Raises:
        CheckpointError: if the folder has no metrics.
        FileError: if a file cannot be read.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir, folder = Path(run_dir), RunFolder(run_dir)
        if not folder.path.is_dir() or not folder.exists(METRICS):
            raise not_a_run(folder.path, METRICS)
        self.history: MetricsCollector = read_history(folder.file(METRICS), MOST)
        self.settings = folder.read(CONFIG).decode(errors="replace") if folder.exists(CONFIG) else ""

    @property
    def rows(self) -> dict[str, str]:
        """The result of the run, as names and values."""
        history = self.history
        rows = {
            "run": str(self.run_dir),
            "updates": f"{max((at[-1] for at, _ in history.curves().values()), default=0):,}",
        }
        for name, values in history.get_summary().items():
            if name in ("train_loss", "val_loss"):
                rows[name.replace("_", " ")] = f"{values['latest']:.4f}, best {values['best']:.4f}"
        if seconds := history.get_latest("seconds"):
            rows["time"] = duration(seconds)
        return rows | {found.kind: found.message for found in history.diagnose_training_issues()}

    def __str__(self) -> str:
        rows = self.rows
        wide = max(map(len, rows))
        return "\n".join(f"{name:{wide}}  {value}" for name, value in rows.items())

    def __repr__(self) -> str:
        return f"<RunView of {self.run_dir}>"

    @shown
    def _repr_html_(self) -> str:
        title = element("summary", "settings", style="cursor:pointer")
        settings = element("details", title, element("pre", self.settings, style=LINES), class_="minitrain")
        return block(table([], list(self.rows.items())), loss_curves(self.history.curves()), settings)

"""The end of a run: its result, pictures, and a summary for the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..display.markup import LINES, block, element, shown
from ..folder import RunFolder
from ..folder.names import CONFIG, METRICS, PLOTS, REPORT
from ..measures import perplexity
from ..plotting.by_kind import plot_history
from ..plotting.curves import plot_learning_rate, plot_loss
from ..records.collector import MetricsCollector
from ..records.diagnosis import LossLevels
from ..records.jsonl import metrics_of, read_metrics
from ..records.loss_curves import loss_curves
from ..records.made import read_made
from ..reports.html import write_html_report
from ..tasks import Outcome
from ..training.result import TrainResult
from ..versions import versions
from .python_run import counted_in, written_settings

NOT_DRAWN = ("lr", "seconds", "val_tokens")
"""Metrics that have a picture of their own, or need none."""
LOSS_PICTURE, RATE_PICTURE = "loss.png", "learning_rate.png"


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        run_dir: the run folder.
        training: steps, speed, losses, the last checkpoint.
        validation: what the model is worth on all of the held-out data.
        pictures: the PNG files drawn.
        report: the run in one HTML file.
        sample: what the model made to be read, such as a text; empty if nothing.
    """

    run_dir: Path
    training: TrainResult
    validation: Outcome
    pictures: tuple[Path, ...]
    report: Path
    sample: str

    def __repr__(self) -> str:
        return f"<RunResult of {self.run_dir}: {self.training.step} steps, validation loss {self.validation.loss:.4f}>"

    @shown
    def _repr_html_(self) -> str:
        return block(element("pre", self.describe(), style=LINES), loss_curves(self.training.history.curves()))

    def describe(self) -> str:
        """The summary that the command line prints."""
        training = self.training
        lines = [
            *training.amount(),
            "",
            self.validation.describe(),
            "",
            f"checkpoint  {training.checkpoint}",
            f"report      {self.report}",
            *(f"picture     {picture}" for picture in self.pictures[:2]),
        ]
        if self.sample:
            lines += ["", "a sample:", "", self.sample]
        return "\n".join(lines)


def history_of(records: Sequence[Mapping[str, Any]], *, smoothed: bool = False) -> MetricsCollector:
    """The history of a run from the records in its file, with perplexities.

    Args:
        records: the records.
        smoothed: whether training smoothed the labels; its loss then has no perplexity.
    """
    history = MetricsCollector()
    for record in map(metrics_of, records):
        metrics: dict[str, Any] = {"train_loss" if name == "loss" else name: value for name, value in record.items()}
        step = metrics.pop("step", None)
        if not (step is None or (isinstance(step, int) and step >= 0)):
            continue
        perplexities = {
            name.replace("loss", "perplexity"): perplexity(metrics[name])
            for name in ("train_loss", "val_loss")[smoothed:]
            if name in metrics
        }
        history.update(metrics | perplexities, step=step)
    return history


def smooths(run_dir: Path) -> bool:
    """Whether the training of a run has another loss than its evaluations, by smooth labels or unwanted texts."""
    values = written_settings(RunFolder(run_dir))
    model, data = (part if isinstance(part := values.get(name), Mapping) else {} for name in ("model", "data"))
    smoothing = model.get("label_smoothing")
    return (isinstance(smoothing, int | float) and smoothing > 0) or data.get("unwanted") is not None


def draw(run_dir: str | Path, baselines: Mapping[str, float]) -> tuple[Path, ...]:
    """Draw the curves of the run in ``run_dir`` from its metrics: loss, learning rate, and the others.

    Args:
        run_dir: the run folder.
        baselines: losses in nats per token by name.

    Returns:
        The PNG files.

    Raises:
        DataError: if the metrics hold nothing to draw.
        FileError: if a file cannot be read or written.
    """
    run_dir = Path(run_dir)
    folder = RunFolder(run_dir)
    records = [one for one in map(metrics_of, read_metrics(folder.file(METRICS))) if type(one.get("step")) is int]
    name = run_dir.resolve().name
    plot_loss(records, run_dir / LOSS_PICTURE, baselines=baselines, title=f"Loss of {name}")
    plot_learning_rate(records, run_dir / RATE_PICTURE, title=f"Learning rate of {name}")
    history = history_of(records, smoothed=smooths(run_dir))
    counted = counted_in(written_settings(folder))
    others = [name for name in history.names() if not name.endswith("loss") and name not in NOT_DRAWN]
    curves = {name: (history.get_steps(name), history.get_metric(name)) for name in others}
    return run_dir / LOSS_PICTURE, run_dir / RATE_PICTURE, *plot_history(curves, folder.make(PLOTS), counted=counted)


def write_report(
    run_dir: Path,
    curves: Sequence[Path],
    summary: str = "",
    sample: str = "",
    baselines: Mapping[str, float] | None = None,
    pictures: Sequence[Path] = (),
) -> Path:
    """Write ``report.html``, the run in one file; returns it.

    Args:
        run_dir: the run folder.
        curves: see `write_html_report`.
        summary: likewise.
        sample: likewise.
        baselines: losses in nats per token by name, which the diagnosis compares the model's with.
        pictures: see `write_html_report`.

    Raises:
        DataError: if a file of ``samples/`` is damaged.
        FileError: if a file cannot be read or written.
    """
    folder = RunFolder(run_dir)
    history = history_of(read_metrics(folder.file(METRICS)), smoothed=smooths(run_dir))
    guesses = baselines or {}
    levels = sorted(guesses.values())  # knowing the frequencies is better than knowing nothing
    history.levels = LossLevels(guess=levels[-1], blind=levels[0]) if levels else LossLevels()
    return write_html_report(
        folder.file(REPORT),
        title=f"Run {run_dir.resolve().name}",
        history=history,
        summary=summary,
        curves=curves,
        pictures=pictures,
        made=read_made(folder),
        settings=folder.read(CONFIG).decode(errors="replace") if folder.exists(CONFIG) else "",
        versions=versions(),
        sample=sample,
    )

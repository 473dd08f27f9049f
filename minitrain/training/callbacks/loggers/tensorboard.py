"""Logging for TensorBoard: event files, written here without TensorFlow."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from ....backend.arrays import to_numpy
from ....files import make_folder
from ....folder import RunFolder
from ....folder.names import TENSORBOARD
from ...setup import RunContext, Setup, StepView, facts_of_setup
from ..monitors.statistics import chosen
from .tracker import Tracker


class TensorBoardLogger(Tracker):
    """Writes event files that TensorBoard shows: metrics as scalars, settings and facts as text, weights as histograms.

    Each session writes a file of its own. It begins with the mark of a restart, upon which TensorBoard leaves out what
    older files have of the steps that are done again.

    Args:
        folder: of the event files; by default ``tensorboard`` in the run folder, or without one, here.
        histograms: pattern of the parameters whose weights get a histogram at each evaluation, such as
            ``"blocks.0.*"``; empty for none.
    """

    package, service = "tensorboard", "TensorBoard"

    def __init__(self, folder: str | Path | None = None, *, histograms: str = "") -> None:
        super().__init__()
        self.folder, self.histograms = folder, histograms
        self._file: Any = None
        self._writer: Any = None
        self._model: Any = None

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Write the metrics, and histograms of the weights."""
        super().on_evaluate(view, metrics)
        if self.histograms:
            self._try(self._write_histograms, view.step)

    def _begin(self, step: int, setup: Setup, run: RunContext) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = make_folder(self.folder or RunFolder(run.folder or Path()).file(TENSORBOARD))
        self._model = setup.model
        count = len(list(folder.glob("events.out.tfevents.*")))  # files are read in the order of their names
        path = folder / f"events.out.tfevents.{int(time.time()):010d}.minitrain.{count:04d}"
        self.id = folder.name
        self._file = open(path, "xb")  # noqa: SIM115  (closed by _end)
        self._writer = RecordWriter(self._file)
        self._event(file_version="brain.Event:2")
        self._go_back(step)
        if step == 0:
            for name, values in (("settings", run.settings), ("facts", facts_of_setup(setup))):
                code = "\n".join(f"    {line}" for line in json.dumps(values, indent=2, default=str).splitlines())
                self._event(step=0, summary=text_pb(name, code))  # Markdown: an indented block is shown as it is
        self._writer.flush()

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._event(step=step, summary=Summary(value=values))
        self._writer.flush()

    def _write_histograms(self, step: int) -> None:
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        for path, parameter in chosen(self._model, self.histograms):
            self._event(step=step, summary=histogram_pb(f"weights/{path}", to_numpy(parameter.data)))
        self._writer.flush()

    def _go_back(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._event(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def close(self) -> None:
        """Close the file, also after a failure."""
        super().close()
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk, of which the user has been told
                self._file.close()

    def _event(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())

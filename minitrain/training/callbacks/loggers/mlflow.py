"""Logging to MLflow: a local store or a server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from ....backend.threads import environment
from ....records.facts import flat
from ...setup import RunContext, Setup, facts_of_setup
from ...signals import Interrupted
from .tracker import Tracker

MOST = {"metrics": 1000, "params": 100, "tags": 100}
"""The most metrics that MLflow takes in one request."""
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
LONGEST = 500  # characters of a parameter's value that every version of MLflow takes


class MLflowLogger(Tracker):
    """Logs to MLflow: settings as parameters, facts as tags, records and evaluations as metrics.

    The run is ``FINISHED`` at the end, ``KILLED`` after a signal, ``FAILED`` after an error, and ``RUNNING`` again
    when it is resumed. Nothing global stays set: other uses of MLflow in the process are not touched. A server that
    cannot be reached is tried three times, unless the environment's ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` says more: by
    itself, MLflow would let the training wait for minutes.

    Args:
        experiment: name of the experiment; made if it is not there.
        tracking_uri: the store, such as ``"sqlite:///mlflow.db"`` or ``"http://localhost:5000"``; by default the
            environment's ``MLFLOW_TRACKING_URI``, or what MLflow takes without one.
        run_name: name of the run; by default that of the run folder.
    """

    package, service = "mlflow", "MLflow"

    def __init__(
        self, experiment: str = "minitrain", *, tracking_uri: str | None = None, run_name: str | None = None
    ) -> None:
        super().__init__()
        self.experiment, self.tracking_uri, self.run_name = experiment, tracking_uri, run_name
        self._client: Any = None

    def _begin(self, step: int, setup: Setup, run: RunContext) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        self._client = MlflowClient(tracking_uri=self.tracking_uri)
        if self.id is not None:
            self._client.update_run(self.id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        name = self.run_name or (run.folder.resolve().name if run.folder else None)
        self.id = str(self._client.create_run(experiment, run_name=name).info.run_id)
        settings = flat(run.settings)
        self._send("params", [Param(name, str(value)[:LONGEST]) for name, value in settings.items()])
        self._send("tags", [RunTag(name, str(value)) for name, value in facts_of_setup(setup).items()])

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())  # milliseconds
        self._send("metrics", [Metric(name, value, now, step) for name, value in metrics.items()])

    def _end(self, error: BaseException | None) -> None:
        killed = isinstance(error, Interrupted | KeyboardInterrupt | SystemExit)
        self._client.set_terminated(self.id, "FINISHED" if error is None else "KILLED" if killed else "FAILED")

    def _try(self, action: Callable[..., None], *arguments: Any) -> None:
        with environment(RETRIES, os.environ.get(RETRIES, "2")):
            super()._try(action, *arguments)

    def _send(self, kind: str, entries: Sequence[Any]) -> None:
        for first in range(0, len(entries), MOST[kind]):
            self._client.log_batch(self.id, **{kind: entries[first : first + MOST[kind]]})

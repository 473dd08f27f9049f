"""MLflow against a store of files, Weights & Biases against the files that it writes offline."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from minitrain.training import Callback, MLflowLogger, WandbLogger
from tests.helpers.interrupted_runs import interrupted
from tests.helpers.small_trainers import make
from tests.helpers.tracked_scalars import expected_scalars

# MLflow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a store of files, and its address."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for this
    uri = (tmp_path / "mlruns").as_uri()
    return mlflow.MlflowClient(tracking_uri=uri), uri


def mlflow_run(store: Any) -> Any:
    client, _ = store
    (run,) = client.search_runs([client.get_experiment_by_name("minitrain").experiment_id])
    return run


def test_mlflow_has_settings_facts_and_figures(tmp_path: Path, store: Any) -> None:
    client, uri = store
    trainer = make(tmp_path / "run", MLflowLogger(tracking_uri=uri))
    trainer.train()
    run = mlflow_run(store)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["trainer.log_every"] == "2"
    assert run.data.params["model.n_embd"] == "8"
    assert run.data.tags["parameters"] == str(trainer.model.parameter_count())
    assert {"minitrain", "numpy", "python", "threads"} <= set(run.data.tags)
    for name in ("loss", "val_loss"):
        history = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert history == pytest.approx(expected_scalars(tmp_path / "run", name))


def test_mlflow_goes_on_with_the_same_run(tmp_path: Path, store: Any) -> None:
    client, uri = store
    interrupted(tmp_path / "run", 7, MLflowLogger(tracking_uri=uri))
    run = mlflow_run(store)
    assert run.info.status == "FAILED"

    class Watching(Callback):
        def on_step_end(self, view: Any, update: Any) -> None:
            assert mlflow_run(store).info.status == "RUNNING"

    again = make(tmp_path / "run", MLflowLogger(tracking_uri=uri), Watching())
    again.resume()
    again.train()
    assert mlflow_run(store).info.run_id == run.info.run_id
    assert mlflow_run(store).info.status == "FINISHED"
    steps = sorted({metric.step for metric in client.get_metric_history(run.info.run_id, "loss")})
    assert steps == [1, 2, 4, 6, 8]


def test_an_mlflow_server_that_is_gone_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    requests = pytest.importorskip("requests")
    retries = []

    def refused(*arguments: Any, **options: Any) -> Any:
        retries.append(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
        raise ConnectionError("refused")

    monkeypatch.setattr(requests.Session, "request", refused)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    for expected in ("2", "5"):
        trainer = make(None, MLflowLogger(tracking_uri="http://127.0.0.1:9"))
        warnings: list[str] = []
        trainer.warn = warnings.append
        assert trainer.train().step == 8
        assert len(warnings) == 1
        assert set(retries) == {expected}
        assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == (None if expected == "2" else "5")
        retries.clear()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")


def test_mlflow_takes_more_settings_than_fit_a_request(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, uri = store
    real, sizes = type(client).log_batch, []

    def log_batch(self: Any, run_id: str, **entries: Any) -> Any:
        sizes.append({kind: len(some) for kind, some in entries.items()})
        return real(self, run_id, **entries)

    monkeypatch.setattr(type(client), "log_batch", log_batch)  # a store of files has no limits, a server has
    trainer = make(None, MLflowLogger(tracking_uri=uri))
    trainer.run.settings = {"many": {str(i): i for i in range(250)}, "long": "x" * 10_000}
    trainer.train()
    params = mlflow_run(store).data.params
    assert (len(params), params["many.249"], params["long"]) == (251, "249", 500 * "x")
    assert [size["params"] for size in sizes if "params" in size] == [100, 100, 51]


# Weights & Biases


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, quiet, and without a thought of the network."""
    module = pytest.importorskip("wandb")
    for name, value in (("WANDB_SILENT", "true"), ("WANDB_ERROR_REPORTING", "false"), ("WANDB_MODE", "offline")):
        monkeypatch.setenv(name, value)
    return module


def wandb_records(path: Path) -> list[Any]:
    """The records of an offline file: protocol buffers in the blocks of a LevelDB log."""
    from wandb.proto import wandb_internal_pb2

    content, at, parts, records = path.read_bytes(), 7, b"", []  # behind ":W&B", a magic number and a version
    while at < len(content):
        if 32768 - at % 32768 < 7:  # too little for the head of a piece: zeros fill the block
            at += -at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)  # checksum, length, kind
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last of several; others are the first, or in the middle
            records.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return records


def test_wandb_offline_and_resumed(tmp_path: Path, wandb: Any) -> None:
    interrupted(tmp_path / "run", 7, WandbLogger(mode="offline"))
    again = make(tmp_path / "run", WandbLogger(mode="offline"))
    again.resume()
    again.train()
    wandb.teardown()  # waits for the service that writes the files
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({path.name for path in files}) == 1  # one id
    records = [record for path in files for record in wandb_records(path)]
    runs = [record.run for record in records if record.HasField("run")]
    config = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert config["trainer"]["log_every"] == 2
    assert config["facts"]["parameters"] == again.model.parameter_count()
    losses = {}
    for record in records:
        if record.HasField("history"):
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            if "loss" in row:
                losses[row["step"]] = row["loss"]
    assert losses == pytest.approx(expected_scalars(tmp_path / "run", "loss"))
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1, 0]

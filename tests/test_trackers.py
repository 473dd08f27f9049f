"""Trackers: settings, figures and ids arrive, resumed runs go on where they were, and a failure stops no training."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_callbacks import make
from test_csv_logger import interrupted

from minitrain.errors import ConfigError
from minitrain.training import Callback, MLflowLogger, TensorBoardLogger, WandbLogger, read_metrics
from minitrain.training.callbacks.tracker import Tracker
from minitrain.training.facts import flat


class Shelf(Tracker):
    """A tracker into a list; fails when it is told to."""

    package, service = "json", "The shelf"

    def __init__(self, *, failing: str = "") -> None:
        super().__init__()
        self.failing = failing
        self.said: list[Any] = []

    def _say(self, *what: Any) -> None:
        self.said.append(what)
        if self.failing == what[0]:
            raise ConnectionError("no route\nto the shelf")

    def _begin(self, trainer: Any) -> None:
        self._say("begin", self.id)
        self.id = self.id or "run-1"

    def _write(self, step: int, figures: dict[str, float]) -> None:
        self._say("write", step, figures)

    def _end(self, error: BaseException | None) -> None:
        self._say("end", error and str(error))


def test_every_figure_arrives_with_its_step(tmp_path: Path) -> None:
    make(tmp_path / "run", shelf := Shelf()).train()
    written = [{"step": step, **figures} for what, step, figures in shelf.said[1:-1]]
    assert written == read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert (shelf.said[0], shelf.said[-1]) == (("begin", None), ("end", None))


def test_norms_of_gradients_come_before_the_trackers(tmp_path: Path) -> None:
    make(tmp_path / "run", shelf := Shelf(), log_gradients=True).train()
    assert "grad_norm.tok_emb.weight" in shelf.said[1][2]


def test_a_resumed_run_goes_on_under_its_id(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", 6, shelf := Shelf())
    assert shelf.said[-1] == ("end", "the end")
    again = make(tmp_path / "run", shelf := Shelf())
    again.resume()
    again.train()
    assert shelf.said[0] == ("begin", "run-1")


@pytest.mark.parametrize("when", ["begin", "write", "end"])
def test_a_failure_is_one_warning(tmp_path: Path, when: str) -> None:
    trainer = make(tmp_path / "run", shelf := Shelf(failing=when))
    warnings: list[str] = []
    trainer.warn = warnings.append
    assert trainer.train().step == 8
    assert [what for what, *_ in shelf.said].count(when) == 1
    assert shelf.said[-1][0] == when  # left alone from then on
    assert warnings == [
        "The shelf failed, ConnectionError: no route to the shelf; from here on nothing is logged there, training goes "
        "on"
    ]


@pytest.mark.parametrize("logger", [TensorBoardLogger, MLflowLogger, WandbLogger])
def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: Any) -> None:
    monkeypatch.setitem(sys.modules, logger.package, None)
    name = f"{logger.__name__} needs the package {logger.package}"
    with pytest.raises(ConfigError, match=rf"{name}, .* pip install 'minitrain\[track\]'"):
        make(tmp_path / "run", logger()).train()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()  # the folder can be used when it is installed


def test_a_package_that_does_not_work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("raise TypeError('Descriptors cannot be created directly')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Shelf, "package", "half_installed")
    trainer = make(tmp_path / "run", shelf := Shelf())
    warnings: list[str] = []
    trainer.warn = warnings.append
    assert trainer.train().step == 8
    assert len(warnings) == 1
    assert "Descriptors cannot be created directly" in warnings[0]
    assert shelf.said == []


def test_settings_are_flat() -> None:
    nested = {"a": {"b": 1, "c": {}}, "d": [{"name": "x"}, (2, None)], "e": Path("f")}
    assert flat(nested) == {"a.b": 1, "d.0.name": "x", "d.1.0": 2, "d.1.1": None, "e": "f"}


# TensorBoard


def events(folder: Path) -> Any:
    """The event files as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    return reader.Reload()


def expected_scalars(run: Path, name: str) -> dict[int, float]:
    return {record["step"]: record[name] for record in read_metrics(run / "metrics.jsonl") if name in record}


def test_tensorboard_reads_scalars_text_and_histograms(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trainer = make(tmp_path / "run", TensorBoardLogger(histograms="tok_emb.*"))
    trainer.train()
    read = events(tmp_path / "run" / "tensorboard")
    for name in ("loss", "lr", "val_loss"):
        written = {event.step: event.value for event in read.Scalars(name)}
        assert written == pytest.approx(expected_scalars(tmp_path / "run", name), rel=1e-6)
    text = read.Tensors("settings")
    assert '"log_every": 2' in text[0].tensor_proto.string_val[0].decode()
    assert '"parameters": ' in read.Tensors("facts")[0].tensor_proto.string_val[0].decode()
    from tensorboard.util.tensor_util import make_ndarray

    last = read.Tensors("weights/tok_emb.weight")[-1]
    buckets = make_ndarray(last.tensor_proto)  # (buckets, 3): left edge, right edge, count
    weights = dict(trainer.model.named_parameters())["tok_emb.weight"].data
    assert (last.step, buckets[:, 2].sum()) == (8, weights.size)
    assert (buckets[0, 0], buckets[-1, 1]) == pytest.approx((weights.min(), weights.max()))


def test_tensorboard_shows_a_resumed_run_as_one(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    interrupted(tmp_path / "run", 7, TensorBoardLogger())
    again = make(tmp_path / "run", TensorBoardLogger())
    again.resume()
    again.train()
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2
    steps = [event.step for event in events(tmp_path / "run" / "tensorboard").Scalars("loss")]
    assert steps == [1, 2, 4, 6, 8]  # 6 was logged twice: what the interrupted session had after step 4 is purged
    assert len(events(tmp_path / "run" / "tensorboard").Tensors("settings")) == 1


def test_tensorboard_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_writer = pytest.importorskip("tensorboard.summary.writer.record_writer")

    def full(self: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_writer.RecordWriter, "flush", full)
    trainer = make(tmp_path / "run", TensorBoardLogger())
    warnings: list[str] = []
    trainer.warn = warnings.append
    assert trainer.train().step == 8
    assert [warning.partition(",")[0] for warning in warnings] == ["TensorBoard failed"]


def test_importing_the_loggers_imports_no_tracker() -> None:
    code = "import sys, minitrain.training.callbacks; print([m for m in sys.modules if m in sys.argv])"
    command = [sys.executable, "-c", code, "tensorboard", "mlflow", "wandb", "IPython"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


# MLflow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a store of files, and its address."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for this; databases need its full package
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
        def on_step_end(self, trainer: Any, update: Any) -> None:
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
    trainer.hyperparameters = {"many": {str(i): i for i in range(250)}, "long": "x" * 10_000}
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

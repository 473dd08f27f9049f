"""Trackers: settings, figures and ids arrive, resumed runs go on, a failure stops no training; TensorBoard itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minitrain.errors import ConfigError
from minitrain.records import read_metrics
from minitrain.records.facts import flat
from minitrain.training import MLflowLogger, TensorBoardLogger, WandbLogger
from minitrain.training.callbacks.loggers.tracker import Tracker
from tests.helpers.interrupted_runs import interrupted
from tests.helpers.small_trainers import make
from tests.helpers.tracked_scalars import expected_scalars


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

    def _begin(self, step: int, setup: Any, run: Any) -> None:
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

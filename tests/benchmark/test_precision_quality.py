"""How trainings end in 16 bits: what is there is not trained again, and distances between precisions."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks import precision_quality
from benchmarks.precision_quality import Result, main, read, table, train_on_text
from tests.helpers.interrupted_runs import DyingAt

SMALL = ("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "data.block_size=8", "trainer.max_steps=6")


def results(task, **values):
    return [Result(task, name, seed, v, "here") for name, vs in values.items() for seed, v in enumerate(vs)]


def test_what_is_there_is_not_trained_again(monkeypatch, tmp_path, capsys):
    trained = []

    def fake(precision, seed):
        if (precision, seed) == ("bfloat16", 2) and len(trained) < 4:
            raise RuntimeError("stopped")
        trained.append((precision, seed))
        return 1.9 + seed / 100

    monkeypatch.setattr(precision_quality, "out_file", lambda name: tmp_path / name)
    monkeypatch.setattr(precision_quality, "tasks", lambda text, folder: {"fake": fake})
    arguments = ["precision_quality", "--tasks", "fake", "--seeds", "1", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(RuntimeError, match="stopped"):
        main()
    assert trained == [("float32", 1), ("bfloat16", 1), ("float32", 2)]
    trained.append(("", 0))
    assert main() == 0
    assert trained[4:] == [("bfloat16", 2)]
    lines = (tmp_path / "precision_quality.jsonl").read_text().splitlines()
    assert [json.loads(line)["value"] for line in lines] == [1.91, 1.91, 1.92, 1.92]
    assert "1.9100, 1.9200" in capsys.readouterr().out


def test_a_training_that_never_groks_has_no_number(monkeypatch):
    monkeypatch.setattr(precision_quality, "MOST_STEPS", 1)
    value = precision_quality.grok("float32", 1)
    assert math.isnan(value)
    assert table(results("grokking", float32=[value, 800.0])).rows[0][2:4] == ["nan, 800", "nan"]


def test_a_distance_counts_in_standard_errors():
    """Means 2 and 5, variances 1 and 3 over three seeds: the error is sqrt(1 / 3 + 3 / 3)."""
    rows = table(results("loss", float32=[1.0, 2.0, 3.0], bfloat16=[4.0, 4.0, 7.0])).rows
    assert rows[0][2:5] == ["1.0000, 2.0000, 3.0000", "2.0000", ""]
    assert rows[1][3:5] == ["5.0000", "+3.0000 (+2.6)"]
    assert table(results("grokking", float32=[300.0], bfloat16=[400.0])).rows[1][2:5] == ["400", "400", ""]


def test_processors_are_not_mixed():
    other = [r._replace(made_on="elsewhere", value=9.0) for r in results("loss", float32=[1.0, 2.0])]
    rows = table(results("loss", bfloat16=[1.0, 2.0]) + other).rows
    assert [(row[1], row[4], row[5]) for row in rows] == [("bfloat16", "", "here"), ("float32", "", "elsewhere")]


def test_a_stopped_training_goes_on(monkeypatch, tmp_path):
    """From its checkpoint, to the loss of one that was not stopped; a finished one is only measured."""
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 40)
    monkeypatch.setattr(precision_quality, "EVERY", ("trainer.validation_frequency=0", "trainer.save_every=2"))

    def train(name):
        return train_on_text(SMALL, text, "bfloat16", 1, tmp_path / name)

    whole = train("whole")
    with monkeypatch.context() as stopping:
        start = precision_quality.start_run

        def start_and_stop(config, **options):
            run = start(config, **options)
            run.trainer.callbacks.add(DyingAt(3))
            return run

        stopping.setattr(precision_quality, "start_run", start_and_stop)
        with pytest.raises(RuntimeError, match="the end"):
            train("stopped")
    monkeypatch.setattr(precision_quality, "start_run", None)  # it must not begin again
    assert train("stopped") == whole
    assert train("stopped") == whole
    assert 1 < whole < 3.5


def test_nothing_is_read_where_there_is_no_file(tmp_path):
    assert read(tmp_path / "none.jsonl") == []

"""The history of metrics lives in metrics.jsonl; a checkpoint keeps a position in it, and stays small."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from minitrain.checkpoint import read_checkpoint
from minitrain.checkpoint.format import LARGEST_STATE, Contents, migrated, write_checkpoint
from minitrain.checkpoint.manifest import Entry, Manifest
from minitrain.records import read_metrics
from minitrain.records.collector import MetricsCollector
from minitrain.records.history import read_history
from tests.helpers.small_trainers import make


def json_bytes_of(checkpoint: Path) -> int:
    headers = 0
    for path in checkpoint.glob("*.safetensors"):
        headers += int.from_bytes(path.read_bytes()[:8], "little")
    return headers + sum(path.stat().st_size for path in checkpoint.glob("*.json"))


def test_a_resumed_run_has_the_history_of_the_file(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    for step in (4, 8):
        again = make(tmp_path)
        again.load_checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}")
        expected = trainer.history.until(step).to_dict()
        if step == 8:  # the last evaluation comes after the last checkpoint
            expected = {name: one for name, one in expected.items() if not name.startswith("val_")} | {
                name: {"steps": one["steps"][:-1], "values": one["values"][:-1]}
                for name, one in expected.items()
                if name.startswith("val_")
            }
        assert again.history.to_dict() == expected
        assert again.history.names() == list(trainer.history.until(step).names())


def test_a_checkpoint_has_no_history(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    figures = {f"figure_{i}": 0.123456789 for i in range(7)}
    for step in range(100_000):
        trainer.history.update(figures, step=step)
    path = Path(trainer.save_checkpoint(tmp_path / "large"))
    assert json_bytes_of(path) < 200_000
    assert "metrics" not in read_checkpoint(path).state


def test_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file:
        for step in range(1, 5001):
            file.write(json.dumps({"step": step, "loss": 1 / step, "lr": 0.1, "seconds": 1.0}) + "\n")
            if step == 4000:
                end = file.tell()
    history = read_history(path, end)
    assert history.get_steps("train_loss") == list(range(1, 4001))
    assert history.get_latest("train_loss") == 1 / 4000
    assert read_history(tmp_path / "none", 10).names() == []


def test_records_that_are_no_figures_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 1, "loss": null, "name": "x", "flag": true, "list": [1], "big": 1' + "0" * 400 + "}"]
    lines += ['{"step": -1, "loss": 1}', '{"step": 1.5, "loss": 1}', '{"loss": 1}', "[1]", '{"step": 2, "step": 2}']
    lines += [
        '{"step": 3, "x": "' + "y" * 200_000 + '"}',
        '{"step": 4, "val_loss": 2.0, "seconds": 9}',
        '{"step": 5, "lo',
    ]
    path.write_text("\n".join(lines))
    history = read_history(path, path.stat().st_size)
    assert history.names() == ["train_loss", "val_loss"]
    assert math.isnan(history.get_metric("train_loss")[0])
    assert history.get_steps("val_loss") == [4]
    assert [record["step"] for record in read_metrics(path) if "step" in record] == [1, -1, 1.5, 4]


def test_a_trainer_without_a_file_keeps_what_it_remembers(tmp_path: Path) -> None:
    trainer = make(None)
    trainer.train()
    trainer.save_checkpoint(tmp_path / "mine")
    before = trainer.history.to_dict()
    trainer.load_checkpoint(tmp_path / "mine")
    assert trainer.history.to_dict() == before


def as_version_2(path: Path, history: MetricsCollector) -> None:
    """Make a checkpoint one of version 2, with its history in it as that one wrote it."""
    import hashlib

    state = json.loads((path / "state.json").read_bytes())
    parts = {}
    for name, part in state["state"].items():
        parts[name] = part
        if name == "callbacks":
            parts["metrics"] = history.to_dict()
    state["state"] = parts
    (path / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    files = {
        name: (path / name).read_bytes()
        for name in ("model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json")
    }
    entries = {name: Entry(len(text), hashlib.sha256(text).hexdigest()) for name, text in files.items()}
    (path / "manifest.json").write_bytes(Manifest(2, 8, entries).to_json())


def test_an_old_checkpoint_brings_its_history(tmp_path: Path) -> None:
    trainer = make(None)
    trainer.train()
    path = Path(trainer.save_checkpoint(tmp_path / "old"))
    as_version_2(path, trainer.history)
    other = make(None)
    other.load_checkpoint(path)
    assert other.history.to_dict() == trainer.history.to_dict()


def test_a_history_too_long_to_be_parsed_comes_from_the_file(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run")
    trainer.train()
    path = tmp_path / "run" / "checkpoints" / "step-00000008"
    long = MetricsCollector()
    for step in range(60_000):
        for name in ("train_loss", "lr", "grad_norm"):
            long.update({name: 0.125}, step=step)
    as_version_2(path, long)
    assert (path / "state.json").stat().st_size > LARGEST_STATE
    again = make(tmp_path / "run")
    assert again.resume() == 8
    assert again.history.get_steps("train_loss") == trainer.history.get_steps("train_loss")


def test_a_state_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    import pytest

    from minitrain.errors import CheckpointError

    with pytest.raises(CheckpointError, match=r"cannot save .* bytes of numbers and text"):
        write_checkpoint(tmp_path, Contents(1, {"w": np.zeros(1)}, {"moments": {}}, {"x": "y" * LARGEST_STATE}))
    assert not list(tmp_path.iterdir())


def test_version_1_has_no_history() -> None:
    assert migrated(1, {"trainer": {}, "metrics_offset": 7}, {})["callbacks"] == {"JsonlLogger": {"offset": 7}}

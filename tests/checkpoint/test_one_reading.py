"""Checkpoints are read where their path says, once, and hashed once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import CheckpointManager, CheckpointStore, Contents
from minitrain.checkpoint import format as files
from minitrain.errors import CheckpointError
from minitrain.nn import Linear
from minitrain.optim import AdamW
from minitrain.runs import load_run, resume_run, start_run
from tests.helpers.small_runs import small_config


def contents(value: float, step: int = 3) -> Contents:
    return Contents(step, {"w": np.full(2, value)}, {"step": step, "moments": {}}, {})


def test_a_store_reads_the_checkpoint_at_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = CheckpointStore(tmp_path / "a"), CheckpointStore(tmp_path / "b")
    at_a, at_b = a.save(contents(1)), b.save(contents(2))
    monkeypatch.chdir(tmp_path)
    for path, value in [(at_a, 1), (at_b, 2), (str(at_b), 2), ("step-00000003", 1), ("b/step-00000003", 2)]:
        assert a.load(path).model["w"][0] == value
    with pytest.raises(CheckpointError, match="missing"):
        a.load(tmp_path / "c" / "step-00000003")


def test_a_manager_knows_its_folder_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Linear(2, 3, init_rng=np.random.default_rng(0))
    manager = CheckpointManager(model, AdamW(model), "kept", keep=1, keep_best=0)
    for epoch in range(3):  # by its absolute path: old ones are deleted all the same
        manager.update_state(current_epoch=epoch)
        manager.save_checkpoint(tmp_path / manager.get_checkpoint_path(epoch, 1.0))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["epoch-0002-val_loss-1.0000"]


@pytest.mark.parametrize("how", ["resume", "load"])
def test_every_file_is_hashed_once(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(small_config(tmp_path))
    run.train()
    hashed: Counter[str] = Counter()

    def counting(path: Any, **options: Any) -> str:
        hashed[str(path)] += 1
        return original(path, **options)

    original = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", counting)
    resume_run(run.run_dir) if how == "resume" else load_run(run.run_dir)
    newest = run.run_dir / "checkpoints" / "step-00000007"
    assert hashed == {
        str(newest / name): 1
        for name in ("model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json")
    }


def test_a_remote_checkpoint_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    store = CheckpointStore("memory://once/run")
    for step in (1, 2):
        store.save(contents(1, step))
    fetched: Counter[str] = Counter()
    original = type(memory).get_file

    def counting(self: Any, remote: str, *arguments: Any, **options: Any) -> Any:
        fetched[remote.rpartition("/")[2]] += 1
        return original(self, remote, *arguments, **options)

    monkeypatch.setattr(type(memory), "get_file", counting)
    newest = store.load_latest()
    assert newest is not None
    assert newest.step == 2
    assert set(fetched.values()) == {1}
    memory.rm("/once", recursive=True)


def test_damage_is_told_and_the_next_one_read(tmp_path: Path) -> None:
    told: list[str] = []
    store = CheckpointStore(tmp_path, warn=told.append)
    store.save(contents(1, 1))
    newest = store.save(contents(2, 2))
    (Path(newest) / "state.json").write_bytes(b"{}")
    found = store.load_latest()
    assert found is not None
    assert found.step == 1
    assert len(told) == 1
    assert "skipping a damaged checkpoint" in told[0]

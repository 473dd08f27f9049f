"""A disk that is full, or may not be written to: one clear error, and everything that was there is still there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minitrain.checkpoint import CheckpointStore, read_checkpoint
from minitrain.files import FileError
from tests.helpers.small_checkpoints import contents
from tests.helpers.small_runs import tree
from tests.helpers.small_trainers import make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=400k", "none", disk], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leave so many bytes free."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    return filler


def unknown_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that does not tell: then the write itself meets the full disk."""

    def refuse(path: Any) -> Any:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", refuse)


@pytest.mark.parametrize("leave", [0, 4096, 8192, 16384])
def test_full_while_a_checkpoint_is_written(small_disk: Path, monkeypatch: pytest.MonkeyPatch, leave: int) -> None:
    store = CheckpointStore(small_disk / "checkpoints")
    monkeypatch.setattr("minitrain.checkpoint.space._REST", 0)
    store.save(contents(1))
    before = tree(small_disk / "checkpoints")
    filler = fill(small_disk, leave)
    with monkeypatch.context() as patch:
        unknown_space(patch)
        with pytest.raises(FileError, match=r"cannot save the checkpoint .*step-00000002: the disk is full; free some"):
            store.save(contents(2))
    assert tree(small_disk / "checkpoints") == before
    assert sorted(path.name for path in (small_disk / "checkpoints").iterdir()) == ["step-00000001"]
    filler.unlink()
    store.save(contents(2))
    assert store.latest() == small_disk / "checkpoints" / "step-00000002"


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_training_on_a_disk_that_fills_up_can_go_on(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: bool, known: bool
) -> None:
    monkeypatch.setattr("minitrain.checkpoint.space._REST", 20_000)  # the disk is smaller than the usual margin
    whole = make(tmp_path / "whole")
    whole.train()
    trainer = make(small_disk / "run", save_every=2, async_checkpoints=later)
    filler: list[Path] = []
    schedule = trainer.setup.schedule

    def filling(step: int) -> float:
        if step == 5 and not filler:
            trainer.saver.finish()
            filler.append(fill(small_disk, 8192))
            if not known:
                unknown_space(monkeypatch)
        return float(schedule(step))

    trainer.setup.schedule = filling
    words = "needs .* free where" if known else "the disk is full"
    with pytest.raises(FileError, match=f"step-0000000(6|8).*{words}"):
        trainer.train()
    store = trainer.checkpoints
    assert store.latest() == small_disk / "run" / "checkpoints" / "step-00000004"
    assert trainer.state.step >= 6
    filler[0].unlink()
    trainer.train()  # the same trainer: its state is whole
    assert read_checkpoint(store.latest()).step == 8
    for name, array in whole.model.state_dict().items():
        assert array.tobytes() == trainer.model.state_dict()[name].tobytes()


def test_a_file_system_that_is_read_only(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minitrain.checkpoint.space._REST", 0)
    store = CheckpointStore(small_disk / "checkpoints")
    store.save(contents(1))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(FileError, match=r"step-00000002: the file system is read-only; write to another folder"):
        store.save(contents(2))
    assert store.latest() == small_disk / "checkpoints" / "step-00000001"
    with pytest.raises(FileError, match=r"cannot create the folder .*run: the file system is read-only"):
        make(small_disk / "run")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(contents(1))
    (tmp_path / "checkpoints").chmod(0o500)
    with pytest.raises(FileError, match="step-00000002: permission denied; change the permissions"):
        store.save(contents(2))
    (tmp_path / "checkpoints").chmod(0o700)
    assert store.latest() == tmp_path / "checkpoints" / "step-00000001"


@pytest.mark.parametrize(("free", "tight"), [(4_000_000, True), (30_000_000, False)])
def test_room_for_all_checkpoints_is_asked_for_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, tight: bool
) -> None:
    """Four at a time, of about one megabyte each, most of it the margin for such a small model."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    trainer, told = make(tmp_path / "run", max_steps=1), list[str]()
    trainer.warn = told.append
    trainer.train()
    assert len(told) == tight
    if tight:
        assert "up to 4 checkpoints of 1.1 MB may be in" in told[0]
        assert "and 4.0 MB are free there: free some space, or lower trainer.keep_checkpoints" in told[0]

"""Checkpoints: what is saved comes back, damage is seen, and no failure of the disk loses an older one."""

from __future__ import annotations

import builtins
import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minitrain.checkpoint import CheckpointStore, Contents, read_checkpoint, verify_checkpoint
from minitrain.checkpoint import local as checkpoint_folder
from minitrain.errors import CheckpointError
from minitrain.files import FileError

FILES = ["model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json", "manifest.json"]


def model_state(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "tok_emb.weight": rng.standard_normal((5, 3)).astype(np.float32),
        "blocks.0.norm.weight": rng.standard_normal(3).astype(np.float32),
        "head.weight": rng.standard_normal((5, 3)).astype(np.float32).T,  # not contiguous
    }


def optimizer_state(seed: int) -> dict[str, Any]:
    moments = {f"exp_avg.{name}": value * 0.1 for name, value in model_state(seed).items()}
    return {"step": seed, "lr": 0.1 + 1e-17 * seed, "moments": moments}


def other_state(seed: int) -> dict[str, Any]:
    return {"best": 1 / 3, "none": None, "callbacks": {"EMA": {"average": np.full((2, 3), seed, np.float32)}}}


def save(store: CheckpointStore, step: int) -> Path:
    return store.save(Contents(step, model_state(step), optimizer_state(step), other_state(step)))


def assert_intact(path: Path, step: int) -> None:
    checkpoint = read_checkpoint(path)
    assert checkpoint.step == step
    assert (checkpoint.state["best"], checkpoint.state["none"]) == (1 / 3, None)
    average = checkpoint.state["callbacks"]["EMA"]["average"]
    np.testing.assert_array_equal(average, np.full((2, 3), step, np.float32), strict=True)
    assert {name: checkpoint.optimizer[name] for name in ("step", "lr")} == {"step": step, "lr": 0.1 + 1e-17 * step}
    for found, expected in (
        (checkpoint.model, model_state(step)),
        (checkpoint.optimizer["moments"], optimizer_state(step)["moments"]),
    ):
        assert list(found) == list(expected) or set(found) == set(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    def refuse(message: str) -> None:
        raise AssertionError(message)

    return CheckpointStore(tmp_path / "checkpoints", keep=2, warn=refuse)


def visible(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


# What is saved comes back.


def test_a_checkpoint_comes_back(store: CheckpointStore) -> None:
    path = save(store, 12)
    assert path.name == "step-00000012"
    assert sorted(os.listdir(path)) == sorted(FILES)
    assert_intact(path, 12)


_dtypes = st.sampled_from(["f2", "f4", "f8", ">f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]).map(np.dtype)
_arrays = hnp.arrays(_dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@given(arrays=st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"), _arrays))
def test_any_arrays_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray[Any, Any]]
) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("any"))
    path = store.save(Contents(1, arrays, {"moments": {}}, {}))
    found = store.load(path).model
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        native = array.astype(array.dtype.newbyteorder("="))
        assert found[name].dtype == native.dtype
        assert found[name].tobytes() == native.tobytes()


def test_a_type_that_cannot_be_stored_is_named(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointError, match=r"cannot save w: .*complex64"):
        store.save(Contents(1, {"w": np.zeros(2, np.complex64)}, {"moments": {}}, {}))
    assert visible(store) == []


# Damage is seen.


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncate":
        path.write_bytes(content[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "extend":
        path.write_bytes(content + b"\0")
    elif how == "remove":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["truncate", "empty", "extend", "remove", "flip"])
def test_damage_is_named_and_the_older_one_found(store: CheckpointStore, name: str, how: str) -> None:
    save(store, 1)
    path = save(store, 2)
    damage(path / name, how)
    with pytest.raises(CheckpointError) as caught:
        store.load(path)
    assert str(path) in str(caught.value)
    assert name.partition(".")[0] in str(caught.value)
    told: list[str] = []
    latest = store.latest(told.append)
    assert latest is not None
    assert_intact(latest, 1)
    assert len(told) == 1
    assert str(path) in told[0]
    assert "skipping" in told[0]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_checkpoint_is_seen(store: CheckpointStore, name: str) -> None:
    first, second = save(store, 1), save(store, 2)
    shutil.copy(first / name, second / name)
    with pytest.raises(CheckpointError, match="step-00000002"):
        verify_checkpoint(second)


def test_a_checkpoint_under_the_name_of_another_step_is_seen(store: CheckpointStore) -> None:
    save(store, 1).rename(store.directory / "step-00000009")
    with pytest.raises(CheckpointError, match=r"step-00000009.*step 1"):
        verify_checkpoint(store.directory / "step-00000009")


def test_a_copy_under_a_name_of_its_own_can_be_read(store: CheckpointStore, tmp_path: Path) -> None:
    shutil.copytree(save(store, 1), tmp_path / "my best")
    assert_intact(tmp_path / "my best", 1)


def test_a_flipped_bit_in_any_byte_of_the_manifest_is_seen(store: CheckpointStore) -> None:
    path = save(store, 1)
    manifest = path / "manifest.json"
    content = manifest.read_bytes()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        manifest.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            verify_checkpoint(path)
    manifest.write_bytes(content)
    assert verify_checkpoint(path) == 1


@given(content=st.binary(max_size=100) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists))
def test_any_manifest_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "manifest.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(CheckpointError, match="manifest"):
        verify_checkpoint(folder)


def test_a_newer_format_asks_for_an_upgrade(store: CheckpointStore) -> None:
    manifest = save(store, 1) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 5}))
    with pytest.raises(CheckpointError, match="upgrade minitrain"):
        verify_checkpoint(manifest.parent)


def test_a_folder_that_is_not_there(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointError, match="step-00000001"):
        store.load(store.directory / "step-00000001")
    assert store.latest() is None
    assert store.checkpoints() == []


# Another model.


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"blocks.0.norm.weight": np.zeros(4, np.float32)}, ["blocks.0.norm.weight", "(3,)", "(4,)"]),
        ({"tok_emb.weight": np.zeros((5, 3))}, ["tok_emb.weight", "(5, 3) float32", "(5, 3) float64"]),
        ({"extra.weight": np.zeros(2, np.float32)}, ["extra.weight", "missing in the checkpoint", "(2,)"]),
        ({"head.weight": None}, ["head.weight", "(3, 5)", "missing in this model"]),
    ],
)
def test_another_model_is_told_by_its_first_difference(
    store: CheckpointStore, change: dict[str, Any], parts: list[str]
) -> None:
    checkpoint = store.load(save(store, 1))
    checkpoint.check_fits(model_state(99))  # the same model
    own = {name: array for name, array in (model_state(1) | change).items() if array is not None}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.check_fits(own)
    assert all(part in str(caught.value) for part in [*parts, str(checkpoint.path), "config.yaml"]), caught.value


# Which ones are kept.


def test_the_newest_are_kept(store: CheckpointStore) -> None:
    for step in range(1, 6):
        save(store, step)
    assert visible(store) == ["step-00000004", "step-00000005"]


def test_damaged_ones_ahead_do_not_push_intact_ones_out(store: CheckpointStore) -> None:
    for step in (1, 2, 8):
        path = save(store, step)
    damage(path / "state.json", "flip")
    save(store, 3)
    assert visible(store) == ["step-00000002", "step-00000003", "step-00000008"]
    told: list[str] = []
    assert store.latest(told.append) == store.directory / "step-00000003"


def test_an_intact_one_is_never_overwritten_a_damaged_one_is(store: CheckpointStore) -> None:
    path = save(store, 1)
    with pytest.raises(CheckpointError, match="exists and is intact"):
        save(store, 1)
    damage(path / "model.safetensors", "truncate")
    assert_intact(save(store, 1), 1)
    assert visible(store) == ["step-00000001"]


def test_old_ones_stay_until_the_new_one_verifies(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, 1)
    save(store, 2)

    def damage_on_the_way(folder: Path, *rest: Any) -> None:
        write_checkpoint(folder, *rest)
        damage(folder / "model.safetensors", "flip")

    write_checkpoint = checkpoint_folder.write_checkpoint
    monkeypatch.setattr(checkpoint_folder, "write_checkpoint", damage_on_the_way)
    with pytest.raises(CheckpointError, match="SHA-256"):
        save(store, 3)
    assert_intact(store.directory / "step-00000001", 1)
    assert_intact(store.directory / "step-00000002", 2)


def test_what_a_killed_process_left_is_cleared_and_counts_for_nothing(store: CheckpointStore) -> None:
    leftover = store.directory / ".step-00000009.abc.tmp"
    leftover.mkdir(parents=True)
    (leftover / "manifest.json").write_text("{}")
    assert store.checkpoints() == []
    assert store.latest() is None
    save(store, 1)
    assert visible(store) == ["step-00000001"]


# Failures at every call to the operating system.


class Crash(BaseException):
    """The process stops here: nothing it does afterwards reaches the disk."""


class Disk:
    """Counts the calls that change the disk and fails at one of them: with an error, or for good (a crash)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, *, crash: bool) -> None:
        self.calls: list[str] = []
        self.fail_at, self.crash = fail_at, crash
        self.dead = False
        for name in ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink"):
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name)))
        real_open = builtins.open

        def watched_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if mode in ("r", "rb"):
                return real_open(file, mode, *rest, **options)
            return File(self, self.watched("open", real_open)(file, mode, *rest, **options))

        monkeypatch.setattr(builtins, "open", watched_open)

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise Crash
            self.calls.append(name)
            if len(self.calls) - 1 == self.fail_at:
                self.dead = self.crash
                raise Crash if self.crash else OSError(errno.ENOSPC, "No space left on device")
            return call(*args, **options)

        return wrapped


class File:
    """A file whose writes and flushes go through a `Disk`; half of a failing write reaches the file."""

    def __init__(self, disk: Disk, file: Any) -> None:
        self.disk, self.file = disk, file
        self.flush = disk.watched("flush", file.flush)

    def write(self, data: Any) -> None:
        try:
            self.disk.watched("write", self.file.write)(data)
        except BaseException:
            self.file.write(memoryview(data)[: len(data) // 2])
            raise

    def fileno(self) -> int:
        return int(self.file.fileno())

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.parametrize("crash", [False, True], ids=["error", "crash"])
def test_a_failure_at_any_call_loses_nothing(tmp_path: Path, crash: bool) -> None:
    """Each write, flush, fsync, rename, mkdir and removal of a save fails once."""
    fail_at, finished = 0, False
    seen: set[str] = set()
    while not finished:
        told: list[str] = []
        store = CheckpointStore(tmp_path / str(fail_at), keep=2, warn=told.append)
        save(store, 1)
        save(store, 2)
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = Disk(monkeypatch, fail_at, crash=crash)
            try:
                save(store, 3)
            except FileError as error:
                assert not crash
                assert "step-00000003" in str(error)
                assert "disk is full" in str(error)
            except Crash:
                assert crash
            else:
                finished = len(disk.calls) <= fail_at
                assert finished or told or fail_at == 0  # a mkdir that fails where the folder exists
        seen.update(disk.calls)
        after = CheckpointStore(tmp_path / str(fail_at), keep=2, warn=told.append)
        steps = [int(path.name[5:]) for path in after.checkpoints()]
        assert set(steps) >= {2}, (fail_at, disk.calls[-1])  # step 1 goes once step 3 is there
        assert 1 in steps or 3 in steps
        for step in steps:
            assert_intact(after.directory / f"step-{step:08d}", step)
        save(after, 4)  # and the next save finds nothing in its way
        assert visible(after)[-1] == "step-00000004"
        assert all(not name.startswith(".") for name in visible(after))
        fail_at += 1
    assert seen >= {"open", "write", "flush", "fsync", "rename", "mkdir", "unlink", "rmdir"}
    assert fail_at > 20


def test_everything_is_durable_before_it_gets_its_name(store: CheckpointStore) -> None:
    """A power cut keeps what was fsynced: each file, then the folder, and only then the name, fsynced too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = Disk(monkeypatch, -1, crash=False)
        save(store, 1)
    assert re.fullmatch(r"(mkdir )+(open (write )+flush fsync ){5}fsync rename fsync ", " ".join([*disk.calls, ""]))


def test_a_file_size_limit_of_the_system_loses_nothing(store: CheckpointStore) -> None:
    resource = pytest.importorskip("resource")
    save(store, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"w": np.zeros(20_000, np.float32)}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(FileError, match=r"step-00000002.*larger than"):
            store.save(Contents(2, big, {"moments": {}}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert visible(store) == ["step-00000001"]
    assert_intact(store.directory / "step-00000001", 1)

"""Several ranks save one checkpoint: whole or not at all, and any number of ranks reads it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.checkpoint import CheckpointStore, local, read_checkpoint
from minitrain.checkpoint import format as checkpoint_format
from minitrain.checkpoint.format import Contents, verify_checkpoint
from minitrain.checkpoint.manifest import EXTRA, MANIFEST, STATE
from minitrain.checkpoint.shards import join_shards, shard_of
from minitrain.checkpoint.tensors import tensor_pieces
from minitrain.distributed import Group, PeerLost, run_ranks
from minitrain.distributed.pieces import Piece
from minitrain.errors import CheckpointError
from minitrain.files import FileError


def contents(step: int = 5, seed: int = 0) -> Contents:
    draw = np.random.default_rng(seed)
    model = {"a.weight": draw.standard_normal((3, 5)).astype(np.float32), "b": np.arange(2), "c": np.float32([[]])}
    moments = {f"mean.{name}": array + 1 for name, array in model.items()} | {"count": np.array(3)}
    state = {"callbacks": {"EMA": {"a": np.ones(4)}}, "text": "x", "nan": float("nan")}
    return Contents(step, model, {"step": step, "lr": 0.1, "moments": moments}, state, {"val_loss": 1.5})


def save(group: Group, folder: Path, step: int = 5) -> Any:
    return CheckpointStore(folder, keep=2, warn=lambda text: None).save(contents(step), group=group)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_what_ranks_save_is_what_one_saves(tmp_path, ranks):
    """More ranks than elements, an array without elements, one without dimensions: all come back."""
    run_ranks(ranks, lambda group: save(group, tmp_path / "many"))
    CheckpointStore(tmp_path / "one").save(contents())
    many, one = (read_checkpoint(tmp_path / name / "step-00000005") for name in ("many", "one"))
    assert len(list((tmp_path / "many/step-00000005").glob("shard-*"))) == ranks
    for mine, other in ((many.model, one.model), (many.optimizer["moments"], one.optimizer["moments"])):
        assert mine.keys() == other.keys()
        for name, array in other.items():
            assert mine[name].shape == array.shape, name
            assert mine[name].dtype == array.dtype, name
            assert mine[name].tobytes() == array.tobytes(), name
    assert many.metrics == one.metrics
    assert many.optimizer["lr"] == one.optimizer["lr"]
    np.testing.assert_array_equal(many.state["callbacks"]["EMA"]["a"], np.ones(4))


def test_old_ones_go_and_an_intact_one_is_not_overwritten(tmp_path):
    for step in (1, 2, 3):
        run_ranks(2, lambda group, step=step: save(group, tmp_path, step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    with pytest.raises(CheckpointError, match="is intact; it is not overwritten"):
        run_ranks(2, lambda group: save(group, tmp_path, 3))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_changed_byte_or_a_missing_shard_is_noticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    run_ranks(3, lambda group: save(group, folder))
    checkpoint = folder / "step-00000005"
    file = data.draw(st.sampled_from(sorted(checkpoint.iterdir())))
    if data.draw(st.booleans()):
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1
        file.write_bytes(content)
    with pytest.raises(CheckpointError):
        verify_checkpoint(checkpoint)


def test_a_full_disk_on_one_rank_is_an_error_on_all_and_leaves_nothing(tmp_path, monkeypatch):
    write_file = local.write_file

    def full(path: Path, pieces: Any) -> Any:
        if path.name == "shard-00002-of-00003.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_file(path, pieces)

    run_ranks(3, lambda group: save(group, tmp_path, 1))
    monkeypatch.setattr(local, "write_file", full)

    def work(group: Group) -> None:
        with pytest.raises(FileError, match="the disk is full") as caught:
            save(group, tmp_path)
        assert ("rank 1" in str(caught.value)) is (group.rank != 1)
        assert isinstance(caught.value.__cause__, OSError) is (group.rank == 1)

    run_ranks(3, work)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_what_does_not_fit_is_told_before_a_byte_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("minitrain.checkpoint.space.free_space", lambda folder: 7 * (folder == tmp_path / "run"))

    def work(group: Group) -> None:
        with pytest.raises(FileError, match=r"cannot save the checkpoint .*step-00000005.* and 7 bytes are free"):
            save(group, tmp_path / "run")

    run_ranks(2, work)
    assert not (tmp_path / "run").exists()


def test_a_damaged_one_is_replaced(tmp_path):
    run_ranks(2, lambda group: save(group, tmp_path))
    checkpoint = tmp_path / "step-00000005"
    (checkpoint / STATE).write_text("{}")
    run_ranks(2, lambda group: CheckpointStore(tmp_path, warn=lambda text: None).save(contents(), group=group))
    assert verify_checkpoint(checkpoint) == 5


def test_what_does_not_read_back_is_no_checkpoint(tmp_path, monkeypatch):
    write_file = checkpoint_format.write_file

    def damaging(path: Path, pieces: Any) -> Any:
        written = write_file(path, pieces)
        if path.name.startswith("shard-00002"):
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return written

    monkeypatch.setattr(local, "write_file", damaging)

    def work(group: Group) -> None:
        with pytest.raises((CheckpointError, FileError), match="shard-00002"):
            save(group, tmp_path)

    run_ranks(2, work)


def test_the_manifest_lists_state_first_and_shards_in_order(tmp_path):
    run_ranks(3, lambda group: save(group, tmp_path))
    files = list(json.loads((tmp_path / "step-00000005" / MANIFEST).read_text())["files"])
    assert files == [EXTRA, STATE, *(f"shard-0000{rank}-of-00003.safetensors" for rank in (1, 2, 3))]


# The shards themselves.


def test_a_shard_is_a_part_of_each_array_or_the_piece_that_a_rank_has():
    whole = np.arange(10.0).reshape(2, 5)
    piece = Piece(np.arange(3.0), (3, 7), 4)
    for rank, part in enumerate((whole[0, :3], np.array([3.0, 4.0, 5.0]), whole[1, 1:])):
        shard = shard_of({"model": {"a": whole}, "optimizer": {"m": piece}}, rank, 3)
        np.testing.assert_array_equal(shard["model/a"], part)
        assert shard["optimizer/m"] is piece.data
        shapes = {name: shard[name].tolist() for name in shard if name.startswith("shape/")}
        assert shapes == ({"shape/model/a": [2, 5], "shape/optimizer/m": [3, 7]} if rank == 0 else {})
        assert rank or shard["shape/model/a"].dtype == np.int64


A, B = np.arange(3.0), np.arange(3.0, 6.0)
SHAPE = {"shape/model/a": np.array([2, 3])}


def joined(folder: Path, *shards: dict[str, Any]) -> Any:
    for number, shard in enumerate(shards):
        checkpoint_format.write_file(folder / str(number), tensor_pieces(shard))
    return join_shards(folder, [str(number) for number in range(len(shards))])


def test_shards_are_joined_in_order(tmp_path):
    model, moments = joined(
        tmp_path,
        {"model/a": A, **SHAPE, "optimizer/m/x": B, "shape/optimizer/m/x": np.array([5])},
        {"model/a": B, "optimizer/m/x": A[:2]},
    )
    np.testing.assert_array_equal(model["a"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(moments["m/x"], [3, 4, 5, 0, 1])
    assert (model.keys(), moments.keys()) == ({"a"}, {"m/x"})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"model/a": A}, {}),
        ({}, {"model/a": A}),
        ({"model/a": A}, {"model/a": B[:2]}),
        ({"model/a": np.append(A, A)}, {"model/a": A[:0].astype(np.float32)}),
        ({"model/a": A.astype(np.float32)}, {"model/a": B}),
        ({"model/a": A[None]}, {"model/a": B[None]}),
        ({"model/a": A}, {"model/a": B[None]}),
        ({"model/a": A[None]}, {"model/a": B}),
    ],
)
def test_shards_that_do_not_fit_together_are_told(tmp_path, first, second):
    with pytest.raises(CheckpointError, match="the shards of model/a do not make an array of 6"):
        joined(tmp_path, SHAPE | first, second)


@pytest.mark.parametrize(
    "shape",
    [
        np.array([2.0, 3.0]),
        np.array([-2, -3]),
        np.array([-1, -1, 6]),
        np.array([[2, 3]]),
        np.array(6),
        np.array([2, 3], np.int32),
    ],
)
def test_a_shape_that_is_none_is_told(tmp_path, shape):
    with pytest.raises(CheckpointError, match="the shape of model/a is not a list of whole numbers"):
        joined(tmp_path, {"model/a": A, "shape/model/a": shape}, {"model/a": B})


def test_a_shard_holds_weights_and_moments_alone(tmp_path):
    with pytest.raises(CheckpointError, match="its shards hold other/a"):
        joined(tmp_path, {"other/a": A, "shape/other/a": np.array([3])})


class Died(BaseException):
    """Stands for the end of a process: nothing is cleaned up on its rank."""


@pytest.mark.parametrize("dies", [0, 1])
@pytest.mark.parametrize("after", range(7))
def test_a_rank_that_dies_at_any_write_leaves_the_old_checkpoint(tmp_path, monkeypatch, dies, after):
    """Each shard, the state, the manifest, and the last flush before the name."""
    run_ranks(2, lambda group: save(group, tmp_path, 1))
    counts = {0: 0, 1: 0}
    current: dict[int, Group] = {}
    import threading

    def counted(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            rank = current[threading.get_ident()].rank
            if rank == dies and counts[rank] == after:
                raise Died
            counts[rank] += 1
            return function(*arguments)

        return call

    for module in (local, checkpoint_format):
        for name in ("write_file", "fsync_directory"):
            monkeypatch.setattr(module, name, counted(getattr(module, name)))
    monkeypatch.setattr(local.shutil, "rmtree", lambda *a, **k: None)

    def work(group: Group) -> None:
        current[threading.get_ident()] = group
        save(group, tmp_path)

    expected = {0: 6, 1: 1}[dies]  # writes of that rank
    if after < expected:
        with pytest.raises((Died, PeerLost)):
            run_ranks(2, work)
        there = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
        newest = CheckpointStore(tmp_path, warn=pytest.fail).latest()
        assert newest is not None
        done = dies == 0 and after == 5  # only the flush of the folder's own entry was left
        assert [path.name for path in sorted(there)] == ["step-00000001", *["step-00000005"] * done]
    else:
        run_ranks(2, work)
        assert CheckpointStore(tmp_path).latest() == tmp_path / "step-00000005"


def test_a_manifest_with_strange_shards_is_refused(tmp_path):
    run_ranks(2, lambda group: save(group, tmp_path))
    manifest = tmp_path / "step-00000005" / MANIFEST
    text = manifest.read_text()
    for old, new in (("shard-00002", "shard-00003"), ("of-00002", "of-99999"), ("extra.", "other.")):
        manifest.write_text(text.replace(old, new))
        with pytest.raises(CheckpointError, match="does not describe a checkpoint"):
            verify_checkpoint(tmp_path / "step-00000005")

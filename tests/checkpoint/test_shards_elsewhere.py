"""Several ranks save shards in an object store, and while training goes on: whole or not at all, and no error lost."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import CheckpointStore, local, read_checkpoint, remote
from minitrain.checkpoint.background import StateCopy
from minitrain.checkpoint.together import SaveTogether
from minitrain.checkpoint.together_later import SaveTogetherLater
from minitrain.distributed import Group, PeerLost, run_ranks
from minitrain.errors import CheckpointError
from minitrain.files import FileError
from minitrain.training import EMA, Callback
from tests.checkpoint.test_shards import Died, contents, save
from tests.distributed.small_trainings import digest, on_ranks, small_trainer

URL = "memory://ranks/run"
SHARDS = ["shard-00001-of-00002.safetensors", "shard-00002-of-00002.safetensors"]


@pytest.fixture(autouse=True)
def empty_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each reader has a place of its own in a file, as in a real store: fsspec's memory has one for all threads."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.get_filesystem_class("memory")
    together = memory._open

    def alone(self: Any, path: str, mode: str = "rb", *rest: Any, **more: Any) -> Any:
        opened = together(self, path, mode, *rest, **more)
        return io.BytesIO(opened.getvalue()) if mode == "rb" else opened

    monkeypatch.setattr(memory, "_open", alone)
    yield
    fsspec.filesystem("memory").store.clear()


def objects(name: str = "") -> list[str]:
    folder: Any = CheckpointStore(URL).folder
    return sorted(path.rpartition("/run/")[2] for path in folder._files.find(folder._path(name)))


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_ranks_upload_is_what_one_saves(tmp_path: Path, ranks: int) -> None:
    run_ranks(ranks, lambda group: save(group, URL))  # type: ignore[arg-type]
    one = CheckpointStore(tmp_path).save(contents())
    assert len(objects()) == ranks + 3
    many, other = CheckpointStore(URL).load(f"{URL}/step-00000005"), read_checkpoint(one)
    assert many.path == f"{URL}/step-00000005"
    for mine, its in ((many.model, other.model), (many.optimizer["moments"], other.optimizer["moments"])):
        assert {name: (x.shape, x.tobytes()) for name, x in mine.items()} == {
            name: (x.shape, x.tobytes()) for name, x in its.items()
        }
    assert many.metrics == other.metrics
    for step in (6, 7):
        run_ranks(ranks, lambda group, step=step: save(group, URL, step))  # type: ignore[arg-type]
    assert CheckpointStore(URL).checkpoints() == [f"{URL}/step-0000000{step}" for step in (6, 7)]
    with pytest.raises(CheckpointError, match="is intact; it is not overwritten"):
        run_ranks(ranks, lambda group: save(group, URL, 7))  # type: ignore[arg-type]


@pytest.mark.parametrize("file", [*SHARDS, "extra.safetensors", "manifest.json"])
@pytest.mark.parametrize("missing", [False, True])
def test_damage_in_the_store_is_noticed_and_the_older_one_is_taken(file: str, missing: bool) -> None:
    for step in (1, 2):
        run_ranks(2, lambda group, step=step: save(group, URL, step))  # type: ignore[arg-type]
    folder: Any = CheckpointStore(URL).folder
    path = folder._path("step-00000002", file)
    content = bytearray(folder._files.cat_file(path))
    content[len(content) // 2] ^= 1
    folder._files.rm_file(path)
    if not missing:
        folder._files.pipe_file(path, bytes(content))
    told: list[str] = []
    assert CheckpointStore(URL, warn=told.append).latest() == f"{URL}/step-00000001"
    assert missing or told
    run_ranks(2, lambda group: save(group, URL, 2))  # type: ignore[arg-type]
    assert CheckpointStore(URL, warn=pytest.fail).latest() == f"{URL}/step-00000002"


@pytest.mark.parametrize("dies", [0, 1])
@pytest.mark.parametrize("after", range(5))
def test_a_rank_that_dies_at_any_upload_leaves_the_old_checkpoint(
    monkeypatch: pytest.MonkeyPatch, dies: int, after: int
) -> None:
    """And the next save, of other ranks, finds nothing of it in its way."""
    run_ranks(2, lambda group: save(group, URL, 1))  # type: ignore[arg-type]
    count = 0
    current: dict[int, int] = {}
    upload = remote.RemoteFolder.upload

    def counted(folder: Any, file: Path, name: str) -> None:
        nonlocal count
        if current[threading.get_ident()] == dies:
            if count == after:
                raise Died
            count += 1
        upload(folder, file, name)

    monkeypatch.setattr(remote.RemoteFolder, "upload", counted)
    monkeypatch.setattr(remote.RemoteAssembly, "abandon", lambda *a: None)

    def work(group: Group) -> None:
        current[threading.get_ident()] = group.rank
        save(group, URL)  # type: ignore[arg-type]

    if after < {0: 4, 1: 1}[dies]:
        with pytest.raises((Died, PeerLost)):
            run_ranks(2, work)
        assert CheckpointStore(URL, warn=pytest.fail).checkpoints() == [f"{URL}/step-00000001"]
        monkeypatch.setattr(remote.RemoteFolder, "upload", upload)
        run_ranks(3, lambda group: save(group, URL))  # type: ignore[arg-type]
        assert len(objects("step-00000005")) == 6
    else:
        run_ranks(2, work)
    assert CheckpointStore(URL, warn=pytest.fail).latest() == f"{URL}/step-00000005"


def test_a_rank_that_dies_after_the_manifest_takes_no_checkpoint_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = SaveTogether.agreed

    def dying(saving: SaveTogether, outcome: Any) -> Any:
        if saving.group.rank == 1 and any(path.endswith("manifest.json") for path in objects()):
            raise Died
        return agreed(saving, outcome)

    done = threading.Event()
    commit = remote.RemoteAssembly.commit

    def committed(*arguments: Any) -> None:
        commit(*arguments)
        done.set()

    def late(saving: SaveTogether, outcome: Any) -> Any:
        if saving.group.rank == 1 and any(name.startswith("step") for name in objects()):
            done.wait(5)  # the shards are there: rank 0 commits
        return dying(saving, outcome)

    monkeypatch.setattr(remote.RemoteAssembly, "commit", committed)
    monkeypatch.setattr(SaveTogether, "on_main", _on_main_with(late))
    with pytest.raises((Died, PeerLost)):
        run_ranks(2, lambda group: save(group, URL))  # type: ignore[arg-type]
    assert CheckpointStore(URL, warn=pytest.fail).latest() == f"{URL}/step-00000005"


def _on_main_with(agreed: Any) -> Any:
    def on_main(saving: SaveTogether, work: Any) -> Any:
        none = saving.attempt(lambda: None)
        return agreed(saving, saving.attempt(work) if saving.group.is_main else none)[0]

    return on_main


def test_an_upload_that_one_rank_may_not_make_is_an_error_on_all_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_ranks(3, lambda group: save(group, URL, 1))  # type: ignore[arg-type]
    before, upload = objects(), remote.RemoteFolder.upload

    def refused(folder: Any, file: Path, name: str) -> None:
        if file.name.startswith("shard-00002"):
            raise PermissionError("no")
        upload(folder, file, name)

    monkeypatch.setattr(remote.RemoteFolder, "upload", refused)

    def work(group: Group) -> None:
        with pytest.raises(FileError, match="access is denied") as caught:
            save(group, URL)  # type: ignore[arg-type]
        assert ("rank 1" in str(caught.value)) is (group.rank != 1)

    run_ranks(3, work)
    assert objects() == before


# In the background.


class Saves:
    """Starts saves of two ranks in the background, each shard held until it may go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go = [threading.Event(), threading.Event()]
        write = local.LocalAssembly.write_shard

        def held(assembly: Any, place: str, file: str, shard: Any) -> Any:
            assert self.may_go[SHARDS.index(file)].wait(20)
            return write(assembly, place, file, shard)

        monkeypatch.setattr(local.LocalAssembly, "write_shard", held)


def test_a_step_waits_for_nobody_and_the_shards_are_those_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes after the start is not in the checkpoint; polling finds it done once both shards are there."""
    saves = Saves(monkeypatch)

    def work(group: Group) -> list[int]:
        later, store, given, found = SaveTogetherLater(), CheckpointStore(tmp_path), contents(), list[Any]()
        later.start(store, given, group, lambda location, told: found.append((location, told)))
        given.model["a.weight"][...] = 0
        polls = []
        for which in (None, 0, 1):
            group.barrier()
            if which is not None:
                saves.may_go[which].set()
            if which == group.rank:  # its own shard is there, and the other one perhaps not
                later._writer._thread.join()  # type: ignore[union-attr]
            for _ in range(3):
                later.poll()
            polls.append(len(found))
        later.finish()
        assert found == [(tmp_path / "step-00000005", [])]
        later.finish()
        return polls[:2]

    assert run_ranks(2, work) == [[0, 0]] * 2
    read = read_checkpoint(tmp_path / "step-00000005")
    assert read.model["a.weight"].tobytes() == contents().model["a.weight"].tobytes()
    np.testing.assert_array_equal(read.state["callbacks"]["EMA"]["a"], np.ones(4))


@pytest.mark.parametrize("poll", [False, True])
def test_what_fails_in_the_background_of_one_rank_is_raised_on_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poll: bool
) -> None:
    run_ranks(2, lambda group: save(group, tmp_path, 1))
    write = local.LocalAssembly.write_shard

    def full(assembly: Any, place: str, file: str, shard: Any) -> Any:
        if file == SHARDS[1]:
            raise OSError(28, "No space left on device")
        return write(assembly, place, file, shard)

    monkeypatch.setattr(local.LocalAssembly, "write_shard", full)

    def work(group: Group) -> None:
        later = SaveTogetherLater()
        later.start(CheckpointStore(tmp_path), contents(), group, lambda *told: pytest.fail("it is not there"))
        with pytest.raises(FileError, match="the disk is full"):
            while poll:
                later.poll()
            later.finish()
        later.finish()  # nothing is left to do

    run_ranks(2, work)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_an_error_of_one_rank_waits_for_no_other(tmp_path: Path) -> None:
    """And leaves a folder without a name, which the next save removes."""
    run_ranks(2, lambda group: save(group, tmp_path, 1))

    def work(group: Group) -> None:
        later = SaveTogetherLater()
        later.start(CheckpointStore(tmp_path), contents(), group, lambda *told: None)
        if group.rank == 1:
            later.abandon()
            later.finish()  # nothing is left to do, and nobody is asked
        else:
            with pytest.raises(PeerLost):
                later.finish()

    run_ranks(2, work)
    assert CheckpointStore(tmp_path, warn=pytest.fail).latest() == tmp_path / "step-00000001"
    run_ranks(2, lambda group: save(group, tmp_path, 6))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000006"]


def test_who_abandons_waits_for_its_own_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = Saves(monkeypatch)

    def work(group: Group) -> None:
        later = SaveTogetherLater()
        later.start(CheckpointStore(tmp_path), contents(), group, lambda *told: None)
        threading.Timer(0.05, saves.may_go[group.rank].set).start()
        later.abandon()
        assert not later._writer.is_running

    run_ranks(2, work)


def test_old_ones_go_in_the_background_too(tmp_path: Path) -> None:
    def work(group: Group) -> None:
        later, store = SaveTogetherLater(), CheckpointStore(tmp_path, keep=2, warn=pytest.fail)
        for step in (1, 2, 3):
            later.start(store, contents(step), group, lambda *told: None)
            later.finish()

    run_ranks(2, work)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_only_rank_0_copies_what_it_alone_writes(tmp_path: Path) -> None:
    copied: dict[int, Any] = {}

    def work(group: Group) -> None:
        class Seen(StateCopy):
            def of(self, contents: Any) -> Any:
                copied[group.rank] = contents
                return super().of(contents)

        later = SaveTogetherLater()
        later._copy = Seen()
        later.start(CheckpointStore(tmp_path), contents(), group, lambda *told: None)
        later.finish()

    run_ranks(2, work)
    assert [copied[rank].step for rank in (0, 1)] == [5, 5]
    assert [bool(copied[rank].state) for rank in (0, 1)] == [True, False]
    assert [copied[rank].metrics for rank in (0, 1)] == [{"val_loss": 1.5}, {}]


# With a trainer.


class Stop(Callback):
    """Ends the training after step 4, as a signal would."""

    def on_step_end(self, view: Any, update: Any) -> None:
        if view.step == 4:
            view.control.stop = "enough"


@pytest.mark.parametrize("zero", [1, 2])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_any_number_of_ranks_goes_on_from_there(tmp_path: Path, zero: int, later: bool, elsewhere: bool) -> None:
    """Saved in every step, in shards of two ranks; 1, 2 and 4 ranks end with the bytes of an uninterrupted run."""
    url = {"checkpoint_url": URL} if elsewhere else {}

    def train(group: Group, *callbacks: Callback, goes_on: bool = False, **settings: Any) -> Any:
        ema = EMA(0.9)
        trainer = small_trainer(group, tmp_path / "run", ema, *callbacks, save_every=1, **url, **settings)
        if goes_on:
            assert trainer.resume() in (4, 6)
            trainer.state.stopped = ""
        result = trainer.train()
        assert result.checkpoint is not None
        weights = b"".join(array.tobytes() for array in trainer.model.state_dict().values())
        averages = b"".join(array.tobytes() for array in ema.state_dict().values())
        return weights.hex(), averages.hex(), "" if group.size > 1 else digest(trainer)

    def whole(group: Group) -> Any:
        ema = EMA(0.9)
        trainer = small_trainer(group, None, ema)
        trainer.train()
        weights = b"".join(array.tobytes() for array in trainer.model.state_dict().values())
        averages = b"".join(array.tobytes() for array in ema.state_dict().values())
        return weights.hex(), averages.hex(), digest(trainer)

    alone = on_ranks(1, whole)
    on_ranks(2, lambda group: train(group, Stop(), zero=zero, async_checkpoints=later))
    store = CheckpointStore(URL if elsewhere else tmp_path / "run" / "checkpoints", warn=pytest.fail)
    assert store.load_latest().step == 4  # type: ignore[union-attr]
    four = partial(train, goes_on=True, zero=zero, async_checkpoints=later)
    assert on_ranks(4, four)[:2] == alone[:2]
    assert on_ranks(1, partial(train, goes_on=True)) == alone  # the moments too

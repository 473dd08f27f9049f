"""One writer per run folder: a second trainer is refused before it touches anything; readers never are."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitrain.cli import main
from minitrain.files import FileError
from minitrain.folder import FolderInUse, RunFolder, WriterLock, new_run_folder
from minitrain.runs import RunConfig, resume_run, start_run
from minitrain.training import Callback
from tests.helpers.small_runs import small_config, tree

pytestmark = pytest.mark.usefixtures("no_pictures")

_SLOWLY = """
import sys, time
from minitrain.runs import RunConfig, start_run
from minitrain.training import Callback

class Slow(Callback):
    def on_step_end(self, view, update):
        print(view.step, flush=True)
        if view.step > 4:
            time.sleep(100)

run = start_run(RunConfig.load(sys.argv[1]))
run.trainer.callbacks.add(Slow())
run.train()
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], RunConfig]]:
    """A run that another process trains, stopped in its fifth step, after its first checkpoint."""
    folder = tmp_path_factory.mktemp("writer")
    config = small_config(folder)
    config.save(folder / "settings.yaml")
    words = [sys.executable, "-c", _SLOWLY, str(folder / "settings.yaml")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(line.strip() == "5" for line in process.stdout)
            yield process, config
        finally:
            process.kill()


def test_the_second_is_refused_and_readers_are_not(
    first: tuple[subprocess.Popen[str], RunConfig], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    process, config = first
    run_dir = Path(str(config.run_dir))
    before = tree(run_dir)
    assert main(["train", "--resume", str(run_dir)]) == 2
    said = capsys.readouterr().err
    assert f"is being written to by process {process.pid} (since " in said
    with pytest.raises(FolderInUse):
        resume_run(run_dir)
    assert tree(run_dir) == before
    for words in (["eval", "RUN"], ["generate", "RUN", "--max-new-tokens", "1"], ["info", "RUN"]):
        assert main([str(run_dir) if word == "RUN" else word for word in words]) == 0
    assert main(["compare", str(run_dir), str(run_dir), "--picture", str(tmp_path / "picture.png")]) == 0
    after = tree(run_dir)
    after.pop("evaluation.jsonl")  # what eval keeps for compare; no trainer touches it
    assert after == before
    assert main(["plot", str(run_dir)]) == 0
    # After a crash of the first, the next one goes on: the kernel gave the lock back.
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run_dir / ".writer").stat().st_size > 0  # nobody was left to empty it
    run = resume_run(run_dir)
    assert run.trainer.state.step == 4
    run.train()
    assert run.trainer.state.step == 7
    assert (run_dir / ".writer").stat().st_size == 0


def test_two_trainers_of_one_process(tmp_path: Path) -> None:
    refused: list[str] = []

    class Second(Callback):
        def on_step_end(self, view: Any, update: Any) -> None:
            if view.step == 5:
                with pytest.raises(FolderInUse) as caught:
                    resume_run(tmp_path / "run")
                refused.append(str(caught.value))

    run = start_run(small_config(tmp_path))
    run.trainer.callbacks.add(Second())
    run.train()
    assert len(refused) == 1
    assert f"process {os.getpid()}" in refused[0]


def test_the_one_that_came_later_wins_a_folder_that_nobody_trained_in(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    one = start_run(config)
    other = start_run(config)
    before = tree(Path(str(config.run_dir)))
    with pytest.raises(FolderInUse, match="resume the run again"):
        one.train()
    assert tree(Path(str(config.run_dir))) == before
    other.train()


def test_a_run_that_went_on_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    run = start_run(small_config(tmp_path, trainer_max_steps=4))
    run.train()
    early = resume_run(run.run_dir)
    late = resume_run(run.run_dir)
    with (run.run_dir / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 5}\n')
    for waiting in (early, late):
        with pytest.raises(FolderInUse, match="since this one read it"):
            waiting.train()
    resume_run(run.run_dir).train()


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(new_run_folder(tmp_path / "runs", "gpt-1").path)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*made}) == 16
    assert {path.name for path in made} == {"gpt-1", *(f"gpt-1-{n}" for n in range(2, 17))}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda *_: "20250102-030405")
    values = small_config(tmp_path).to_dict() | {"run_dir": None}
    runs = [start_run(RunConfig.from_dict(values)) for _ in range(2)]
    assert [str(run.run_dir) for run in runs] == ["runs/text-20250102-030405", "runs/text-20250102-030405-2"]


def test_a_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    lock, other = WriterLock(tmp_path), WriterLock(tmp_path)
    with lock:
        lock.take()  # again is nothing
        with pytest.raises(FolderInUse):
            other.take()
        assert not other.held
    with other:
        assert other.held
    (tmp_path / ".writer").write_bytes(b"[" * 5000)  # whatever it says
    folder = RunFolder(tmp_path)
    with folder.writing(), folder.writing(), pytest.raises(FolderInUse):
        lock.take()
    lock.take()
    lock.give_back()


def test_a_holder_that_does_not_say_who_it_is(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    with lock:
        for told in (b"", b"[1]", b"[" * 5000, b'{"pid": "x"}', b"\xff"):
            (tmp_path / ".writer").write_bytes(told)
            with pytest.raises(FolderInUse, match="written to by another process"):
                WriterLock(tmp_path).take()


def test_a_disk_that_refuses_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks does without; every other error of the machine is told as one."""

    def refuse(number: int) -> Any:
        def refusing(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return refusing

    monkeypatch.setattr("minitrain.folder.lock._lock", refuse(errno.ENOLCK))
    with WriterLock(tmp_path) as lock:
        assert lock.held
    monkeypatch.setattr("minitrain.folder.lock._lock", refuse(errno.EIO))
    with pytest.raises(FileError, match="cannot lock"):
        WriterLock(tmp_path).take()
    monkeypatch.setattr("minitrain.folder.lock.open_regular", refuse(errno.EROFS))
    lock = WriterLock(tmp_path)
    with pytest.raises(FileError, match="cannot write"):
        lock.take()
    assert not lock.held

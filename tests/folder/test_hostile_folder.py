"""A run folder from somebody else is data: no command follows a link in it, waits for it, or writes outside of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure

from minitrain.checkpoint.manifest import Entry, Manifest
from minitrain.cli import main
from tests.helpers.places import FIXTURES
from tests.helpers.small_runs import tree

RUNS = FIXTURES / "version_0_1"
STEP = "checkpoints/step-00000004"
SECONDS = 60  # that a command may take; a FIFO would take for ever

COMMANDS: dict[str, list[str]] = {
    "train": ["train", "--resume", "RUN"],
    "eval": ["eval", "RUN"],
    "plot": ["plot", "RUN"],
    "generate": ["generate", "RUN", "--max-new-tokens", "2"],
    "compare": ["compare", "RUN", "GOOD", "--picture", "PICTURE"],
    "info": ["info", "RUN"],
}
MODEL_USERS = {"train", "eval", "generate", "info"}
USERS: dict[str, set[str]] = {
    "config.yaml": set(COMMANDS),
    "tokenizer.json": MODEL_USERS | {"plot"},
    "metrics.jsonl": {"train", "plot", "compare"},
    "metrics.csv": {"train"},
    "data/train.bin": {"train", "eval", "plot"},
    "data/val.json": {"train", "eval", "plot"},
    "data": {"train", "eval", "plot"},
    "run.json": {"train"},
    "checkpoints": MODEL_USERS,
    STEP: MODEL_USERS,
    f"{STEP}/manifest.json": MODEL_USERS,
    f"{STEP}/state.json": MODEL_USERS,
    f"{STEP}/model.safetensors": MODEL_USERS,
    ".writer": {"train"},
    "plots": {"train", "plot"},
}
"""What a command uses it must refuse; the other commands do not look at it."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def too_late(*_: Any) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an interrupted run, in a folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"a picture"))
    shutil.copytree(RUNS / "interrupted", tmp_path / "run")
    shutil.copytree(RUNS / "finished", tmp_path / "good")
    return tmp_path / "run"


def command(name: str, run: Path, *more: str) -> int:
    places = {"RUN": str(run), "GOOD": str(run.parent / "good"), "PICTURE": str(run / "comparison.png")}
    with in_time():
        return main([places.get(word, word) for word in COMMANDS[name]] + list(more))


def outside(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(run.parent).items() if not name.startswith("run/")}


def replace_by_link(path: Path, elsewhere: Path) -> None:
    """What was there goes elsewhere, and a link takes its place: whoever follows it finds all in order."""
    if path.exists():
        shutil.move(path, elsewhere)
    elif path.suffix or path.name.startswith("."):
        elsewhere.write_bytes(b"somebody's file\n")
    else:
        elsewhere.mkdir()
    path.symlink_to(elsewhere)


def replace_by_fifo(path: Path, elsewhere: Path) -> None:
    remove(path)
    os.mkfifo(path)


def replace_by_socket(path: Path, elsewhere: Path) -> None:
    remove(path)
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


def replace_by_device(path: Path, elsewhere: Path) -> None:
    remove(path)
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
        path.open("rb").close()
    except PermissionError:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/zero")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


KINDS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "link": (replace_by_link, "a symbolic link"),
    "fifo": (replace_by_fifo, "a FIFO"),
    "socket": (replace_by_socket, "a socket"),
    "device": (replace_by_device, "a "),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_command_opens_what_is_no_file(name: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace, words = KINDS[kind]
    shutil.copytree(run, run.parent / "kept")
    for number, (file, users) in enumerate(USERS.items()):
        if name not in users:
            continue
        shutil.rmtree(run)
        shutil.copytree(run.parent / "kept", run)
        replace(run / file, run.parent / f"elsewhere-{number}")
        before = outside(run)
        code = command(name, run)
        said = capsys.readouterr().err
        assert code == 2, (file, said)
        assert words in said, (file, said)
        assert file in said.replace(f"{STEP} ", file), (file, said)
        assert outside(run) == before, file


def test_a_hard_link_is_not_written_through(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.link(run / "metrics.jsonl", run.parent / "victim")
    before = (run.parent / "victim").read_bytes()
    assert command("train", run) == 2
    assert "hard link" in capsys.readouterr().err
    assert (run.parent / "victim").read_bytes() == before


def with_settings(run: Path, **changes: Any) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            settings[group][name] = value
        else:
            settings[group] = value
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize(
    "callback",
    [
        {"name": "csv", "path": "VICTIM"},
        {"name": "jsonl", "path": "VICTIM"},
        {"name": "jsonl", "path": "../victim"},
        {"name": "csv", "path": "data/../../victim"},
        {"name": "csv", "path": "linked/victim"},
        {"name": "tensorboard", "folder": "VICTIM"},
        {"name": "tensorboard", "folder": "../events"},
        {"name": "mlflow"},
        {"name": "mlflow", "tracking_uri": "sqlite:///victim"},
        {"name": "wandb", "mode": "online"},
    ],
    ids=str,
)
def test_settings_name_places_inside_alone(
    callback: dict[str, str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.parent / "victim").write_text("do not touch\n")
    (run / "linked").symlink_to(run.parent)
    with_settings(run, callbacks=[{k: v.replace("VICTIM", str(run.parent / "victim")) for k, v in callback.items()}])
    before = outside(run)
    assert command("train", run) == 2
    said = capsys.readouterr().err
    assert "run folder" in said
    assert outside(run) == before
    assert command("eval", run) == 0  # which needs no callback
    assert outside(run) == before


@pytest.mark.parametrize("name", sorted(MODEL_USERS))
@pytest.mark.parametrize("url", ["file://VICTIMS", "memory://other", "local://VICTIMS", "simplecache::file://VICTIMS"])
def test_settings_send_no_checkpoints_elsewhere(
    name: str, url: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_settings(run, trainer__checkpoint_url=url.replace("VICTIMS", str(run.parent / "good" / "checkpoints")))
    before = outside(run)
    assert command(name, run) == 2
    assert "--trust" in capsys.readouterr().err
    assert outside(run) == before


def test_the_person_at_the_command_line_may_say_otherwise(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_settings(run, callbacks=[{"name": "jsonl", "path": str(run.parent / "log.jsonl")}])
    assert command("train", run, "--trust") == 0
    assert (run.parent / "log.jsonl").exists()


def test_a_relative_path_counts_from_the_folder(run: Path) -> None:
    with_settings(run, callbacks=[{"name": "jsonl", "path": "log.jsonl"}])
    assert command("train", run) == 0
    assert (run / "log.jsonl").exists()
    assert not (run.parent / "log.jsonl").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_control_characters_do_not_reach_the_terminal(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = run.with_name("run\x1b[2J\x9b")
    run.rename(strange)
    with_settings(strange, data__path="text\x1b]0;title\x07.txt", recipe="\x1b[31m")
    assert command(name, strange) in (0, 2)
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b"} & {*out, *err}


# Sizes: what a file costs is in proportion to its size, and what cannot be of its kind is not read.


def vouch(run: Path) -> None:
    """Write the manifest that the files of the checkpoint have now."""
    folder, files = run / STEP, ("model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json")
    contents = {name: (folder / name).read_bytes() for name in files}
    entries = {name: Entry(len(text), hashlib.sha256(text).hexdigest()) for name, text in contents.items()}
    (folder / "manifest.json").write_bytes(Manifest(2, 4, entries).to_json())


def state_with_lists(run: Path, count: int) -> None:
    state = json.loads((run / STEP / "state.json").read_bytes())
    state["state"]["config"]["x"] = "HERE"
    text = json.dumps(state).encode().replace(b'"HERE"', b"[" + b"[]," * count + b"[]]")
    (run / STEP / "state.json").write_bytes(text)
    vouch(run)


def large_state(run: Path) -> None:
    state_with_lists(run, 10_000_000)


def dense_state(run: Path) -> None:
    state_with_lists(run, 1_000_000)


def repeated_names(run: Path) -> None:
    path = run / STEP / "state.json"
    path.write_bytes(path.read_bytes().replace(b'"step": 4,', b'"step": 4, "step": 4,', 1))
    vouch(run)


def large_header(run: Path) -> None:
    text = b'{"a":[' + b"[]," * 10_000_000 + b"[]]}"
    (run / STEP / "extra.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    vouch(run)


def large_config(run: Path) -> None:
    (run / "config.yaml").write_bytes(b"seed: [" + b"[]," * 3_000_000 + b"[]]\n")


def large_tokenizer(run: Path) -> None:
    (run / "tokenizer.json").write_bytes(b'{"name": "bpe", "merges": [' + b"[]," * 15_000_000 + b"[]]}")


def sparse_config(run: Path) -> None:
    with (run / "config.yaml").open("r+b") as file:
        file.truncate(1 << 40)


def large_manifest(run: Path) -> None:
    (run / STEP / "manifest.json").write_bytes(b"[" + b"[]," * 10_000_000 + b"[]]")


_LIMITED = """
import resource, sys
from minitrain.cli import main
import minitrain.runs, minitrain.data, safetensors.numpy, yaml
from minitrain.cli import eval as _
def used():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) * 1024
if sys.argv[2] != "good":
    limit = used() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to bound the memory")
@pytest.mark.parametrize(
    "spoil",
    [
        large_state,
        dense_state,
        repeated_names,
        large_header,
        large_config,
        large_tokenizer,
        sparse_config,
        large_manifest,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_no_file_costs_much_more_memory_than_its_size(spoil: Callable[[Path], None], run: Path) -> None:
    """With 400 MB more than what minitrain itself takes; parsed, these files would take over a gigabyte."""
    spoil(run)
    words = [sys.executable, "-c", _LIMITED, str(400_000_000), "bad", "generate", str(run), "--max-new-tokens", "2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "MemoryError" not in done.stderr
    assert "out of memory" not in done.stderr
    assert "bug" not in done.stderr


def test_metrics_of_a_stranger_are_read_line_by_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "loss": [' + b"[]," * 5_000_000 + b"[]]}\n")
        file.write(b'{"step": 1e999, "loss": 1, "seconds": "x", "tokens_per_second": []}\n')
        file.write(b'{"step": ' + b"9" * 5000 + b', "loss": 1}\n')
        file.write(b'{"step": 10, "loss": ' + b"9" * 400 + b', "val_loss": "text"}\n')
    for name in ("compare", "plot"):
        assert command(name, run) in (0, 2)
        assert "bug" not in capsys.readouterr().err

"""Checkpoints in an object store: a real S3-compatible server on loopback, with failures in the middle of uploads."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import CheckpointManager, CheckpointStore
from minitrain.errors import CheckpointError, ConfigError
from minitrain.files import FileError
from minitrain.runs import load_run, resume_run, start_run
from tests.helpers.small_checkpoints import contents
from tests.helpers.small_runs import small_config
from tests.helpers.small_trainers import Asking, make

MISSING = [name for name in ("s3fs", "moto", "flask") if find_spec(name) is None]

# The libraries of the store are not ours to make warning-free.
pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"{MISSING} not installed: pip install 'minitrain[dev]' has s3fs and moto"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FILES = ["model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json", "manifest.json"]


class Server:
    """The store, and a person in the middle who looks at every request and may spoil it.

    Attributes:
        url: where it listens.
        requests: method and path of each request.
        meddle: called with method, path and body; returns the body to go on with, or raises to refuse the request.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.requests: list[tuple[str, str]] = []
        self.meddle: Callable[[str, str, bytes], bytes] = lambda method, path, body: body
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.serve_forever, self.shutdown = self._server.serve_forever, self._server.shutdown

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.requests.append((method, path))
        try:
            body = self.meddle(method, path, body)
        except PermissionError:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"]
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return self._app(environ, start_response)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    import threading

    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def forget_connections() -> None:
    """Let the environment be read anew: connections are shared and outlive a test."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty folder in a bucket that exists."""
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    forget_connections()
    boto3.client("s3").create_bucket(Bucket=name)
    server.requests.clear()
    yield f"s3://{name}/runs/one"
    server.meddle = lambda method, path, body: body


@pytest.fixture(params=["memory", "s3", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder in memory, one on the server, and one on a disk, not made yet: what holds for one holds for all."""
    if request.param == "s3":
        yield request.getfixturevalue("bucket")
        return
    if request.param == "file":
        yield f"file://{tmp_path}/runs/one"
        return
    import fsspec

    yield "memory://runs/one"
    fsspec.filesystem("memory").store.clear()


def refuse(message: str) -> None:
    raise AssertionError(message)


def names(store: CheckpointStore) -> list[str]:
    return [str(path).rpartition("/")[2] for path in store.checkpoints()]


def objects(store: CheckpointStore) -> list[str]:
    folder: Any = store.folder
    return sorted(path.partition("/one/")[2] for path in folder._files.find(folder._root))


def damage(store: CheckpointStore, name: str, file: str) -> None:
    folder: Any = store.folder
    path = folder._path(name, file)
    content = bytearray(folder._files.cat_file(path))
    content[len(content) // 2] ^= 1
    folder._files.pipe_file(path, bytes(content))


def test_saved_found_read_and_cleared(folder: str) -> None:
    store = CheckpointStore(folder, keep=2, keep_best=1, warn=refuse)
    assert (store.checkpoints(), store.latest(), store.best()) == ([], None, None)
    for step, loss in enumerate([2.0, 1.0, 3.0, 4.0], 1):
        assert store.save(contents(step, val_loss=loss)) == f"{folder}/step-0000000{step}"
    assert names(store) == ["step-00000002", "step-00000003", "step-00000004"]
    assert objects(store) == sorted(f"{name}/{file}" for name in names(store) for file in FILES)
    other = CheckpointStore(folder, warn=refuse)
    assert (other.latest(), other.best()) == (f"{folder}/step-00000004", f"{folder}/step-00000002")
    read = other.load(f"{folder}/step-00000004")
    assert (read.step, read.path, read.metrics) == (4, f"{folder}/step-00000004", {"val_loss": 4.0})
    np.testing.assert_array_equal(read.model["w"], np.full(3, 4, np.float32))


@pytest.mark.parametrize("file", FILES)
def test_damage_is_named_by_its_url_and_passed_over(file: str) -> None:
    check_damage("memory://damaged", file)


def test_damage_on_a_disk(tmp_path: Path) -> None:
    check_damage(f"file://{tmp_path}/damaged", "model.safetensors")


def test_damage_on_a_server(bucket: str) -> None:
    check_damage(bucket, "model.safetensors")


def check_damage(folder: str, file: str) -> None:
    store = CheckpointStore(folder, warn=refuse)
    store.save(contents(1))
    store.save(contents(2))
    damage(store, "step-00000002", file)
    with pytest.raises(CheckpointError, match=rf"^{folder}/step-00000002/\S+ is damaged"):
        store.load(f"{folder}/step-00000002")
    told: list[str] = []
    assert store.latest(told.append) == f"{folder}/step-00000001"
    assert len(told) == 1
    with pytest.raises(CheckpointError, match="exists and is intact"):
        store.save(contents(1))
    store.save(contents(2))  # in place of the damaged one
    assert store.latest() == f"{folder}/step-00000002"
    store.folder.remove(names(store))


def test_what_has_no_manifest_is_no_checkpoint_and_goes(folder: str) -> None:
    store = CheckpointStore(folder, warn=refuse)
    store.save(contents(1))
    store.save(contents(2))
    remote: Any = store.folder
    remote._files.rm_file(remote._path("step-00000002", "manifest.json"))
    remote._files.pipe_file(remote._path("notes.txt"), b"mine")
    assert names(store) == ["step-00000001"]
    with pytest.raises(CheckpointError, match=r"step-00000002 is not a complete checkpoint: manifest\.json is missing"):
        store.load(f"{folder}/step-00000002")
    store.save(contents(3))
    assert names(store) == ["step-00000001", "step-00000003"]
    assert objects(store)[0] == "notes.txt"
    assert not [path for path in objects(store) if "step-00000002" in path]


# Failures on the way.


@pytest.mark.parametrize("at", [0, 3, 4])
def test_a_refused_upload_leaves_nothing(server: Server, bucket: str, at: int) -> None:
    store = CheckpointStore(bucket, warn=refuse)
    store.save(contents(1))

    def meddle(method: str, path: str, body: bytes) -> bytes:
        if method == "PUT" and path.endswith(FILES[at]):
            raise PermissionError
        return body

    server.meddle = meddle
    with pytest.raises(FileError, match=rf"cannot save the checkpoint {bucket}/step-00000002: access is denied; check"):
        store.save(contents(2))
    assert objects(store) == sorted(f"step-00000001/{file}" for file in FILES)
    assert store.latest() == f"{bucket}/step-00000001"


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json"])
def test_what_is_spoilt_on_the_way_is_seen(bucket: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that loses its last byte without an error."""
    store = CheckpointStore(bucket, warn=refuse)
    store.save(contents(1))
    remote: Any = store.folder
    put = remote._files.put_file

    def losing(local: str, path: str) -> None:
        if path.endswith(file):
            remote._files.pipe_file(path, Path(local).read_bytes()[:-1])
        else:
            put(local, path)

    monkeypatch.setattr(remote._files, "put_file", losing)
    with pytest.raises(CheckpointError, match=rf"{bucket}/step-00000002/{file} was damaged on its way"):
        store.save(contents(2))
    assert objects(store) == sorted(f"step-00000001/{name}" for name in FILES)


class Killed(BaseException):
    """The process ends here: it does nothing more."""


def kill_after(monkeypatch: pytest.MonkeyPatch, store: CheckpointStore, changes: int) -> list[str]:
    """Let only so many changes of the store happen; the list that is returned gets them all."""
    remote: Any = store.folder
    happened: list[str] = []

    def dying(name: str) -> Callable[..., Any]:
        call = getattr(remote._files, name)

        def counted(*arguments: Any) -> Any:
            happened.append(name)
            if len(happened) > changes:
                raise Killed
            return call(*arguments)

        return counted

    for name in ("put_file", "rm_file"):
        monkeypatch.setattr(remote._files, name, dying(name), raising=True)
    return happened


@pytest.mark.parametrize("fail_at", range(11))
def test_killed_at_any_change_of_a_save(fail_at: int) -> None:
    check_killed("memory://killed", fail_at)


@pytest.mark.parametrize("fail_at", [4, 6])  # all but the manifest; the manifest of the old one is gone
def test_killed_in_a_save_to_a_server(bucket: str, fail_at: int) -> None:
    check_killed(bucket, fail_at)


@pytest.mark.parametrize("fail_at", [0, 3, 4, 6, 10])
def test_killed_in_a_save_to_a_disk(tmp_path: Path, fail_at: int) -> None:
    check_killed(f"file://{tmp_path}/killed", fail_at)
    assert list((tmp_path / "killed").iterdir()) == []  # folders go, too


def check_killed(folder: str, fail_at: int) -> None:
    store = CheckpointStore(folder, keep=1, warn=refuse)
    store.save(contents(1))
    with pytest.MonkeyPatch.context() as monkeypatch:
        happened = kill_after(monkeypatch, store, fail_at)
        try:
            store.save(contents(2))
        except Killed:
            assert len(happened) > fail_at
        else:
            assert fail_at == 10  # five files came, five went
    after = CheckpointStore(folder, keep=1, warn=refuse)
    latest = after.latest()
    assert latest == f"{folder}/step-0000000{1 if fail_at < 5 else 2}"
    assert after.load(latest).step == (1 if fail_at < 5 else 2)
    after.save(contents(3))
    remote: Any = after.folder
    left = [path.rpartition("/")[0].rpartition("/")[2] for path in remote._files.find(remote._root)]
    assert left == ["step-00000003"] * 5
    remote.remove(["step-00000003"])
    assert remote._files.find(remote._root) == []


def test_the_manifest_is_sent_last_and_removed_first(server: Server, bucket: str) -> None:
    store = CheckpointStore(bucket, keep=1)
    store.save(contents(1))
    store.save(contents(2))
    changes = [
        (method, path.rpartition("/")[2], path) for method, path in server.requests if method in ("PUT", "DELETE")
    ]
    saved = [file for method, file, path in changes if method == "PUT" and "step-00000002" in path]
    removed = [file for method, file, path in changes if method == "DELETE"]
    assert saved == FILES
    assert removed[0] == "manifest.json"
    assert sorted(removed) == sorted(FILES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "there are no credentials; set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "the credentials are incomplete; set"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the server cannot be reached; check the network"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_sentence(
    bucket: str, monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], words: str
) -> None:
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in change.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    forget_connections()
    with pytest.raises(FileError) as caught:
        CheckpointStore(bucket).save(contents(1))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(FileError, match="there is no such bucket or folder; create the bucket"):
        CheckpointStore("s3://there-is-no-such-bucket/run").save(contents(1))
    with pytest.raises(ConfigError, match=r"nothing://x cannot be used: .*minitrain\[cloud\]"):
        CheckpointStore("nothing://x")


# With a trainer.


@pytest.mark.parametrize("later", [False, True])
def test_a_run_is_resumed_from_the_store(bucket: str, later: bool) -> None:
    whole = make(None)
    whole.train()
    first = make(bucket, Asking(stop=5), async_checkpoints=later)  # type: ignore[arg-type]
    result = first.train()
    assert (result.checkpoint, first.run_dir) == (f"{bucket}/step-00000005", None)
    with pytest.raises(CheckpointError, match=rf"{bucket} already holds a run.*trainer\.resume"):
        make(bucket).train()  # type: ignore[arg-type]
    again = make(bucket, async_checkpoints=later)  # type: ignore[arg-type]
    assert again.resume() == 5
    again.state.stopped = ""
    again.train()
    for name, array in whole.model.state_dict().items():
        assert array.tobytes() == again.model.state_dict()[name].tobytes()
    named = make(None, resume_from=f"{bucket}/step-00000005")
    assert named.state.step == 5


def test_a_run_keeps_its_checkpoints_elsewhere(tmp_path: Path, folder: str, no_pictures: None) -> None:
    run = start_run(small_config(tmp_path, trainer_checkpoint_url=folder))
    run.train()
    assert not (run.run_dir / "checkpoints").exists()
    assert load_run(run.run_dir, trusted=True).step == resume_run(run.run_dir, trusted=True).trainer.state.step == 7
    with pytest.raises(ConfigError, match="leads out of the run folder"):
        load_run(run.run_dir)
    with pytest.raises(CheckpointError, match="already holds a run"):
        start_run(small_config(tmp_path / "other", trainer_checkpoint_url=folder))


def test_the_manager_of_a_loop_of_your_own(folder: str) -> None:
    trainer = make(None, max_steps=1)
    manager = CheckpointManager(trainer.model, trainer.optimizer, folder, warn=refuse)
    path = manager.save_best_checkpoint(0.5, epoch=3, note="x")
    assert path == manager.get_latest_checkpoint() == f"{folder}/epoch-0003-val_loss-0.5000"
    assert manager.load_checkpoint(path)["note"] == "x"

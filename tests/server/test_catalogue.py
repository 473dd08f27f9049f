"""Checkpoints of a run that are loaded when they are asked for, and forgotten when others are."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitrain import use_kernels
from minitrain.runs import open_model, start_run
from minitrain.server import Limits
from tests.helpers.serving.servers import Running, serving
from tests.helpers.small_runs import small_config

ASKED = {"prompt": "the ", "max_tokens": 20, "seed": 3, "logprobs": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    with use_kernels("reference"), contextlib.redirect_stdout(io.StringIO()):
        start_run(small_config(folder, trainer_save_every=2, trainer_keep_checkpoints=4)).train()
    return folder / "run"


@pytest.fixture
def two(run: Path) -> Iterator[Running]:
    with serving(open_model(run), limits=Limits(slots=2, models=2)) as running:
        yield running


def text(running: Running, name: str | None = None) -> str:
    status, answer = running.ask("POST", "/v1/completions", ASKED | {"model": name})
    assert status == 200, answer
    return str(answer["choices"][0]["logprobs"])  # a few steps change probabilities, and perhaps no token


def ready(running: Running) -> set[str]:
    return set(running.wait_until_idle())


def test_another_checkpoint_is_loaded_and_the_oldest_forgotten(two: Running) -> None:
    names = [model["id"] for model in two.ask("GET", "/v1/models")[1]["data"]]
    assert names == ["run", "run@step-00000006", "run@step-00000004", "run@step-00000002"]
    assert ready(two) == {"run"}
    texts = {name: text(two, name) for name in names[:3]}
    assert len(set(texts.values())) == 3
    assert ready(two) == {"run", "run@step-00000004"}
    for name in reversed(names[:3]):
        assert text(two, name) == texts[name]
    assert ready(two) == {"run", "run@step-00000006"}
    engines = [thread for thread in threading.enumerate() if thread.name == "minitrain-engine"]
    assert len(engines) == 2
    assert text(two) == texts["run"]


def test_a_model_in_use_stays(two: Running) -> None:
    body = b'{"model": "run@step-00000002", "max_tokens": 4000, "stream": true}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a.b\r\nContent-Length: {len(body)}\r\n"
    head = head.replace("a.b", "localhost") + "Content-Type: application/json\r\n\r\n"
    with socket.create_connection((two.host, two.port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
        status, answer = two.ask("POST", "/v1/completions", ASKED | {"model": "run@step-00000004"})
        assert (status, answer["error"]["code"]) == (503, "busy")
        assert text(two)  # the first model is always there
    two.wait_until_idle()
    assert text(two, "run@step-00000004")


def test_many_ask_for_a_checkpoint_at_once(two: Running) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(text(two, "run@step-00000006"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert ready(two) == {"run", "run@step-00000006"}


def test_a_damaged_checkpoint_is_refused(two: Running, run: Path) -> None:
    weights = run / "checkpoints" / "step-00000004" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    try:
        status, answer = two.ask("POST", "/v1/completions", ASKED | {"model": "run@step-00000004"})
        assert (status, answer["error"]["code"]) == (503, "not_loaded")
        assert ready(two) == {"run"}
    finally:
        weights.write_bytes(content)
    assert text(two, "run@step-00000004")


def test_a_server_that_stops_while_it_loads(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_model(run)
    begun, go_on = threading.Event(), threading.Event()
    at = type(opened).at

    def slow(self: Any, checkpoint: str) -> Any:
        begun.set()
        assert go_on.wait(60)
        return at(self, checkpoint)

    monkeypatch.setattr(type(opened), "at", slow)
    with serving(opened) as running:
        asking = threading.Thread(
            target=lambda: running.exchange("POST", "/v1/completions", ASKED | {"model": "run@step-00000002"})
        )
        asking.start()
        assert begun.wait(60)
        running.server.should_exit = True
        while not running.server.catalogue._closed:
            pass
        go_on.set()
        asking.join(60)
    # `serving` has checked that no thread is left

"""A server with a small model, in a thread of this process, and ways to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import minitrain
from minitrain.data import ByteTokenizer
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.runs.opened import OpenedModel

ENGINE = "minitrain-engine"
"""The name of the threads that drive engines."""


def small_model(**changes: Any) -> OpenedModel:
    """A GPT that writes bytes. Its weights are large, so that not all tokens are equally likely."""
    shape = {"vocab_size": 256, "block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 16} | changes
    model = GPT(GPTConfig(**shape), seed=3)
    for parameter in model.parameters():
        parameter.data *= 8
    return OpenedModel("small", model, ByteTokenizer())


class Running:
    """A server that runs.

    Attributes:
        server: it.
        errors: what nobody foresaw.
    """

    def __init__(self, server: Any, errors: list[BaseException]) -> None:
        self.server, self.errors = server, errors
        self.host, self.port = server.socket.getsockname()[:2]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status of an answer, and its JSON; a body that is not bytes is sent as JSON."""
        status, content, _ = self.exchange(method, path, body, **headers)
        return status, json.loads(content)

    def exchange(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """The status, the content and the headers of an answer."""
        if body is not None:
            headers = {"content-type": "application/json"} | headers
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
        finally:
            connection.close()

    def stream(self, path: str, body: Any) -> list[Any]:
        """The pieces of a streamed answer; the last one is the text ``[DONE]`` if it is whole."""
        status, content, headers = self.exchange("POST", path, body)
        assert status == 200, content
        assert headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in content.decode().split("\n\n") if line]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    def wait_until_idle(self) -> dict[str, Any]:
        """The status of each model, once nothing runs or waits and nobody uses one."""
        for _ in range(1500):
            models = self.ask("GET", "/api/status")[1]["models"]
            if not any(one["running"] or one["requests"] or one["users"] for one in models.values()):
                return models  # type: ignore[no-any-return]
            time.sleep(0.02)
        raise AssertionError(f"something was left behind: {models}")


@contextlib.contextmanager
def serving(opened: OpenedModel | None = None, *, limits: Any = None, **options: Any) -> Iterator[Running]:
    """A running server; afterwards it is stopped, and nothing of it may be left."""
    from minitrain.server import Catalogue, Limits, Server

    errors: list[BaseException] = []
    before = set(threading.enumerate())
    with minitrain.use_kernels("reference"):
        catalogue = Catalogue(opened or small_model(), limits or Limits())
        listening = threading.Event()
        server = Server(catalogue, port=0, report=errors.append, ready=lambda address: listening.set(), **options)
        thread = threading.Thread(target=server.run, name="server")
        thread.start()
        assert listening.wait(60)
        running = Running(server, errors)
        try:
            yield running
            assert not errors, errors
        finally:
            server.should_exit = True
            thread.join(60)
        assert not thread.is_alive()
        assert not server.server_state.connections
        assert not server.server_state.tasks
        left = {one for one in set(threading.enumerate()) - before if one.name.startswith((ENGINE, "server"))}
        assert not left, left

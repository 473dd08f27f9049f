"""Many clients at once, slow, rude and damaged ones among them: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from minitrain.server import Limits
from tests.helpers.serving.servers import Running, serving

CLIENTS = 64
PATIENT = Limits(slots=5, requests=CLIENTS, read_seconds=3, write_seconds=2, idle_seconds=3)


def request(running: Running, body: dict[str, Any], path: str = "/v1/completions") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def connected(running: Running) -> socket.socket:
    return socket.create_connection((running.host, running.port), timeout=60)


def all_of(connection: socket.socket) -> bytes:
    """Whatever comes until the server closes."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while new := connection.recv(1 << 16):
            content += new
    return content


def asked(seed: int, **changes: Any) -> dict[str, Any]:
    return {"prompt": f"client {seed % 4}", "max_tokens": 24, "seed": seed % 4} | changes


# Each of these is a client; it returns the text that it must have got, or None.


def polite(running: Running, seed: int) -> str:
    status, answer = running.ask("POST", "/v1/completions", asked(seed))
    assert status == 200, answer
    return str(answer["choices"][0]["text"])


def streaming(running: Running, seed: int) -> str:
    pieces = running.stream("/v1/completions", asked(seed, stream=True))
    assert pieces[-1] == "[DONE]"
    return "".join(piece["choices"][0]["text"] for piece in pieces[:-1])


def slow(running: Running, seed: int) -> str:
    """Sends a few bytes at a time, and reads so, too."""
    with connected(running) as connection:
        sent = request(running, asked(seed)).replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1)
        for start in range(0, len(sent), 40):
            connection.sendall(sent[start : start + 40])
            time.sleep(0.02)
        head, _, content = all_of(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return str(json.loads(content)["choices"][0]["text"])


def leaves_early(running: Running, seed: int) -> None:
    """Asks for a long text and goes: while it waits, or after the first piece."""
    with connected(running) as connection:
        connection.sendall(request(running, asked(seed, max_tokens=4000, stream=seed % 2 == 0)))
        if seed % 4 == 0:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        else:
            time.sleep(0.05 * (seed % 3))
        if seed % 3:  # a reset in place of a goodbye
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def never_reads(running: Running, seed: int) -> None:
    """Asks for more than the buffers of the sockets hold, and does not read it; the server must not wait for it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect((running.host, running.port))
        body = {"prompt": "x", "max_tokens": 4000, "alternatives": 20, "seed": seed}
        connection.sendall(request(running, body, "/api/generate"))
        time.sleep(6)


def never_asks(running: Running, seed: int) -> None:
    """Begins a head, or a body, and falls silent."""
    with connected(running) as connection:
        beginning = [b"", b"POST /v1/comp", request(running, asked(seed))[:-5], request(running, {})[:60]]
        connection.sendall(beginning[seed % 4])
        answer = all_of(connection)
        assert not answer or answer.startswith(b"HTTP/1.1 408"), answer


def damaged(running: Running, seed: int) -> None:
    source = random.Random(seed)
    good = request(running, asked(seed))
    broken = [
        source.randbytes(200),
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        good.replace(b"client", b"\xff\xfe\x00\x01\x80\x81"),
        good[:-1] + b"!",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]
    with connected(running) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(broken[seed % len(broken)])
            connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
        assert not answer or answer.split(b" ", 2)[1] in (b"400", b"403", b"415", b"431"), answer[:200]


KINDS = [polite, streaming, slow, leaves_early, never_reads, never_asks, damaged, polite]


def test_many_clients_at_once() -> None:
    with serving(limits=PATIENT) as running:
        alone = {seed: polite(running, seed) for seed in range(4)}
        assert len(set(alone.values())) == 4

        def client(number: int) -> Any:
            return KINDS[number % len(KINDS)](running, number // len(KINDS))

        with ThreadPoolExecutor(CLIENTS) as pool:
            results = list(pool.map(client, range(CLIENTS)))
        told = [(number // len(KINDS) % 4, text) for number, text in enumerate(results) if text is not None]
        assert len(told) == CLIENTS // 2
        for seed, text in told:  # the bits of a request do not depend on who else asks
            assert text == alone[seed]
        state = running.wait_until_idle()["small"]
        assert state["slots"] == PATIENT.slots
        session = running.server.catalogue.first.worker._engine.session
        assert [session.length(slot) for slot in range(PATIENT.slots)] == [0] * PATIENT.slots
        assert polite(running, 1) == alone[1]


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with serving(limits=Limits(slots=1, write_seconds=0.5)) as running, socket.socket() as connection:
        running.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # of the connections that come
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect((running.host, running.port))
        connection.sendall(request(running, {"max_tokens": 4000, "alternatives": 20}, "/api/generate"))
        while not running.server.catalogue.first.users:
            time.sleep(0.01)
        running.wait_until_idle()
        while running.server.server_state.connections:
            time.sleep(0.02)
        assert len(all_of(connection)) < 1_000_000  # all of it would be more
        assert running.ask("GET", "/api/status")[1]["models"]["small"]["tokens"] < 4000


def test_a_full_queue_is_refused_with_429() -> None:
    with serving(limits=Limits(slots=1, requests=3)) as running:
        waiting = [connected(running) for _ in range(3)]
        for connection in waiting:
            connection.sendall(request(running, {"max_tokens": 4000, "stream": True}))
            assert connection.recv(20).startswith(b"HTTP/1.1 200")
        status, content, headers = running.exchange("POST", "/v1/completions", {})
        assert status == 429
        assert json.loads(content)["error"]["code"] == "queue_full"
        assert headers["retry-after"] == "1"
        assert running.ask("POST", "/v1/completions", {"prompt": ["a"] * 4})[0] == 429
        for connection in waiting:
            connection.close()
        running.wait_until_idle()
        assert running.ask("POST", "/v1/completions", {})[0] == 200


def test_a_large_body_is_refused_with_413() -> None:
    with serving(limits=Limits(body_bytes=1000)) as running:
        status, answer = running.ask("POST", "/v1/completions", {"prompt": "x" * 9000})
        assert (status, answer["error"]["code"]) == (413, "too_large")
        with connected(running) as connection:  # without end: it is cut off
            head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            with pytest.raises(ConnectionError):
                for _ in range(10_000):
                    connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        running.wait_until_idle()


def test_a_long_prompt_is_refused_with_400() -> None:
    with serving(limits=Limits(prompt_tokens=100)) as running:
        for prompt in ("x" * 101, [1] * 101, ["a", "x" * 101]):
            status, answer = running.ask("POST", "/v1/completions", {"prompt": prompt})
            assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert running.ask("POST", "/v1/completions", {"prompt": "x" * 100, "max_tokens": 1})[0] == 200


def test_the_time_of_a_request_is_bounded() -> None:
    with serving(limits=Limits(request_seconds=0.3)) as running:
        status, answer = running.ask("POST", "/v1/completions", {"max_tokens": 4000})
        assert (status, answer["error"]["code"]) == (503, "time_limit")
        pieces = running.stream("/v1/completions", {"max_tokens": 4000, "stream": True})
        assert pieces[-1]["error"]["code"] == "time_limit"
        assert len(pieces) > 1
        running.wait_until_idle()


def test_too_many_connections_are_refused_with_503() -> None:
    with serving(limits=Limits(connections=5, read_seconds=60)) as running:
        silent = [connected(running) for _ in range(5)]
        try:
            for connection in silent:
                connection.sendall(b"GET")
            for _ in range(100):
                status = running.exchange("GET", "/")[0]
                if status == 503:
                    break
            assert status == 503
        finally:
            for connection in silent:
                connection.close()


def test_stopping_the_server_tells_who_waits() -> None:
    with serving(limits=Limits(slots=1)) as running, connected(running) as one, connected(running) as other:
        for connection in (one, other):
            connection.sendall(request(running, {"max_tokens": 4000, "stream": True}))
        assert one.recv(20).startswith(b"HTTP/1.1 200")
        running.server.should_exit = True
        for connection in (one, other):
            assert b'"code":"stopping"' in all_of(connection)


def test_an_error_that_nobody_foresaw_ends_its_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as running:
        engine = running.server.catalogue.first.worker._engine
        step = engine.step

        def fails() -> Any:
            monkeypatch.setattr(engine, "step", step)
            raise RuntimeError("planted")

        monkeypatch.setattr(engine, "step", fails)
        status, answer = running.ask("POST", "/v1/completions", {})
        assert (status, answer["error"]["code"]) == (500, "failed")
        while not running.errors:  # it is reported after the answer
            time.sleep(0.01)
        assert [str(error) for error in running.errors] == ["planted"]
        running.errors.clear()
        running.wait_until_idle()
        assert running.ask("POST", "/v1/completions", {})[0] == 200

"""The server on a socket: uvicorn, with limits on what it leaves open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import ConfigError
from .app import Report, build_app
from .catalogue import Catalogue
from .guard import checked_key
from .limits import Limits


class BoundedProtocol(H11Protocol):
    """A connection that is closed if the head of a request does not arrive, or an answer is not taken.

    uvicorn itself bounds only the time between two requests.
    """

    limits: Limits

    def connection_made(self, transport: Any) -> None:
        """Begin to watch."""
        super().connection_made(transport)
        self._waits_since: float | None = self.loop.time()  # for the head of a request
        self._closes_since: float | None = None
        self._check = self.loop.call_later(1.0, self._watch)
        if len(self.connections) > 2 * self.limits.connections:  # not even a refusal for those that say nothing
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take note of when a request began."""
        if self._waits_since is None and (self.cycle is None or self.cycle.response_complete):
            self._waits_since = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Between requests, uvicorn's own time counts."""
        self._waits_since = None
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End to watch."""
        self._check.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        now, limits = self.loop.time(), self.limits
        if self.cycle is not None and not self.cycle.response_complete:
            self._waits_since = None
        if self.transport.is_closing() and self._closes_since is None:
            self._closes_since = now
        late = self._waits_since is not None and now - self._waits_since > limits.read_seconds
        stuck = self._closes_since is not None and now - self._closes_since > limits.write_seconds
        if late or stuck:
            self.transport.abort()
            return
        self._check = self.loop.call_later(min(1.0, limits.read_seconds), self._watch)


class Server(uvicorn.Server):
    """A server that ends its answers before it waits for them.

    Args:
        catalogue: the models. They are closed when the server stops.
        host: the address to listen on.
        port: 0 takes a free one.
        key: the key that clients must send; needed unless the address is a loopback one.
        names: names of the machine that clients may use, besides its addresses.
        report: told of errors that nobody foresaw.
        ready: called with the address when the server listens.

    Raises:
        ConfigError: if the key is missing or too short, or the address cannot be listened on.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        key: str | None = None,
        names: Collection[str] = (),
        report: Report = lambda error: None,
        ready: Callable[[str], object] = lambda address: None,
    ) -> None:
        self.catalogue, self.ready = catalogue, ready
        limits = catalogue.limits
        app = build_app(catalogue, names=[*names, *_named(host)], key=checked_key(key, host), report=report)
        self.socket = _listen(host, port)
        port = self.socket.getsockname()[1]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        protocol = type("Protocol", (BoundedProtocol,), {"limits": limits})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.connections + 1,
            timeout_keep_alive=max(1, round(limits.idle_seconds)),
            timeout_graceful_shutdown=max(1, round(limits.shutdown_seconds)),
        )
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until Ctrl-C or SIGTERM; all is closed then."""
        try:
            super().run([self.socket])
        finally:
            self.socket.close()
            self.catalogue.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.ready(self.address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all answers, which tells their clients why, and then the connections."""
        await asyncio.to_thread(self.catalogue.close)
        await super().shutdown(sockets)


def _named(host: str) -> list[str]:
    """The host, if it is a name and no address."""
    return [] if host.replace(".", "").isdecimal() or ":" in host else [host]


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"port = {port} must be from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(512)
    except OSError as error:
        made.close()
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror}; --port takes another port"
        ) from error
    made.set_inheritable(True)
    return made


def serve(opened: Any, *, limits: Limits | None = None, weights: str = "float32", **options: Any) -> None:
    """Serve a model until Ctrl-C.

    Args:
        opened: the model, from `minitrain.runs.open_model`.
        limits: the limits of the server.
        weights: see `minitrain.generation.session_for`.
        options: those of `Server`, such as ``port`` and ``key``.
    """
    catalogue = Catalogue(opened, limits or Limits(), weights)
    try:
        catalogue.first.warm_up()
        server = Server(catalogue, **options)
    except BaseException:
        catalogue.close()
        raise
    server.run()

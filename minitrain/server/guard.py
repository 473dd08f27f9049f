"""Access to the server: the host's name, the page that asks, and the key; and what browsers may do with the answers.

A server on the loopback address is reachable by every page that a browser of this machine shows. Three checks keep
those out. *Host* must be an address, ``localhost``, or a name that the server was given: a page whose name was made to
point here (DNS rebinding) sends its own. *Origin*, which browsers add to what pages send, must be this server. And
*Sec-Fetch-Site* must not say that another site asks, except for following a link to the page.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ConfigError
from .answers import FAILED, ApiError, ClientGone, refusal

SHORTEST_KEY = 16
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether an address that a server listens on is reachable from its own machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_key(key: str | None, host: str) -> str | None:
    """The key of a server.

    Raises:
        ConfigError: if there is none and others can reach the server, or it is too short or has other characters than
            a header may have.
    """
    if key is None:
        if not is_loopback(host):
            raise ConfigError(
                f"the address {host} can be reached from other machines: give a key with --key, or in the variable "
                "MINITRAIN_SERVE_KEY, which clients must send"
            )
        return None
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"the key must have {SHORTEST_KEY} characters or more, letters, digits and signs of ASCII: this makes one: "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return key


class Guard:
    """Checks each request before the application sees it, and adds headers to each answer.

    Args:
        app: the application.
        names: further names that the server is known by.
        key: clients must send it as ``Authorization: Bearer KEY`` for everything but the page's own files; ``None`` for
            no key.
        report: told of errors that nobody foresaw.
    """

    def __init__(
        self, app: ASGIApp, *, names: Collection[str], key: str | None, report: Callable[[BaseException], object]
    ) -> None:
        self.app, self.report = app, report
        self.names = {"localhost", *(name.lower() for name in names)}
        self.key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(raw=message["headers"]).update(HEADERS)
            await send(message)

        try:
            self.check(Headers(scope=scope), scope["method"], scope["path"])
            await self.app(scope, receive, send_with_headers)
        except ClientGone:
            pass
        except Exception as error:
            told = refusal(error)
            if told is None:
                self.report(error)
            if not begun:  # by starlette, which answers errors of the application itself
                await (told or FAILED).response()(scope, receive, send_with_headers)

    def check(self, headers: Headers, method: str, path: str) -> None:
        """Refuse a request that must not be answered.

        Raises:
            ApiError: 400, 401 or 403.
        """
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or len(origins) > 1:
            raise ApiError(400, "a request has one host header, and at most one origin")
        if not self.knows(hosts[0]):
            raise ApiError(
                403,
                f"this server is not called {hosts[0][:100]!r}: use its address, or start it with --name NAME",
                code="unknown_host",
            )
        if origins and not _same_place(origins[0], hosts[0]):
            raise ApiError(403, "pages of other sites may not use this server", code="cross_origin")
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        followed = method == "GET" and mode == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
        if site in ("cross-site", "same-site") and not followed:
            raise ApiError(403, "pages of other sites may not use this server", code="cross_origin")
        if self.key is not None and path.startswith(("/v1", "/api")):
            given = headers.get("authorization", "").encode(errors="replace")
            if not hmac.compare_digest(given, self.key):
                raise ApiError(401, "this server needs its key: authorization: Bearer KEY", code="invalid_api_key")

    def knows(self, host: str) -> bool:
        """Whether a Host header has an address or a name of this server. Any port: it may be forwarded."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            port = urlsplit(f"//{host}").port
        except ValueError:
            return False
        shown = f"[{name}]" if ":" in name else name
        if host.lower() not in (shown, f"{shown}:{port}"):
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _same_place(origin: str, host: str) -> bool:
    scheme, _, place = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    return default is not None and place.removesuffix(default) == host.lower().removesuffix(default)

"""Who may ask: hosts, origins, keys; and what the answers tell browsers."""

from __future__ import annotations

from typing import Any

import pytest

from minitrain.errors import ConfigError
from minitrain.server import Limits, checked_key
from tests.helpers.serving.servers import Running, serving

KEY = "0123456789abcdef-key"


@pytest.mark.parametrize("path", ["/", "/app.js", "/v1/models", "/api/status", "/nothing"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", None),
        ("127.0.0.1:1", None),
        ("localhost:8000", None),
        ("[::1]:8000", None),
        ("192.168.1.7", None),
        ("LOCALHOST", None),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.0.0.1@evil.example", 403),
        ("evil.example#127.0.0.1", 403),
        ("localhost:99999", 403),
        ("local host", 403),
        ("", 403),
    ],
)
def test_a_page_whose_name_points_here_is_refused(running: Running, path: str, host: str, status: int | None) -> None:
    found, _, headers = running.exchange("GET", path, Host=host)
    assert found == (status or (404 if path == "/nothing" else 200))
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:1", "file://", "http://127.0.0.1"])
def test_pages_of_others_are_refused(running: Running, origin: str) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("OPTIONS", "/v1/completions")):
        status, answer = running.ask(method, path, None if method != "POST" else {}, Origin=origin)
        assert status == 403
        assert answer["error"]["code"] == "cross_origin"


def test_its_own_page_is_let_through(running: Running) -> None:
    address = running.server.address
    assert running.ask("POST", "/v1/completions", {"max_tokens": 1}, Origin=address)[0] == 200
    host = f"localhost:{running.port}"
    assert running.ask("GET", "/v1/models", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"}, "/app.js", 403),
        ({"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, "/v1/models", 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}, "/", 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}, "/", 200),
        ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, "/v1/models", 200),
        ({"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, "/", 200),
    ],
)
def test_what_browsers_say_of_the_site_that_asks(
    running: Running, headers: dict[str, str], path: str, status: int
) -> None:
    assert running.exchange("GET", path, **headers)[0] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_forms_are_refused(running: Running, kind: str) -> None:
    """A browser lets a page of any site send these without asking the server first."""
    assert running.ask("POST", "/v1/completions", b'{"max_tokens": 1}', content_type=kind)[0] == 415


def test_the_page_may_load_nothing_from_elsewhere(running: Running) -> None:
    for path in ("/", "/v1/models", "/nothing", "/v1/completions"):
        policy = running.exchange("GET", path)[2]["content-security-policy"]
        allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert allowed["default-src"] == "'none'"
        assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == "'self'"
        assert allowed["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("given", [None, "", KEY[:-1], KEY + "x", KEY.upper(), "é" * 20])
def test_a_wrong_key(given: str | None) -> None:
    with serving(key=KEY) as guarded:
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/api/models")):
            headers: dict[str, Any] = {} if given is None else {"Authorization": f"Bearer {given}".encode("latin-1")}
            status, content, told = guarded.exchange(method, path, {} if method == "POST" else None, **headers)
            assert status == 401, content
            assert told["www-authenticate"] == "Bearer"
        assert guarded.ask("GET", "/v1/models", Authorization=f"Bearer {KEY}")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org", "localhost.example.org"])
def test_other_addresses_want_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="give a key"):
        checked_key(None, host)
    assert checked_key(KEY, host) == KEY


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_needs_none(host: str) -> None:
    assert checked_key(None, host) is None


@pytest.mark.parametrize(
    "key", ["", "short", "with a space 0123456789", "ключ-который-длинный", "line\nbreak-0123456789"]
)
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(ConfigError, match="characters or more"):
        checked_key(key, "127.0.0.1")


def test_names_of_the_machine() -> None:
    with serving(names=["My-Machine.local"]) as named:
        assert named.exchange("GET", "/", Host="my-machine.LOCAL:80")[0] == 200
        assert named.exchange("GET", "/", Host="other.local")[0] == 403


def test_limits_are_positive() -> None:
    for change in ({"slots": 0}, {"read_seconds": float("inf")}, {"body_bytes": 1.5}, {"models": True}):
        with pytest.raises(ConfigError, match="must be a positive number"):
            Limits(**change)

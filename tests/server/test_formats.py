"""Forms of answers: what is refused, and hostile schemas, which cost no more than others."""

from __future__ import annotations

import builtins
import json
import threading
import time
from functools import reduce
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer
from minitrain.errors import DataError
from minitrain.server import formats
from minitrain.server.limits import Limits
from tests.helpers.serving.servers import Running, serving, small_model

pytest.importorskip("llguidance")

CHAT = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 8, "temperature": 2}


def nested(times: int) -> Any:
    return reduce(lambda inner, _: {"type": "array", "items": inner}, range(times), {"type": "boolean"})


def by_schema(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema} | more}


def ask(running: Running, form: Any, **more: Any) -> tuple[int, Any]:
    status, told = running.ask("POST", "/v1/chat/completions", CHAT | {"response_format": form} | more)
    assert not running.errors
    if status == 200:
        return status, told["choices"][0]
    return status, told["error"]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (3, "response_format is 3, expected an object"),
        ({}, "response_format has no type"),
        ({"type": "grammar"}, "type is 'grammar', expected text, json_object or json_schema"),
        ({"type": "json_object", "schema": {}}, "no field 'schema'"),
        ({"type": "json_schema"}, "must have a json_schema, an object"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "without a schema"),
        ({"type": "json_schema", "json_schema": {"schema": [1]}}, "without a schema"),
        (by_schema({}, strictly=True), "did you mean 'strict'"),
        (by_schema({}, strict=1), "strict is 1, expected true or false"),
        (by_schema({"type": "surprise"}), "response_format cannot be followed: this form of text is not supported"),
        (by_schema({"not": {"type": "string"}}), "not supported"),
        (by_schema({"$ref": "https://example.org/a.json"}), "not supported"),
        (by_schema({"title": "x" * 40_000}), "characters, and this server takes 32768"),
        (by_schema(nested(70)), "more than 64 lists and objects inside each other"),
    ],
)
def test_forms_that_are_refused(running: Running, form: Any, says: str) -> None:
    status, error = ask(running, form)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert says in error["message"]


def test_any_text_will_do(running: Running) -> None:
    assert ask(running, {"type": "text"}, seed=1) == ask(running, None, seed=1)


def test_a_model_that_ends_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end token is no part of the answer."""
    monkeypatch.setattr(ByteTokenizer, "end_ids", (ord("}"),), raising=False)
    with serving(small_model()) as running:
        for schema, texts in (({"enum": [12, 345]}, ("12", "345")), ({"const": "ab"}, ('"ab"',))):
            status, choice = ask(running, by_schema(schema), n=4, temperature=1)
            assert status == 200
            assert (choice["message"]["content"] in texts, choice["finish_reason"]) == (True, "stop")


def test_an_end_that_is_ignored_does_not_fit(running: Running) -> None:
    status, error = ask(running, {"type": "json_object"}, ignore_eos=True)
    assert (status, error["param"]) == (400, "ignore_eos")


def test_a_schema_that_takes_long_keeps_the_next_ones_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be stopped: until it ends, no other schema is compiled, though its client has its answer."""
    at_work, most, go_on = 0, 0, threading.Event()

    def compiles_long(served: Any, schema: str) -> Any:
        nonlocal at_work, most
        at_work, most = at_work + 1, max(most, at_work + 1)
        go_on.wait(30)
        at_work -= 1
        raise DataError("enough")

    monkeypatch.setattr(formats, "_compile", compiles_long)
    with serving(small_model(), limits=Limits(schema_seconds=0.2)) as running:
        assert [ask(running, {"type": "json_object"})[0] for _ in range(3)] == [503, 503, 503]
        assert (at_work, most) == (1, 1)
        go_on.set()
        while at_work:
            time.sleep(0.01)
        assert ask(running, {"type": "json_object"})[0] == 400
    assert most == 1


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says what to install."""
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "llguidance":
            raise ImportError(name)
        return real(name, *more)

    with serving(small_model()) as running:
        monkeypatch.setattr(builtins, "__import__", without)
        status, error = ask(running, {"type": "json_object"})
        assert (status, error["param"]) == (400, "response_format")
        assert "pip install 'minitrain[constrained]'" in error["message"]
        assert ask(running, {"type": "text"})[0] == 200


HOSTILE = {
    "repetitions": {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"},
    "many states": {"type": "string", "pattern": "^(.*a.{20}.*b.{20}){3}$"},
    "long": {"type": "string", "minLength": 10**6, "maxLength": 10**9},
    "deep": nested(30),
    "many values": {"enum": [f"x{i}" for i in range(3000)]},
    "many properties": {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(900)}},
    "products": {"allOf": [{"anyOf": [{"properties": {f"{a}{i}": {}}} for a in "ab"]} for i in range(14)]},
    "a circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "references": {
        "$defs": {f"a{i}": {"properties": {p: {"$ref": f"#/$defs/a{i + 1}"} for p in "xy"}} for i in range(25)}
        | {"a25": {"type": "integer"}},
        "$ref": "#/$defs/a0",
    },
    "remainders": {"type": "integer", "multipleOf": 999999937},
    "fixed": {"const": "x" * 30_000},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_or_followed_in_little_time(running: Running, name: str) -> None:
    begin = time.process_time()  # of this process, the server's threads included
    status, told = ask(running, by_schema(HOSTILE[name]))
    assert status in (200, 400), told
    assert time.process_time() - begin < 5  # a small part of a second on an idle machine
    if status == 200:
        assert told["finish_reason"] in ("stop", "length")
    assert ask(running, by_schema({"const": 1}))[1]["message"]["content"] == "1"


WORDS = ["type", "properties", "items", "enum", "const", "anyOf", "allOf", "required", "pattern", "$ref", "minimum"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["object", "string", "array", "#", "a|b", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=VALUES | VALUES.map(by_schema), end=st.booleans())
def test_any_form(running: Running, form: Any, end: bool) -> None:
    """A refusal, or JSON."""
    status, told = ask(running, form, max_tokens=30)
    assert status in (200, 400), told
    if status == 200 and form and told["finish_reason"] == "stop" and form.get("type") != "text":
        json.loads(told["message"]["content"])


def test_nothing_is_left_behind(running: Running) -> None:
    assert running.wait_until_idle()

"""Bodies that others send: whatever is in them, the answer is a result or a clear refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.serving.servers import Running

PATHS = ["/v1/completions", "/v1/chat/completions", "/api/generate", "/api/attention"]
FIELDS = [
    "model", "prompt", "messages", "tokens", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
    "min_p", "typical_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "no_repeat_ngram_size",
    "min_tokens", "logit_bias", "seed", "ignore_eos", "n", "stop", "stream", "stream_options", "logprobs",
    "top_logprobs", "echo", "suffix", "best_of", "user", "layer", "head", "alternatives", "chat", "tools",
    "response_format", "x",
]  # fmt: skip

numbers = st.one_of(
    st.integers(-3, 300),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**30), 10**30),
    st.sampled_from([0, 1, 0.5, 2, -1, 1e308, -0.0]),
)
texts = st.one_of(st.text(max_size=20), st.sampled_from(["", "small", "hello", "\ud800", "\x00", "user", "assistant"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["role", "content", "type", "text", "7", "300", "include_usage"]), inner),
    ),
    max_leaves=8,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": texts}),
    max_size=3,
)
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6).flatmap(
    lambda body: st.sampled_from(["small", None, 3]).flatmap(
        lambda model: messages.map(
            lambda chat: {"max_tokens": 2, "prompt": "x", "tokens": [1, 2], "model": model, "messages": chat} | body
        )
    )
)
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(running: Running, path: str, content: bytes) -> int:
    status, answer, headers = running.exchange("POST", path, content)
    if status == 200 and headers["content-type"].startswith("text/event-stream"):
        pieces = [line.removeprefix("data: ") for line in answer.decode("ascii").split("\n\n") if line]
        assert pieces[-1] == "[DONE]" or "error" in json.loads(pieces[-1])
        return status
    told = json.loads(answer)
    if status != 200:
        assert status in (400, 404), told
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert told["error"]["type"] == "invalid_request_error"
        assert 0 < len(told["error"]["message"]) < 1000
    return status


@pytest.mark.parametrize("path", PATHS)
@often
@given(body=bodies)
def test_any_fields(running: Running, path: str, body: dict[str, Any]) -> None:
    # The longest answers that these fields can ask for would take a while.
    for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
        if isinstance(body.get(name), int) and body[name] > 4:
            body[name] = 4
    if path.startswith("/api"):
        body = {name: value for name, value in body.items() if name != "messages"}
    if path == "/api/attention":
        body = {name: value for name, value in body.items() if name in ("model", "tokens", "layer", "head")}
    if path != "/v1/chat/completions":
        body.pop("messages", None)
    check(running, path, json.dumps(body).encode())
    assert not running.errors


@pytest.mark.parametrize("path", PATHS)
@often
@given(content=st.one_of(st.binary(max_size=60), values.map(lambda value: json.dumps(value).encode())))
def test_any_bytes(running: Running, path: str, content: bytes) -> None:
    check(running, path, content)
    assert not running.errors


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": "x", "prompt": "y"}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"max_tokens": ' + b"9" * 10_000 + b"}",
        b'{"max_tokens": 1e999}',
        b'{"temperature": NaN}',
        b"\xef\xbb\xbf{}x",
        b'{"prompt": "\\ud800"}',
        b"null",
        b'{"logit_bias": {"\\u0661": 1}}',
    ],
)
def test_hostile_json(running: Running, content: bytes) -> None:
    assert check(running, "/v1/completions", content) == 400
    assert not running.errors


def test_nothing_is_left_behind(running: Running) -> None:
    assert running.wait_until_idle()

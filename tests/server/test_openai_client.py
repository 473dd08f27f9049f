"""The client of OpenAI works unchanged."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.serving.servers import Running, serving, small_model

openai = pytest.importorskip("openai")

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{running.server.address}/v1", api_key="none", max_retries=0) as one:
        yield one


def test_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").owned_by == "minitrain"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("large")


def test_a_completion_is_the_same_in_pieces(client: Any) -> None:
    asked = {"model": "small", "prompt": ["ab", "cd"], "max_tokens": 12, "n": 2, "seed": 5, "logprobs": 3}
    whole = client.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.choices[0].text != whole.choices[1].text
    assert whole.usage.prompt_tokens == 4
    assert whole.usage.completion_tokens == 48
    texts, logprobs, reasons = [""] * 4, [[], [], [], []], [None] * 4
    last = None
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        last = chunk
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            logprobs[choice.index] += choice.logprobs.token_logprobs
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert logprobs == [choice.logprobs.token_logprobs for choice in whole.choices]
    assert reasons == ["length"] * 4
    assert last is not None
    assert last.usage == whole.usage
    for choice in whole.choices:
        told = choice.logprobs
        assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset) == 12
        for token, logprob, best in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
            assert len(best) == 3
            assert best.get(token, logprob) == logprob
            assert logprob <= max(best.values()) <= 0


def test_a_chat_is_the_same_in_pieces(client: Any) -> None:
    asked = {"model": "small", "messages": HELLO, "max_completion_tokens": 10, "seed": 1, "logprobs": True}
    asked |= {"top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.message.role == "assistant"
    assert whole.finish_reason == "length"
    assert [len(token.top_logprobs) for token in whole.logprobs.content] == [2] * 10
    text, roles, tokens = "", [], []
    for chunk in client.chat.completions.create(**asked, stream=True):
        (choice,) = chunk.choices
        text += choice.delta.content or ""
        roles.append(choice.delta.role)
        tokens += choice.logprobs.content if choice.logprobs else []
    assert text == whole.message.content
    assert [role for role in roles if role] == ["assistant"]
    assert tokens == whole.logprobs.content


def test_equal_seeds_give_equal_texts_and_others_do_not(client: Any) -> None:
    def write(**settings: Any) -> str:
        return str(client.completions.create(model="small", prompt="x", max_tokens=20, **settings).choices[0].text)

    assert write(seed=7) == write(seed=7) != write(seed=8)
    assert write(seed=-1) == write(seed=-1)
    assert write(temperature=0) == write(temperature=0, seed=3)
    assert write(seed=7, temperature=0.01) == write(temperature=0)
    assert write() != write()


def test_a_stop_string_is_left_out_of_text_and_tokens(client: Any) -> None:
    asked = {"model": "small", "prompt": "x", "max_tokens": 40, "seed": 2, "logprobs": 0}
    text = client.completions.create(**asked).choices[0].text
    stop = text[8:10]
    at = text.find(stop)
    for stream in (False, True):
        pieces = client.completions.create(**asked, stop=[stop, "never there"], stream=stream)
        choices = [chunk.choices[0] for chunk in pieces] if stream else [pieces.choices[0]]
        assert "".join(choice.text for choice in choices) == text[:at]
        assert choices[-1].finish_reason == "stop"
        assert all(offset < at for choice in choices for offset in choice.logprobs.text_offset)


def test_samples_at_temperature_zero_are_all_told(client: Any) -> None:
    for stop in (None, "\x05"):
        asked = {"model": "small", "prompt": "x", "max_tokens": 9, "temperature": 0, "stop": stop}
        whole = client.completions.create(**asked, n=3)
        one = client.completions.create(**asked)
        assert [choice.text for choice in whole.choices] == [one.choices[0].text] * 3
        assert whole.usage.completion_tokens == 3 * one.usage.completion_tokens
        texts = [""] * 3
        for chunk in client.completions.create(**asked, n=3, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].text
        assert texts == [one.choices[0].text] * 3


def test_an_answer_by_a_schema(client: Any) -> None:
    """With the client's own way to ask for a class; pieces and samples are whole values, and so are completions."""
    pytest.importorskip("llguidance")
    pydantic = pytest.importorskip("pydantic")

    class Fox(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        model_config = pydantic.ConfigDict(extra="forbid")
        quick: bool
        colour: typing.Literal["red", "brown"]
        legs: list[typing.Literal[1, 2]] = pydantic.Field(max_length=3)

    asked: dict[str, Any] = {"model": "small", "messages": HELLO, "seed": 4, "n": 3, "temperature": 1.5}
    found = client.chat.completions.parse(**asked, response_format=Fox)
    assert len({choice.message.content for choice in found.choices}) > 1
    for choice in found.choices:
        assert isinstance(choice.message.parsed, Fox)
        assert choice.finish_reason == "stop"
    form = {"type": "json_schema", "json_schema": {"name": "fox", "schema": Fox.model_json_schema(), "strict": True}}
    texts = [""] * 3
    for chunk in client.chat.completions.create(**asked, response_format=form, stream=True):
        for piece in chunk.choices:
            texts[piece.index] += piece.delta.content or ""
    assert texts == [choice.message.content for choice in found.choices]
    plain = client.completions.create(
        model="small", prompt=["a", "bcd"], n=2, temperature=0, max_tokens=200, extra_body={"response_format": form}
    )
    assert [Fox.model_validate_json(choice.text) is None for choice in plain.choices] == [False] * 4


def test_an_answer_that_is_any_object(client: Any) -> None:
    pytest.importorskip("llguidance")
    for seed in range(3):
        asked = {"model": "small", "messages": HELLO, "seed": seed, "max_completion_tokens": 60}
        (choice,) = client.chat.completions.create(**asked, response_format={"type": "json_object"}).choices
        assert choice.message.content[0] == "{"
        if choice.finish_reason == "stop":  # it may not come to its end in so many tokens
            assert isinstance(json.loads(choice.message.content), dict)


def test_a_bias_bans_a_token(client: Any) -> None:
    plain = client.completions.create(model="small", prompt="x", max_tokens=30, temperature=0).choices[0].text
    banned = ord(plain[0]) if ord(plain[0]) < 128 else 5
    other = client.completions.create(
        model="small", prompt="x", max_tokens=30, temperature=0, logit_bias={str(banned): -100}
    )
    assert chr(banned) not in other.choices[0].text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"temperature": 1000}, "temperature"),
        ({"n": 1000}, "n is"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"logit_bias": {"999": 1}}, "logit_bias"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "xml"}}, "expected text, json_object or json_schema"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"extra_body": {"temperatur": 1}}, "did you mean 'temperature'?"),
    ],
)
def test_what_cannot_be_done_is_refused(client: Any, change: dict[str, Any], word: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "small", "messages": HELLO} | change)
    assert word in caught.value.message


def test_a_model_that_is_not_there(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="large", prompt="x")
    assert caught.value.code == "model_not_found"


def test_leaving_a_stream_frees_its_slot(running: Running, client: Any) -> None:
    before = running.wait_until_idle()["small"]["tokens"]
    stream = client.completions.create(model="small", prompt="x", max_tokens=4000, stream=True)
    assert next(iter(stream)).choices
    stream.close()
    assert running.wait_until_idle()["small"]["tokens"] - before < 4000


def test_the_key() -> None:
    key = "a-long-key-0123456789"
    with serving(small_model(), key=key) as guarded:
        address = f"{guarded.server.address}/v1"
        with openai.OpenAI(base_url=address, api_key=key, max_retries=0) as right:
            assert right.models.list().data
        with openai.OpenAI(base_url=address, api_key=key + "x", max_retries=0) as wrong:
            with pytest.raises(openai.AuthenticationError) as caught:
                wrong.models.list()
            assert caught.value.code == "invalid_api_key"
        assert guarded.exchange("GET", "/")[0] == 200  # the page asks for the key
        assert guarded.ask("GET", "/api/status")[0] == 401


def test_the_asynchronous_client(running: Running) -> None:
    import asyncio

    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{running.server.address}/v1", api_key="x", max_retries=0) as client:

            async def one(seed: int) -> str:
                text = ""
                stream = await client.completions.create(
                    model="small", prompt="q", max_tokens=15, seed=seed, stream=True
                )
                async for chunk in stream:
                    text += chunk.choices[0].text
                return text

            return list(await asyncio.gather(*[one(n % 4) for n in range(12)]))

    texts = asyncio.run(all_at_once())
    assert texts[:4] == texts[4:8] == texts[8:]
    assert len(set(texts)) == 4
    assert json.dumps(texts)

"""Chats with a template: what the model reads, where its answer ends, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minitrain.generation import SamplingParams, batch_generate
from minitrain.runs import OpenedModel
from tests.helpers.serving import chatty
from tests.helpers.serving.servers import Running, serving

USER = {"role": "user", "content": "hi"}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def chat() -> Iterator[Running]:
    with serving(OpenedModel("chatty", chatty.model(), chatty.tokenizer())) as running:
        yield running


def tokens_of(text: str) -> Any:
    return chatty.tokenizer().encode(text, specials=True)


def test_the_model_reads_what_the_template_writes(chat: Running) -> None:
    messages = [{"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "nice"}]}]
    status, answer = chat.ask("POST", PATH, {"messages": [*messages, USER], "max_tokens": 12, "temperature": 0})
    assert status == 200, answer
    prompt = tokens_of("<system>be nice<end><user>hi<end><assistant>")
    params = SamplingParams(
        max_new_tokens=12, temperature=0, stop_token_ids=[chatty.END], suppress_tokens=range(257, 260)
    )
    (expected,) = batch_generate(chatty.model(), [prompt], params)
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    known = [token for token in expected.tokens.tolist() if token < 256]
    assert answer["choices"][0]["message"]["content"] == bytes(known).decode(errors="replace")


def test_the_end_token_ends_an_answer_and_is_not_shown(chat: Running) -> None:
    bias = {str(chatty.END): 100}
    body = {"messages": [USER], "max_tokens": 12, "logit_bias": bias, "logprobs": True}
    (choice,) = chat.ask("POST", PATH, body)[1]["choices"]
    assert choice["message"]["content"] == ""
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"]["content"] == []
    (choice,) = chat.ask("POST", PATH, body | {"ignore_eos": True})[1]["choices"]
    assert choice["finish_reason"] == "length"
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["<end>"] * 12
    pieces = chat.stream("/api/generate", {"prompt": "x", "max_tokens": 5, "logit_bias": bias})
    assert pieces[1]["token"]["special"]
    assert pieces[1]["token"]["text"] == "<end>"
    assert pieces[-2:] == [{"finish_reason": "stop"}, "[DONE]"]


def test_the_page_sends_a_prompt_as_a_message(chat: Running) -> None:
    assert chat.ask("GET", "/api/models")[1]["chat"] is True
    prompt = chat.stream("/api/generate", {"prompt": "hi", "chat": True, "max_tokens": 0})[0]["prompt"]
    assert [token["id"] for token in prompt] == tokens_of("<user>hi<end><assistant>").tolist()


@pytest.mark.parametrize(
    ("messages", "word"),
    [
        ([{"role": "user", "content": "a<end>b"}], "spells the special token <end>"),
        ([{"role": "assistant", "content": "a"}], "who asks?"),
        ([{"role": "nobody", "content": "a"}], "must have a role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "not text"),
        ([{"role": "user"}], "must have a content"),
        (["hello"], "must be an object"),
        ([], "a list of 1 to"),
        ([USER] * 1001, "a list of 1 to"),
        (None, "a list of 1 to"),
    ],
)
def test_messages_that_are_refused(chat: Running, messages: Any, word: str) -> None:
    status, answer = chat.ask("POST", PATH, {"messages": messages})
    assert status == 400
    assert word in answer["error"]["message"]
    assert answer["error"]["param"].startswith("messages")


def test_an_empty_prompt_begins_a_text(chat: Running) -> None:
    answer = chat.ask("POST", "/v1/completions", {"max_tokens": 3, "temperature": 0, "logprobs": 0})[1]
    (expected,) = batch_generate(
        chatty.model(),
        [np.array([chatty.END])],
        SamplingParams(max_new_tokens=3, temperature=0, logprobs=0, suppress_tokens=range(257, 260)),
    )
    assert expected.samples[0].logprobs is not None
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(expected.samples[0].logprobs.tolist())


def test_tokens_without_a_text_are_never_written(chat: Running) -> None:
    """The model has more tokens than its tokenizer."""
    body = {"prompt": ["a", "b", "c", "d"], "n": 4, "max_tokens": 60, "temperature": 100, "logprobs": 0, "seed": 1}
    answer = chat.ask("POST", "/v1/completions", body)[1]
    tokens = [token for choice in answer["choices"] for token in choice["logprobs"]["tokens"]]
    assert len(tokens) > 700
    assert not any(f"<{number}>" in tokens for number in range(257, 260))
    for wrong in ({"prompt": [257]}, {"logit_bias": {"257": 1}}):
        assert chat.ask("POST", "/v1/completions", wrong)[0] == 400
    pieces = chat.stream("/api/generate", {"prompt": "x", "max_tokens": 60, "alternatives": 20, "seed": 1})
    assert all(other["id"] < 257 for piece in pieces[1:-2] for other in piece["token"]["best"])

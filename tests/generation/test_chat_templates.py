"""Chat templates: the text that models were trained on; and whatever a hostile one tries, an error at once."""

from __future__ import annotations

import datetime
from collections import UserList
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import PretrainedTokenizer
from minitrain.errors import ConfigError, DataError
from minitrain.generation import ChatTemplate, apply_chat_template
from minitrain.generation.text.template_budget import Budget
from tests.helpers.texts.chats import CHATML, CHATS, LLAMA_2, LLAMA_3, QWEN_3, TEMPLATES, TOKENS, TOOLS, ZEPHYR
from tests.helpers.texts.tokenizers_of_others import SPECIAL, described

HELLO = [{"role": "user", "content": "Hello"}]


def render(source: str, messages: Any = HELLO, **settings: Any) -> str:
    return ChatTemplate(source, tokens=TOKENS).render(messages, **settings)


def test_texts_of_known_templates() -> None:
    assert render(CHATML, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    answered = [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "Hi"}]
    assert render(LLAMA_2, answered) == "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST] Hi </s>"
    assert render(LLAMA_3, today=datetime.date(2026, 3, 1), tools=TOOLS[:0]) == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 01 Mar 2026\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
    )
    assert render(QWEN_3, enable_thinking=False, add_generation_prompt=True).endswith("<think>\n\n</think>\n\n")
    assert render(ZEPHYR, answered[:2], add_generation_prompt=True) == (
        "<|system|>\nBe brief.</s>\n<|user|>\nHello</s>\n<|assistant|>\n"
    )


def test_the_error_of_a_template() -> None:
    with pytest.raises(DataError, match="does not take these messages: Conversation roles must alternate"):
        render(LLAMA_2, [{"role": "assistant", "content": "Hi"}])


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "at least one message"),
        (["Hello"], "message 0 is 'Hello'"),
        ([*HELLO, {"content": "Hello"}], "message 1 is"),
        ([{"role": "user", "content": object()}], "holds a object"),
        ([{"role": "user", 3: "content"}], "holds a dict"),
    ],
)
def test_what_is_no_chat(messages: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        render(CHATML, messages)


def test_a_message_that_contains_itself() -> None:
    message: dict[str, Any] = {"role": "user"}
    message["content"] = [message]
    with pytest.raises(DataError, match="contains itself"):
        render(CHATML, [message])


@given(
    contents=st.lists(st.text(max_size=20), min_size=1, max_size=5),
    name=st.sampled_from(["chatml", "llama-3", "qwen-2.5", "qwen-3", "zephyr"]),
)
def test_contents_are_data_and_no_template(contents: list[str], name: str) -> None:
    """Whatever people write, it stands in the text as it is, in their order."""
    roles = ["user", "assistant"] * 3
    text = render(TEMPLATES[name], [{"role": r, "content": f"«{c}»"} for r, c in zip(roles, contents, strict=False)])
    at = 0
    for content in contents:
        at = text.index(f"«{content.split('</think>')[-1]}»" if "</think>" not in content else "»", at) + 1


HOSTILE = {
    "long string": "{{ 'a' * 10000000000 }}",
    "long list": "{{ [1] * 10000000000 }}",
    "list of a long range": "{{ range(100000000) | list }}",
    "huge power": "{{ 2 ** 1000000000 }}",
    "huge product": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9) %}{% endfor %}"
    "{% endfor %}{% endfor %}",
    "much plain text": f"{{% for a in range(99999) %}}{'x' * 1000}{{% endfor %}}",
    "much output": "{% set x = 'a' * 1000000 %}{% for a in range(99999) %}{{ x }}{% endfor %}",
    "doubled by ~": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubled by +": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubled list": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "nested lists": "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
    "{{ ns.x }}",
    "nested dictionaries": "{% set ns = namespace(x={}) %}{% for i in range(99) %}"
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x }}",
    "nested by dict()": "{% set ns = namespace(x=1) %}{% for i in range(99) %}"
    "{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}",
    "compared": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "namespaces": "{% set ns = namespace(x=1) %}{% for i in range(99) %}{% set ns.x = namespace(a=ns.x, b=ns.x) %}"
    "{% endfor %}{{ ns.x }}",
    "itself in itself": "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "replace": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', 'aa') %}"
    "{% endfor %}",
    "replace filter": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
    "join": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x.join([ns.x, ns.x]) %}"
    "{% endfor %}",
    "join filter": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] | join(ns.x) %}"
    "{% endfor %}",
    "upper": "{% set x = 'ß' * 1000000 %}{% for i in range(999) %}{% set y = x | upper %}{% endfor %}",
    "slices": "{% set x = 'a' * 1000000 %}{% for i in range(99999) %}{% set y = x[1:] %}{% endfor %}",
    "splits": "{% set x = 'a,' * 1000000 %}{% for i in range(99999) %}{% set y = x.split(',') %}{% endfor %}",
    "letters": "{% set x = 'a' * 1000000 %}{{ x | list | length }}",
    "captured": "{% for i in range(99999) %}{% set x %}{{ 'a' * 1000 }}{% endset %}{% endfor %}",
    "recursive macro": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "counting macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "call blocks": "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call f() %}" * 40
    + "{% endcall %}" * 40,
    "indent": "{{ 'a' | indent(1000000000) }}",
    "json indent": "{{ [1] | tojson(indent=1000000000) }}",
    "json separators": "{{ [1, 2] | tojson(separators=('a' * 1000000, ':')) }}",
    "nested json": "{% set ns = namespace(x=[1]) %}{% for i in range(15) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
    "{% for i in range(999) %}{{ ns.x | tojson }}{% endfor %}",
    "repeated filters": "{% set x = range(90000) | list %}{% for i in range(99999) %}{{ x | sort }}{% endfor %}",
    "format": "{{ '%1000000000d' % 1 }}",
    "format method": "{{ '{:>1000000000}'.format(1) }}",
    "format filter": "{{ '%1000000000d' | format(1) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "center method": "{{ 'a'.center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(1000000000) }}",
    "lorem": "{{ lipsum(n=1000000) }}",
    "batch": "{{ [1] | batch(100000000, 0) | list }}",
    "slice": "{{ [1] | slice(100000000) | list }}",
    "sum": "{{ [[1], [2]] | sum(start=[]) }}",
    "round": "{{ 1.5 | round(100000000, 'ceil') }}",
    "encode": "{{ 'a'.encode() }}",
    "deep": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "too long": "a" * 300_000,
    "broken": "{% for %}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import '/etc/passwd' as x %}",
    "extends": "{% extends '/etc/passwd' %}",
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by attr": "{{ ('' | attr('__class__')).mro() }}",
    "class by map": "{{ [''] | map(attribute='__class__') | map(attribute='__mro__') | list }}",
    "function": "{{ raise_exception.__globals__['os'] }}",
    "environment": "{{ self.__init__.__globals__ }}",
    "loop": "{% for i in [1] %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
    "change": "{{ messages.append(1) }}",
    "change inside": "{{ messages[0].update({'role': 'x'}) }}",
    "division": "{{ 1 // 0 }}",
    "nothing there": "{{ nothing.at.all }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_are_stopped(name: str) -> None:
    """In memory too: each of these would take more than this machine has, or hours."""
    messages = [dict(message) for message in HELLO]
    with pytest.raises(DataError):
        render(HOSTILE[name], messages)
    assert messages == HELLO


def test_a_long_chat_may_cost_more() -> None:
    messages = [{"role": ("user", "assistant")[i % 2], "content": "word " * 400} for i in range(2000)]
    for name in ("chatml", "llama-3", "qwen-3"):
        assert len(render(TEMPLATES[name], messages)) > 4_000_000


def test_the_time_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(0)
    budget.step()
    monkeypatch.setattr("time.monotonic", lambda: float("inf"))
    with pytest.raises(DataError, match="on and on"):
        budget.step()


REFUSED = {
    ("chatml", "parts"): "can only concatenate str",
    ("llama-2", "tools"): "roles must alternate",
    ("llama-2", "parts"): "'list object' has no attribute 'strip'",
    ("llama-2", "wrong order"): "roles must alternate",
    ("qwen-2.5", "parts"): "can only concatenate str",
    ("gemma", "system"): "System role not supported",
    ("gemma", "tools"): "roles must alternate",
    ("gemma", "wrong order"): "roles must alternate",
    ("zephyr", "parts"): "can only concatenate str",
}


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_known_templates_take_known_chats_or_say_why(name: str, chat: str) -> None:
    """The texts themselves are compared with transformers in ``tests/peers``."""
    if (name, chat) in REFUSED:
        with pytest.raises(DataError, match=REFUSED[name, chat]):
            render(TEMPLATES[name], CHATS[chat], tools=TOOLS)
    else:
        assert render(TEMPLATES[name], CHATS[chat], tools=TOOLS, add_generation_prompt=True)


def test_long_texts_are_cut_in_messages_and_dates() -> None:
    with pytest.raises(DataError) as told:
        render(CHATML, ["a" * 200])
    assert str(told.value).startswith("message 0 is '" + "a" * 79 + ", expected")
    with pytest.raises(DataError, match=r"these messages: a{300}$"):
        render("{{ raise_exception('a' * 400) }}")
    assert render("{{ strftime_now('a' * 400) }}") == "a" * 100


def test_what_may_be_left_out_and_any_sequence_of_tools() -> None:
    assert ChatTemplate("{{ eos_token }}{{ tools is none }}").render(HELLO) == "True"
    assert render("{% for tool in tools %}{{ tool.a }}{% endfor %}", tools=UserList([{"a": 1}, {"a": 2}])) == "12"


def test_the_end_of_a_text_is_the_first_of_its_end_tokens() -> None:
    template = "{{ eos_token }}"
    for ends, text in (([], ""), ([SPECIAL[2]], SPECIAL[2]), ([SPECIAL[0], SPECIAL[2]], SPECIAL[0])):
        tokenizer = PretrainedTokenizer(described("smollm"), end=ends, chat_template=template)
        assert ChatTemplate.of(tokenizer).render(HELLO) == text


def test_tokens_of_a_chat() -> None:
    end = SPECIAL[2]
    tokenizer = PretrainedTokenizer(described("smollm"), end=[end], chat_template=CHATML)
    ids = apply_chat_template(tokenizer, HELLO)
    assert ids.tolist() == tokenizer.encode(render(CHATML, add_generation_prompt=True), specials=True).tolist()
    assert ids.tolist().count(tokenizer.special_id(end)) == 2
    named = PretrainedTokenizer(
        described("smollm"), end=[end], pad=SPECIAL[0], chat_template="{{ eos_token }}{{ pad_token }}"
    )
    assert apply_chat_template(named, HELLO).tolist() == [named.special_id(end), named.special_id(SPECIAL[0])]
    with pytest.raises(ConfigError, match="no chat template"):
        apply_chat_template(PretrainedTokenizer(described("smollm")), HELLO)

"""Chats as text: the template that a model was trained with, from its tokenizer.

A chat template is a Jinja program, and comes with a model that somebody else made. It runs in a sandbox, see
`minitrain.generation.text.template_sandbox`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, printable
from .template_budget import size_of
from .template_sandbox import compile_template, execute

Message = Mapping[str, Any]
"""A turn of a chat: ``{"role": "user", "content": "Hello"}``. Templates know more keys, such as ``tool_calls``."""


class ChatTemplate:
    """Writes a chat as the text that a model continues.

    Args:
        source: the Jinja template.
        tokens: names of special tokens that it may use, such as ``{"bos_token": "<s>", "eos_token": "</s>"}``.

    Raises:
        ConfigError: if Jinja2 is not installed.
        DataError: if the template is damaged or does what is not allowed.

    Examples:
        >>> template = ChatTemplate("{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}",
        ...                         tokens={"eos_token": "#"})
        >>> template.render([{"role": "user", "content": "Hello"}])
        '[user] Hello#'
    """

    def __init__(self, source: str, *, tokens: Mapping[str, str] | None = None) -> None:
        self.source, self.tokens = source, dict(tokens or {})
        self._template = compile_template(source)

    @classmethod
    def of(cls, tokenizer: Any) -> ChatTemplate:
        """The chat template of a tokenizer.

        Raises:
            ConfigError: if it has none, or Jinja2 is not installed.
            DataError: if the template is damaged.
        """
        source = getattr(tokenizer, "chat_template", None)
        if source is None:
            raise ConfigError(
                "this tokenizer has no chat template: the model was not trained to chat, so give it a plain prompt"
            )
        end = next(iter(tokenizer.end_ids), None)
        roles = {"bos_token": tokenizer.begin_id, "eos_token": end, "pad_token": tokenizer.pad_id}
        return cls(source, tokens={role: tokenizer.token_name(n) for role, n in roles.items() if n is not None})

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        today: datetime.date | None = None,
        **variables: Any,
    ) -> str:
        """The text of a chat.

        Args:
            messages: the turns, at least one.
            add_generation_prompt: whether to begin the answer of the model.
            tools: functions that the model may call, as JSON schemas.
            today: the date for templates that ask; the current one by default.
            **variables: further variables of the template, as JSON has them.

        Raises:
            DataError: if a message is not a dictionary with a role, or the template fails or does not stop.
        """
        for number, message in enumerate(messages):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise DataError(
                    f"message {number} is {printable(repr(message)[:80])}, expected a dictionary such as "
                    '{"role": "user", "content": "Hello"}'
                )
        if not messages:
            raise DataError('a chat needs at least one message, such as {"role": "user", "content": "Hello"}')
        data = {**variables, "messages": [dict(message) for message in messages], "tools": tools and list(tools)}
        size = sum(size_of(value, name) for name, value in data.items())

        def raise_exception(message: object) -> None:
            raise DataError(f"the chat template does not take these messages: {printable(str(message)[:300])}")

        def strftime_now(form: str) -> str:
            return datetime.datetime.combine(today or datetime.date.today(), datetime.time()).strftime(form[:100])

        functions = {"raise_exception": raise_exception, "strftime_now": strftime_now}
        settings = {"add_generation_prompt": add_generation_prompt}
        return execute(self._template, {**self.tokens, **functions, **settings, **data}, size)


def apply_chat_template(
    tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any
) -> NDArray[np.int32]:
    """The tokens of a chat, int32 (n,), which a model continues with its answer.

    The template writes the special tokens between the turns as text. If a message spells one, it becomes that token
    too; `minitrain.data.PretrainedTokenizer.special_tokens` has their names, to look for them in texts of others.

    Args:
        tokenizer: one with a chat template.
        messages: the turns of the chat.
        add_generation_prompt: whether to begin the answer of the model.
        **variables: see `ChatTemplate.render`.

    Raises:
        ConfigError: if the tokenizer has no chat template, or Jinja2 is not installed.
        DataError: if the template or a message is damaged.
    """
    text = ChatTemplate.of(tokenizer).render(messages, add_generation_prompt=add_generation_prompt, **variables)
    return tokenizer.encode(text, specials=True)  # type: ignore[no-any-return]

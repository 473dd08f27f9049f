"""Writes texts with any model: one of minitrain's, or one of somebody else's that has a ``generate`` of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ...errors import ConfigError, ShapeError, did_you_mean
from ..batching.engine import Engine
from ..batching.requests import Event
from ..ending import stop_strings_of
from ..params import SamplingParams
from ..sessions.choice import open_session
from ..sessions.session import Tokens
from ..stop_strings import StopStrings
from .chat import Message, apply_chat_template
from .constraints import Grammar
from .detokenize import Detokenizer, encode_prompt, unused_tokens
from .vocabulary import end_tokens


class TextGenerator:
    """A model with its tokenizer: texts in, texts out.

    Settings of its methods are those of `SamplingParams` by their names, such as ``top_p=0.9``, ``stop="###"`` or
    ``seed=3``, and ``grammar``, a `Grammar` that the new text must have. A text ends with the tokenizer's end token,
    unless ``stop_token_ids`` says otherwise. If the model has more tokens than the tokenizer, those are never chosen.

    A model with a method ``generate`` is asked to generate itself: ``model.generate(tokens (1, T0), max_new_tokens=…,
    temperature=…, …)``. It gets the settings that its signature names; transformers' models get theirs.

    Args:
        model: a language model of minitrain, a session of one, or anything with ``generate``.
        tokenizer: has ``encode`` and ``decode``; or something that has one as its ``tokenizer``, such as a data set, a
            trainer, or a run that was loaded. By default the model's.
        slots: how many texts `batch_generate` writes at once.
        device: the model's device.
        as_input: turns token ids (1, T0) into what the model's own ``generate`` takes, such as ``torch.tensor``.
        returns_prompt: whether its own ``generate`` returns the prompt and the new tokens; otherwise only the latter.

    Raises:
        ConfigError: if there is no tokenizer.

    Example:
        ```python
        writer = TextGenerator(trainer.setup.model, train_data)
        print(writer.generate("Once upon a time", max_length=100, temperature=0.8))
        for piece in writer.stream("Once upon a time", stop="The end"):
            print(piece, end="", flush=True)
        ```
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        slots: int = 8,
        device: str = "cpu",
        as_input: Callable[[Any], Any] | None = None,
        returns_prompt: bool = True,
    ) -> None:
        self.model, self.tokenizer, self.slots, self.device = model, find_tokenizer(tokenizer, model), slots, device
        self.as_input, self.returns_prompt = as_input, returns_prompt

    def generate(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **settings: Any) -> str:
        """The prompt and its continuation.

        Args:
            prompt: one character or more.
            max_length: the most new tokens.
            temperature: below 1, the text is more predictable; above 1, more varied; 0 takes the most likely tokens.
            **settings: see the class.

        Raises:
            ConfigError: if a setting is unknown or out of range, or the model's own ``generate`` does not take it.
            DataError: if the tokenizer does not know a character of the prompt.
        """
        return prompt + "".join(self.stream(prompt, max_length, temperature, **settings))

    def stream(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **settings: Any) -> Iterator[str]:
        """The continuation, piece by piece, without the prompt. Arguments and errors are those of `generate`.

        Pieces never split a character, and nothing that may begin a stop string is shown before it is known. Leaving
        the loop ends the work. A model's own ``generate`` gives its text at once.
        """
        tokens = np.asarray(encode_prompt(self.tokenizer, prompt), np.int32)
        return (piece for _, piece in self._write([tokens], max_length, temperature, settings))

    def batch_generate(
        self, prompts: Sequence[str], max_length: int = 100, temperature: float = 1.0, **settings: Any
    ) -> list[str]:
        """Each prompt and its continuation; the same as from `generate`, one by one, but faster.

        Arguments and errors are those of `generate`.
        """
        texts = [*prompts]
        tokens = [np.asarray(encode_prompt(self.tokenizer, prompt), np.int32) for prompt in prompts]
        for number, piece in self._write(tokens, max_length, temperature, settings):
            texts[number] += piece
        return texts

    def chat(
        self, messages: Sequence[Message], max_length: int = 500, temperature: float = 1.0, **settings: Any
    ) -> Iterator[str]:
        """The model's answer to a chat, piece by piece.

        Args:
            messages: the turns so far, see `minitrain.generation.ChatTemplate`.
            max_length: the most new tokens.
            temperature: see `generate`.
            **settings: see the class.

        Raises:
            ConfigError: if the tokenizer has no chat template; else see `generate`.
            DataError: if a message is damaged.
        """
        tokens = apply_chat_template(self.tokenizer, messages)
        return (piece for _, piece in self._write([tokens], max_length, temperature, settings))

    def _write(
        self, prompts: list[Tokens], max_length: int, temperature: float, settings: dict[str, Any]
    ) -> Iterator[tuple[int, str]]:
        """Pieces of text, each with the index of its prompt; the settings are checked at once."""
        grammar: Grammar | None = settings.pop("grammar", None)
        if not hasattr(self.model, "extend") and callable(getattr(self.model, "generate", None)):
            if grammar is not None:
                raise ConfigError("grammar is for minitrain's models; this one has a generate of its own")
            settings = {"max_new_tokens": max_length, "temperature": temperature, **settings}
            stop = StopStrings(settings.pop("stop", ()))
            settings = _taken(self.model.generate, settings)
            return self._own(prompts, settings, stop)
        if any(len(prompt) == 0 for prompt in prompts):
            raise ShapeError("a prompt is empty: give it one character or more")
        params = self._params(max_length, temperature, settings, grammar)
        writers = [_Writer(self.tokenizer, prompt, params, grammar) for prompt in prompts]
        return self._with_engine(prompts, writers)

    def _params(
        self, max_length: int, temperature: float, settings: dict[str, Any], grammar: Grammar | None
    ) -> SamplingParams:
        known = {field.name for field in fields(SamplingParams)} - {"max_new_tokens", "temperature"}
        for name in settings:
            if name not in known:
                raise ConfigError(f"there is no setting {name!r}: {did_you_mean(name, known)}see SamplingParams")
        if settings.get("num_samples", 1) != 1:
            raise ConfigError("a text has one continuation here: generate_text_sampling writes several")
        if unused := unused_tokens(self.model, self.tokenizer):
            settings = {**settings, "suppress_tokens": (*settings.get("suppress_tokens", ()), *unused)}
        ends = end_tokens(self.tokenizer) if grammar is None else grammar.end_ids
        return SamplingParams(
            **{"max_new_tokens": max_length, "temperature": temperature, "stop_token_ids": ends, **settings}
        )

    def _with_engine(self, prompts: list[Tokens], writers: list[_Writer]) -> Iterator[tuple[int, str]]:
        if not prompts:
            return
        engine = Engine(open_session(self.model, min(self.slots, len(prompts)), device=self.device))
        try:
            for prompt, writer in zip(prompts, writers, strict=True):
                engine.submit(prompt, writer.params)
            while engine.busy:
                for event in engine.step():
                    if event.error is not None:
                        raise event.error
                    writer = writers[event.request]
                    if piece := writer.add(event):
                        yield event.request, piece
                    if writer.ended:
                        engine.cancel(event.request)
        finally:
            engine.close()

    def _own(self, prompts: list[Tokens], settings: dict[str, Any], stop: StopStrings) -> Iterator[tuple[int, str]]:
        for number, prompt in enumerate(prompts):
            rows = prompt[None]
            written = np.asarray(
                self.model.generate(rows if self.as_input is None else self.as_input(rows), **settings)
            )
            tokens = written.reshape(-1, written.shape[-1])[0]
            if self.returns_prompt:
                if not np.array_equal(tokens[: len(prompt)], prompt):
                    raise ShapeError(
                        "the model's generate did not return the prompt and what follows it: is this right, say "
                        "TextGenerator(…, returns_prompt=False)"
                    )
                tokens = tokens[len(prompt) :]
            detokenizer, each = Detokenizer(self.tokenizer, after=prompt.tolist()), StopStrings(stop.stops)
            text = "".join([detokenizer.add(token) for token in tokens.tolist()]) + detokenizer.finish()
            if piece := each.add(text) + each.finish():
                yield number, piece


class _Writer:
    """Turns the events of one request into text."""

    def __init__(self, tokenizer: Any, prompt: Tokens, params: SamplingParams, grammar: Grammar | None) -> None:
        self._stop = stop_strings_of(params)
        self._detokenizer = Detokenizer(tokenizer, after=prompt.tolist())
        self.ended = False
        # Stop strings are looked for here, where text is held back for them.
        self.params = replace(params, stop=())
        if grammar is not None:
            self.params = replace(self.params, processor=grammar.after(prompt, params.processor))

    def add(self, event: Event) -> str:
        """The text that can be shown after an event."""
        if self.ended:
            return ""
        text = ""
        if event.token is not None and not isinstance(event.stopped_by, int):  # the end token is no text
            text = self._stop.add(self._detokenizer.add(event.token))
        if self._stop.found is not None:
            self.ended = True
            return text
        if event.finish_reason is not None:
            text += self._stop.add(self._detokenizer.finish()) + self._stop.finish()
        return text


def find_tokenizer(*places: Any) -> Any:
    """The first tokenizer: one of these, or the ``tokenizer`` of one of these.

    Args:
        *places: tokenizers, data sets, loaders, trainers, models, or ``None``.

    Raises:
        ConfigError: if there is none.
    """
    for place in places:
        for candidate in (place, getattr(place, "tokenizer", None), getattr(place, "dataset", None)):
            if hasattr(candidate, "encode") and hasattr(candidate, "decode"):
                return candidate
            inner = getattr(candidate, "tokenizer", None)
            if hasattr(inner, "encode") and hasattr(inner, "decode"):
                return inner
    raise ConfigError(
        "text needs a tokenizer, and neither the data nor the model has one: TextGenerator(model, tokenizer)"
    )


def _taken(function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as a model's own ``generate`` takes them.

    Raises:
        ConfigError: if it does not take one of them.
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):  # as in transformers
        sample = settings["temperature"] != 0
        return {name: value for name, value in settings.items() if sample or name != "temperature"} | {
            "do_sample": sample
        }
    if settings["temperature"] == 1 and "temperature" not in parameters:  # it was not asked for
        settings = {name: value for name, value in settings.items() if name != "temperature"}
    if unknown := sorted(set(settings) - set(parameters)):
        raise ConfigError(
            f"the model's generate takes no {unknown[0]}; it takes {', '.join(list(parameters)[1:]) or 'no setting'}"
        )
    return settings

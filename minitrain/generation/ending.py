"""Where a sample ends: at a stop token, at a stop string, when its form is complete, or when it is long enough."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ConfigError
from .params import SamplingParams
from .sessions.session import Tokens
from .stop_strings import StopStrings

Detokenize = Callable[[Tokens], Callable[[int], str]]
"""Makes a function for each sample out of the tokens (n,) of its prompt. That is called with the new tokens, one by
one, and returns the text that each of them completes: nothing while a character lacks bytes."""


class Ending:
    """Follows the tokens of a sample to its end.

    Stop strings end a sample as soon as it is certain where its text ends, see `StopStrings`. That is mostly with the
    token that completes one; if another string that began earlier may still become complete, it is some tokens later.
    A stop token is no text here.

    A processor may have a method ``finished(tokens (n,)) -> bool``, which says of a text, prompt included, that nothing
    can follow it. The sample ends then, whatever its length.

    Args:
        params: the settings of the sample's request.
        prompt: (n,) token ids before it.
        detokenizer: needed for stop strings; not asked without them.

    Attributes:
        reason: ``"stop"`` or ``"length"`` once the sample has ended, else ``None``.
        stopped_by: the stop token or stop string that ended it. It is the string if the text ends before one.
    """

    def __init__(self, params: SamplingParams, prompt: Tokens, detokenizer: Detokenize | None) -> None:
        self.reason: str | None = None
        self.stopped_by: int | str | None = None
        self._params, self._prompt = params, len(prompt)
        self._finished = getattr(params.processor, "finished", None)
        self._strings: StopStrings | None = None
        if params.stop and detokenizer is not None:
            self._strings, self._text_of = stop_strings_of(params), detokenizer(prompt)

    def add(self, tokens: Tokens) -> bool:
        """Whether the sample ends with its next token.

        Args:
            tokens: (n,) the prompt and all new tokens; the last of them is the next one.
        """
        params, strings = self._params, self._strings
        token, new = int(tokens[-1]), len(tokens) - self._prompt
        stopped = new >= params.min_new_tokens and token in params.stop_token_ids
        finished = stopped or (self._finished is not None and self._finished(tokens))
        ended = finished or new >= params.max_new_tokens
        if strings is not None:
            if not stopped:
                strings.add(self._text_of(token))
            if ended:
                strings.finish()
            self.stopped_by = strings.found
        if stopped and self.stopped_by is None:
            self.stopped_by = token
        if finished or self.stopped_by is not None:
            self.reason = "stop"
        elif ended:
            self.reason = "length"
        return self.reason is not None


def stop_strings_of(params: SamplingParams) -> StopStrings:
    """The stop strings of a sample. Pieces are the texts of its tokens, one each.

    With ``min_new_tokens=n``, no string begins in the text of the first ``n - 1`` tokens: a text that was shown is
    never taken back.
    """
    return StopStrings(params.stop, after=max(0, params.min_new_tokens - 1))


def check_detokenizer(params: SamplingParams, detokenizer: Detokenize | None) -> None:
    """Raise a ``ConfigError`` if there are stop strings and nothing to tell the text of tokens."""
    if params.stop and detokenizer is None:
        raise ConfigError("stop strings need a detokenizer: pass detokenizer=, or use stop_token_ids")

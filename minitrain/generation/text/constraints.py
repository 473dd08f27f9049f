"""Text of a given form: a regular expression or a JSON schema decides which tokens may come next.

The ``llguidance`` library keeps the state of a text in a grammar, and tells which tokens keep it inside (Microsoft,
https://github.com/guidance-ai/llguidance). A token may hold several characters of the grammar, or half of one. Where
the text has a choice, every token whose bytes fit is allowed. Where it has none, the tokens are those that the
tokenizer would have chosen.

A constraint is a function of the tokens so far, as `minitrain.generation.SamplingParams.processor` wants it. So it
works with every way to choose a token, for several samples at once, and for sequences that are cut and tried again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError, DataError, printable
from ..params import Processor as Own
from ..sessions.session import Tokens
from .vocabulary import Vocabulary, guidance

_STATES = 64  # of sequences, kept to go on from
_LARGEST_GRAMMAR = 200_000  # characters
_LEXER_STATES = 50_000  # of 1 to 2 kB, kept of a grammar; the library bounds the time of a step
_NO_TOKEN = "no token continues this text in its form: the vocabulary lacks some of its characters"


class Grammar:
    """A grammar, compiled for a tokenizer. Made by `regex` or `json_schema`.

    Attributes:
        end_ids: the tokens that end a text; pass them as ``stop_token_ids``. They are allowed where the text is
            complete, and nothing else is where it cannot go on.
    """

    def __init__(self, tokenizer: Any, grammar: str, *, end_ids: Sequence[int] | None = None) -> None:
        """Compile a grammar of llguidance.

        Args:
            tokenizer: has ``token_bytes()``; or its `minitrain.generation.text.vocabulary.Vocabulary`, made once for
                several grammars.
            grammar: in the format of llguidance.
            end_ids: the tokens that end a text; by default those of the tokenizer. Their own text cannot appear. A
                vocabulary has its own.

        Raises:
            ConfigError: if llguidance is not installed, or the tokenizer does not tell the bytes of its tokens.
            DataError: if the grammar is damaged, too large or not supported.
        """
        library = guidance()
        vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else Vocabulary(tokenizer, end_ids)
        self.vocabulary, self.vocab_size, self.end_ids = vocabulary, vocabulary.size, vocabulary.end_ids
        limits = library.LLParserLimits(max_lexer_states=_LEXER_STATES, verbose_errors=False)
        error = library.LLMatcher.validate_grammar(grammar, vocabulary.library, limits=limits)
        if error and not error.startswith("WARNING"):
            raise DataError(f"this form of text is not supported: {printable(error.strip()[:500])}")
        self._start = library.LLMatcher(vocabulary.library, grammar, log_level=0, limits=limits)
        self._check(self._start)

    @classmethod
    def regex(cls, pattern: str, tokenizer: Any, *, end_ids: Sequence[int] | None = None) -> Grammar:
        r"""Text that matches a regular expression as a whole.

        Args:
            pattern: in the syntax of Rust's ``regex``: most of Python's, without looking around and back references.
                ``.`` is any character but a line break.
            tokenizer: see the class.
            end_ids: see the class.

        Raises:
            ConfigError: see the class.
            DataError: if the pattern is damaged or not supported.
        """
        if len(pattern) > _LARGEST_GRAMMAR:
            raise DataError(f"the pattern has {len(pattern):,} characters; at most {_LARGEST_GRAMMAR:,} are allowed")
        return cls(tokenizer, guidance().LLMatcher.grammar_from_regex(pattern), end_ids=end_ids)

    @classmethod
    def json_schema(
        cls, schema: Mapping[str, Any] | str, tokenizer: Any, *, end_ids: Sequence[int] | None = None
    ) -> Grammar:
        """A JSON value that is valid by a JSON schema, on one line, with a space after each comma and colon.

        Args:
            schema: a schema of draft 2020-12; ``{"type": "object"}`` is any object. Its properties come in the order
                of the schema. Keywords that cannot be guaranteed are refused.
            tokenizer: see the class.
            end_ids: see the class.

        Raises:
            ConfigError: see the class.
            DataError: if the schema is damaged or not supported.
        """
        try:
            text = schema if isinstance(schema, str) else json.dumps(schema)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"this is not a JSON schema: {printable(str(error)[:300])}") from error
        if len(text) > _LARGEST_GRAMMAR:
            raise DataError(f"the schema has {len(text):,} characters; at most {_LARGEST_GRAMMAR:,} are allowed")
        form: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        try:
            grammar = guidance().LLMatcher.grammar_from_json_schema(text, overrides=form)
        except ValueError as error:
            raise DataError(f"this is not a JSON schema: {printable(str(error)[:300])}") from error
        return cls(tokenizer, grammar, end_ids=end_ids)

    def after(self, prompt: Sequence[int] | Tokens, own: Own | None = None) -> Processor:
        """The function that bans tokens, for continuations of a prompt (n,).

        Args:
            prompt: token ids.
            own: a function of your own that comes before, see `SamplingParams.processor`.
        """
        return Processor(self, len(prompt), own)

    def _check(self, matcher: Any) -> None:
        if not matcher.is_error():
            return
        reason = matcher.get_error().partition("<state>")[0].strip()[:300]
        if "NoExtension" in reason:
            raise DataError(_NO_TOKEN)
        raise DataError(f"this form of text cannot be followed: {printable(reason)}")


class Processor:
    """Bans the tokens that would leave the grammar: ``(tokens (n,), logits (V,)) -> logits (V,)``.

    Args:
        grammar: the grammar.
        prompt: the number of tokens at the beginning that do not belong to the text.
        own: a function of your own that comes before.
    """

    def __init__(self, grammar: Grammar, prompt: int, own: Own | None = None) -> None:
        self.grammar, self.prompt, self.own = grammar, prompt, own
        self._states: OrderedDict[bytes, _State] = OrderedDict()  # new tokens -> where they lead

    def __call__(self, tokens: Tokens, logits: Array) -> Array:
        """The logits, with ``-inf`` for tokens that may not come next.

        Raises:
            DataError: if the tokens have left the grammar already, or no token fits.
            ConfigError: if the text is complete and there is no token to say so.
        """
        if self.own is not None:
            logits = self.own(tokens, logits)
        grammar = self.grammar
        allowed = self._state(tokens).allowed  # (V,) or (V + 1,)
        if len(logits) < grammar.vocab_size:
            raise ConfigError(
                f"the model has {len(logits)} tokens, the tokenizer {grammar.vocab_size}: they do not fit"
            )
        possible = np.zeros(len(logits), np.bool_)
        possible[: grammar.vocab_size] = allowed[: grammar.vocab_size]
        if not possible.any():
            if self.finished(tokens):
                raise ConfigError(
                    "the text is complete, and this tokenizer has no token that ends a text: give the constraint "
                    "end_ids=(…), or stop when finished(tokens) is true"
                )
            raise DataError(_NO_TOKEN)
        xp = array_module(logits)
        return xp.where(xp.asarray(possible), logits, -np.inf)  # type: ignore[no-any-return]

    def finished(self, tokens: Tokens) -> bool:
        """Whether the text is complete and cannot go on: a sample ends then, with an end token or without one."""
        return self._state(tokens).finished

    def complete(self, tokens: Tokens) -> bool:
        """Whether the text may end here."""
        return self._state(tokens).complete

    def _state(self, tokens: Tokens) -> _State:
        """Where the new tokens lead in the grammar."""
        new = np.ascontiguousarray(tokens[self.prompt :], np.int32)
        key = new.tobytes()
        if (known := self._states.get(key)) is not None:
            self._states.move_to_end(key)
            return known
        before = self._states.get(key[:-4])
        matcher = (self.grammar._start if before is None else before.matcher).deep_copy()
        for token in new.tolist() if before is None else [int(new[-1])]:
            if not matcher.consume_token(token):
                if "satisfy the grammar" not in matcher.get_error():  # a limit of the library was reached
                    self.grammar._check(matcher)
                raise DataError(
                    f"token {token} does not continue this text in its form; a constraint needs a text that began "
                    "with it: was the prompt given to after()?"
                )
        state = self._states[key] = _State(self.grammar, matcher)
        if len(self._states) > _STATES:
            self._states.popitem(last=False)
        return state


class _State:
    """A place in a grammar."""

    def __init__(self, grammar: Grammar, matcher: Any) -> None:
        self.grammar, self.matcher = grammar, matcher

    @cached_property
    def allowed(self) -> Array:
        """Which tokens may come next: booleans (V,), and one more if there is no end token."""
        grammar, matcher = self.grammar, self.matcher
        size = grammar.vocab_size + (not grammar.end_ids)
        if matcher.is_stopped():
            allowed = np.zeros(size, np.bool_)
            allowed[grammar.vocabulary.markers] = not matcher.is_error()
            return allowed
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        grammar._check(matcher)
        return np.unpackbits(mask, count=size, bitorder="little").astype(np.bool_)

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return not self.matcher.is_error() and bool(self.matcher.is_accepting() or self.matcher.is_stopped())

    @property
    def finished(self) -> bool:
        """Whether it must."""
        if not self.complete:
            return False
        return bool(self.allowed.sum() == self.allowed[self.grammar.vocabulary.markers].sum())

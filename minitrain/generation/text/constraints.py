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
from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError, DataError, printable
from ..sessions.session import Tokens
from .detokenize import bytes_of_tokens

_STATES = 64  # of sequences, kept to go on from
_LARGEST_GRAMMAR = 200_000  # characters
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
            tokenizer: has ``token_bytes()``.
            grammar: in the format of llguidance.
            end_ids: the tokens that end a text; by default those of the tokenizer. Their own text cannot appear.

        Raises:
            ConfigError: if llguidance is not installed, or the tokenizer does not tell the bytes of its tokens.
            DataError: if the grammar is damaged, too large or not supported.
        """
        llguidance = _library()
        texts = bytes_of_tokens(tokenizer)
        if texts is None:
            raise ConfigError(
                "a constraint needs to know the bytes of each token, and this tokenizer does not tell: use one of "
                "minitrain.data with token_bytes()"
            )
        self.vocab_size = len(texts)
        self.end_ids = tuple(end_tokens(tokenizer) if end_ids is None else end_ids)
        if bad := [token for token in self.end_ids if not 0 <= token < self.vocab_size]:
            raise ConfigError(f"end_ids has {bad[0]}, which is not one of the {self.vocab_size} tokens")
        # Without an end token the library gets one that the model does not have: it stands for "complete".
        self._none = [] if self.end_ids else [self.vocab_size]
        self._tokenizer = _library_tokenizer(tokenizer, texts, [*self.end_ids, *self._none])
        error = llguidance.LLMatcher.validate_grammar(grammar, self._tokenizer)
        if error and not error.startswith("WARNING"):
            raise DataError(f"this form of text is not supported: {printable(error.strip()[:500])}")
        self._start = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        self._check(self._start)

    @classmethod
    def regex(cls, pattern: str, tokenizer: Any, *, end_ids: Sequence[int] | None = None) -> Grammar:
        r"""Text that matches a regular expression as a whole.

        Args:
            pattern: in the syntax of Rust's ``regex``: most of Python's, without looking around and back references.
                ``.`` is any character but a line break.
            tokenizer: has ``token_bytes()``.
            end_ids: see the class.

        Raises:
            ConfigError: see the class.
            DataError: if the pattern is damaged or not supported.
        """
        if len(pattern) > _LARGEST_GRAMMAR:
            raise DataError(f"the pattern has {len(pattern):,} characters; at most {_LARGEST_GRAMMAR:,} are allowed")
        return cls(tokenizer, _library().LLMatcher.grammar_from_regex(pattern), end_ids=end_ids)

    @classmethod
    def json_schema(
        cls, schema: Mapping[str, Any] | str, tokenizer: Any, *, end_ids: Sequence[int] | None = None
    ) -> Grammar:
        """A JSON value that is valid by a JSON schema, on one line, with a space after each comma and colon.

        Args:
            schema: a schema of draft 2020-12; ``{"type": "object"}`` is any object. Its properties come in the order
                of the schema. Keywords that cannot be guaranteed are refused.
            tokenizer: has ``token_bytes()``.
            end_ids: see the class.

        Raises:
            ConfigError: see the class.
            DataError: if the schema is damaged or not supported.
        """
        text = schema if isinstance(schema, str) else json.dumps(schema)
        if len(text) > _LARGEST_GRAMMAR:
            raise DataError(f"the schema has {len(text):,} characters; at most {_LARGEST_GRAMMAR:,} are allowed")
        form: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        try:
            grammar = _library().LLMatcher.grammar_from_json_schema(text, overrides=form)
        except ValueError as error:
            raise DataError(f"this is not a JSON schema: {printable(str(error)[:300])}") from error
        return cls(tokenizer, grammar, end_ids=end_ids)

    def after(self, prompt: Sequence[int] | Tokens) -> Processor:
        """The function that bans tokens, for continuations of a prompt (n,)."""
        return Processor(self, len(prompt))

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
    """

    def __init__(self, grammar: Grammar, prompt: int) -> None:
        self.grammar, self.prompt = grammar, prompt
        self._states: OrderedDict[bytes, Any] = OrderedDict()  # new tokens -> where they lead

    def __call__(self, tokens: Tokens, logits: Array) -> Array:
        """The logits, with ``-inf`` for tokens that may not come next.

        Raises:
            DataError: if the tokens have left the grammar already, or no token fits.
            ConfigError: if the text is complete and there is no token to say so.
        """
        grammar = self.grammar
        allowed = self._allowed(self._state(tokens))  # (V,) or (V + 1,)
        if logits.shape[0] < grammar.vocab_size:
            raise ConfigError(
                f"the model has {logits.shape[0]} tokens, the tokenizer {grammar.vocab_size}: they do not fit"
            )
        possible = np.zeros(logits.shape[0], np.bool_)
        possible[: grammar.vocab_size] = allowed[: grammar.vocab_size]
        if not possible.any():
            if self.finished(tokens):
                raise ConfigError(
                    "the text is complete, and this tokenizer has no token that ends a text: give the constraint "
                    "end_ids=(…), or stop when finished(tokens) is true"
                )
            raise DataError(_NO_TOKEN)
        xp = array_module(logits)
        return xp.where(xp.asarray(possible), logits, xp.asarray(-np.inf, logits.dtype))  # type: ignore[no-any-return]

    def finished(self, tokens: Tokens) -> bool:
        """Whether the text is complete and cannot go on."""
        state = self._state(tokens)
        if state.is_stopped():
            return not state.is_error()
        ends = [*self.grammar.end_ids, *self.grammar._none]
        allowed = self._allowed(state)
        return bool(state.is_accepting() and allowed.sum() == allowed[ends].sum())

    def complete(self, tokens: Tokens) -> bool:
        """Whether the text may end here."""
        state = self._state(tokens)
        return not state.is_error() and bool(state.is_accepting() or state.is_stopped())

    def _state(self, tokens: Tokens) -> Any:
        """Where the new tokens lead in the grammar."""
        new = np.ascontiguousarray(tokens[self.prompt :], np.int32)
        key = new.tobytes()
        if (known := self._states.get(key)) is not None:
            self._states.move_to_end(key)
            return known
        before = self._states.get(key[:-4]) if key else None
        state = (self.grammar._start if before is None else before).deep_copy()
        for token in new.tolist() if before is None else [int(new[-1])]:
            if not state.consume_token(token):
                raise DataError(
                    f"token {token} does not continue this text in its form; a constraint needs a text that began "
                    "with it: was the prompt given to after()?"
                )
        self._states[key] = state
        if len(self._states) > _STATES:
            self._states.popitem(last=False)
        return state

    def _allowed(self, state: Any) -> Array:
        """Which tokens may come next: booleans (V,), and one more if there is no end token."""
        size = self.grammar.vocab_size + len(self.grammar._none)
        if state.is_stopped():
            allowed = np.zeros(size, np.bool_)
            allowed[[*self.grammar.end_ids, *self.grammar._none]] = not state.is_error()
            return allowed
        mask = np.frombuffer(state.compute_bitmask(), np.uint8)
        self.grammar._check(state)
        return np.unpackbits(mask, count=size, bitorder="little").astype(np.bool_)


def end_tokens(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a text, as far as the tokenizer tells: its ``end_ids``, or the special token ``<eos>``."""
    if hasattr(tokenizer, "end_ids"):
        return tuple(tokenizer.end_ids)
    if "<eos>" in getattr(tokenizer, "special_tokens", ()):
        return (int(tokenizer.special_id("<eos>")),)
    return ()


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Any, texts: Sequence[bytes], ends: list[int]) -> None:
        # A token without text may be special or unused. It never fits into a grammar, unless it ends the text.
        special = [number for number, text in enumerate(texts) if not text]
        self.eos_token_id, self.bos_token_id = ends[0], None
        self.special_token_ids = sorted({*special, *ends})
        self.tokens = [text or b"<%d>" % number for number, text in enumerate(texts)]
        if ends[0] == len(texts):
            self.tokens.append(b"<end>")
        self._tokenizer, self._texts = tokenizer, texts
        self._ids = {text: number for number, text in enumerate(texts) if text and number not in ends}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: str | bytes) -> list[int]:
        """Token ids of a text, which the library asks for where only one text is possible.

        Their bytes must be those of the text. A tokenizer that changes texts, such as one that puts a space in front,
        is replaced by the longest tokens that fit.
        """
        wanted = text.encode() if isinstance(text, str) else text
        try:
            ids = [int(token) for token in self._tokenizer.encode(wanted.decode())]
            if b"".join([self._texts[token] for token in ids]) == wanted:
                return ids
        except (DataError, UnicodeDecodeError):  # a character that the vocabulary has not, or half of one
            pass
        return self._longest_tokens(wanted)

    def _longest_tokens(self, wanted: bytes) -> list[int]:
        """The longest token that fits, again and again; as far as there is one."""
        ids, at = [], 0
        while at < len(wanted):
            for end in range(min(len(wanted), at + self._longest), at, -1):
                if (token := self._ids.get(wanted[at:end])) is not None:
                    break
            else:
                break
            ids.append(token)
            at = end
        return ids


def _library_tokenizer(tokenizer: Any, texts: Sequence[bytes], ends: list[int]) -> Any:
    import llguidance

    wrapped = llguidance.TokenizerWrapper(_Vocabulary(tokenizer, texts, ends))
    return llguidance.LLTokenizer(wrapped, eos_token=ends)


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise ConfigError("constraints need the package llguidance: pip install 'minitrain[constrained]'") from error
    return llguidance

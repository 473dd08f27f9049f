"""A tokenizer as ``llguidance`` sees it: the bytes of each token, and which of them end a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ConfigError, DataError
from .detokenize import bytes_of_tokens

FORCED = 256
"""Of text that is fixed, so many bytes are made into tokens at once. The library asks again for each token, so a long
text would cost its square."""


class Vocabulary:
    """A tokenizer as a `Grammar` needs it. Making one takes a while; it serves any number of grammars.

    Args:
        tokenizer: has ``token_bytes()``.
        end_ids: the tokens that end a text; by default those of the tokenizer. Their own text cannot appear.

    Attributes:
        size: the number of tokens.
        end_ids: see above.
        markers: what stands for "complete" in the library: the end tokens, or one that the model does not have.
        library: the library's tokenizer.

    Raises:
        ConfigError: if llguidance is not installed, the tokenizer does not tell the bytes of its tokens, or ``end_ids``
            are no tokens.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int] | None = None) -> None:
        llguidance = guidance()
        texts = bytes_of_tokens(tokenizer)
        if texts is None:
            raise ConfigError(
                "a constraint needs to know the bytes of each token, and this tokenizer does not tell: use one of "
                "minitrain.data with token_bytes()"
            )
        self.size = len(texts)
        self.end_ids = tuple(end_tokens(tokenizer) if end_ids is None else end_ids)
        if bad := [token for token in self.end_ids if not 0 <= token < self.size]:
            raise ConfigError(f"end_ids has {bad[0]}, which is not one of the {self.size} tokens")
        self.markers = [*(self.end_ids or [self.size])]
        wrapped = llguidance.TokenizerWrapper(_Tokenizer(tokenizer, texts, self.markers))
        self.library = llguidance.LLTokenizer(wrapped, eos_token=self.markers)


def end_tokens(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a text, as far as the tokenizer tells: its ``end_ids``, or the special token ``<eos>``."""
    if hasattr(tokenizer, "end_ids"):
        return tuple(tokenizer.end_ids)
    if "<eos>" in getattr(tokenizer, "special_tokens", ()):
        return (int(tokenizer.special_id("<eos>")),)
    return ()


class _Tokenizer:
    """The interface that llguidance expects of a tokenizer."""

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

        A long text gets the tokens of its beginning. Their bytes must be those of the text: a tokenizer that changes
        texts, such as one that puts a space in front, is replaced by the longest tokens that fit.
        """
        wanted = (text.encode() if isinstance(text, str) else text)[:FORCED]
        try:
            whole = wanted.decode(
                errors="ignore" if len(wanted) == FORCED else "strict"
            )  # it may be cut in a character
            ids = [int(token) for token in self._tokenizer.encode(whole)]
            if b"".join([self._texts[token] for token in ids]) == whole.encode():
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


def guidance() -> Any:
    """The library.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import llguidance
    except ImportError as error:
        raise ConfigError("constraints need the package llguidance: pip install 'minitrain[constrained]'") from error
    return llguidance

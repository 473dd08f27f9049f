"""The roles of tokens in a tokenizer of others: which of its tokens begin and end a text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, did_you_mean


class RoleTokens(ABC):
    """A tokenizer with special tokens.

    Attributes:
        special_tokens: names of the special tokens, and the id of each. They have no text.
        begin_id: the token that a text begins with, if the tokenizer has one. Only `encode_prompt` and ``frame`` add
            it.
        end_ids: tokens that end a text, such as the end of a turn in a chat; may be none.
        pad_id: the token for padding, if there is one.
        chat_template: the Jinja template that turns a chat into text, if there is one, see
            `minitrain.generation.ChatTemplate`.
        strips_space: whether ``decode`` leaves out a space at the very beginning.
    """

    special_tokens: dict[str, int]
    begin_id: int | None
    end_ids: tuple[int, ...]
    pad_id: int | None
    chat_template: str | None
    strips_space: bool

    @abstractmethod
    def encode(self, text: str, *, specials: bool = False, frame: bool = False) -> NDArray[np.int32]:
        """Token ids of ``text``, int32 ``(N,)``.

        Args:
            text: any text.
            specials: whether text that spells a special token, such as ``<|im_end|>``, becomes that token. Say so for
                a text from a chat template, never for a text of others.
            frame: whether to add the tokens that the tokenizer puts around a text, such as ``[CLS]`` and ``[SEP]``.

        Raises:
            DataError: if ``text`` holds half of a surrogate pair, which UTF-8 cannot express.
        """

    def encode_prompt(self, text: str, *, specials: bool = False) -> NDArray[np.int32]:
        """Token ids of a text that a model is to continue: with the begin token, if the tokenizer adds one.

        Args:
            text: any text.
            specials: see `encode`. A begin token that the text spells itself is not added again.
        """
        ids, framed = self.encode(text, specials=specials), self.encode("", frame=True)
        if self.begin_id is None or not framed.size or framed[0] != self.begin_id or ids[:1].tolist() == [framed[0]]:
            return ids
        return np.concatenate([framed[:1], ids])

    def special_id(self, name: str) -> int:
        """The id of the special token ``name``.

        Raises:
            DataError: if there is none with that name.
        """
        if name not in self.special_tokens:
            hint = did_you_mean(name, self.special_tokens)
            raise DataError(f"this tokenizer has no special token {name!r}: {hint}see special_tokens for all of them")
        return self.special_tokens[name]


def check_pieces(tokenizer: Any) -> None:
    """Refuse a tokenizer of others where a text is encoded in pieces.

    Where minitrain cuts a long text, its own tokenizers begin a new word anyway. Others may not: a token of Llama 3 can
    reach from a full stop over the line breaks behind it, and SentencePiece would put a space before each piece.

    Raises:
        ConfigError: if it is one of others.
    """
    if isinstance(tokenizer, RoleTokens):
        raise ConfigError(
            "the tokens of another model's tokenizer may reach over the border of two pieces of a text, so that shards "
            "and streams of text would have other tokens than the text: encode whole texts, with Dataset or encode"
        )


def checked_template(template: Any) -> str | None:
    """A chat template from a file.

    Raises:
        DataError: if it is not a text.
    """
    if template is not None and not isinstance(template, str):
        raise DataError(f"the chat template is a {type(template).__name__}, not a text: it is damaged")
    return template

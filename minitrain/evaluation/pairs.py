"""The tokens of a text in two parts: a context, and a continuation whose probability is asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError
from ..generation.sessions.session import Tokens
from ..generation.text.detokenize import encode_prompt
from ..generation.text.vocabulary import end_tokens


class TokenPair(NamedTuple):
    """The tokens of a context and of its continuation.

    Attributes:
        context: (n,) int32, at least one.
        continuation: (m,) int32.
    """

    context: Tokens
    continuation: Tokens


def encode_pair(tokenizer: Any, context: str, continuation: str) -> TokenPair:
    """The tokens of two parts of a text, as the tokenizer makes them of the whole.

    A tokenizer may join the end of the context and the beginning of the continuation: `` world`` is one token, and
    ``hello `` with ``world`` is two others that a model hardly ever saw. So the whole text is encoded. Its tokens are
    the context's as long as they agree with those of the context alone, without the spaces at its end; the rest are the
    continuation's. lm-evaluation-harness splits in the same way.

    Args:
        tokenizer: has ``encode``.
        context: the text before; if it is empty, the start of a text stands for it, see `start_token`.
        continuation: the text to score.

    Raises:
        DataError: if the tokenizer does not know a character, or the context is empty and nothing can stand for it.
    """
    whole = np.asarray(encode_prompt(tokenizer, context + continuation), np.int32)
    before = np.asarray(encode_prompt(tokenizer, context.rstrip()), np.int32)
    shared = min(len(whole), len(before))
    differ = np.flatnonzero(whole[:shared] != before[:shared])
    border = int(differ[0]) if len(differ) else shared
    if border == 0:
        return TokenPair(np.array([start_token(tokenizer)], np.int32), whole)
    return TokenPair(whole[:border], whole[border:])


def start_token(tokenizer: Any) -> int:
    """The token that stands for the start of a text: its begin token, or else an end token, or else a line break.

    Raises:
        DataError: if the tokenizer has none of them.
    """
    begin = getattr(tokenizer, "begin_id", None)
    for token in (*(() if begin is None else (begin,)), *end_tokens(tokenizer)):
        return int(token)
    try:
        return int(tokenizer.encode("\n")[-1])
    except (DataError, IndexError):
        raise DataError(
            "the context is empty, and the tokenizer has neither a begin token nor an end token nor a line break that "
            "could stand for the start of a text: give each text a context of one character or more"
        ) from None

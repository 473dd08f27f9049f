"""Continues a text prompt with a model and its tokenizer."""

from __future__ import annotations

from typing import Any, Unpack

from ...backend.arrays import to_device, to_numpy
from ..decoding import Sampling, generate
from ..sessions.session import LanguageModel
from .detokenize import encode_prompt, text_pieces


def continue_text(
    model: LanguageModel,
    tokenizer: Any,
    prompt: str,
    max_new_tokens: int,
    *,
    device: str = "cpu",
    **sampling: Unpack[Sampling],
) -> str:
    """The model's continuation of ``prompt``.

    Args:
        model: the model.
        tokenizer: has ``encode(text)``, integers (T0,), and ``decode(tokens)``.
        prompt: at least one character.
        max_new_tokens: how many tokens to write.
        device: the model's device.
        **sampling: how tokens are chosen, see `stream`.

    Returns:
        The new text, without the prompt.

    Raises:
        ConfigError: if a setting is out of range, or the key is missing.
        DataError: if the tokenizer does not know a character of the prompt.
    """
    tokens = encode_prompt(tokenizer, prompt)  # (T0,)
    (written,) = to_numpy(generate(model, to_device(tokens[None], device), max_new_tokens, **sampling))  # (T0 + new,)
    return "".join(text_pieces(written[len(tokens) :].tolist(), tokenizer, after=tokens.tolist()))

"""Text in, text out: a prompt continued by a model and its tokenizer."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import to_device, to_numpy
from ..random import Key
from .decoding import LanguageModel, generate


def continue_text(
    model: LanguageModel,
    tokenizer: Any,
    prompt: str,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: Key | None = None,
    device: str = "cpu",
) -> str:
    """What the model writes after ``prompt``.

    Args:
        model: the model.
        tokenizer: has ``encode(text)``, integers (T0,), and ``decode(tokens)``.
        prompt: at least one character.
        max_new_tokens: how many tokens to write.
        temperature: above 0; below 1 the likely becomes likelier; 0 takes the likeliest token always.
        top_k: choose among this many of the likeliest tokens only.
        top_p: choose among the likeliest tokens that together have this share of the probability only.
        rng: the key of the random numbers; only temperature 0 does without.
        device: where the model is.

    Returns:
        The new text, without the prompt.

    Raises:
        ConfigError: if a setting is out of range, or the key is missing.
        DataError: if the tokenizer does not know a character of the prompt.
    """
    tokens = to_device(tokenizer.encode(prompt)[None], device)  # (1, T0)
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "rng": rng}
    written = to_numpy(generate(model, tokens, max_new_tokens, **options))  # (1, T0 + new)
    text: str = tokenizer.decode(written[0, tokens.shape[1] :])
    return text

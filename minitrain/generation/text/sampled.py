"""Sampled texts: a prompt and settings in, texts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..batching.batches import batch_generate, params_of_each
from ..batching.requests import Sample
from ..ending import stop_strings_of
from ..params import SamplingParams
from ..sessions.session import LanguageModel, Session
from .detokenize import Detokenizer, detokenizer_of, encode_prompt, unused_tokens


def generate_text_sampling(
    model: LanguageModel | Session,
    tokenizer: Any,
    prompts: Sequence[str],
    params: SamplingParams | Sequence[SamplingParams] | None = None,
    *,
    slots: int = 8,
    device: str = "cpu",
) -> list[list[str]]:
    r"""Continue texts, as many at once as there are slots.

    Args:
        model: the model, or a session of it.
        tokenizer: has ``encode(text)``, integers (T0,), and ``decode(tokens)``.
        prompts: texts of one character or more.
        params: how tokens are chosen, for all texts or for each; stop strings work too. If the model has more tokens
            than the tokenizer, those are never chosen.
        slots: how many samples run at once.
        device: the model's device.

    Returns:
        For each prompt the new texts of its ``num_samples`` samples, without the prompt; a text ends before the stop
        string or the stop token that ended it.

    Raises:
        DataError: if the tokenizer does not know a character of a prompt.
        MinitrainError: see `batch_generate`.

    Example:
        ```python
        params = SamplingParams(max_new_tokens=100, temperature=0.8, top_p=0.95, num_samples=2, stop="\n\n")
        (texts,) = generate_text_sampling(model, tokenizer, ["Once upon a time"], params)
        ```
    """
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    if unused := unused_tokens(model, tokenizer):
        each = params_of_each(params, len(encoded))
        params = [replace(one, suppress_tokens=(*one.suppress_tokens, *unused)) for one in each]
    results = batch_generate(model, encoded, params, slots=slots, detokenizer=detokenizer_of(tokenizer), device=device)
    return [[_text(result.prompt, sample, result.params, tokenizer) for sample in result.samples] for result in results]


def sample_text(
    model: LanguageModel | Session,
    tokenizer: Any,
    prompt: str,
    max_new_tokens: int = 128,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = 0,
    device: str = "cpu",
) -> str:
    """One continuation of a text, with the settings that are used most. Errors are those of `generate_text_sampling`.

    Args:
        model: the model, or a session of it.
        tokenizer: has ``encode(text)``, integers (T0,), and ``decode(tokens)``.
        prompt: one character or more.
        max_new_tokens: how many tokens to write.
        temperature: below 1, output is more predictable; above 1, more varied; 0 always takes the most likely token.
        top_k: choose only among this many of the most likely tokens.
        top_p: choose only among the most likely tokens that together have this share of the probability.
        seed: the same seed gives the same text; ``None`` takes a new one.
        device: the model's device.

    Returns:
        The new text, without the prompt.
    """
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    ((text,),) = generate_text_sampling(model, tokenizer, [prompt], params, device=device)
    return text


def _text(prompt: Any, sample: Sample, params: SamplingParams, tokenizer: Any) -> str:
    """The text of a sample, up to the stop string or without the stop token that ended it."""
    stop, detokenizer = stop_strings_of(params), Detokenizer(tokenizer, after=prompt)
    tokens = sample.tokens.tolist()
    if sample.finish_reason == "stop" and tokens[-1] in params.stop_token_ids:
        tokens.pop()
    pieces = [stop.add(detokenizer.add(token)) for token in tokens]
    return "".join([*pieces, stop.add(detokenizer.finish()), stop.finish()])

"""Generating for a list of prompts: results at the end, or events as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import ConfigError
from ..ending import Detokenize
from ..params import SamplingParams
from ..sessions.choice import open_session
from ..sessions.session import LanguageModel, Session
from .engine import Engine
from .requests import Event, Result, Sample, checked_prompt


def batch_generate(
    model: LanguageModel | Session,
    prompts: Sequence[Any],
    params: SamplingParams | Sequence[SamplingParams] | None = None,
    *,
    slots: int = 8,
    prompt_tokens_per_step: int | None = 512,
    detokenizer: Detokenize | None = None,
    device: str = "cpu",
) -> list[Result]:
    """Continue each prompt, as many at once as there are slots.

    A prompt has the same result alone and in any batch, in any order. The random numbers of a prompt come from the
    seed of its parameters: with the same parameters for all, equal prompts have equal results. For others, give each
    its own seed, as ``[replace(params, seed=i) for i in range(n)]`` with ``replace`` from ``dataclasses``.

    Args:
        model: the model, which runs without dropout, or a session of it.
        prompts: token ids (n,) each, at least one; lengths may differ.
        params: how tokens are chosen, for all prompts or for each.
        slots: how many samples run at once; of a session, all its free slots are used.
        prompt_tokens_per_step: see `Engine`.
        detokenizer: see `Engine`; for stop strings.
        device: the model's device.

    Returns:
        The results, in the order of the prompts.

    Raises:
        ConfigError: if the numbers of prompts and of parameters differ, or stop strings have no detokenizer.
        ShapeError: if a prompt is no list of integers, or is empty.
        TokenError: if a token of a prompt or of the settings is outside the vocabulary.
        NonFiniteError: if the model returns NaN or infinity, or a request bans every token; it names the request, which
            is the index of the prompt.
    """
    prompts, params = list(prompts), params_of_each(params, len(prompts))
    events: list[list[list[Event]]] = [[[] for _ in range(wanted.num_samples)] for wanted in params]
    stream = batch_stream(
        model,
        prompts,
        params,
        slots=slots,
        prompt_tokens_per_step=prompt_tokens_per_step,
        detokenizer=detokenizer,
        device=device,
    )
    for event in stream:
        events[event.request][event.sample].append(event)
    return [
        Result(checked_prompt(prompt), wanted, [Sample.of(sample, wanted) for sample in samples])
        for prompt, wanted, samples in zip(prompts, params, events, strict=True)
    ]


def batch_stream(
    model: LanguageModel | Session,
    prompts: Sequence[Any],
    params: SamplingParams | Sequence[SamplingParams] | None = None,
    *,
    slots: int = 8,
    prompt_tokens_per_step: int | None = 512,
    detokenizer: Detokenize | None = None,
    device: str = "cpu",
) -> Iterator[Event]:
    """Like `batch_generate`, but yield each token as soon as it is chosen.

    Closing the iterator ends the work at once and frees the slots; so does an exception in the loop over it.

    Yields:
        Events; ``event.request`` is the index of the prompt.
    """
    prompts = list(prompts)
    wanted = params_of_each(params, len(prompts))
    session = open_session(model, min(slots, max(1, sum(each.num_samples for each in wanted))), device=device)
    engine = Engine(session, prompt_tokens_per_step=prompt_tokens_per_step, detokenizer=detokenizer)
    for prompt, each in zip(prompts, wanted, strict=True):
        engine.submit(prompt, each)
    return _events(engine)


def _events(engine: Engine) -> Iterator[Event]:
    try:
        while engine.busy:
            for event in engine.step():
                if event.error is not None:
                    raise event.error
                yield event
    finally:
        engine.close()


def params_of_each(params: SamplingParams | Sequence[SamplingParams] | None, prompts: int) -> list[SamplingParams]:
    """The parameters of each prompt."""
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * prompts
    if len(params) != prompts:
        raise ConfigError(f"there are {prompts} prompts, but {len(params)} parameters: give one, or one for each")
    return list(params)

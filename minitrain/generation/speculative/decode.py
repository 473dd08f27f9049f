"""The loop of speculative decoding: draft, check, keep, for each row at its own pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError, ShapeError
from ...random import Key
from ..params import SamplingParams
from ..search.distribution import weights
from ..search.prompts import Prompts, check_new_tokens, free_slots, read_prompts, read_stop_tokens, slots_for
from ..sessions.choice import open_session
from ..sessions.session import LanguageModel, Session
from .acceptance import Proposal
from .drafts import Drafter, DraftRequest, ModelDrafter
from .row import Row, Speculated
from .slot_context import SlotContext


def speculative_generate(
    model: LanguageModel | Session,
    prompts: Prompts,
    *,
    draft: LanguageModel | Session | Drafter,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    key: Key | None = None,
    stop_token_ids: Iterable[int] = (),
    draft_tokens: int = 4,
    max_draft_tokens: int | None = 16,
    same_tokens: bool = False,
    device: str = "cpu",
) -> list[Speculated]:
    """Continue each prompt, several tokens per pass of the model.

    The draft guesses the next tokens, and one pass of the model gives its own distribution after each of them.
    At temperature 0, the tokens are those of greedy decoding. Otherwise they have the distribution that sampling draws
    from, see `accept_drawn`. With a draft that gives no probabilities, such as `PromptLookup`, and with
    ``same_tokens``, they are the very tokens of sampling with the same key, see `accept_guesses`.

    Rows go on at their own pace: each accepts, stops and adapts alone. Random numbers are a function of the key, the
    row's index and the position of the token, so a row does not depend on its neighbours. With a smaller
    ``max_new_tokens`` it has the same first tokens.

    The length of a row's drafts begins at ``draft_tokens``. After a draft that was accepted whole, it grows by 2, up to
    ``max_draft_tokens``. Otherwise it becomes one more than was accepted. A draft never crosses the place where the
    model's context starts again.

    Args:
        model: the model, or a session with at least one free slot. Free slots are free again at the end.
        prompts: (B, T0) integers, or B rows of integers of any lengths, at least one token each.
        draft: a smaller model with the same vocabulary, a session of one with at least one free slot, or a `Drafter`.
        max_new_tokens: how many tokens to append, 1 or more.
        temperature: 0 or more; 0 always takes the most likely token.
        top_k: choose only among this many of the most likely tokens.
        top_p: choose only among the most likely tokens that together have this share of the probability.
        key: random key; required unless the temperature is 0.
        stop_token_ids: a row ends with the first of these tokens.
        draft_tokens: how many tokens are drafted at first, 1 or more.
        max_draft_tokens: how many tokens are drafted at most; ``None`` for always ``draft_tokens``.
        same_tokens: whether a draft model should guess the tokens of plain sampling. Fewer of its drafts are accepted.
        device: the device of models; sessions know their own.

    Returns:
        A result for each prompt.

    Raises:
        ConfigError: if a setting is out of range, the key is missing, or a session has no free slot.
        ShapeError: if a prompt is empty or not a row of integers, or a draft does not fit the request or the model.
        TokenError: if a token is outside the vocabulary.
        NonFiniteError: if a model returns NaN or infinity.
    """
    settings = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)
    check_new_tokens(max_new_tokens)
    if temperature > 0 and key is None:
        raise ConfigError("sampling needs a key: pass key=Key.from_seed(0), or temperature=0")
    if draft_tokens < 1 or (max_draft_tokens is not None and draft_tokens > max_draft_tokens):
        raise ConfigError(
            f"draft_tokens={draft_tokens} must be 1 or more and at most max_draft_tokens={max_draft_tokens}"
        )
    texts, stops = read_prompts(prompts), read_stop_tokens(stop_token_ids)
    session = open_session(model, slots_for(len(texts)), device=device)
    free = free_slots(session, 1)
    guess = same_tokens or temperature == 0
    if hasattr(draft, "propose"):
        drafter = cast(Drafter, draft)
    else:
        smaller = open_session(draft, slots_for(len(texts)), device=device)
        if smaller is session:
            raise ConfigError("the draft has the model's own session: give it another one")
        drafter = ModelDrafter(smaller, settings, stops=stops, guess=guess)
        free = free[: drafter.rows]
    waiting, active = deque(range(len(texts))), dict[int, Row]()
    results: dict[int, Speculated] = {}
    try:
        while waiting or active:
            while waiting and free:
                i = waiting.popleft()
                row_key = None if temperature == 0 or key is None else key.at_sample(key.sample + i)
                active[i] = Row(texts[i], SlotContext(session, free.pop(0)), row_key, draft_tokens, max_draft_tokens)
            proposals = _propose(drafter, active, max_new_tokens if guess else None)
            for i, logits in _check(session, active, proposals).items():
                row = active[i]
                row.keep(proposals[i], weights(logits, settings), stops)
                if row.stopped or row.new >= max_new_tokens:
                    results[i] = row.result(max_new_tokens)
                    free.append(row.context.slot)
                    active.pop(i).context.release()
                    drafter.release(i)
    finally:
        for i, row in active.items():
            row.context.release()
            drafter.release(i)
    return [results[i] for i in range(len(texts))]


def _propose(drafter: Drafter, active: Mapping[int, Row], longest: int | None) -> dict[int, Proposal]:
    """A draft for each row; the empty one where there is no room for any.

    Args:
        drafter: the draft.
        active: the rows.
        longest: the number of new tokens that drafts need not go beyond. ``None`` if they must: the random numbers that
            decide a token depend on where drafts begin and end, and ``max_new_tokens`` must not change a token.
    """
    requests = {}
    for i, row in active.items():
        most = min(row.draft_tokens, row.context.room(len(row.text)))
        if longest is not None:
            most = min(most, longest - row.new - 1)
        if most > 0:
            requests[i] = DraftRequest(row.text, most, row.number)
    proposals = dict(drafter.propose(requests)) if requests else {}
    for i, request in requests.items():
        tokens = proposals[i].tokens
        if tokens.ndim != 1 or len(tokens) > request.most or tokens.dtype.kind not in "iu":
            raise ShapeError(
                f"the draft is {tokens.dtype} of shape {tokens.shape}, expected at most {request.most} integers"
            )
    nothing = Proposal(np.empty(0, np.int32), None)
    return {i: proposals.get(i, nothing) for i in active}


def _check(session: Session, active: Mapping[int, Row], proposals: Mapping[int, Proposal]) -> dict[int, Array]:
    """The model's logits before the first drafted token of each row, and after each: (k + 1, V)."""
    missing = {i: row.context.move(row.text) for i, row in active.items()}
    behind = {active[i].context.slot: new[:-1] for i, new in missing.items() if len(new) > 1}
    if behind:  # a prompt, for instance: its own predictions are not needed
        session.extend(behind)
    tokens = {
        active[i].context.slot: np.concatenate([new[-1:], active[i].context.add(proposals[i].tokens)])
        for i, new in missing.items()
    }
    logits = session.extend(tokens, every=True)
    ends = np.cumsum([len(new) for new in tokens.values()])
    return {i: logits[end - len(new) : end] for i, end, new in zip(active, ends, tokens.values(), strict=True)}

"""The loop of speculative decoding: draft, check, keep, for each row at its own pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError, ShapeError
from ..batching.batches import params_of_each
from ..choosing import float_rows
from ..ending import Detokenize, check_detokenizer
from ..params import SamplingParams
from ..search.prompts import Prompts, free_slots, read_prompts, slots_for
from ..sessions.choice import open_session
from ..sessions.session import LanguageModel, Session
from .acceptance import Proposal
from .drafts import Drafter, DraftRequest, ModelDrafter
from .row import Row, Speculated
from .slot_context import SlotContext


def speculative_generate(
    model: LanguageModel | Session,
    prompts: Prompts,
    params: SamplingParams | Sequence[SamplingParams] | None = None,
    *,
    draft: LanguageModel | Session | Drafter,
    draft_tokens: int = 4,
    max_draft_tokens: int | None = 16,
    same_tokens: bool = False,
    detokenizer: Detokenize | None = None,
    device: str = "cpu",
) -> list[Speculated]:
    """Continue each prompt, several tokens per pass of the model.

    The draft guesses the next tokens, and one pass of the model gives its own distribution after each of them. All
    settings of `SamplingParams` work, and count for the model and for the draft: in each place, penalties, bans and
    functions of your own see the text up to there. So such a function is called for texts that are not kept, too, and
    must depend on its arguments alone.

    At temperature 0, the results are those of `batch_generate`. Otherwise they have the distribution that it draws
    from, see `accept_drawn`. With a draft that gives no probabilities, such as `PromptLookup`, and with
    ``same_tokens``, they are the very results of `batch_generate`, see `accept_guesses`.

    Rows go on at their own pace: each accepts, stops and adapts alone. Random numbers are a function of the seed, the
    index of the sample among those of its prompt and the position of the token, so a row does not depend on its
    neighbours. With a smaller ``max_new_tokens`` it has the same first tokens.

    The length of a row's drafts begins at ``draft_tokens``. After a draft that was accepted whole, it grows by 2, up to
    ``max_draft_tokens``. Otherwise it becomes one more than was accepted. A draft never crosses the place where the
    model's context starts again.

    Args:
        model: the model, or a session with at least one free slot. Free slots are free again at the end.
        prompts: (B, T0) integers, or B rows of integers of any lengths, at least one token each.
        params: how tokens are chosen, for all prompts or for each.
        draft: a smaller model with the same vocabulary, a session of one with at least one free slot, or a `Drafter`.
        draft_tokens: how many tokens are drafted at first, 1 or more.
        max_draft_tokens: how many tokens are drafted at most; ``None`` for always ``draft_tokens``.
        same_tokens: whether a draft model should guess the tokens of plain sampling. Fewer of its drafts are accepted.
        detokenizer: see `Engine`; for stop strings.
        device: the device of models; sessions know their own.

    Returns:
        A result for each prompt, in their order; ``num_samples`` of them, one after the other, if there are several.

    Raises:
        ConfigError: if a setting is out of range, the numbers of prompts and of parameters differ, stop strings have no
            detokenizer, or a session has no free slot.
        ShapeError: if a prompt is empty or not a row of integers, or a draft does not fit the request or the model.
        TokenError: if a token of a prompt or of the settings is outside the vocabulary.
        NonFiniteError: if a model returns NaN or infinity, or the settings ban every token.
    """
    if draft_tokens < 1 or (max_draft_tokens is not None and draft_tokens > max_draft_tokens):
        raise ConfigError(
            f"draft_tokens={draft_tokens} must be 1 or more and at most max_draft_tokens={max_draft_tokens}"
        )
    texts = read_prompts(prompts)
    asked = [
        (text, each, sample)
        for text, each in zip(texts, params_of_each(params, len(texts)), strict=True)
        for sample in range(each.num_samples)
    ]
    for _, each, _ in asked:
        check_detokenizer(each, detokenizer)
    session = open_session(model, slots_for(len(asked)), device=device)
    free = free_slots(session, 1)
    if hasattr(draft, "propose"):
        drafter = cast(Drafter, draft)
    else:
        smaller = open_session(draft, slots_for(len(asked)), device=device)
        if smaller is session:
            raise ConfigError("the draft has the model's own session: give it another one")
        drafter = ModelDrafter(smaller, guess=same_tokens)
        free = free[: drafter.rows]
    nothing = Speculated(np.empty(0, np.int32), "length")
    results = dict.fromkeys((i for i, (_, each, _) in enumerate(asked) if not each.max_new_tokens), nothing)
    waiting, active = deque(i for i in range(len(asked)) if i not in results), dict[int, Row]()
    try:
        while waiting or active:
            while waiting and free:
                i = waiting.popleft()
                context = SlotContext(session, free.pop(0))
                active[i] = Row(*asked[i], context, draft_tokens, max_draft_tokens, detokenizer)
            proposals = _propose(drafter, active, same_tokens)
            for i, logits in _check(session, active, proposals).items():
                row = active[i]
                row.keep(proposals[i], logits)
                if row.ending.reason is not None:
                    results[i] = row.result()
                    free.append(row.context.slot)
                    active.pop(i).context.release()
                    drafter.release(i)
    finally:
        for i, row in active.items():
            row.context.release()
            drafter.release(i)
    return [results[i] for i in range(len(asked))]


def _propose(drafter: Drafter, active: Mapping[int, Row], same_tokens: bool) -> dict[int, Proposal]:
    """A draft for each row; the empty one where there is no room for any.

    Where tokens are drawn, drafts go on beyond ``max_new_tokens``: the random numbers that decide a token depend on
    where drafts begin and end, and ``max_new_tokens`` must not change a token. Guesses need not.
    """
    requests = {}
    for i, row in active.items():
        most = min(row.draft_tokens, row.context.room(len(row.text)))
        if same_tokens or row.params.temperature == 0:
            most = min(most, row.params.max_new_tokens - row.new - 1)
        if most > 0:
            requests[i] = DraftRequest(row.text, most, row.number, row.params, row.weights)
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
    logits = float_rows(session.extend(tokens, every=True))
    ends = np.cumsum([len(new) for new in tokens.values()])
    return {i: logits[end - len(new) : end] for i, end, new in zip(active, ends, tokens.values(), strict=True)}

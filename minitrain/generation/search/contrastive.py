"""Contrastive search: likely tokens that do not repeat what was said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...backend.arrays import Array, to_device, to_numpy
from ...errors import ConfigError
from ...ops.linear.linear import linear_forward
from ..context import context_start
from ..sessions.session import Tokens
from .distribution import log_probabilities
from .prompts import Prompts, check_new_tokens, read_prompts, read_stop_tokens


def contrastive_generate(
    model: Any,
    prompts: Prompts,
    *,
    max_new_tokens: int,
    top_k: int = 4,
    penalty_alpha: float = 0.6,
    stop_token_ids: Iterable[int] = (),
    device: str = "cpu",
) -> list[Tokens]:
    """Continue each prompt by contrastive search.

    Each step takes one of the ``top_k`` most likely tokens: the ``v`` with the largest
    ``(1 - alpha) * p(v) - alpha * max_j cos(h_v, h_j)``. Here ``h_v`` is the model's last hidden state after ``v``, and
    ``h_j`` those of all tokens before it in the context. So a token loses if the model is in a state that it was
    in before, which is how repetition begins. Of equal scores, the more likely token wins, then the lower id. Source:
    Su et al., 2022, "A Contrastive Framework for Neural Text Generation".

    There is no random choice. Scores are float64. Each prompt is computed alone, so it does not depend on the others.
    The model reads the whole context again in each step, once for each of the ``top_k`` tokens.

    Args:
        model: a decoder of minitrain, such as ``GPT`` or ``Llama``: it has ``forward_hidden`` and ``head``. Sessions
            and other models do not give their hidden states.
        prompts: (B, T0) integers, or B rows of integers of any lengths, at least one token each.
        max_new_tokens: how many tokens to append, 1 or more.
        top_k: how many of the most likely tokens to compare, 1 or more; 1 is greedy decoding.
        penalty_alpha: from 0 to 1, the weight of the penalty; 0 is greedy decoding.
        stop_token_ids: a row ends with the first of these tokens.
        device: the model's device.

    Returns:
        For each prompt its new tokens (n,) int32.

    Raises:
        ConfigError: if a setting is out of range, or the model has no hidden states to give.
        ShapeError: if a prompt is empty or not a row of integers.
        TokenError: if a token is outside the model's vocabulary.
        NonFiniteError: if the model returns NaN or infinity.
    """
    check_new_tokens(max_new_tokens)
    if top_k < 1:
        raise ConfigError(f"top_k={top_k} must be 1 or more")
    if not 0 <= penalty_alpha <= 1:
        raise ConfigError(f"penalty_alpha={penalty_alpha} must be from 0 to 1; 0 is greedy decoding")
    if not (hasattr(model, "forward_hidden") and hasattr(model, "head")):
        raise ConfigError(
            f"contrastive search needs the hidden states of a model, which {type(model).__name__} does not give: pass "
            "a decoder such as GPT or Llama, which has forward_hidden and head"
        )
    stops = read_stop_tokens(stop_token_ids)
    results = []
    for prompt in read_prompts(prompts):
        text = prompt
        logits = _forward(model, _contexts(model, text[:-1], text[-1:]), device)[1]  # (1, V)
        while len(text) - len(prompt) < max_new_tokens:
            probabilities = np.exp(log_probabilities(logits)[0])  # (V,)
            candidates = np.argsort(-probabilities, kind="stable")[:top_k].astype(np.int32)  # (k,)
            candidates = candidates[probabilities[candidates] > 0]
            hidden, following = _forward(model, _contexts(model, text, candidates), device)
            score = (1 - penalty_alpha) * probabilities[candidates] - penalty_alpha * _nearest(hidden)
            best = int(score.argmax())
            text = np.append(text, candidates[best])
            logits = following[best : best + 1]
            if int(candidates[best]) in stops:
                break
        results.append(text[len(prompt) :])
    return results


def _contexts(model: Any, text: Tokens, candidates: Tokens) -> Tokens:
    """(k, T) the context of ``text`` with each of the candidates after it."""
    start = context_start(len(text) + 1, model.config.block_size)
    return np.hstack([np.tile(text[start:], (len(candidates), 1)), candidates[:, None]])


def _forward(model: Any, tokens: Tokens, device: str) -> tuple[Array, Array]:
    """The hidden states (k, T, C) in float64, and the logits (k, V) of what comes next, both on the CPU."""
    hidden, _ = model.forward_hidden(to_device(np.ascontiguousarray(tokens), device))
    logits, _ = linear_forward(hidden[:, -1], model.head.weight.data)
    return to_numpy(hidden).astype(np.float64), to_numpy(logits)


def _nearest(hidden: Array) -> Array:
    """(k,) the largest cosine of each last state with one before it in ``hidden (k, T, C)``; 0 if there is none."""
    if hidden.shape[1] == 1:
        return np.zeros(len(hidden))
    length = np.linalg.norm(hidden, axis=-1, keepdims=True)  # (k, T, 1)
    direction = hidden / np.where(length > 0, length, 1)
    cosine = (direction[:, :-1] @ direction[:, -1, :, None])[..., 0]  # (k, T - 1)
    return cosine.max(axis=1)  # type: ignore[no-any-return]

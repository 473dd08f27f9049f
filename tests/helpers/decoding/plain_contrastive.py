"""Contrastive search without kept keys and values: the model reads the whole context again for each candidate."""

from __future__ import annotations

from typing import Any

import numpy as np

from minitrain.generation.context import context_start
from minitrain.generation.search.distribution import log_probabilities
from minitrain.ops.linear.linear import linear_forward


def plain_contrastive(
    model: Any, prompt: list[int], new: int, *, top_k: int, alpha: float, stops: tuple[int, ...] = ()
) -> list[int]:
    """The new tokens."""
    text = list(prompt)
    logits = _forward(model, text[:-1], text[-1:])[1]
    while len(text) - len(prompt) < new:
        probabilities = np.exp(log_probabilities(logits)[0])  # (V,)
        candidates = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
        candidates = [token for token in candidates if probabilities[token] > 0]
        hidden, following = _forward(model, text, candidates)
        scores = (1 - alpha) * probabilities[candidates] - alpha * _nearest(hidden)
        best = int(scores.argmax())
        text.append(candidates[best])
        logits = following[best : best + 1]
        if candidates[best] in stops:
            break
    return text[len(prompt) :]


def _forward(model: Any, text: list[int], candidates: list[int]) -> tuple[Any, Any]:
    """The hidden states (k, T, C) in float64 of a text with each of the candidates, and the logits (k, V) after it."""
    start = context_start(len(text) + 1, model.config.block_size)
    hidden, _ = model.forward_hidden(np.array([[*text[start:], token] for token in candidates], np.int32))
    logits, _ = linear_forward(hidden[:, -1], model.head.weight.data)
    return hidden.astype(np.float64), logits


def _nearest(hidden: Any) -> Any:
    """(k,) the largest cosine of each last state with one before it in ``hidden (k, T, C)``; 0 if there is none."""
    length = np.linalg.norm(hidden, axis=-1, keepdims=True)  # (k, T, 1)
    direction = hidden / np.where(length > 0, length, 1)
    cosine = (direction[:, :-1] @ direction[:, -1, :, None])[..., 0]  # (k, T - 1)
    return cosine.max(axis=1) if hidden.shape[1] > 1 else np.zeros(len(hidden))

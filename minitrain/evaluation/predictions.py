"""Running a model on the windows of a text, and comparing its logits with the tokens that came."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array, array_module, to_device
from ..measures.predictions import Predictions, predictions
from ..models.common.decoder import Decoder
from ..ops.linear.linear import linear_forward

LOGITS_AT_ONCE = 1 << 22
"""Logits that are held at once, as far as the model lets one choose: 16 MiB in float32."""


def predict(model: Any, tokens: Array, scored: list[int], device: str) -> list[Predictions]:
    """Run a model on windows, and compare its predictions with the last targets of each.

    A decoder's head is applied to the scored positions alone, in parts of ``LOGITS_AT_ONCE``, unless its class has a
    ``forward`` of its own.

    Args:
        model: has ``forward``; runs without dropout.
        tokens: (B, T + 1) token ids on the CPU: all but the last are inputs, all but the first are targets.
        scored: for each window, how many of its last targets to score, at most T.
        device: the model's device.

    Returns:
        Predictions in the order of the windows, in parts.
    """
    placed = to_device(tokens[:, :-1], device)
    in_parts = head_runs_alone(model)
    states: Array
    states, _ = model.forward_hidden(placed) if in_parts else model.forward(placed)  # (B, T, C or V)
    xp = array_module(states)
    kept = xp.concatenate([row[len(row) - n :] for row, n in zip(states, scored, strict=True)])  # (M, C or V)
    wanted = np.concatenate([row[len(row) - n :] for row, n in zip(tokens, scored, strict=True)])  # (M,)
    parts, size = [], max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for begin in range(0, len(wanted), size):
        part = kept[begin : begin + size]
        logits = linear_forward(part, model.head.weight.data)[0] if in_parts else part
        parts.append(predictions(logits, wanted[begin : begin + size]))
    return parts


def head_runs_alone(model: Any) -> bool:
    """Whether a model is a decoder whose logits are its head's of its hidden states, so that few are held at once."""
    return getattr(type(model), "forward", None) is Decoder.forward

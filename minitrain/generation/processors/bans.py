"""Rules that leave no choice: tokens that must not come, and tokens that must.

Each function takes the logits (V,) of one sequence and returns new ones, with ``-inf`` for what is banned.
"""

from __future__ import annotations

import numpy as np

from ...backend.arrays import Array
from ..sessions.session import Tokens


def ban(logits: Array, ids: Array) -> Array:
    """Ban the tokens ``ids`` (n,)."""
    changed = logits.copy()
    changed[ids] = -np.inf
    return changed


def force(logits: Array, token: int) -> Array:
    """Ban every token but one, whose logit becomes 0; it comes even if it was banned before."""
    changed = np.full_like(logits, -np.inf)
    changed[token] = 0
    return changed


def no_repeat_ngrams(logits: Array, tokens: Tokens, size: int) -> Array:
    """Ban the tokens that would complete a run of ``size`` tokens that occurred before.

    Source: Paulus et al., 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5 (for trigrams).

    Args:
        logits: (V,) floats.
        tokens: (n,) token ids so far, the prompt included.
        size: length of the runs, 1 or more; at 1 no token comes twice.
    """
    runs = len(tokens) - size + 1  # complete ones so far
    if runs < 1:
        return logits
    begun = tokens[runs:]  # (size - 1,) the beginning of the run that the next token completes
    alike = np.ones(runs, np.bool_)
    for i, token in enumerate(begun):
        alike &= tokens[i : i + runs] == token
    return ban(logits, tokens[size - 1 :][alike])

"""Makes tokens more or less likely: a bias of your own, and penalties for what was written before.

Each function takes the logits (V,) of one sequence and returns new ones of the same dtype.
"""

from __future__ import annotations

import numpy as np

from ...backend.arrays import Array
from ..sessions.session import Tokens


def add_bias(logits: Array, ids: Array, bias: Array) -> Array:
    """Add a number to the logits of some tokens.

    Args:
        logits: (V,) floats.
        ids: (n,) different token ids.
        bias: (n,) floats; ``-inf`` bans a token.
    """
    changed = logits.copy()
    changed[ids] += bias
    return changed


def penalize_repetition(logits: Array, tokens: Tokens, penalty: float) -> Array:
    """Divide the positive logits of the tokens that were seen by ``penalty``, and multiply the others by it.

    Source: Keskar et al., 2019, "CTRL: A Conditional Transformer Language Model for Controllable Generation",
    section 4.1. The paper divides every logit, which would make negative ones likelier; this form is that of
    transformers and vLLM.

    Args:
        logits: (V,) floats.
        tokens: (n,) token ids seen so far, the prompt included. How often each occurs makes no difference.
        penalty: above 0; above 1, repetition is rarer.
    """
    seen = logits[tokens]  # (n,)
    changed = logits.copy()
    changed[tokens] = np.where(seen > 0, seen / penalty, seen * penalty)
    return changed


def penalize_frequency(logits: Array, chosen: Tokens, frequency: float, presence: float) -> Array:
    """Subtract ``frequency`` from a logit for each time its token was chosen, and ``presence`` if it ever was.

    Source: OpenAI's API reference, "frequency_penalty" and "presence_penalty". As there, the prompt does not count.

    Args:
        logits: (V,) floats.
        chosen: (n,) token ids chosen so far, without the prompt.
        frequency: any number; below 0, repetition is more likely.
        presence: any number.
    """
    times = np.bincount(chosen, minlength=logits.size)  # (V,)
    return (logits - (frequency * times + presence * (times > 0))).astype(logits.dtype)

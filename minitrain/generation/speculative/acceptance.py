"""Which drafted tokens are kept: the step that makes a drafted text one of the target model's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ...backend.arrays import Array
from ..search.distribution import draw, normalized
from ..sessions.session import Tokens

Numbers = Callable[[str, int], float]
"""A random number in [0, 1) of a row, for a purpose and a position of its text."""

Target = Callable[[int], Array]
"""The target's distribution (V,), up to a factor, after the first ``i`` drafted tokens. It is asked for only where all
of these were kept: for other texts it may not be defined."""


class Proposal(NamedTuple):
    """Drafted tokens.

    Attributes:
        tokens: (k,) int32, k at least 0.
        probabilities: (k, V) float64, the distribution that each token was drawn from; ``None`` if tokens were not
            drawn at random for `accept_drawn`, but are guesses.
    """

    tokens: Tokens
    probabilities: Array | None


def accept_drawn(drafted: Tokens, draft: Array, target: Target, number: Numbers, length: int) -> Iterator[int]:
    """Keep drafted tokens so that the text has the target's distribution, whatever the draft's is.

    A token ``x`` is kept with probability ``min(1, p(x) / q(x))``, for the target's ``p`` and the draft's ``q``. The
    first one that is not kept is replaced by one from ``max(0, p - q)``, normalised, and the rest is dropped. If all
    are kept, one more token comes from the target. Source: Leviathan et al., 2022, "Fast Inference from Transformers
    via Speculative Decoding", and Chen et al., 2023, "Accelerating Large Language Model Decoding with Speculative
    Sampling".

    Args:
        drafted: (k,) tokens, the first of them drawn from ``draft[0]``, and so on.
        draft: (k, V) the draft's distributions.
        target: the target's.
        number: the row's random numbers. Purpose ``"accept"`` decides, ``"token"`` draws.
        length: the number of tokens before the drafted ones.

    Yields:
        1 to k + 1 tokens; all but the last one are drafted ones. Nothing is computed for tokens that nobody takes.
    """
    for i, token in enumerate(drafted.tolist()):
        p, q = normalized(target(i)), draft[i]
        if number("accept", length + i) * q[token] >= p[token]:
            residual = np.maximum(p - q, 0)
            if not residual.any():  # p and q differ by rounding only
                residual = p
            yield draw(residual, number("token", length + i))
            return
        yield token
    yield draw(target(len(drafted)), number("token", length + len(drafted)))


def accept_guesses(drafted: Tokens, target: Target, number: Numbers, length: int) -> Iterator[int]:
    """Draw tokens from the target, as plain sampling does, for as long as the draft has guessed them.

    The tokens are those of plain sampling with the same random numbers. A guess ``x`` is right with probability
    ``p(x)``, as in `accept_drawn` for a draft that was certain of ``x``. Arguments and result are those of
    `accept_drawn`; for a greedy target, one token has all the weight.
    """
    for i in range(len(drafted) + 1):
        token = draw(target(i), number("token", length + i))
        yield token
        if i < len(drafted) and token != drafted[i]:
            return

"""From the logits of one sequence to its next token.

The settings are applied in this order. Where transformers has the setting, the order is that of its ``generate``.

1. ``logit_bias``
2. ``repetition_penalty``, over prompt and new tokens
3. ``frequency_penalty`` and ``presence_penalty``, over new tokens
4. ``no_repeat_ngram_size``
5. ``min_new_tokens``
6. ``suppress_tokens``
7. ``forced_tokens``, which overrule all of the above
8. ``processor``, your own function
9. ``temperature``; at 0 the most likely token is taken, and the rest is left out
10. ``top_k``, 11. ``top_p``, 12. ``min_p``, 13. ``typical_p``: each sees the distribution that the one before has left

Then one token is drawn by inverse transform: the first id, in order, whose cumulative probability exceeds the random
number. Log-probabilities are of the model's own distribution, before step 1: they say what the model thinks, do not
depend on the settings, and are comparable between requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..errors import NonFiniteError, ShapeError, TokenError
from .params import Processor, SamplingParams
from .processors import (
    add_bias,
    ban,
    force,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    no_repeat_ngrams,
    penalize_frequency,
    penalize_repetition,
)
from .processors.cuts import largest
from .sessions.session import Tokens

Change = Callable[[Array, Tokens, int], Array]
"""Logits (V,) from logits (V,), the tokens (n,) so far, and how many of them are the prompt."""
Cut = Callable[[Array], Array]
"""The positions that are kept, ascending, of scores (m,)."""


class Choice(NamedTuple):
    """A token, its log-probability, and the most likely tokens with theirs; the last two only if asked for."""

    token: int
    logprob: float | None
    best: tuple[tuple[int, float], ...]


class Chooser:
    """Chooses the tokens of one request.

    Args:
        params: the settings of the request. Steps that it leaves out are left out here, once for all tokens.
    """

    def __init__(self, params: SamplingParams) -> None:
        self.temperature, self.logprobs = params.temperature, params.logprobs
        self.changes, self.cuts = changes_of(params), cuts_of(params)
        forced = (params.forced_tokens or {}).values()
        named = (*params.suppress_tokens, *params.stop_token_ids, *(params.logit_bias or ()), *forced)
        self._largest_id = max(named, default=-1)

    def __call__(self, logits: Array, tokens: Tokens, prompt: int, uniform: float) -> Choice:
        """The next token of a sequence.

        Args:
            logits: (V,) floats of the model, on the CPU; they are not written to.
            tokens: (n,) the sequence so far.
            prompt: how many of them are the prompt.
            uniform: a random number in [0, 1); not used at temperature 0.

        Raises:
            NonFiniteError: if the logits have NaN or infinity, or no token is left to choose.
            TokenError: if a setting names a token that is outside the vocabulary.
            ShapeError: if the request's own processor returns another shape.
        """
        self._check_ids(logits)
        if self.changes or self.logprobs is not None:
            return self.told(choose(self.changed(logits, tokens, prompt), self.temperature, self.cuts, uniform), logits)
        return Choice(choose(logits, self.temperature, self.cuts, uniform), None, ())

    def told(self, token: int, logits: Array) -> Choice:
        """A token with the log-probabilities that were asked for, from the model's logits (V,)."""
        if self.logprobs is None:
            return Choice(token, None, ())
        logprobs = log_probabilities(logits)
        if self.logprobs == 0:
            return Choice(token, float(logprobs[token]), ())
        best = largest(logits, self.logprobs)
        return Choice(token, float(logprobs[token]), tuple(zip(best.tolist(), logprobs[best].tolist(), strict=True)))

    def weights(self, logits: Array, tokens: Tokens, prompt: int) -> Array:
        """The distribution that a call draws from, up to a factor; arguments and errors are those of a call.

        Returns:
            (V,) float64. At temperature 0 the most likely token has all the weight.
        """
        self._check_ids(logits)
        changed = self.changed(logits, tokens, prompt)
        weight = np.zeros(logits.shape)
        if self.temperature == 0:
            weight[choose(changed, 0, (), 0.0)] = 1
        else:
            ids, kept = weigh(changed, self.temperature, self.cuts)
            weight[slice(None) if ids is None else ids] = kept
        return weight

    def changed(self, logits: Array, tokens: Tokens, prompt: int) -> Array:
        """Logits (V,) after steps 1 to 8 of those above; arguments and errors are those of a call."""
        check_highest(logits.max())
        changed = logits
        for change in self.changes:
            changed = change(changed, tokens, prompt)
        if changed is not logits and not math.isfinite(highest := changed.max()):
            raise NonFiniteError(
                f"the highest logit is {highest} after the request's settings: they ban every token, or its processor "
                "returned NaN or infinity"
            )
        return changed

    def _check_ids(self, logits: Array) -> None:
        if self._largest_id >= logits.size:
            raise TokenError(f"the settings name token {self._largest_id}, but the vocabulary has {logits.size} tokens")


def float_rows(logits: Array) -> Array:
    """Logits (M, V) on the CPU, as floats that NumPy can compute with."""
    rows = to_numpy(logits)
    return rows if rows.dtype.kind == "f" else rows.astype(np.float32)


def choose(logits: Array, temperature: float, cuts: Sequence[Cut], uniform: float) -> int:
    """Draw a token from ``softmax(logits / temperature)``, limited by ``cuts``.

    Args:
        logits: (V,) floats; ``-inf`` bans a token.
        temperature: 0 for the most likely token.
        cuts: applied one after the other.
        uniform: a random number in [0, 1).

    Raises:
        NonFiniteError: if the logits have NaN or +inf, or are all ``-inf``.
    """
    if temperature == 0:
        token = int(logits.argmax())  # of NaN, if there is one
        check_highest(logits[token])
        return token
    ids, weights = weigh(logits, temperature, cuts)
    share = weights.cumsum()
    place = int(share.searchsorted(uniform * share[-1], side="right"))
    return place if ids is None else int(ids[place])


def weigh(logits: Array, temperature: float, cuts: Sequence[Cut]) -> tuple[Array | None, Array]:
    """The distribution that a token is drawn from.

    Args:
        logits: (V,) floats.
        temperature: above 0.
        cuts: applied one after the other.

    Returns:
        The ids (m,) of the tokens that are left, ascending, or ``None`` for all; and their weights (m,), float64, which
        are proportional to their probabilities.

    Raises:
        NonFiniteError: if the logits have NaN or +inf, or are all ``-inf``.
    """
    highest = logits.max()  # NaN, if there is one
    check_highest(highest)
    with np.errstate(over="ignore"):  # at a tiny temperature a quotient may reach -inf; its weight 0 is right
        # In float64: sums over a large vocabulary must resolve the 32 bits of a random number.
        scores = (logits.astype(np.float64) - float(highest)) / temperature  # (V,), 0 for the most likely
    ids = None
    for cut in cuts:
        kept = cut(scores)
        scores = scores[kept]
        ids = kept if ids is None else ids[kept]
    return ids, np.exp(scores)


def check_highest(highest: float) -> None:
    """Raise an error unless the highest logit of a row is finite; NaN anywhere makes it NaN."""
    if not math.isfinite(highest):
        raise NonFiniteError(
            f"the highest logit is {highest}: the model's weights or its input are damaged, or every token is banned"
        )


def log_probabilities(logits: Array) -> Array:
    """Log-softmax of logits (V,), in float64."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return shifted - np.log(np.exp(shifted).sum())  # type: ignore[no-any-return]


def changes_of(params: SamplingParams) -> list[Change]:
    """Steps 1 to 8 of those above, without those that the parameters leave alone."""
    changes: list[Change] = []
    if params.logit_bias:
        biased, bias = _ids(params.logit_bias), np.array(list(params.logit_bias.values()))
        changes.append(lambda logits, tokens, prompt: add_bias(logits, biased, bias))
    if (repetition := params.repetition_penalty) != 1:
        changes.append(lambda logits, tokens, prompt: penalize_repetition(logits, tokens, repetition))
    frequency, presence = params.frequency_penalty, params.presence_penalty
    if frequency or presence:
        changes.append(lambda logits, tokens, prompt: penalize_frequency(logits, tokens[prompt:], frequency, presence))
    if size := params.no_repeat_ngram_size:
        changes.append(lambda logits, tokens, prompt: no_repeat_ngrams(logits, tokens, size))
    if params.stop_token_ids and (least := params.min_new_tokens):
        stop = _ids(params.stop_token_ids)
        changes.append(lambda logits, tokens, prompt: ban(logits, stop) if len(tokens) < prompt + least else logits)
    if params.suppress_tokens:
        suppressed = _ids(params.suppress_tokens)
        changes.append(lambda logits, tokens, prompt: ban(logits, suppressed))
    if forced := dict(params.forced_tokens or {}):
        changes.append(partial(_force_next, forced))
    if params.processor is not None:
        changes.append(partial(_process, params.processor))
    return changes


def cuts_of(params: SamplingParams) -> list[Cut]:
    """Steps 10 to 13 of those above, without those that the parameters leave alone."""
    cuts: list[Cut] = []
    if (k := params.top_k) is not None:
        cuts.append(lambda scores: keep_top_k(scores, k))
    if (top_p := params.top_p) is not None and top_p < 1:
        cuts.append(lambda scores: keep_top_p(scores, top_p))
    if min_p := params.min_p:
        cuts.append(lambda scores: keep_min_p(scores, min_p))
    if (typical_p := params.typical_p) is not None and typical_p < 1:
        cuts.append(lambda scores: keep_typical(scores, typical_p))
    return cuts


def _ids(tokens: Iterable[int]) -> Array:
    return np.array(list(tokens), np.int64)


def _force_next(forced: dict[int, int], logits: Array, tokens: Tokens, prompt: int) -> Array:
    token = forced.get(len(tokens) - prompt)
    return logits if token is None else force(logits, token)


def _process(processor: Processor, logits: Array, tokens: Tokens, prompt: int) -> Array:
    """The request's own function; it gets copies, so that it can spoil nothing."""
    changed = processor(tokens.copy(), logits.copy())
    if getattr(changed, "shape", None) != logits.shape:
        what = getattr(changed, "shape", type(changed).__name__)
        raise ShapeError(f"processor returned {what}, expected the logits, an array of shape {logits.shape}")
    return changed

"""One beam search over one prompt: which texts go on, which have ended, and when no better one can come.

There is no model here. `BeamGroup.advance` gets the log-probabilities of the next token and chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import TokenError
from .settings import BeamSettings, Hypothesis

Scores = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(eq=False)
class Beam:
    """A text that goes on.

    Attributes:
        tokens: the new tokens.
        log_probability: of all of them.
        state: of the phrases that must appear.
        slot: of the session, where its tokens are, or those of the beam it continues.
    """

    tokens: tuple[int, ...] = ()
    log_probability: float = 0.0
    state: int = 0
    slot: int = 0


class BeamGroup:
    """The beams of one prompt, or one of its groups in a diverse search.

    Of equal scores, the text that is first in the order of its token ids counts as better, so the lower id of two
    tokens. So nothing depends on the order of the beams.

    Args:
        settings: of the search.
        root: the text without new tokens.

    Attributes:
        beams: those that go on, in the order of their token ids; none at the end of the search.
        ended: the best texts that have ended, best first, ``settings.width`` at most.
    """

    def __init__(self, settings: BeamSettings, root: Beam) -> None:
        self.settings = settings
        self.beams = [root]
        self.ended: list[Hypothesis] = []

    def advance(self, log_probabilities: Scores, used: Scores) -> None:
        """Continue each beam with each token, and keep the best.

        Candidates are ranked by their log-probability, less ``diversity_penalty`` for each time that an earlier group
        chose the token in this step. With phrases, see `deal`. Candidates of the first ``width`` ranks that have a
        stop token, or all tokens, have ended. The first ``width`` of the others go on. Transformers and fairseq keep
        the same ones.

        Args:
            log_probabilities: (n, V) float64 of the next token of each of ``beams``.
            used: (V,) how often the earlier groups chose each token in this step; this group's choices are added.
        """
        settings, width = self.settings, self.settings.width
        length = len(self.beams[0].tokens) + 1
        totals = log_probabilities + np.array([[beam.log_probability] for beam in self.beams])  # (n, V)
        ranked = self._rank(totals - settings.diversity_penalty * used, length)
        beams: list[Beam] = []
        for rank, (parent, token) in enumerate(ranked):
            beam, total = self.beams[parent], float(totals[parent, token])
            stopped = token in settings.stops
            if stopped or length == settings.max_new_tokens:
                if rank < width:
                    self._end((*beam.tokens, token), total, stopped)
                    used[token] += not stopped
            elif len(beams) < width:
                state = settings.phrases.step(beam.state, token) if settings.phrases else 0
                beams.append(Beam((*beam.tokens, token), total, state, beam.slot))
                used[token] += 1
        self.beams = beams
        if self._is_complete(length):
            self.beams = []
        self.beams.sort(key=lambda beam: beam.tokens)

    def _rank(self, scores: Scores, length: int) -> list[tuple[int, int]]:
        """The best candidates, enough to find ``width`` that go on: (index of the beam, token), best first."""
        settings = self.settings
        most = settings.width * (1 + len(settings.stops))  # each beam has one candidate for each stop token
        if settings.phrases is None:
            return best_of(scores, most)
        V = scores.shape[1]
        if settings.phrases.tokens[-1] >= V:
            raise TokenError(f"the constraints have token {settings.phrases.tokens[-1]}, but ids run from 0 to {V - 1}")
        needed = np.stack([settings.phrases.needed_after(beam.state, V) for beam in self.beams])  # (n, V)
        left = np.full(V, settings.max_new_tokens - length)  # after this token
        left[[token for token in settings.stops if token < V]] = 0
        return deal(np.where(needed <= left, scores, -np.inf), needed, most)

    def _end(self, tokens: tuple[int, ...], log_probability: float, stopped: bool) -> None:
        score = self.settings.score(log_probability, len(tokens))
        self.ended.append(Hypothesis(np.array(tokens, np.int32), score, log_probability, stopped))
        self.ended = best_first(self.ended)[: self.settings.width]

    def _is_complete(self, length: int) -> bool:
        """Whether the search is over after ``length`` new tokens; see `beam_search_generate`."""
        settings = self.settings
        if not self.beams or len(self.ended) < settings.width:
            return not self.beams
        if settings.early_stopping is True:
            return True
        if settings.early_stopping == "never" and settings.length_penalty > 0:
            length = settings.max_new_tokens
        best = settings.score(max(beam.log_probability for beam in self.beams), length)
        return best < self.ended[-1].score


def best_first(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """By score, and equal ones in the order of their token ids."""
    return sorted(hypotheses, key=lambda one: (-one.score, one.tokens.tolist()))


def best_of(scores: Scores, most: int) -> list[tuple[int, int]]:
    """The highest of ``scores (n, V)``, at most ``most`` and none that is ``-inf``.

    Returns:
        (row, column) of each, highest first; equal ones by row and column.
    """
    flat = scores.ravel()
    chosen = np.arange(flat.size)
    if flat.size > most:
        chosen = np.flatnonzero(flat >= np.partition(flat, flat.size - most)[flat.size - most])
    chosen = chosen[flat[chosen] > -np.inf]
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")][:most]
    rows, columns = np.divmod(chosen, scores.shape[1])
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def deal(scores: Scores, needed: np.ndarray[Any, Any], most: int) -> list[tuple[int, int]]:
    """Rank candidates so that texts close to their phrases and far from them both go on.

    Candidates that need the same number of tokens form a bank. The ranking takes the best of each bank in turn, the
    bank that needs least first: Post and Vilar, 2018, "Fast Lexically Constrained Decoding with Dynamic Beam
    Allocation for Neural Machine Translation", whose banks count the tokens that are met instead.
    """
    banks = [best_of(np.where(needed == bank, scores, -np.inf), most) for bank in np.unique(needed)]
    dealt = [bank[turn] for turn in range(most) for bank in banks if turn < len(bank)]
    return dealt[:most]

"""One row of speculative decoding: its text, its random numbers, and how much it drafts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...backend.arrays import Array
from ...errors import ShapeError
from ...random import Key, uniform_number
from ..batching.requests import Event, Sample
from ..choosing import Choice, Chooser
from ..ending import Detokenize, Ending
from ..params import SamplingParams
from ..sessions.session import Tokens
from .acceptance import Proposal, accept_drawn, accept_guesses
from .slot_context import SlotContext


@dataclass(frozen=True, eq=False)
class Speculated(Sample):
    """A sample with what its drafts were worth; the other attributes are those of `Sample`.

    Attributes:
        drafted: how many tokens were drafted.
        accepted: how many of these were kept.
        passes: how many times the model checked a draft, the empty one too.
    """

    drafted: int = 0
    accepted: int = 0
    passes: int = 0

    @property
    def acceptance_rate(self) -> float:
        """``accepted / drafted``, and 0 if nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else 0.0


class Row:
    """A sample that grows.

    Args:
        prompt: (n,) int32.
        params: the settings of the request.
        sample: its index among those of the prompt.
        context: the model's context of the text.
        draft_tokens: how many tokens to draft at first.
        max_draft_tokens: how many at most; ``None`` for always ``draft_tokens``.
        detokenizer: for stop strings.

    Attributes:
        params: see above.
        text: (n,) int32 the prompt and the new tokens.
        ending: how the sample stands.
    """

    def __init__(
        self,
        prompt: Tokens,
        params: SamplingParams,
        sample: int,
        context: SlotContext,
        draft_tokens: int,
        max_draft_tokens: int | None,
        detokenizer: Detokenize | None = None,
    ) -> None:
        self.text, self.params, self.context = prompt, params, context
        self.draft_tokens, self.max_draft_tokens = draft_tokens, max_draft_tokens
        self.ending = Ending(params, prompt, detokenizer)
        self._prompt, self._chooser = len(prompt), Chooser(params)
        self._key = Key.from_seed(params.seed or 0).at_sample(sample)
        self._choices: list[Choice] = []
        self._drafted = self._accepted = self._passes = 0

    @property
    def new(self) -> int:
        """The number of new tokens."""
        return len(self.text) - self._prompt

    def number(self, purpose: str, position: int) -> float:
        """The row's random number for a purpose and a position of the text; 0 at temperature 0."""
        return uniform_number(self._key.fold(purpose, position)) if self.params.temperature else 0.0

    def weights(self, logits: Array, text: Tokens) -> Array:
        """The distribution (V,), up to a factor, that the row's settings make of a model's logits (V,) after a text."""
        return self._chooser.weights(logits, text, self._prompt)

    def keep(self, proposal: Proposal, logits: Array) -> None:
        """Extend the text by what the target keeps of a draft and the token that it adds, to the end of the sample.

        Args:
            proposal: k drafted tokens.
            logits: (k + 1, V) the target's, before the first drafted token and after each.
        """
        drafted, draft = proposal
        length, whole = len(self.text), np.concatenate([self.text, drafted.astype(np.int32)])

        def target(i: int) -> Array:
            return self.weights(logits[i], whole[: length + i])

        if draft is None:
            tokens = accept_guesses(drafted, target, self.number, length)
        elif draft.shape == (len(drafted), logits.shape[1]):
            tokens = accept_drawn(drafted, draft, target, self.number, length)
        else:
            raise ShapeError(
                f"the draft's probabilities have shape {draft.shape}, expected {(len(drafted), logits.shape[1])}, one "
                "for each token of the model's vocabulary: the draft needs the same vocabulary"
            )
        for i, token in enumerate(tokens):
            self._choices.append(self._chooser.told(token, logits[i]))
            self.text = np.append(self.text, np.int32(token))
            if self.ending.add(self.text):
                break
        accepted = i if i == len(drafted) or token != drafted[i] else i + 1
        self._drafted += len(drafted)
        self._accepted += accepted
        self._passes += 1
        if self.max_draft_tokens is not None and len(drafted):
            longer = self.draft_tokens + 2 if accepted == len(drafted) else accepted + 1
            self.draft_tokens = min(longer, self.max_draft_tokens)

    def result(self) -> Speculated:
        """The new tokens, why they ended, and the counts."""
        events = [Event(0, 0, *choice) for choice in self._choices]
        events.append(Event(0, 0, None, finish_reason=self.ending.reason, stopped_by=self.ending.stopped_by))
        sample = Sample.of(events, self.params)
        return Speculated(**vars(sample), drafted=self._drafted, accepted=self._accepted, passes=self._passes)

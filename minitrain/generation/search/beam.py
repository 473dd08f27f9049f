"""Beam search over many prompts: the rows share the model's passes, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from ...errors import ConfigError
from ..context import context_start
from ..sessions.choice import open_session
from ..sessions.session import LanguageModel, Session, Tokens
from .distribution import log_probabilities
from .group import Beam, BeamGroup, Scores, best_first
from .phrases import Constraint, Phrases
from .prompts import Prompts, free_slots, read_prompts, read_stop_tokens, slots_for
from .settings import BeamSettings, EarlyStopping, Hypothesis


def beam_search_generate(
    model: LanguageModel | Session,
    prompts: Prompts,
    *,
    num_beams: int = 4,
    max_new_tokens: int,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.0,
    constraints: Sequence[Constraint] = (),
    num_return_sequences: int = 1,
    stop_token_ids: Iterable[int] = (),
    device: str = "cpu",
) -> list[list[Hypothesis]]:
    """Find likely continuations of each prompt.

    Each step continues the ``num_beams`` texts kept so far with every token, and keeps the most likely ones. A text
    ends with a stop token, or after ``max_new_tokens``. The score of an ended text of ``n`` new tokens is its
    log-probability divided by ``n ** length_penalty``. Scores are float64. Of equal ones, the text that is first in the
    order of its token ids is better.

    Each prompt is a search of its own, with its own length and its own end. The result does not depend on the other
    prompts, or on how many slots the session has. With as many beams as there are texts of ``max_new_tokens`` tokens,
    it is that of an exhaustive search.

    When a search ends, once ``num_beams`` texts have ended (with groups: as many as a group has beams):

    - ``early_stopping=True``: at once.
    - ``False``: when no text that goes on would beat the worst of these with its present log-probability and length.
      This is a guess: with a positive length penalty, a longer text might still do it.
    - ``"never"``: when no text that goes on can beat the worst of these. Log-probabilities only fall; the length that
      is best for the score is ``max_new_tokens`` if the penalty is positive, else the present one.

    With ``num_beam_groups`` above 1, each group is a beam search over its share of the beams. In each step, groups
    choose in turn. A continuation is ranked by its log-probability, less ``diversity_penalty`` for each time that an
    earlier group chose the same token in this step: Vijayakumar et al., 2018, "Diverse Beam Search", with the Hamming
    diversity. Scores do not contain the penalty.

    With ``constraints``, every result contains all of them, each as consecutive new tokens; they may overlap.

    Args:
        model: the model, or a session with at least ``num_beams`` free slots. Free slots are free again at the end.
        prompts: (B, T0) integers, or B rows of integers of any lengths, at least one token each.
        num_beams: how many texts go on in each step.
        max_new_tokens: the most new tokens of a text, 1 or more, the stop token included.
        length_penalty: above 0, longer texts are better than with 0; below 0, shorter ones.
        early_stopping: ``True``, ``False`` or ``"never"``, see above.
        num_beam_groups: number of groups, a divisor of ``num_beams``.
        diversity_penalty: 0 or more, in nats.
        constraints: must appear: tokens, phrases (lists of tokens) or lists of phrases of which one is enough.
        num_return_sequences: how many results each prompt gets, at most ``num_beams``.
        stop_token_ids: a text ends with the first of these tokens.
        device: the device of a model; a session knows its own.

    Returns:
        For each prompt its results, best first. There are fewer than ``num_return_sequences`` if the search found
        fewer different ones.

    Raises:
        ConfigError: if an argument is out of range, the session has too few free slots, or the model gives
            every text with the constraints the probability 0.
        ShapeError: if a prompt is empty or not a row of integers.
        TokenError: if a token is outside the model's vocabulary.
        NonFiniteError: if the model returns NaN or infinity.
    """
    settings = BeamSettings(
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        num_return_sequences=num_return_sequences,
        stops=read_stop_tokens(stop_token_ids),
        phrases=Phrases(constraints) if len(constraints) else None,
    )
    texts = read_prompts(prompts)
    session = open_session(model, slots_for(len(texts), num_beams), device=device)
    free = free_slots(session, num_beams)
    own = tuple(free)
    waiting, active = deque(enumerate(texts)), list[_Row]()
    results: list[list[Hypothesis]] = [[] for _ in texts]
    try:
        while waiting or active:
            while waiting and len(free) >= num_beams:
                slots, free = free[:num_beams], free[num_beams:]
                active.append(_Row(*waiting.popleft(), slots, settings))
            tokens = [row.place(session) for row in active]
            logits = session.extend({slot: new for row in tokens for slot, new in row.items()})
            scores = log_probabilities(logits)  # (M, V)
            ends = np.cumsum([len(row) for row in tokens])[:-1]
            for row, part in zip(active, np.split(scores, ends), strict=True):
                row.advance(part)
                if not row.beams:
                    results[row.index] = row.results()
                    free += row.release(session)
            active = [row for row in active if row.beams]
    finally:
        for slot in own:
            session.cut(slot, 0)
    return results


class _Row:
    """The search of one prompt, and the slots that hold its beams."""

    def __init__(self, index: int, prompt: Tokens, slots: list[int], settings: BeamSettings) -> None:
        self.index, self.prompt, self.slots, self.settings = index, prompt, slots, settings
        root = Beam(slot=slots[0])
        self.groups = [BeamGroup(settings, root) for _ in range(settings.num_beam_groups)]
        self.beams = [root]
        self._start = 0  # of the context

    def place(self, session: Session) -> dict[int, Tokens]:
        """Give each beam a slot with the tokens before its last one.

        The first beam that continues a text stays in its slot; the others get a copy. Slots without a beam keep their
        old text: a copy to them is short, as it begins alike. When a context starts again, nothing needs to be copied.

        Returns:
            What the slot of each beam must be extended by, in the order of ``beams``.
        """
        length = len(self.prompt) + len(self.beams[0].tokens)
        start = context_start(length, session.longest)
        fresh, self._start = start != self._start, start
        spare = set(self.slots).difference(beam.slot for beam in self.beams)
        seen = set[int]()
        for beam in self.beams:
            if beam.slot in seen:
                source, beam.slot = beam.slot, spare.pop()
                if not fresh:
                    session.copy(source, beam.slot)
            seen.add(beam.slot)
        if fresh:
            for slot in self.slots:
                session.cut(slot, 0)
        tokens = {}
        for beam in self.beams:
            text = np.concatenate([self.prompt, np.array(beam.tokens, np.int32)])
            tokens[beam.slot] = text[start + session.length(beam.slot) :]
        return tokens

    def advance(self, scores: Scores) -> None:
        """One step of every group, from the log-probabilities (n, V) of the next token of each of ``beams``."""
        at = {id(beam): i for i, beam in enumerate(self.beams)}
        used = np.zeros(scores.shape[1])
        for group in self.groups:
            if group.beams:
                group.advance(scores[[at[id(beam)] for beam in group.beams]], used)
        self.beams = [beam for group in self.groups for beam in group.beams]

    def results(self) -> list[Hypothesis]:
        """The best texts of all groups, each once."""
        different = {one.tokens.tobytes(): one for group in self.groups for one in group.ended}
        if not different:
            raise ConfigError(
                f"no continuation of prompt {self.index} contains the constraints: the model gives each the "
                "probability 0"
            )
        return best_first(list(different.values()))[: self.settings.num_return_sequences]

    def release(self, session: Session) -> list[int]:
        """Free the slots, and return them."""
        for slot in self.slots:
            session.cut(slot, 0)
        return self.slots

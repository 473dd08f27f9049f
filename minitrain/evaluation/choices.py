"""Multiple-choice questions: a model chooses the continuation that it thinks most likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError
from ..generation.sessions.session import Session
from .likelihood import ContinuationScorer, Likelihood
from .pairs import encode_pair
from .questions import Question

NORMALIZATIONS: dict[str, Callable[[Likelihood, str], float]] = {
    "sum": lambda found, text: found.nats,
    "token": lambda found, text: found.nats / max(1, found.tokens),
    "byte": lambda found, text: found.nats / len(text.encode()),
}
"""The compared score: the log-probability of a choice, or that per token, or per byte of its UTF-8. A sum favours short
choices; the other two do not."""


@dataclass
class ChoiceScore:
    """How many questions were answered rightly.

    Attributes:
        questions: how many there were.
        right: the right answers, by the names of `NORMALIZATIONS`.
        expected: right answers of blind guessing, on average.
    """

    questions: int = 0
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NORMALIZATIONS, 0))
    expected: float = 0.0

    def add(self, question: Question, found: list[Likelihood]) -> None:
        """Add a question with the likelihoods of its choices."""
        self.questions += 1
        self.expected += 1 / len(question.choices)
        for name in NORMALIZATIONS:
            self.right[name] += choose(question, found, name) == question.answer

    def accuracy(self, normalization: str = "sum") -> float:
        """The share of right answers, from 0 to 1."""
        return self.right[normalization] / self.questions

    def standard_error(self, normalization: str = "sum") -> float:
        """The standard error of the accuracy, as of independent questions."""
        p = self.accuracy(normalization)
        return math.sqrt(p * (1 - p) / self.questions)

    @property
    def chance(self) -> float:
        """The accuracy of blind guessing."""
        return self.expected / self.questions


def choose(question: Question, found: list[Likelihood], normalization: str = "sum") -> int:
    """The index of the most likely choice; of equal ones, the first.

    Args:
        question: the question.
        found: the likelihoods of its choices.
        normalization: a key of `NORMALIZATIONS`.
    """
    compared = [NORMALIZATIONS[normalization](*one) for one in zip(found, question.choices, strict=True)]
    return compared.index(max(compared))


def choice_likelihoods(scorer: ContinuationScorer, tokenizer: Any, question: Question) -> list[Likelihood]:
    """The likelihood of each choice of a question.

    Choices whose context has the same tokens run together. A tokenizer may join a choice with the end of the context;
    that choice then has another context, see `encode_pair`.

    Args:
        scorer: has the model.
        tokenizer: has ``encode``.
        question: the question.

    Raises:
        DataError: if a choice is longer than the model's ``block_size``, or the tokenizer does not know a character.
    """
    return pair_likelihoods(scorer, tokenizer, [(question.context, choice) for choice in question.choices])


def pair_likelihoods(scorer: ContinuationScorer, tokenizer: Any, pairs: Iterable[tuple[str, str]]) -> list[Likelihood]:
    """The likelihoods of pairs of a context and a continuation, in their order; each context is computed once.

    Errors are those of `choice_likelihoods`.
    """
    encoded = [encode_pair(tokenizer, *pair) for pair in pairs]
    groups: dict[bytes, list[int]] = {}
    for i, pair in enumerate(encoded):
        groups.setdefault(pair.context.tobytes(), []).append(i)
    found: dict[int, Likelihood] = {}
    for members in groups.values():
        scored = scorer.score(encoded[members[0]].context, [encoded[i].continuation for i in members])
        found |= dict(zip(members, scored, strict=True))
    return [found[i] for i in range(len(encoded))]


def score_choices(session: Session, tokenizer: Any, questions: Iterable[Question]) -> ChoiceScore:
    """Let a model answer questions.

    Args:
        session: a session of the model with two slots or more, such as ``session_for(model, 8)``.
        tokenizer: has ``encode``.
        questions: the questions, such as those of `read_questions`.

    Raises:
        ConfigError: if the session has one slot only.
        DataError: if there is no question, a choice is longer than the model's ``block_size``, or the tokenizer does
            not know a character.

    Example:
        ```python
        questions = [Question("2 + 2 =", (" 3", " 4"), answer=1)]
        print(score_choices(session_for(model, 8), tokenizer, questions).accuracy())
        ```
    """
    scorer, score = ContinuationScorer(session), ChoiceScore()
    for question in questions:
        score.add(question, choice_likelihoods(scorer, tokenizer, question))
    scorer.free()
    if not score.questions:
        raise DataError("there are no questions to answer")
    return score

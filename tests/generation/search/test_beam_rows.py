"""Some beam searches over several prompts: their texts, and what they ask of the session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError, TokenError
from minitrain.generation import beam_search_generate
from minitrain.generation.search import beam
from tests.helpers.decoding.plain_decoding import plain_beam_search
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel

V = 5
PROMPTS = [[1, 2, 3], [4], [0, 1, 2, 3, 4, 0, 1], [2, 2]]


@pytest.mark.parametrize("block_size", [3, 5, 64])
@pytest.mark.parametrize("slots", [0, 1, 4, 20])
@pytest.mark.parametrize(
    ("beams", "groups", "diversity", "early", "stops"),
    [(1, 1, 0.0, True, ()), (3, 1, 0.0, False, (0,)), (4, 2, 0.3, "never", (1, 3)), (3, 3, 2.0, True, ())],
)
def test_some_searches(
    beams: int, groups: int, diversity: float, early: Any, stops: tuple[int, ...], slots: int, block_size: int
) -> None:
    """Those of the definition, whatever the slots; each beam but the first of a text is one copy."""
    model = TableModel(V, block_size, beams + block_size)
    session = CountingSession(model, beams + slots)
    settings: dict[str, Any] = {"num_beams": beams, "num_beam_groups": groups, "diversity_penalty": diversity}
    settings |= {"early_stopping": early, "stop_token_ids": stops, "max_new_tokens": 5, "num_return_sequences": beams}
    found = beam_search_generate(session, PROMPTS, **settings)
    same: dict[str, Any] = {"beams": beams, "groups": groups, "diversity": diversity, "early": early, "stops": stops}
    expected = [plain_beam_search(model, prompt, **same, new=5, length_penalty=1.0) for prompt in PROMPTS]
    for row, plain in zip(found, expected, strict=True):
        assert [tuple(one.tokens.tolist()) for one in row] == [one.tokens for one in plain.ended[:beams]]
        assert [one.score for one in row] == pytest.approx([one.score for one in plain.ended[:beams]])
    assert session.copies == sum(plain.shared for plain in expected)
    assert session.used() == []
    assert session.most <= beams * min(len(PROMPTS), session.slots // beams)
    if slots == 20:  # all rows at once
        assert session.passes <= 5
    (best,), *_ = beam_search_generate(session, PROMPTS, **settings | {"num_return_sequences": 1})
    assert best.tokens.tolist() == found[0][0].tokens.tolist()


class Watching(CountingSession):
    """Remembers how many tokens it was fed."""

    fed = 0

    def extend(self, tokens: Any, *, every: bool = False) -> Any:
        assert not every
        self.fed += sum(len(new) for new in tokens.values())
        return super().extend(tokens)


def test_each_token_is_fed_once() -> None:
    """The prompt once for all beams, then one token for each."""
    model = TableModel(V, seed=1)
    session = Watching(model, 2)
    beam_search_generate(session, [[1, 2, 3]], num_beams=2, max_new_tokens=4, early_stopping="never")
    assert session.fed == 3 + 2 * 3
    session = Watching(TableModel(V, 4, seed=1), 2)  # a context of 4 tokens starts again with 2
    beam_search_generate(session, [[1, 2, 3]], num_beams=2, max_new_tokens=4, early_stopping="never")
    assert session.fed == 3 + 2 * (1 + 2 + 1)


def test_errors_free_the_slots() -> None:
    """Those of the search alone."""
    session = CountingSession(TableModel(V, banned=(2,)), 5)
    session.extend({1: np.array([2, 3], np.int32)})
    with pytest.raises(TokenError):
        beam_search_generate(session, [[0], [V]], num_beams=2, max_new_tokens=2)
    with pytest.raises(ConfigError, match="no continuation of prompt 0 contains the constraints"):
        beam_search_generate(session, [[0], [1]], num_beams=2, max_new_tokens=1, constraints=[2])
    assert session.used() == [1]
    assert session.length(1) == 2


def test_a_session_of_its_own_has_slots_for_some_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """For about 32 beams at once: the others wait."""
    opened = []

    def open_session(model: Any, slots: int, *, device: str) -> Any:
        assert device == "cpu"
        opened.append(slots)
        return CountingSession(model, slots)

    monkeypatch.setattr(beam, "open_session", open_session)
    model = TableModel(V, 64, 0)
    many = [[token % V] for token in range(40)]
    found = beam_search_generate(model, many, num_beams=3, max_new_tokens=2)
    assert [len(row) for row in found] == [1] * 40
    beam_search_generate(model, many[:2], num_beams=3, max_new_tokens=2)
    beam_search_generate(model, many[:1], num_beams=40, max_new_tokens=2)
    assert opened == [30, 6, 40]

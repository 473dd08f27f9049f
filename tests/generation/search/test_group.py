"""One beam search without a model: fixed searches against the definition, and the ranking of candidates."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, TokenError
from minitrain.generation.search.group import Beam, BeamGroup, best_first, best_of, deal
from minitrain.generation.search.phrases import Phrases
from minitrain.generation.search.settings import BeamSettings, Hypothesis
from tests.helpers.decoding.plain_decoding import contains, exhaustive, log_softmax, next_logits, plain_beam_search
from tests.helpers.decoding.tiny_language_models import TableModel

V = 4


def asked(**changes: Any) -> BeamSettings:
    plain: dict[str, Any] = {"num_beams": 2, "max_new_tokens": 5, "length_penalty": 1.0, "early_stopping": False}
    plain |= {"num_beam_groups": 1, "diversity_penalty": 0.0, "num_return_sequences": 1, "stops": (), "phrases": None}
    plain |= changes
    return BeamSettings(**plain | {"stops": frozenset(plain["stops"])})


def search(model: TableModel, settings: BeamSettings) -> list[BeamGroup]:
    """Drive the groups to the end."""
    groups = [BeamGroup(settings, Beam((), 0.0, 0, 9)) for _ in range(settings.num_beam_groups)]
    length = 0
    while any(group.beams for group in groups):
        used, length, expected = np.zeros(V), length + 1, np.zeros(V)
        assert length <= settings.max_new_tokens
        for group in groups:
            if not group.beams:
                continue
            assert len(group.beams) <= settings.width
            rows = [log_softmax(next_logits(model, [1, *beam.tokens])) for beam in group.beams]
            ended = list(group.ended)
            live = list(group.beams)
            group.advance(np.array(rows), used)
            assert [beam.tokens for beam in group.beams] == sorted(beam.tokens for beam in group.beams)
            assert all(len(beam.tokens) == length for beam in group.beams)
            for beam in group.beams:
                parent = next(one for one in live if one.tokens == beam.tokens[:-1])
                assert beam.slot == parent.slot == 9
                total = parent.log_probability + rows[live.index(parent)][beam.tokens[-1]]
                assert beam.log_probability == pytest.approx(total)
                if settings.phrases:
                    assert beam.state == settings.phrases.step(parent.state, beam.tokens[-1])
                else:
                    assert beam.state == 0
            if group.beams:
                for beam in group.beams:
                    expected[beam.tokens[-1]] += 1
                known = {id(one) for one in ended}
                for one in group.ended:
                    if id(one) not in known and not one.stopped:
                        expected[one.tokens[-1]] += 1
                assert (used >= expected).all()
    return groups


WIDTHS = [(1, 1), (1, 2), (1, 5), (2, 1), (2, 3), (3, 1)]
CASES = [
    (groups, width, early, stops, penalty)
    for i, (groups, width, early, stops, penalty) in enumerate(
        itertools.product(*zip(*WIDTHS, strict=True), [True, False, "never"], [(), (2,), (0, 3)], [-1.0, 0.0, 1.0])
    )
    if i % 17 == 0
]


@pytest.mark.parametrize(("groups", "width", "early", "stops", "penalty"), CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_some_searches(groups: int, width: int, early: Any, stops: tuple[int, ...], penalty: float, seed: int) -> None:
    """The texts and scores are those of the definition."""
    model, diversity = TableModel(V, seed=seed), 0.4 if groups > 1 else 0.0
    settings = asked(
        num_beams=groups * width,
        num_beam_groups=groups,
        diversity_penalty=diversity,
        early_stopping=early,
        stops=stops,
        length_penalty=penalty,
    )
    found = search(model, settings)
    expected = plain_beam_search(
        model,
        [1],
        beams=groups * width,
        groups=groups,
        diversity=diversity,
        new=5,
        length_penalty=penalty,
        early=early,
        stops=stops,
    ).ended
    different = {tuple(one.tokens.tolist()): one for group in found for one in group.ended}
    assert sorted(different) == sorted(one.tokens for one in expected)
    for group in found:
        assert [one.score for one in group.ended] == sorted((one.score for one in group.ended), reverse=True)
        assert len(group.ended) <= width
        for one in group.ended:
            tokens = one.tokens.tolist()
            total = sum(log_softmax(next_logits(model, [1, *tokens[:t]]))[token] for t, token in enumerate(tokens))
            assert one.log_probability == pytest.approx(total)
            assert one.score == pytest.approx(total / len(tokens) ** penalty)
            assert one.tokens.dtype == np.int32
            assert one.stopped == (tokens[-1] in stops)


@pytest.mark.parametrize("constraints", [[2], [[0, 1], 3], [[[1, 1], [3]], [1, 2]]])
@pytest.mark.parametrize("stops", [(), (0,)])
def test_some_searches_with_phrases(constraints: Any, stops: tuple[int, ...]) -> None:
    """Narrow ones meet them, wide ones find all."""
    wanted = tuple([[c]] if isinstance(c, int) else [c] if isinstance(c[0], int) else c for c in constraints)
    if any(token in stops for phrases in wanted for phrase in phrases for token in phrase):
        with pytest.raises(ConfigError, match="token 0 is in the constraints and in stop_token_ids"):
            asked(phrases=Phrases(constraints), stops=stops)
        return
    model = TableModel(V, seed=3)
    for width in (1, 2, 6, V**4):
        settings = asked(num_beams=width, max_new_tokens=4, phrases=Phrases(constraints), stops=stops)
        (group,) = search(model, settings)
        found = [tuple(one.tokens.tolist()) for one in group.ended]
        assert found
        assert all(contains(tokens, phrases) for tokens in found for phrases in wanted)
    expected = exhaustive(model, [1], 4, length_penalty=1.0, stops=stops, constraints=wanted)
    assert found == [one.tokens for one in expected]


def test_what_the_earlier_groups_chose_is_counted() -> None:
    """Tokens that go on or end the text by its length, but no stop tokens."""
    rows = np.log(np.array([[0.1, 0.2, 0.3, 0.4]]))
    for new, stops, counts in ((5, (), [0, 0, 1, 1]), (1, (), [0, 0, 1, 1]), (5, (3,), [0, 1, 1, 0])):
        group, used = BeamGroup(asked(max_new_tokens=new, stops=stops), Beam((), 0.0, 0, 0)), np.zeros(V)
        group.advance(rows, used)
        assert used.tolist() == counts
    two = asked(num_beams=4, num_beam_groups=2, diversity_penalty=0.5)
    group, used = BeamGroup(two, Beam((), -1.0, 0, 0)), np.zeros(V)
    used[3] = 1
    group.advance(rows, used)
    assert used.tolist() == [0, 0, 1, 2]  # 0.4 / exp(0.5) is between 0.2 and 0.3
    used = np.array([0.0, 0, 0, 3])
    group = BeamGroup(two, Beam((), -1.0, 0, 0))
    group.advance(rows, used)
    assert used.tolist() == [0, 1, 1, 3]
    assert [beam.log_probability for beam in group.beams] == pytest.approx([-1 + np.log(0.2), -1 + np.log(0.3)])


@pytest.mark.parametrize(
    ("early", "penalty", "live", "worst", "over"),
    [
        (True, 1.0, -1.0, -9.0, True),
        (False, 1.0, -3.0, -1.4, True),
        (False, 1.0, -3.0, -1.6, False),
        (False, 1.0, -3.0, -1.5, False),  # an equal text may come first in the order of its tokens
        ("never", 1.0, -3.0, -0.5, True),
        ("never", 1.0, -3.0, -0.7, False),
        ("never", 0.0, -3.0, -2.9, True),
        ("never", 0.0, -3.0, -3.1, False),
        ("never", -1.0, -3.0, -5.9, True),
        ("never", -1.0, -3.0, -6.1, False),
        ("never", -0.5, -4.0, -5.6, True),
        ("never", -0.5, -4.0, -5.7, False),
        ("never", 1.0, -3.0, -0.6, False),
    ],
)
def test_when_a_search_is_over(early: Any, penalty: float, live: float, worst: float, over: bool) -> None:
    """After 2 of 5 tokens, from the best text that goes on and the worst that has ended."""
    settings = asked(early_stopping=early, length_penalty=penalty)
    group = BeamGroup(settings, Beam((0, 0), live - 4, 0, 0))
    group.beams.append(Beam((0, 1), live, 0, 0))
    assert not group._is_complete(2)
    ended = [Hypothesis(np.zeros(1, np.int32), score, score, True) for score in (worst + 9, worst)]
    group.ended = ended[1:]
    assert not group._is_complete(2)  # fewer than its width
    group.ended = ended
    assert group._is_complete(2) == over
    group.beams = []
    assert group._is_complete(2)
    group.ended = []
    assert group._is_complete(2)


@given(
    rows=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, -np.inf])] * 3), min_size=1, max_size=4),
    most=st.integers(1, 14),
    banks=st.integers(0, 99),
)
def test_ranks(rows: list[tuple[float, ...]], most: int, banks: int) -> None:
    """Highest first, equal ones by row and column; banks take turns."""
    scores = np.array(rows)
    places = [(i, j) for i, row in enumerate(rows) for j, x in enumerate(row) if x > -np.inf]
    order = sorted(places, key=lambda place: (-scores[place], place))
    assert best_of(scores, most) == order[:most]
    needed = np.random.default_rng(banks).integers(0, 3, scores.shape)
    columns = [[place for place in order if needed[place] == bank][:most] for bank in range(3)]
    turns = [column[turn] for turn in range(most) for column in columns if turn < len(column)]
    assert deal(scores, needed, most) == turns[:most]


def test_texts_with_equal_scores() -> None:
    """In the order of their tokens."""
    texts = [([1, 2], -1.0), ([0, 3], -1.0), ([5], -0.5), ([0], -2.0)]
    made = [Hypothesis(np.array(tokens, np.int32), score, score, False) for tokens, score in texts]
    assert [one.tokens.tolist() for one in best_first(made)] == [[5], [0, 3], [1, 2], [0]]


def test_phrases_outside_the_vocabulary() -> None:
    """The message says how large it is."""
    for last, wrong in ((V - 1, False), (V, True)):
        group = BeamGroup(asked(phrases=Phrases([[0, last]])), Beam((), 0.0, 0, 0))
        if wrong:
            with pytest.raises(TokenError, match=f"the constraints have token {V}, but ids run from 0 to {V - 1}"):
                group.advance(np.zeros((1, V)), np.zeros(V))
        else:
            group.advance(np.zeros((1, V)), np.zeros(V))
    outside = BeamGroup(asked(phrases=Phrases([1]), stops=(V, V + 3)), Beam((), 0.0, 0, 0))
    outside.advance(np.zeros((1, V)), np.zeros(V))
    assert len(outside.beams) == 2


@pytest.mark.parametrize("most", [1, 3, 40, 1999, 2000, 2001])
def test_ranks_of_a_large_vocabulary(most: int) -> None:
    """The highest of all numbers, and no others."""
    scores = np.random.default_rng(most).standard_normal((4, 500))
    order = np.argsort(-scores.ravel())[:most]
    assert best_of(scores, most) == [(int(i) // 500, int(i) % 500) for i in order]

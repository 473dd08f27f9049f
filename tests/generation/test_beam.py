"""Beam search: the best texts there are if it is wide enough, the same ones in any company, and what was asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, NonFiniteError, ShapeError, TokenError
from minitrain.generation import UncachedSession, beam_search_generate, session_for
from minitrain.generation.search.group import deal
from minitrain.models.gpt import GPT, GPTConfig
from tests.helpers.decoding.plain_decoding import contains, exhaustive, plain_beam_search, plain_sampling
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel
from tests.helpers.own_product import only_with_own_product

V = 5
SEEDS = st.integers(0, 10**6)
PENALTIES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
EARLY = st.sampled_from([False, True, "never"])
STOPS = st.sampled_from([(), (0,), (1, 3)])
PROMPTS = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=7), min_size=1, max_size=4)


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `plain_beam_search`."""
    groups, width = draw(st.sampled_from([(1, 1), (1, 2), (1, 4), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)]))
    return {
        "beams": groups * width,
        "groups": groups,
        "diversity": draw(st.sampled_from([0.0, 0.3, 5.0])) if groups > 1 else 0.0,
        "new": draw(st.integers(1, 6)),
        "length_penalty": draw(PENALTIES),
        "early": draw(EARLY),
        "stops": draw(STOPS),
    }


def asked(search: dict[str, Any]) -> dict[str, Any]:
    """The same as arguments of `beam_search_generate`."""
    return {
        "num_beams": search["beams"],
        "num_beam_groups": search["groups"],
        "diversity_penalty": search["diversity"],
        "max_new_tokens": search["new"],
        "length_penalty": search["length_penalty"],
        "early_stopping": search["early"],
        "stop_token_ids": search["stops"],
        "num_return_sequences": search["beams"],
    }


def texts(hypotheses: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(one.tokens.tolist()) for one in hypotheses]


@given(
    model=st.builds(TableModel, st.integers(2, 3), st.sampled_from([3, 64]), SEEDS),
    new=st.integers(1, 4),
    penalty=PENALTIES,
    early=EARLY,
    stops=STOPS,
)
def test_a_search_that_keeps_everything_is_exhaustive(
    model: TableModel, new: int, penalty: float, early: Any, stops: tuple[int, ...]
) -> None:
    width = model.config.vocab_size**new
    (found,) = beam_search_generate(
        model,
        [[1, 0]],
        num_beams=width,
        num_return_sequences=width,
        max_new_tokens=new,
        length_penalty=penalty,
        early_stopping=early,
        stop_token_ids=stops,
    )
    expected = exhaustive(model, [1, 0], new, length_penalty=penalty, stops=stops)
    assert texts(found) == [one.tokens for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], rel=1e-12)
    for one in found:
        assert one.tokens.dtype == np.int32
        assert one.score == pytest.approx(one.log_probability / len(one.tokens) ** penalty, rel=1e-15)
        assert one.stopped == (one.tokens[-1] in stops)


@given(model=st.builds(TableModel, st.just(V), st.sampled_from([3, 4, 64]), SEEDS), search=searches(), prompts=PROMPTS)
def test_each_row_is_the_search_by_definition(
    model: TableModel, search: dict[str, Any], prompts: list[list[int]]
) -> None:
    """Also with diverse groups, stop tokens, and a context that starts again."""
    found = beam_search_generate(model, prompts, **asked(search))
    for row, prompt in zip(found, prompts, strict=True):
        expected = plain_beam_search(model, prompt, **search).ended[: search["beams"]]
        assert texts(row) == [one.tokens for one in expected]
        assert [one.score for one in row] == pytest.approx([one.score for one in expected], rel=1e-12)


@given(
    model=st.builds(TableModel, st.just(V), st.sampled_from([4, 64]), SEEDS),
    search=searches(),
    prompts=PROMPTS,
    slots=st.integers(0, 9),
)
def test_a_row_does_not_depend_on_the_batch_or_the_slots(
    model: TableModel, search: dict[str, Any], prompts: list[list[int]], slots: int
) -> None:
    together = beam_search_generate(model, prompts, **asked(search))
    session = CountingSession(model, search["beams"] + slots)
    few = beam_search_generate(session, prompts, **asked(search))
    alone = [beam_search_generate(model, [prompt], **asked(search))[0] for prompt in prompts]
    for others in (few, alone):
        assert [texts(row) for row in together] == [texts(row) for row in others]
        assert [[one.score for one in row] for row in together] == [[one.score for one in row] for row in others]
    assert session.used() == []
    assert session.copies == sum(plain_beam_search(model, prompt, **search).shared for prompt in prompts)


@given(model=st.builds(TableModel, st.just(V), st.just(64), SEEDS), search=searches())
def test_never_stopping_early_loses_nothing(model: TableModel, search: dict[str, Any]) -> None:
    search["early"] = "never"
    (found,) = beam_search_generate(model, [[2]], **asked(search))
    width = search["beams"] // search["groups"]
    expected = plain_beam_search(model, [2], **search, to_the_end=True).ended
    if search["groups"] == 1 or search["diversity"] == 0:
        assert texts(found)[:width] == [one.tokens for one in expected][:width]


@given(prompts=PROMPTS, model=st.builds(TableModel, st.just(V), st.sampled_from([4, 64]), SEEDS), stops=STOPS)
def test_one_beam_is_greedy(prompts: list[list[int]], model: TableModel, stops: tuple[int, ...]) -> None:
    found = beam_search_generate(
        model, prompts, num_beams=1, max_new_tokens=9, early_stopping=True, stop_token_ids=stops
    )
    assert [texts(row) for row in found] == [[tuple(plain_sampling(model, p, 9, stops=stops))] for p in prompts]


@given(
    model=st.builds(TableModel, st.just(3), st.just(64), SEEDS, levels=st.sampled_from([1.0, 2.0, 1000.0])),
    width=st.integers(1, 12),
)
def test_equal_scores_are_in_the_order_of_their_tokens(model: TableModel, width: int) -> None:
    settings: dict[str, Any] = {"num_beams": width, "num_return_sequences": width, "max_new_tokens": 3}
    (found,) = beam_search_generate(model, [[0]], **settings)
    keys = [(-one.score, tuple(one.tokens.tolist())) for one in found]
    assert keys == sorted(keys)
    if not model.table.any():  # every token is as likely as any other
        assert texts(found) == [(i // 9, i // 3 % 3, i % 3) for i in range(width)]


def test_equal_scores_do_not_depend_on_the_order_of_beams() -> None:
    model = TableModel(2)
    model.table[:] = [0.0, 0.7]  # the same for every text, so 01 and 10 are as likely
    settings: dict[str, Any] = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 2}
    (found,) = beam_search_generate(model, [[0]], **settings)
    assert texts(found) == [(1, 1), (0, 1)]  # though 1 was likelier than 0
    model.table[:] = 0
    (found,) = beam_search_generate(model, [[0]], **settings, stop_token_ids=[1], early_stopping="never")
    assert texts(found) == [(0, 0), (0, 1)]  # 1 has the same mean, and came first


CONSTRAINTS = st.lists(
    st.integers(0, 2)
    | st.lists(st.integers(0, 2), min_size=1, max_size=2)
    | st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=2), min_size=1, max_size=2),
    min_size=1,
    max_size=3,
)


def phrases(constraint: Any) -> list[list[int]]:
    if isinstance(constraint, int):
        return [[constraint]]
    return [constraint] if isinstance(constraint[0], int) else constraint


@given(
    model=st.builds(TableModel, st.just(4), st.sampled_from([3, 64]), SEEDS),
    constraints=CONSTRAINTS,
    stops=st.sampled_from([(), (3,)]),
    penalty=PENALTIES,
    new=st.integers(1, 4),
)
def test_every_text_with_the_constraints_is_found(
    model: TableModel, constraints: list[Any], stops: tuple[int, ...], penalty: float, new: int
) -> None:
    wanted = tuple(phrases(constraint) for constraint in constraints)
    expected = exhaustive(model, [1], new, length_penalty=penalty, stops=stops, constraints=wanted)
    settings: dict[str, Any] = {"num_beams": 4**new, "num_return_sequences": 4**new, "max_new_tokens": new}
    settings |= {"constraints": constraints, "stop_token_ids": stops, "length_penalty": penalty}
    if not expected:
        with pytest.raises(ConfigError, match=rf"the constraints take \d tokens, but max_new_tokens={new}"):
            beam_search_generate(model, [[1]], **settings)
        return
    (found,) = beam_search_generate(model, [[1]], **settings)
    assert texts(found) == [one.tokens for one in expected]


@given(
    model=st.builds(TableModel, st.just(V), st.just(64), SEEDS),
    constraints=CONSTRAINTS,
    search=searches(),
    prompts=PROMPTS,
)
def test_constraints_are_met_at_any_width(
    model: TableModel, constraints: list[Any], search: dict[str, Any], prompts: list[list[int]]
) -> None:
    settings = asked(search | {"new": search["new"] + 6, "stops": (4,)})
    for row in beam_search_generate(model, prompts, constraints=constraints, **settings):
        assert row
        for tokens in texts(row):
            assert all(contains(tokens, phrases(constraint)) for constraint in constraints)
            assert 4 not in tokens[:-1]


def test_beams_are_dealt_to_texts_near_to_their_phrases_and_far_from_them() -> None:
    scores = np.array([[0.0, -1.0, -2.0, -3.0], [-4.0, -5.0, -np.inf, -6.0]])
    needed = np.array([[2, 2, 2, 1], [2, 1, 1, 0]])
    dealt = [(1, 3), (0, 3), (0, 0), (1, 1), (0, 1), (0, 2), (1, 0)]
    assert deal(scores, needed, 9) == dealt
    assert deal(scores, needed, 4) == dealt[:4]


def test_a_constraint_that_the_model_would_never_write() -> None:
    model = TableModel(4, seed=3)
    model.table[:, 2] -= 50  # far below all others
    plain, forced = (
        beam_search_generate(model, [[0], [1, 1]], num_beams=2, max_new_tokens=5, constraints=constraints)
        for constraints in ([], [[2, 2], [2, 0]])
    )
    assert not any(2 in tokens for row in plain for tokens in texts(row))
    for row in forced:
        assert contains(texts(row)[0], [[2, 2, 0]])  # the cheapest way to meet both


@given(seed=SEEDS, diversity=st.floats(0, 20))
def test_groups_choose_different_tokens_if_the_penalty_is_high(seed: int, diversity: float) -> None:
    model = TableModel(V, seed=seed, memory=1)
    settings: dict[str, Any] = {"num_beams": 3, "num_beam_groups": 3, "num_return_sequences": 3, "max_new_tokens": 1}
    (found,) = beam_search_generate(model, [[0]], diversity_penalty=diversity, **settings)
    if diversity > np.ptp(model.last([0])):
        assert len(found) == 3
    if diversity == 0:
        assert len(found) == 1


def test_banned_tokens_do_not_appear() -> None:
    model = TableModel(V, banned=(1, 2))
    (found,) = beam_search_generate(model, [[0]], num_beams=30, num_return_sequences=30, max_new_tokens=3)
    assert len(found) == 27  # fewer than asked for
    assert not any({1, 2}.intersection(tokens) for tokens in texts(found))
    with pytest.raises(ConfigError, match="no continuation of prompt 0 contains the constraints"):
        beam_search_generate(model, [[0], [3]], max_new_tokens=2, constraints=[2])


def test_a_real_model_in_a_batch_and_alone() -> None:
    model = GPT(GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16), seed=3)
    for parameter in model.parameters():
        parameter.data += 0.3 * np.random.default_rng(1).standard_normal(parameter.data.shape).astype(np.float32)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11, 12, 0, 1]]
    settings: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 9, "stop_token_ids": [0]}
    together = beam_search_generate(model, prompts, **settings)
    for row, prompt in zip(together, prompts, strict=True):
        (alone,) = beam_search_generate(model, [prompt], **settings)
        assert texts(alone) == texts(row)
        assert [one.score for one in alone] == [one.score for one in row]
        plain = plain_beam_search(model, prompt, beams=3, new=9, length_penalty=1.0, early=False, stops=(0,))
        assert texts(row) == [one.tokens for one in plain.ended[:3]]


@pytest.mark.usefixtures("compiled_kernels")
@only_with_own_product
@pytest.mark.parametrize("block_size", [8, 64])
def test_short_copies_change_no_bit(block_size: int) -> None:
    """A session copies only what differs; without kept keys and values, the scores have the same bits."""
    model = GPT(GPTConfig(vocab_size=13, block_size=block_size, n_layer=2, n_head=2, n_embd=16), seed=3)
    prompts = [[1, 2, 3], [4], list(range(12)) * 3]
    for groups, diversity in ((1, 0.0), (2, 0.4)):
        settings: dict[str, Any] = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 12}
        settings |= {"num_beam_groups": groups, "diversity_penalty": diversity, "stop_token_ids": [0]}
        session, plain = session_for(model, 9), UncachedSession(model, 4)
        for row, expected in zip(
            beam_search_generate(session, prompts, **settings),
            beam_search_generate(plain, prompts, **settings),
            strict=True,
        ):
            assert texts(row) == texts(expected)
            assert [one.score for one in row] == [one.score for one in expected]
        assert [session.length(slot) for slot in range(9)] == [0] * 9


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_beams": 0}, "num_beams=0 must be 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be 1 or more"),
        ({"num_return_sequences": 5}, "num_return_sequences=5 must be at most num_beams=4"),
        ({"num_return_sequences": 0}, "num_return_sequences=0"),
        ({"num_beam_groups": 3}, "num_beams=4 must be a multiple of num_beam_groups=3"),
        ({"num_beam_groups": 0}, "num_beam_groups=0"),
        ({"length_penalty": float("nan")}, "length_penalty=nan must be from -50 to 50"),
        ({"length_penalty": 51.0}, "length_penalty=51.0"),
        ({"diversity_penalty": -1.0}, "diversity_penalty=-1.0 must be 0 or more"),
        ({"diversity_penalty": 1.0}, "has no effect in one group"),
        ({"early_stopping": "always"}, "early_stopping='always' must be True, False or 'never'"),
        ({"early_stopping": 1}, "early_stopping=1 must be"),
        ({"stop_token_ids": [-1]}, "stop_token_ids has -1"),
        ({"stop_token_ids": [True]}, "stop_token_ids has True"),
        ({"constraints": [[]]}, r"constraint \[\] is not a token"),
        ({"constraints": [[[1], []]]}, "is not a token, a phrase"),
        ({"constraints": [-1]}, "constraint -1 is not"),
        ({"constraints": ["word"]}, "a tokenizer turns it into integers"),
        ({"constraints": [[1, 2]], "stop_token_ids": [2]}, "token 2 is in the constraints and in stop_token_ids"),
        ({"constraints": [[i, i + 1] for i in range(40)]}, "more than 100000 states"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        beam_search_generate(TableModel(50), [[0]], **{"max_new_tokens": 3, **settings})


def test_slots_are_free_again_after_an_error() -> None:
    session = CountingSession(TableModel(V), 5)
    session.extend({1: np.array([2, 3], np.int32)})
    with pytest.raises(TokenError):
        beam_search_generate(session, [[0], [V]], num_beams=2, max_new_tokens=2)
    with pytest.raises(TokenError, match=f"the constraints have token {V}, but ids run from 0 to {V - 1}"):
        beam_search_generate(session, [[0]], num_beams=2, max_new_tokens=2, constraints=[V])
    with pytest.raises(ConfigError, match="4 of the session's 5 slots are free, but 6 are needed"):
        beam_search_generate(session, [[0]], num_beams=6, max_new_tokens=2)
    assert session.used() == [1]
    assert session.length(1) == 2


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([], "there is no prompt"),
        ([[0], []], "prompt 1 is float64 of shape"),
        ([[0.5]], "prompt 0 is float64"),
        (np.zeros((1, 2, 3), int), "prompt 0 is int64 of shape"),
        (["text"], "prompt 0 is a text"),
    ],
)
def test_prompts_that_are_none(prompts: Any, says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        beam_search_generate(TableModel(V), prompts, max_new_tokens=1)


def test_logits_that_are_damaged() -> None:
    for bad in ([np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]):
        model = SimpleNamespace(
            config=SimpleNamespace(block_size=4), forward=lambda tokens, bad=bad: (np.full((1, 1, 2), bad), None)
        )
        with pytest.raises(NonFiniteError, match="the highest logit is"):
            beam_search_generate(model, [[0]], max_new_tokens=1)

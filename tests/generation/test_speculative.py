"""Speculative decoding: greedy stays greedy, samples keep their distribution, and rows go their own ways."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, MinitrainError, ShapeError, TokenError
from minitrain.generation import DraftRequest, PromptLookup, Proposal, SamplingParams, speculative_generate
from minitrain.generation.choosing import choose, cuts_of
from minitrain.generation.search.distribution import draw, normalized, weights
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.random import Key
from tests.helpers.decoding.plain_decoding import plain_sampling
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel

V = 5
SEEDS = st.integers(0, 10**6)
MODELS = st.builds(
    TableModel, st.just(V), st.sampled_from([1, 2, 4, 7, 64]), SEEDS, memory=st.sampled_from([None, 1, 2])
)
PROMPTS = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=9), min_size=1, max_size=4)
STOPS = st.sampled_from([(), (0,), (1, 3)])
LENGTHS = st.sampled_from([(1, 1), (1, 16), (4, 16), (3, None), (2, 5)]).map(
    lambda pair: {"draft_tokens": pair[0], "max_draft_tokens": pair[1]}
)
SETTINGS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.5, 1.0, 2.0]),
        "top_k": st.none() | st.integers(1, V),
        "top_p": st.none() | st.sampled_from([0.3012345, 0.9012345]),
    }
)


def tokens(results: list[Any]) -> list[list[int]]:
    return [one.tokens.tolist() for one in results]


class Alike(TableModel):
    """A model that agrees with another one in most of its states."""

    def __init__(self, other: TableModel, seed: int) -> None:
        super().__init__(other.config.vocab_size, other.config.block_size, seed, memory=other.memory)
        same = np.random.default_rng(seed).random(len(self.table)) < 0.6
        self.table[same] = other.table[same]


DRAFTS = st.sampled_from(["other", "alike", "same", "lookup"])


def make_draft(kind: str, model: TableModel, seed: int) -> Any:
    return {
        "other": lambda: TableModel(V, 1 + seed % 9, seed),
        "alike": lambda: Alike(model, seed),
        "same": lambda: model,
        "lookup": lambda: PromptLookup(1 + seed % 4),
    }[kind]()


@given(model=MODELS, kind=DRAFTS, seed=SEEDS, prompts=PROMPTS, new=st.integers(1, 20), stops=STOPS, lengths=LENGTHS)
def test_greedy_stays_greedy(
    model: TableModel,
    kind: str,
    seed: int,
    prompts: list[list[int]],
    new: int,
    stops: tuple[int, ...],
    lengths: dict[str, Any],
) -> None:
    """With any draft, in any company, beyond the block, and with any length of drafts."""
    found = speculative_generate(
        model,
        prompts,
        draft=make_draft(kind, model, seed),
        max_new_tokens=new,
        temperature=0,
        stop_token_ids=stops,
        **lengths,
    )
    assert tokens(found) == [plain_sampling(model, prompt, new, stops=stops) for prompt in prompts]
    for one in found:
        assert 0 <= one.accepted <= one.drafted
        assert one.accepted + one.passes >= len(one.tokens)


@given(
    model=MODELS,
    kind=DRAFTS,
    seed=SEEDS,
    prompts=PROMPTS,
    new=st.integers(1, 12),
    stops=STOPS,
    settings=SETTINGS,
    lengths=LENGTHS,
)
def test_guesses_change_no_token(
    model: TableModel,
    kind: str,
    seed: int,
    prompts: list[list[int]],
    new: int,
    stops: tuple[int, ...],
    settings: dict[str, Any],
    lengths: dict[str, Any],
) -> None:
    """With ``same_tokens``, or from the prompt, the tokens are those of plain sampling."""
    key = Key.from_seed(seed)
    found = speculative_generate(
        model,
        prompts,
        draft=make_draft(kind, model, seed),
        max_new_tokens=new,
        key=key,
        stop_token_ids=stops,
        same_tokens=True,
        **settings,
        **lengths,
    )
    expected = [
        plain_sampling(model, prompt, new, key=key.at_sample(i), stops=stops, **settings)
        for i, prompt in enumerate(prompts)
    ]
    assert tokens(found) == expected


@given(
    model=MODELS, kind=DRAFTS, seed=SEEDS, prompts=PROMPTS, new=st.integers(1, 8), settings=SETTINGS, lengths=LENGTHS
)
def test_a_row_depends_on_its_key_alone(
    model: TableModel,
    kind: str,
    seed: int,
    prompts: list[list[int]],
    new: int,
    settings: dict[str, Any],
    lengths: dict[str, Any],
) -> None:
    key = Key.from_seed(seed)

    def run(prompts: Any, new: int, key: Key, session: Any = model, draft: Any = None) -> list[Any]:
        draft = make_draft(kind, model, seed) if draft is None else draft
        return speculative_generate(session, prompts, draft=draft, max_new_tokens=new, key=key, **settings, **lengths)

    together = run(prompts, new, key)
    for i, prompt in enumerate(prompts):
        assert run([prompt], new, key.at_sample(i)) == [together[i]]
        assert tokens(run([prompt], new, key.at_sample(i))) == [together[i].tokens.tolist()]
    # with fewer slots than rows
    session = CountingSession(model, 2)
    draft = make_draft(kind, model, seed)
    smaller = draft if kind == "lookup" else CountingSession(draft, 1 + seed % 3)
    few = run(prompts, new, key, session, smaller)
    assert few == together
    assert tokens(few) == tokens(together)
    assert session.used() == []
    assert kind == "lookup" or smaller.used() == []
    # asked for more
    longer = run(prompts, new + 5, key)
    assert [one[:new] for one in tokens(longer)] == tokens(together)


@given(
    model=st.builds(TableModel, st.just(V), st.just(64), SEEDS),
    seed=SEEDS,
    settings=SETTINGS | st.just({"temperature": 0}),
    same_tokens=st.booleans(),
)
def test_a_draft_that_is_the_model_is_always_right(
    model: TableModel, seed: int, settings: dict[str, Any], same_tokens: bool
) -> None:
    session = CountingSession(model, 2)
    found = speculative_generate(
        session,
        [[1, 2], [3]],
        draft=model,
        max_new_tokens=25,
        draft_tokens=4,
        max_draft_tokens=None,
        key=Key.from_seed(seed),
        same_tokens=same_tokens,
        **settings,
    )
    assert [one.acceptance_rate for one in found] == [1.0, 1.0]
    assert [one.passes for one in found] == [5, 5]  # 5 tokens each
    assert session.passes == 6  # and the first prompt's beginning


class Scripted:
    """Drafts right and wrong tokens as told, and remembers how many it was asked for."""

    def __init__(self, model: TableModel, right: list[int]) -> None:
        self.model, self.right = model, list(right)
        self.asked: list[int] = []
        self.released: list[int] = []

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        ((row, request),) = requests.items()
        self.asked.append(request.most)
        draft = plain_sampling(self.model, request.text.tolist(), request.most)
        right = self.right.pop(0) if self.right else 0
        if right < len(draft):
            draft[right] = (draft[right] + 1) % V
        return {row: Proposal(np.array(draft, np.int32), None)}

    def release(self, row: int) -> None:
        self.released.append(row)


def test_the_length_of_drafts_follows_their_success() -> None:
    model = TableModel(V, 1000)
    drafter = Scripted(model, [9, 9, 9, 3, 9, 0, 0, 9])
    (found,) = speculative_generate(
        model, [[0]], draft=drafter, max_new_tokens=60, temperature=0, draft_tokens=4, max_draft_tokens=7
    )
    #                      whole 4, 6, 7; 3 of 7; whole 4; none of 6; none of 1; whole 1; then none of 3, and of 1
    assert drafter.asked[:10] == [4, 6, 7, 7, 4, 6, 1, 1, 3, 1]
    assert drafter.released == [0]
    assert found.tokens.tolist() == plain_sampling(model, [0], 60)
    assert found.accepted == 4 + 6 + 7 + 3 + 4 + 0 + 0 + 1
    fixed = Scripted(model, [9, 0, 2, 9])
    speculative_generate(
        model, [[0]], draft=fixed, max_new_tokens=20, temperature=0, draft_tokens=3, max_draft_tokens=None
    )
    assert set(fixed.asked[:5]) == {3}


def test_a_draft_ends_where_the_context_starts_again() -> None:
    model = TableModel(V, 6)  # contexts of up to 6 tokens, then of the last 3
    drafter = Scripted(model, [9] * 9)
    (found,) = speculative_generate(
        model, [[0, 1, 2]], draft=drafter, max_new_tokens=12, temperature=0, draft_tokens=5, max_draft_tokens=None
    )
    # The text has 3, then 7 tokens, of which the model sees 3; then 11, of which it sees 3; and so on.
    assert drafter.asked == [3, 3, 3]
    assert found.tokens.tolist() == plain_sampling(model, [0, 1, 2], 12)


# The distribution.


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("other", {}),
        ("other", {"temperature": 0.7, "top_k": 3}),
        ("alike", {"temperature": 1.3, "top_p": 0.8012345}),
        ("lookup", {}),
    ],
)
def test_samples_have_the_distribution_of_the_model(kind: str, settings: dict[str, Any]) -> None:
    """Chi-square over all texts of three tokens."""
    model, n = TableModel(V, 64, 1), 1500
    draft = {"other": TableModel(V, 64, 2), "alike": Alike(model, 4), "lookup": PromptLookup()}[kind]
    found = speculative_generate(
        model, [[1, 2, 1]] * n, draft=draft, max_new_tokens=3, key=Key.from_seed(5), draft_tokens=2, **settings
    )
    expected = np.zeros((V, V, V))
    for a, b in itertools.product(range(V), range(V)):
        after = [
            normalized(weights(model.last([1, 2, 1, *text])[None], SamplingParams(**settings)))[0]
            for text in ([], [a], [a, b])
        ]
        expected[a, b] = n * after[0][a] * after[1][b] * after[2]
    counts = np.bincount([a * V * V + b * V + c for a, b, c in tokens(found)], minlength=V**3)
    common = expected.ravel() >= 5  # rare texts count as one
    groups = (
        np.append(counts[common], counts[~common].sum()),
        np.append(expected.ravel()[common], expected.ravel()[~common].sum()),
    )
    groups = tuple(group[groups[1] > 0] for group in groups)
    degrees = len(groups[0]) - 1
    chi_square = ((groups[0] - groups[1]) ** 2 / groups[1]).sum()
    # The 0.999 quantile, by Wilson and Hilferty's approximation.
    assert chi_square < degrees * (1 - 2 / (9 * degrees) + 3.09 * np.sqrt(2 / (9 * degrees))) ** 3
    assert not counts[expected.ravel() == 0].any()
    assert 0 < sum(one.accepted for one in found) < sum(one.drafted for one in found)


def test_a_real_model_with_a_smaller_one() -> None:
    def gpt(layers: int, seed: int) -> GPT:
        model = GPT(GPTConfig(vocab_size=13, block_size=8, n_layer=layers, n_head=2, n_embd=16), seed=seed)
        for parameter in model.parameters():
            parameter.data += 0.2 * np.random.default_rng(seed).standard_normal(parameter.data.shape).astype(np.float32)
        return model

    model, smaller = gpt(2, 1), gpt(1, 2)
    prompts = [[1, 2, 3], [4], list(range(11))]
    for draft in (smaller, PromptLookup()):
        found = speculative_generate(model, prompts, draft=draft, max_new_tokens=20, temperature=0)
        assert tokens(found) == [plain_sampling(model, prompt, 20) for prompt in prompts]


# What does not fit.


class Draft:
    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        return dict.fromkeys(requests, self.proposal)

    def release(self, row: int) -> None:
        pass


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"key": None}, ConfigError, r"pass key=Key\.from_seed\(0\)"),
        ({"temperature": -1}, ConfigError, "temperature=-1"),
        ({"top_k": 0}, ConfigError, "top_k=0"),
        ({"max_new_tokens": 0}, ConfigError, "max_new_tokens=0 must be 1 or more"),
        ({"draft_tokens": 0}, ConfigError, "draft_tokens=0 must be 1 or more"),
        ({"draft_tokens": 5, "max_draft_tokens": 4}, ConfigError, "at most max_draft_tokens=4"),
        ({"draft": TableModel(V - 1)}, ShapeError, "the draft needs the same vocabulary"),
        ({"draft": Draft(Proposal(np.array([V]), None))}, TokenError, "outside the vocabulary"),
        ({"draft": Draft(Proposal(np.zeros(9, int), None))}, ShapeError, "expected at most 4 integers"),
        ({"draft": Draft(Proposal(np.zeros((1, 1), int), None))}, ShapeError, "expected at most 4 integers"),
        ({"draft": Draft(Proposal(np.zeros(1), None))}, ShapeError, "the draft is float64"),
        ({"draft": Draft(Proposal(np.zeros(2, int), np.ones((1, V))))}, ShapeError, r"expected \(2, 5\), one for each"),
        ({"prompts": [[]]}, ShapeError, "prompt 0"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], error: type[MinitrainError], says: str) -> None:
    arguments = {"prompts": [[0]], "draft": PromptLookup(), "max_new_tokens": 3, "key": Key.from_seed(0)} | settings
    session = CountingSession(TableModel(V), 1)
    with pytest.raises(error, match=says):
        speculative_generate(session, **arguments)
    assert session.used() == []


def test_a_model_does_not_share_its_session_with_the_draft() -> None:
    session = CountingSession(TableModel(V), 4)
    with pytest.raises(ConfigError, match="give it another one"):
        speculative_generate(session, [[0]], draft=session, max_new_tokens=1, temperature=0)


# The parts.


@given(rows=st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=3), settings=SETTINGS)
def test_distributions_are_those_that_sampling_draws_from(rows: list[list[float]], settings: dict[str, Any]) -> None:
    logits = np.array(rows, np.float32)
    params = SamplingParams(**settings)
    weight = weights(logits, params)
    for number in (0.0, 0.25, 0.9, 1 - 2.0**-32):
        for row, own in zip(logits, weight, strict=True):
            assert draw(own, number) == choose(row, params.temperature, cuts_of(params), number)
    greedy = weights(logits, SamplingParams(temperature=0))
    assert greedy.argmax(axis=1).tolist() == logits.argmax(axis=1).tolist()
    assert greedy.sum(axis=1).tolist() == [1.0] * len(rows)

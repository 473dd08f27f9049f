"""Speculative decoding: greedy stays greedy, samples keep their distribution, and rows go their own ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, MinitrainError, NonFiniteError, ShapeError, TokenError
from minitrain.generation import (
    DraftRequest,
    PromptLookup,
    Proposal,
    Sample,
    SamplingParams,
    batch_generate,
    speculative_generate,
)
from minitrain.models.gpt import GPT, GPTConfig
from tests.helpers.decoding.plain_decoding import plain_sampling
from tests.helpers.decoding.request_settings import CHANGES, CUTS, V, settings_of
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel
from tests.helpers.plain_generation import changed_logits, distribution

SEEDS = st.integers(0, 10**6)
MODELS = st.builds(
    TableModel, st.just(V), st.sampled_from([1, 2, 4, 7, 64]), SEEDS, memory=st.sampled_from([None, 1, 2])
)
PROMPTS = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=9), min_size=1, max_size=4)
LENGTHS = st.sampled_from([(1, 1), (1, 16), (4, 16), (3, None), (2, 5)]).map(
    lambda pair: {"draft_tokens": pair[0], "max_draft_tokens": pair[1]}
)
LETTERS = "abcdefg"
STRINGS = st.lists(st.text(LETTERS[:4], min_size=1, max_size=3), max_size=3)


def letters(prompt: Any) -> Any:
    """The text of the tokens, two of them at a time."""
    held: list[str] = []

    def add(token: int) -> str:
        held.append(LETTERS[token])
        if len(held) < 2:
            return ""
        text = "".join(held)
        held.clear()
        return text

    return add


@st.composite
def params(draw: st.DrawFn, *, greedy: bool = False) -> SamplingParams:
    """Any settings at all."""
    own: dict[str, Any] = {"max_new_tokens": draw(st.integers(5, 20)), "seed": draw(SEEDS), "stop": draw(STRINGS)}
    own |= {"logprobs": draw(st.sampled_from([None, 0, 2])), "num_samples": 1 if greedy else draw(st.integers(1, 2))}
    if greedy:
        own["temperature"] = 0
    return draw(settings_of(CHANGES | CUTS, **own))


def told(sample: Sample) -> list[Any]:
    """All that there is to tell of a sample."""
    logprobs = None if sample.logprobs is None else sample.logprobs.tolist()
    return [sample.tokens.tolist(), sample.finish_reason, sample.stopped_by, logprobs, sample.best]


def ordinary(model: Any, prompts: Any, params: Any) -> Any:
    """What ordinary generation tells of each sample, or its error."""
    try:
        results = batch_generate(model, prompts, params, detokenizer=letters)
    except MinitrainError as error:
        return type(error)
    return [told(sample) for result in results for sample in result.samples]


def speculated(*arguments: Any, **more: Any) -> Any:
    try:
        found = speculative_generate(*arguments, detokenizer=letters, **more)
    except MinitrainError as error:
        return type(error)
    for one in found:
        assert 0 <= one.accepted <= one.drafted
        assert one.accepted + one.passes >= len(one.tokens)
    return [told(one) for one in found]


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
        "other": lambda: TableModel(model.config.vocab_size, 1 + seed % 9, seed),
        "alike": lambda: Alike(model, seed),
        "same": lambda: model,
        "lookup": lambda: PromptLookup(1 + seed % 4),
    }[kind]()


@settings(max_examples=50)
@given(model=MODELS, kind=DRAFTS, seed=SEEDS, prompts=PROMPTS, params=params(greedy=True), lengths=LENGTHS)
def test_greedy_stays_greedy(
    model: TableModel, kind: str, seed: int, prompts: list[list[int]], params: SamplingParams, lengths: dict[str, Any]
) -> None:
    """With any draft and any settings, in any company, beyond the block, and with any length of drafts."""
    found = speculated(model, prompts, params, draft=make_draft(kind, model, seed), **lengths)
    assert found == ordinary(model, prompts, params)


@settings(max_examples=50)
@given(model=MODELS, kind=DRAFTS, seed=SEEDS, prompts=PROMPTS, data=st.data(), lengths=LENGTHS)
def test_guesses_change_no_token(
    model: TableModel, kind: str, seed: int, prompts: list[list[int]], data: st.DataObject, lengths: dict[str, Any]
) -> None:
    """With ``same_tokens``, or from the prompt, the results are those of plain sampling, each with its settings."""
    each = [data.draw(params()) for _ in prompts]
    same_tokens = kind != "lookup"
    draft = make_draft(kind, model, seed)
    assert speculated(model, prompts, each, draft=draft, same_tokens=same_tokens, **lengths) == ordinary(
        model, prompts, each
    )


@settings(max_examples=30)
@given(model=MODELS, kind=DRAFTS, seed=SEEDS, prompts=PROMPTS, params=params(), lengths=LENGTHS)
def test_a_row_depends_on_its_settings_alone(
    model: TableModel, kind: str, seed: int, prompts: list[list[int]], params: SamplingParams, lengths: dict[str, Any]
) -> None:
    def run(prompts: Any, params: Any, session: Any = model, draft: Any = None) -> Any:
        draft = make_draft(kind, model, seed) if draft is None else draft
        return speculated(session, prompts, params, draft=draft, **lengths)

    together, alone = run(prompts, params), [run([prompt], params) for prompt in prompts]
    if isinstance(together, type):
        assert together in alone
        return
    assert [one for each in alone for one in each] == together
    # with fewer slots than rows
    session = CountingSession(model, 2)
    draft = make_draft(kind, model, seed)
    smaller = draft if kind == "lookup" else CountingSession(draft, 1 + seed % 3)
    assert run(prompts, params, session, smaller) == together
    assert session.used() == []
    assert kind == "lookup" or smaller.used() == []
    # asked for less
    less = replace(params, max_new_tokens=5, stop=())
    longer = run(prompts, replace(less, max_new_tokens=9))
    if not isinstance(longer, type):  # the settings may ban every token
        assert [one[0][:5] for one in longer] == [one[0] for one in run(prompts, less)]


@settings(max_examples=30)
@given(
    model=st.builds(TableModel, st.just(V), st.just(64), SEEDS),
    changes=st.sampled_from(
        [{}, {"temperature": 0}, {"top_k": 3, "min_p": 0.1}, {"frequency_penalty": 1.5, "typical_p": 0.7}]
    ),
    seed=SEEDS,
    same_tokens=st.booleans(),
)
def test_a_draft_that_is_the_model_is_always_right(
    model: TableModel, changes: dict[str, Any], seed: int, same_tokens: bool
) -> None:
    """Its settings are those of the model, in each place."""
    session = CountingSession(model, 2)
    found = speculative_generate(
        session,
        [[1, 2], [3]],
        SamplingParams(max_new_tokens=25, seed=seed, **changes),
        draft=model,
        draft_tokens=4,
        max_draft_tokens=None,
        same_tokens=same_tokens,
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
    greedy = SamplingParams(max_new_tokens=60, temperature=0)
    (found,) = speculative_generate(model, [[0]], greedy, draft=drafter, draft_tokens=4, max_draft_tokens=7)
    #                      whole 4, 6, 7; 3 of 7; whole 4; none of 6; none of 1; whole 1; then none of 3, and of 1
    assert drafter.asked[:10] == [4, 6, 7, 7, 4, 6, 1, 1, 3, 1]
    assert drafter.released == [0]
    assert found.tokens.tolist() == plain_sampling(model, [0], 60)
    assert found.accepted == 4 + 6 + 7 + 3 + 4 + 0 + 0 + 1
    fixed = Scripted(model, [9, 0, 2, 9])
    greedy = SamplingParams(max_new_tokens=20, temperature=0)
    speculative_generate(model, [[0]], greedy, draft=fixed, draft_tokens=3, max_draft_tokens=None)
    assert set(fixed.asked[:5]) == {3}


def test_a_draft_ends_where_the_context_starts_again() -> None:
    model = TableModel(V, 6)  # contexts of up to 6 tokens, then of the last 3
    drafter = Scripted(model, [9] * 9)
    greedy = SamplingParams(max_new_tokens=12, temperature=0)
    (found,) = speculative_generate(model, [[0, 1, 2]], greedy, draft=drafter, draft_tokens=5, max_draft_tokens=None)
    # The text has 3, then 7 tokens, of which the model sees 3; then 11, of which it sees 3; and so on.
    assert drafter.asked == [3, 3, 3]
    assert found.tokens.tolist() == plain_sampling(model, [0, 1, 2], 12)


# The distribution.


def no_pairs(tokens: Any, logits: Any) -> Any:
    """A processor: no token comes twice in a row, but 2."""
    if tokens[-1] != 2:
        logits[tokens[-1]] = -np.inf
    return logits


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("other", {}),
        ("other", {"temperature": 0.7, "top_k": 3}),
        ("alike", {"temperature": 1.3, "top_p": 0.8012345}),
        ("lookup", {}),
        ("other", {"temperature": 1.5, "min_p": 0.2, "repetition_penalty": 1.6, "processor": no_pairs}),
        ("alike", {"temperature": 2.0, "typical_p": 0.8012345, "frequency_penalty": 0.8, "logit_bias": {3: -1.0}}),
        ("other", {"temperature": 2.0, "no_repeat_ngram_size": 2, "suppress_tokens": [4], "presence_penalty": -1.0}),
        ("other", {"temperature": 2.0, "min_new_tokens": 2, "stop_token_ids": [0, 1], "forced_tokens": {1: 2}}),
    ],
)
def test_samples_have_the_distribution_of_the_model(kind: str, changes: dict[str, Any]) -> None:
    """Chi-square over all texts of three tokens, whose probabilities are written out in the tests' helpers."""
    U, n = 5, 600
    model = TableModel(U, 64, 1)
    draft = {"other": TableModel(U, 64, 2), "alike": Alike(model, 4), "lookup": PromptLookup()}[kind]
    params = SamplingParams(max_new_tokens=3, seed=5, num_samples=n, **changes)
    found = speculative_generate(model, [[1, 2, 1]], params, draft=draft, draft_tokens=2)
    expected: dict[tuple[int, ...], float] = {(): float(n)}
    for _ in range(3):
        longer: dict[tuple[int, ...], float] = {}
        for text, share in expected.items():
            if text and text[-1] in params.stop_token_ids:
                longer[text] = share
                continue
            logits = changed_logits(model.last([1, 2, 1, *text]).tolist(), [1, 2, 1, *text], 3, params)
            for token, p in enumerate(distribution(logits, params)):
                longer[(*text, token)] = share * p
        expected = longer
    counts = Counter(map(tuple, tokens(found)))
    assert all(expected[text] > 0 for text in counts)
    common = [text for text, share in expected.items() if share >= 5]  # rare texts count as one
    wanted = [expected[text] for text in common] + [n - sum(expected[text] for text in common)]
    seen = [counts[text] for text in common] + [n - sum(counts[text] for text in common)]
    pairs = [(a, b) for a, b in zip(seen, wanted, strict=True) if b > 1e-6]
    degrees = len(pairs) - 1
    chi_square = sum((a - b) ** 2 / b for a, b in pairs)
    # The 0.999 quantile, by Wilson and Hilferty's approximation.
    assert degrees >= 3
    assert chi_square < degrees * (1 - 2 / (9 * degrees) + 3.09 * np.sqrt(2 / (9 * degrees))) ** 3
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
        found = speculative_generate(model, prompts, SamplingParams(max_new_tokens=20, temperature=0), draft=draft)
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
    ("changes", "error", "says"),
    [
        ({"params": [SamplingParams()] * 2}, ConfigError, "1 prompts, but 2 parameters"),
        ({"params": SamplingParams(stop="a")}, ConfigError, "stop strings need a detokenizer"),
        ({"params": SamplingParams(suppress_tokens=[V])}, TokenError, f"name token {V}"),
        ({"params": SamplingParams(suppress_tokens=range(V))}, NonFiniteError, "they ban every token"),
        ({"draft_tokens": 0}, ConfigError, "draft_tokens=0 must be 1 or more"),
        ({"draft_tokens": 5, "max_draft_tokens": 4}, ConfigError, "at most max_draft_tokens=4"),
        ({"draft": TableModel(V - 1)}, ShapeError, "the draft needs the same vocabulary"),
        ({"draft": Draft(Proposal(np.array([V]), None))}, TokenError, "outside the vocabulary"),
        ({"draft": Draft(Proposal(np.zeros(9, int), None))}, ShapeError, "expected at most 4 integers"),
        ({"draft": Draft(Proposal(np.zeros((1, 1), int), None))}, ShapeError, "expected at most 4 integers"),
        ({"draft": Draft(Proposal(np.zeros(1), None))}, ShapeError, "the draft is float64"),
        ({"draft": Draft(Proposal(np.zeros(2, int), np.ones((1, V))))}, ShapeError, rf"expected \(2, {V}\), one for"),
        ({"prompts": [[]]}, ShapeError, "prompt 0"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], error: type[MinitrainError], says: str) -> None:
    arguments = {"prompts": [[0]], "draft": PromptLookup(), "params": SamplingParams(max_new_tokens=9)} | changes
    session = CountingSession(TableModel(V), 1)
    with pytest.raises(error, match=says):
        speculative_generate(session, **arguments)
    assert session.used() == []


def test_no_token_is_asked_for() -> None:
    params = [SamplingParams(max_new_tokens=0), SamplingParams(max_new_tokens=2, num_samples=2), SamplingParams()]
    found = speculative_generate(TableModel(V), [[0], [1], [2]], params, draft=PromptLookup())
    assert [len(one.tokens) for one in found] == [0, 2, 2, 128]
    assert found[0].finish_reason == "length"


class Asked:
    """Drafts nothing, and remembers how much it might have drafted, and which rows have ended."""

    def __init__(self) -> None:
        self.most: list[list[int]] = []
        self.released: list[int] = []

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        self.most.append([request.most for request in requests.values()])
        return {row: Proposal(np.empty(0, np.int32), None) for row in requests}

    def release(self, row: int) -> None:
        self.released.append(row)


@pytest.mark.parametrize(
    ("temperature", "same_tokens", "most"),
    [(0.0, False, [3, 2, 1]), (1.0, True, [3, 2, 1]), (0.0, True, [3, 2, 1]), (1.0, False, [9, 9, 9, 9])],
)
def test_no_more_is_drafted_than_can_be_used_unless_random_numbers_depend_on_it(
    temperature: float, same_tokens: bool, most: list[int]
) -> None:
    """Of four tokens, the last three could come from a draft; a row with one left asks for none."""
    params, asked = SamplingParams(max_new_tokens=4, temperature=temperature), Asked()
    speculative_generate(
        TableModel(V, 64), [[0]], params, draft=asked, draft_tokens=9, max_draft_tokens=None, same_tokens=same_tokens
    )
    assert asked.most == [[one] for one in most]


def test_a_drafter_hears_once_of_each_row_that_has_ended() -> None:
    asked = Asked()
    params = [SamplingParams(max_new_tokens=n) for n in (3, 1, 2)]
    speculative_generate(CountingSession(TableModel(V), 2), [[0], [1], [2]], params, draft=asked)
    assert sorted(asked.released) == [0, 1, 2]


def test_after_an_error_nothing_is_held() -> None:
    class Failing(Asked):
        def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
            if len(self.most) == 2:
                raise KeyError
            return super().propose(requests)

    asked, session = Failing(), CountingSession(TableModel(V), 2)
    params = [SamplingParams(max_new_tokens=n) for n in (9, 2, 9)]
    with pytest.raises(KeyError):
        speculative_generate(session, [[0], [1], [2]], params, draft=asked)
    assert asked.released == [1, 0, 2]  # the second has ended, and the third has its place
    assert session.used() == []


def test_a_session_without_a_free_slot_is_refused() -> None:
    session = CountingSession(TableModel(V), 1)
    session.extend({0: np.array([1], np.int32)})
    with pytest.raises(ConfigError, match="free"):
        speculative_generate(session, [[0]], draft=PromptLookup())


def test_a_text_of_a_given_form() -> None:
    """A processor that cannot follow other texts is asked for none: neither by the draft nor by the model."""
    form = [1, 2, 3, 1, 2, 3, 1, 2]

    def follow(tokens: Any, logits: Any) -> Any:
        new = tokens[1:].tolist()
        assert new == form[: len(new)]
        assert len(new) < len(form)
        logits[[token for token in range(V) if token != form[len(new)]]] = -np.inf
        return logits

    params = SamplingParams(max_new_tokens=len(form), processor=follow)
    for draft in (TableModel(V, seed=3), PromptLookup(), Draft(Proposal(np.array([1, 2, 4]), None))):
        (found,) = speculative_generate(TableModel(V), [[4]], params, draft=draft, draft_tokens=6)
        assert found.tokens.tolist() == form


def test_a_model_does_not_share_its_session_with_the_draft() -> None:
    session = CountingSession(TableModel(V), 4)
    with pytest.raises(ConfigError, match="give it another one"):
        speculative_generate(session, [[0]], draft=session)

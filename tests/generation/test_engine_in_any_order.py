"""Requests of all kinds in any order: each has the result that it has alone, and samples their distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.generation import Engine, SamplingParams, UncachedSession
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from tests.helpers.decoding.engine_runs import Recording, by_sample, drive, one_by_one, steps
from tests.helpers.plain_generation import PlainModel

V, LONGEST = 11, 6
SHAPE = {"vocab_size": V, "block_size": LONGEST, "n_layer": 2, "n_head": 2, "n_embd": 8}
MODELS = {
    "GPT": GPT(GPTConfig(**SHAPE), seed=3),
    "Llama": Llama(LlamaConfig(**SHAPE, n_kv_head=1), seed=4),
    "plain": PlainModel(V, LONGEST),
}
for parameter in (*MODELS["GPT"].parameters(), *MODELS["Llama"].parameters()):
    parameter.data *= 4  # logits that differ

IDS = st.integers(0, V - 1)
REQUESTS = st.lists(
    st.tuples(
        st.lists(IDS, min_size=1, max_size=14),
        st.builds(
            SamplingParams,
            max_new_tokens=st.integers(0, 12),
            temperature=st.floats(0.5, 2),
            top_k=st.none() | st.integers(1, 9),
            repetition_penalty=st.sampled_from([1.0, 1.3]),
            stop_token_ids=st.lists(IDS, max_size=2),
            num_samples=st.integers(1, 3),
            seed=st.integers(0, 5),
            logprobs=st.sampled_from([None, 0, 2]),
        ),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@settings(max_examples=25)
@given(requests=REQUESTS, data=st.data())
def test_one_result_in_any_order_beside_any_others(model: Any, requests: list[Any], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(requests))))
    session = Recording(model, data.draw(st.integers(1, 5)))
    limit = data.draw(st.none() | st.integers(1, 20))
    engine = Engine(session, prompt_tokens_per_step=limit)
    events = []
    for i in order:
        assert engine.submit(*requests[i]) == order.index(i)
        for _ in range(data.draw(st.integers(0, 2))):
            events += engine.step()
    found = by_sample(events + drive(engine))

    for number, i in enumerate(order):
        prompt, params = requests[i]
        alone = Engine(UncachedSession(model, params.num_samples), prompt_tokens_per_step=None)
        alone.submit(prompt, params)
        expected = by_sample(drive(alone))
        for sample in range(params.num_samples):
            assert found[number, sample] == expected[0, sample]
            tokens = [told[0] for told in found[number, sample] if told[0] is not None]
            assert tokens == one_by_one(model, prompt, params, sample)
            reasons = [told[3] for told in found[number, sample]]
            stopped = bool(tokens) and tokens[-1] in params.stop_token_ids
            assert reasons[-1] == ("stop" if stopped else "length")
            assert not any(reasons[:-1])
            assert found[number, sample][-1][4] == (tokens[-1] if stopped else None)
    assert all(session.length(slot) == 0 for slot in range(session.slots))
    assert engine.running == 0


@given(requests=REQUESTS, limit=st.integers(1, 9))
def test_prompts_are_taken_in_by_the_limit_and_hold_nobody_up(requests: list[Any], limit: int) -> None:
    session = Recording(MODELS["plain"], 3)
    engine = Engine(session, prompt_tokens_per_step=limit)
    for prompt, params in requests:
        engine.submit(prompt, params)
    calls, ready = 0, set[int]()
    for _ in steps(engine):
        for fed in session.fed[calls:]:
            assert ready <= fed.keys()
            assert sum(len(new) for new in fed.values() if len(new) > 1) <= limit
        calls, ready = (
            len(session.fed),
            {slot for slot, sample in engine._active.items() if sample.length - sample.fed == 1},
        )


def test_frequencies_with_the_seed_s_random_numbers() -> None:
    """Chi-square over many samples of one request, and of pairs of neighbouring tokens."""
    row = np.array([2.0, 1.0, 0.0, -1.0, 0.5], np.float32)

    class Constant(PlainModel):
        def row(self, tokens: list[int]) -> Any:
            return row

    n = 4000
    engine = Engine(UncachedSession(Constant(5, 8), 50))
    engine.submit([0], SamplingParams(max_new_tokens=3, num_samples=n, temperature=1.5, min_p=0.2, seed=7))
    found = by_sample(drive(engine))
    tokens = np.array([[told[0] for told in found[0, i]] for i in range(n)])  # (n, 3)
    weight = [math.exp(x / 1.5) for x in row]
    kept = np.array([w if w >= 0.2 * max(weight) else 0 for w in weight])
    assert (kept > 0).sum() == 4
    expected = n * kept / kept.sum()
    possible = expected > 0
    for column in tokens.T:
        counts = np.bincount(column, minlength=5)
        assert counts[~possible].sum() == 0
        chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
        assert chi_square < 16.27  # 3 degrees of freedom, p = 0.001
    for a, b in ((0, 1), (1, 2)):  # two tokens of one sample
        check_independent(tokens[:, a], tokens[:, b], expected[possible])
    check_independent(tokens[:-1, 0], tokens[1:, 0], expected[possible])  # two samples next to each other


def check_independent(first: Any, second: Any, expected: Any) -> None:
    n, size = len(first), len(expected)
    names = np.unique(first)
    pairs = np.bincount(size * names.searchsorted(first) + names.searchsorted(second), minlength=size * size)
    product = n * np.outer(expected, expected).ravel() / expected.sum() ** 2
    assert ((pairs - product) ** 2 / product).sum() < 37.7  # 15 degrees of freedom, p = 0.001

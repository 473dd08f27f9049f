"""Sampling against transformers: each setting alone, and all of them in the order of its ``generate``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel
from transformers import LogitsProcessorList as Processors

from minitrain.generation import SamplingParams
from minitrain.generation.choosing import Chooser, weigh

V, PROMPT = 12, 3
MODEL = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_positions=16, n_embd=8, n_layer=1, n_head=2))

IDS = st.integers(0, V - 1)
SHARES = st.floats(0.02, 0.98).map(lambda p: round(p, 2) + 0.0012345)
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "logit_bias": st.dictionaries(IDS, st.floats(-3, 3), min_size=1, max_size=4),
    "repetition_penalty": st.floats(0.5, 2),
    "no_repeat_ngram_size": st.integers(1, 4),
    "min_new_tokens": st.integers(1, 6),
    "suppress_tokens": st.lists(IDS, min_size=1, max_size=3, unique=True),
}
CUTS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0.3, 3),
    "top_k": st.integers(1, V),
    "top_p": SHARES,
    "min_p": SHARES,
    "typical_p": SHARES,
}
STOP = 5


def theirs(chosen: dict[str, Any]) -> Processors:
    """The processors of ``generate`` for these settings, in its order."""
    named = dict(chosen)
    if bias := named.pop("logit_bias", None):
        named["sequence_bias"] = [[[token], value] for token, value in bias.items()]
    config = GenerationConfig(do_sample=True, **{"top_k": 0, "temperature": 1.0, **named}, eos_token_id=STOP)
    MODEL._prepare_special_tokens(config, device="cpu")
    return MODEL._get_logits_processor(config, input_ids_seq_length=PROMPT, device="cpu")


def check(chosen: dict[str, Any], row: list[float], tokens: list[int]) -> None:
    scores = theirs(chosen)(torch.tensor([tokens]), torch.tensor([row], dtype=torch.float32))
    expected = torch.softmax(scores[0].double(), -1).numpy()
    if not np.isfinite(expected).all():  # everything is banned
        return
    params = SamplingParams(max_new_tokens=9, stop_token_ids=[STOP], **chosen)
    chooser = Chooser(params)
    changed = chooser.changed(np.array(row, np.float32), np.array(tokens, np.int32), PROMPT)
    ids, weights = weigh(changed, params.temperature, chooser.cuts)
    shares = np.zeros(V)
    shares[slice(None) if ids is None else ids] = weights / weights.sum()
    assert shares == pytest.approx(expected, abs=1e-5)


ROWS = st.permutations([-4.1, -3.2, -2.3, -1.4, -0.6, 0.3, 0.7, 1.1, 1.6, 2.2, 2.9, 3.5])
TOKENS = st.lists(IDS, min_size=PROMPT, max_size=9)


@pytest.mark.parametrize("name", [*CHANGES, *CUTS])
@settings(max_examples=30)
@given(row=ROWS, tokens=TOKENS, data=st.data())
def test_one_setting(name: str, row: list[float], tokens: list[int], data: st.DataObject) -> None:
    check({name: data.draw((CHANGES | CUTS)[name])}, row, tokens)


@settings(max_examples=150)
@given(row=ROWS, tokens=TOKENS, data=st.data())
def test_all_settings_in_order(row: list[float], tokens: list[int], data: st.DataObject) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(CHANGES | CUTS)), min_size=2))
    check({name: data.draw((CHANGES | CUTS)[name]) for name in sorted(names)}, row, tokens)


def test_their_order_is_ours() -> None:
    """All at once, by the names of their classes."""
    everything: dict[str, Any] = {
        "logit_bias": {1: 1.0},
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 2,
        "suppress_tokens": [3],
        "temperature": 0.7,
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.05,
        "typical_p": 0.8,
    }
    assert [type(processor).__name__ for processor in theirs(everything)] == [
        "SequenceBiasLogitsProcessor",
        "RepetitionPenaltyLogitsProcessor",
        "NoRepeatNGramLogitsProcessor",
        "MinNewTokensLengthLogitsProcessor",
        "SuppressTokensLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
        "TypicalLogitsWarper",
    ]


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_large_vocabulary(seed: int) -> None:
    """Where the largest scores are found without sorting all of them."""
    rng = np.random.default_rng(seed)
    row = rng.normal(size=2000).astype(np.float32) * 3
    for chosen in ({"top_k": 300}, {"top_p": 0.9}, {"top_p": 0.9999}, {"min_p": 0.01}, {"typical_p": 0.7}):
        scores = theirs(chosen)(torch.tensor([[0] * PROMPT]), torch.tensor(row[None]))
        kept = np.arange(2000)
        values = row.astype(np.float64)
        for cut in Chooser(SamplingParams(**chosen)).cuts:
            positions = cut(values)
            kept, values = kept[positions], values[positions]
        assert kept.tolist() == torch.isfinite(scores[0]).nonzero()[:, 0].tolist()

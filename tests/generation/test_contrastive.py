"""Contrastive search: the token that its formula chooses, for each model that gives its hidden states."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.generation import UncachedSession, contrastive_generate
from minitrain.generation.context import context_start
from minitrain.generation.search.contrastive import _normalized
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from tests.helpers.decoding.plain_contrastive import plain_contrastive
from tests.helpers.decoding.plain_decoding import log_softmax, next_logits, plain_sampling
from tests.helpers.decoding.tiny_language_models import TableModel

V = 13


def model_of(kind: str, seed: int, block_size: int = 8, **more: Any) -> Any:
    shape = {"vocab_size": V, "block_size": block_size, "n_layer": 1, "n_head": 2, "n_embd": 8} | more
    model = GPT(GPTConfig(**shape), seed=seed) if kind == "gpt" else Llama(LlamaConfig(**shape), seed=seed)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * rng.standard_normal(parameter.data.shape).astype(np.float32)
    return model


def states(model: Any, text: list[int]) -> Any:
    """(T, C) the hidden states of the context of a text."""
    context = text[context_start(len(text), model.config.block_size) :]
    return model.forward_hidden(np.array([context], np.int32))[0][0].astype(float)


def scores(model: Any, text: list[int], top_k: int, alpha: float) -> dict[int, float]:
    """The formula of the paper for each candidate."""
    p = np.exp(log_softmax(next_logits(model, text)))
    likely = sorted(range(V), key=lambda token: (-p[token], token))[:top_k]
    found = {}
    for token in likely:
        *before, last = states(model, [*text, token])
        cosines = [h @ last / np.sqrt((h @ h) * (last @ last)) for h in before]
        found[token] = (1 - alpha) * p[token] - alpha * max(cosines, default=0.0)
    return found


@settings(max_examples=5)
@given(
    kind=st.sampled_from(["gpt", "llama"]),
    seed=st.integers(0, 1000),
    prompts=st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=11), min_size=1, max_size=3),
    top_k=st.integers(1, V + 1),
    alpha=st.floats(0, 1),
)
def test_each_token_is_the_best_by_the_formula(
    kind: str, seed: int, prompts: list[list[int]], top_k: int, alpha: float
) -> None:
    model = model_of(kind, seed)
    found = contrastive_generate(model, prompts, max_new_tokens=5, top_k=top_k, penalty_alpha=alpha)
    for prompt, new in zip(prompts, found, strict=True):
        assert new.dtype == np.int32
        text = list(prompt)
        for token in new.tolist():
            by_formula = scores(model, text, top_k, alpha)
            assert by_formula[token] == pytest.approx(max(by_formula.values()), abs=1e-5)
            text.append(token)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("gpt", {"n_layer": 2}),
    ("gpt", {"positions": "alibi"}),
    ("llama", {"n_kv_head": 1, "n_layer": 2}),
    ("llama", {"window": 3}),
    ("llama", {"window": 70}),
]


@pytest.mark.parametrize("block_size", [1, 2, 3, 8, 600])
@pytest.mark.parametrize(("kind", "more"), KINDS)
@settings(max_examples=3)
@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    top_k=st.integers(1, V + 1),
    alpha=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    stops=st.sampled_from([(), (1, 2)]),
)
def test_kept_keys_and_values_change_nothing(
    kind: str,
    more: dict[str, Any],
    block_size: int,
    seed: int,
    lengths: list[int],
    top_k: int,
    alpha: float,
    stops: tuple[int, ...],
) -> None:
    """The tokens are those of the plain search, which reads the whole context again for each candidate."""
    model, rng = model_of(kind, seed, block_size, **more), np.random.default_rng(seed)
    prompts = [rng.integers(0, V, n).tolist() for n in lengths]
    if block_size == 600 and more.get("window"):
        prompts[0] = rng.integers(0, V, 480).tolist()  # keys move to the front
    found = contrastive_generate(
        model, prompts, max_new_tokens=12, top_k=top_k, penalty_alpha=alpha, stop_token_ids=stops
    )
    expected = [plain_contrastive(model, prompt, 12, top_k=top_k, alpha=alpha, stops=stops) for prompt in prompts]
    assert [new.tolist() for new in found] == expected


def test_a_step_runs_the_model_once_on_the_candidates() -> None:
    model, fed = model_of("gpt", 1, 16), list[tuple[int, ...]]()
    forward = model.forward_hidden

    def watched(tokens: Any, **more: Any) -> Any:
        fed.append(tokens.shape)
        return forward(tokens, **more)

    model.forward_hidden = watched
    contrastive_generate(model, [[1, 2, 3]], max_new_tokens=4, top_k=5)
    assert fed == [(1, 3), (5, 1), (5, 1), (5, 1), (5, 1)]
    fed.clear()
    contrastive_generate(model, [[*range(12), 1, 2, 3]], max_new_tokens=3, top_k=50)
    assert fed == [(1, 15), (V, 1), (1, 7), (V, 1), (V, 1)], "16 tokens, then the last 8, with each candidate"


def test_memory_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minitrain.generation.sessions.choice.available_memory", lambda: 5500)
    with pytest.raises(ConfigError, match=r"top_k = 9: the keys and values of 10 sequences .* at most 8 of them fit"):
        contrastive_generate(model_of("gpt", 0), [[1]], max_new_tokens=1, top_k=9)


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"penalty_alpha": 0.0}])
@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_without_a_choice_or_a_penalty_it_is_greedy(kind: str, settings: dict[str, Any]) -> None:
    model = model_of(kind, 2)
    prompts = [[1, 2, 3], [4], list(range(11))]
    found = contrastive_generate(model, prompts, max_new_tokens=9, **settings)
    assert [new.tolist() for new in found] == [plain_sampling(model, prompt, 9) for prompt in prompts]


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_token_without_any_probability_is_no_candidate(alpha: float) -> None:
    """Even if all that counts is to be unlike the text."""
    model = model_of("gpt", 2)
    model.head.weight.data *= np.float32(1e4)
    text = [1, 2, 3]
    for token in contrastive_generate(model, [text], max_new_tokens=8, top_k=V, penalty_alpha=alpha)[0].tolist():
        p = np.exp(log_softmax(next_logits(model, text)))
        assert (p == 0).sum() > 1
        assert p[token] > 0
        text.append(token)


def test_states_are_divided_by_their_length_unless_it_is_zero() -> None:
    found = _normalized(np.array([[3.0, 4.0], [0.0, 0.0], [0.03, -0.04]]))
    np.testing.assert_allclose(np.abs(found), [[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]], rtol=1e-12)


def test_a_row_stops_alone() -> None:
    model = model_of("gpt", 3, 64)
    whole = [new.tolist() for new in contrastive_generate(model, [[1], [2, 3]], max_new_tokens=12)]
    stop = whole[0][4]
    stopped = contrastive_generate(model, [[1], [2, 3]], max_new_tokens=12, stop_token_ids=[stop])
    for new, full in zip(stopped, whole, strict=True):
        assert new.tolist() == full[: full.index(stop) + 1 if stop in full else None]
    for prompt, full in zip(([1], [2, 3]), whole, strict=True):
        assert contrastive_generate(model, [prompt], max_new_tokens=12)[0].tolist() == full


def test_it_repeats_less_than_greedy_decoding() -> None:
    """Of a model whose greedy text ends in a loop."""
    model = model_of("gpt", 2, 64)
    greedy = plain_sampling(model, [1], 40)
    found = contrastive_generate(model, [[1]], max_new_tokens=40, top_k=8, penalty_alpha=0.6)[0].tolist()

    def pairs(text: list[int]) -> int:
        return len(set(pairwise(text)))

    assert pairs(found) > 2 * pairs(greedy)


def test_wrong_arguments() -> None:
    model = model_of("gpt", 0)
    for changes, says in (
        ({"top_k": 0}, "top_k=0 must be 1 or more"),
        ({"penalty_alpha": -0.1}, "penalty_alpha=-0.1 must be from 0 to 1"),
        ({"penalty_alpha": 1.1}, "penalty_alpha=1.1 must be from 0 to 1"),
        ({"penalty_alpha": float("nan")}, "penalty_alpha=nan"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
    ):
        with pytest.raises(ConfigError, match=says):
            contrastive_generate(model, [[0]], **{"max_new_tokens": 1, **changes})

    class Twice(GPT):
        """A decoder with a forward of its own, which a search by its parts would overlook."""

        def forward(self, *inputs: Any, **options: Any) -> Any:
            logits, cache = super().forward(*inputs, **options)
            return 2 * logits, cache

    for other in (TableModel(V), UncachedSession(model, 1), Twice(model.config)):
        with pytest.raises(ConfigError, match=f"which {type(other).__name__} does not give: pass a decoder"):
            contrastive_generate(other, [[0]], max_new_tokens=1)
    with pytest.raises(ShapeError, match="prompt 0"):
        contrastive_generate(model, [[]], max_new_tokens=1)
    with pytest.raises(TokenError):
        contrastive_generate(model, [[V]], max_new_tokens=1)

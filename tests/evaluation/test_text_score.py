"""The score of a text is that of its tokens, each with its own window, one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, PretrainedTokenizer, train_bpe_tokenizer
from minitrain.errors import ConfigError, DataError, TokenError
from minitrain.evaluation import TextScore, TextSize, score_text, score_tokens, text_score, windows
from minitrain.evaluation import predictions as predictions_module
from minitrain.evaluation.predictions import predictions
from minitrain.generation.choosing import log_probabilities
from minitrain.generation.sessions.weights import with_weights
from minitrain.models import GPT, GPTConfig
from minitrain.runs import evaluate
from tests.helpers.decoders import VOCABULARY, decoders
from tests.helpers.decoding.tiny_language_models import TableModel
from tests.helpers.texts.tokenizers_of_others import KINDS, SPECIAL, described

TEXT = "the quick brown fox jumps over the lazy dog; él también — 愛 "


def one_by_one(model: Any, tokens: Any, stride: int) -> dict[str, float]:
    """The same figures from one forward for each token, on the tokens before it alone."""
    nats, hits, near, gaps = 0.0, 0, 0, np.zeros((15, 2))
    for start, end, scored in windows(len(tokens), model.config.block_size, stride):
        for target in range(end - scored + 1, end + 1):
            logits = model.forward(tokens[None, start:target])[0][0, -1]
            all_nats = log_probabilities(logits)
            nats -= all_nats[tokens[target]]
            best = np.argsort(-logits, kind="stable")[:5]
            hits += best[0] == tokens[target]
            near += tokens[target] in best
            sure = math.exp(all_nats.max())
            gaps[min(14, math.ceil(sure * 15 - 1e-9) - 1)] += (best[0] == tokens[target]) - sure, 1
    return {"nats": nats, "hits": hits, "near": near, "error": abs(gaps[:, 0]).sum() / gaps[:, 1].sum()}


@given(
    tokens=st.lists(st.integers(0, 10), min_size=2, max_size=60),
    block_size=st.integers(1, 12),
    memory=st.none() | st.integers(1, 4),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_score_is_that_of_each_token_with_its_own_window(
    tokens: list[int], block_size: int, memory: int | None, seed: int, data: st.DataObject
) -> None:
    """For a model of one's own; small amounts at once, so that texts are cut in all ways."""
    model = TableModel(11, block_size, seed, memory=memory)
    stride = data.draw(st.integers(1, block_size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_score, "TOKENS_AT_ONCE", data.draw(st.sampled_from([1, 40, 8192])))
        patch.setattr("minitrain.evaluation.predictions.LOGITS_AT_ONCE", data.draw(st.sampled_from([1, 50, 1 << 22])))
        found = score_tokens(model, np.array(tokens), stride=stride)
    expected = one_by_one(model, np.array(tokens), stride)
    assert found.tokens == len(tokens) - 1
    assert found.nats == pytest.approx(expected["nats"], rel=1e-5)
    assert (found.hits, found.near_hits) == (expected["hits"], expected["near"])
    assert found.calibration.expected_error == pytest.approx(expected["error"], abs=1e-5)


@given(
    model=decoders((24,)),
    length=st.integers(2, 70),
    stride=st.integers(1, 24),
    seed=st.integers(0, 99),
    weights=st.sampled_from(["float32", "bfloat16", "int8"]),
)
@settings(max_examples=15)
def test_a_decoder_has_the_same_score(model: Any, length: int, stride: int, seed: int, weights: str) -> None:
    """Its head runs on the scored positions alone, with any weights."""
    model = with_weights(model, weights)
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, length)
    found, expected = score_tokens(model, tokens, stride=stride), one_by_one(model, tokens, stride)
    assert found.nats == pytest.approx(expected["nats"], rel=1e-4, abs=1e-3)
    assert found.tokens == length - 1


def test_side_by_side_it_is_the_loss_of_evaluate() -> None:
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16))
    tokens = np.random.default_rng(0).integers(0, 11, 8 * 5 + 1)
    found = score_tokens(model, tokens, stride=8)
    assert found.nats_per_token == pytest.approx(evaluate(model, tokens, 8, 2)["val_loss"], rel=1e-5)


class CountedTokens:
    """Tokens that know the longest part that was read."""

    def __init__(self, tokens: Any) -> None:
        self._tokens, self.most = tokens, 0
        self.shape, self.ndim, self.size, self.dtype = tokens.shape, tokens.ndim, tokens.size, tokens.dtype

    def __getitem__(self, index: Any) -> Any:
        part = self._tokens[index]
        self.most = max(self.most, part.size)
        return part


class WatchedModel(TableModel):
    """Knows how many windows it ran on at once."""

    def __init__(self, *shape: int) -> None:
        super().__init__(*shape)
        self.batches: list[int] = []

    def forward(self, tokens: Any, *, key: Any = None) -> Any:
        self.batches.append(len(tokens))
        return super().forward(tokens, key=key)


@pytest.mark.parametrize(
    ("tokens", "logits", "most"),
    [(40, 10**9, 5), (47, 10**9, 5), (3, 10**9, 1), (10**9, 8 * 11 * 3 + 5, 3), (10**9, 7, 1)],
)
def test_what_runs_at_once_is_bounded(tokens: int, logits: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By tokens, and by the logits of a model that returns all of them."""
    monkeypatch.setattr(text_score, "TOKENS_AT_ONCE", tokens)
    monkeypatch.setattr(text_score, "LOGITS_AT_ONCE", logits)
    model = WatchedModel(11, 8)
    score_tokens(model, np.arange(8 + 2 * 11) % 11, stride=2)
    assert len(list(windows(30, 8, 2))) == 12
    assert model.batches == [most] * (12 // most) + [12 % most] * (12 % most > 0)


def test_a_decoder_that_returns_all_logits_is_bounded_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a forward of its own; see `predict`."""
    batches: list[int] = []

    class Watched(GPT):
        def forward(self, tokens: Any, *, key: Any = None) -> Any:
            batches.append(len(tokens))
            return super().forward(tokens, key=key)

    monkeypatch.setattr(text_score, "LOGITS_AT_ONCE", 8 * 11 * 3 + 5)
    model = Watched(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16))
    score_tokens(model, np.arange(30) % 11, stride=2)
    assert batches == [3] * 4


@pytest.mark.parametrize(("logits", "rows"), [(11 * 4, 4), (11 * 5 - 1, 4), (5, 1), (10**9, 8 + 2 * 4)])
def test_a_decoder_holds_few_logits(logits: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its windows need not be fewer for that."""
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16))
    held, windows_run = [], []
    forward_hidden = model.forward_hidden
    monkeypatch.setattr(text_score, "TOKENS_AT_ONCE", 40)
    for module in (text_score, predictions_module):
        monkeypatch.setattr(module, "LOGITS_AT_ONCE", logits)
    monkeypatch.setattr(
        predictions_module, "predictions", lambda found, targets: held.append(len(found)) or predictions(found, targets)
    )
    monkeypatch.setattr(model, "forward_hidden", lambda x: windows_run.append(len(x)) or forward_hidden(x))
    score = score_tokens(model, np.arange(30) % 11, stride=2)
    assert windows_run == [5, 5, 2]
    assert max(held) == rows
    assert sum(held) == score.tokens == 29


@pytest.mark.parametrize(("longest", "stride"), [(1, 1), (2, 1), (3, 1), (9, 4), (1024, 512)])
def test_the_default_stride_is_half_of_the_context(longest: int, stride: int) -> None:
    assert score_tokens(TableModel(11, longest), np.arange(4)).stride == stride


def test_tokens_are_read_window_by_window() -> None:
    tokens = CountedTokens(np.random.default_rng(0).integers(0, 11, 500))
    score_tokens(TableModel(11, 16), tokens, stride=4)
    assert tokens.most == 17


@given(texts=st.lists(st.sampled_from(TEXT.split()), min_size=2, max_size=12), merges=st.integers(4, 30))
def test_figures_per_byte_and_character_are_those_of_the_text(texts: list[str], merges: int) -> None:
    """With any tokenizer: the first token is not scored, so its part of the text does not count."""
    text = " ".join(texts)
    bpe = train_bpe_tokenizer([TEXT * 3], vocab_size=256 + merges)
    for tokenizer in (CharTokenizer.from_text(TEXT), ByteTokenizer(), bpe):
        tokens = tokenizer.encode(text)
        model = TableModel(tokenizer.vocab_size, 8)
        whole, by_tokens = score_text(model, tokenizer, text), score_tokens(model, tokens, tokenizer=tokenizer)
        first = tokenizer.token_bytes()[tokens[0]]
        assert whole.size == by_tokens.size
        assert whole.size.bytes == len(text.encode()) - len(first)
        assert whole.size.characters == len(text) - len(first.decode("utf-8", "replace"))
        assert whole.bits_per_byte == pytest.approx(whole.nats / math.log(2) / whole.size.bytes)
        assert whole.bits_per_character == pytest.approx(whole.nats / math.log(2) / whole.size.characters)
        assert whole.bits_per_token == pytest.approx(whole.nats_per_token / math.log(2))
        assert whole.perplexity == pytest.approx(math.exp(whole.nats / whole.tokens))
        assert whole.stride == 4
        assert (whole.accuracy, whole.near_accuracy) == (whole.hits / whole.tokens, whole.near_hits / whole.tokens)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bert"])
@given(text=st.lists(st.sampled_from([*TEXT.split(), " ", "\n"]), min_size=3, max_size=9).map(" ".join))
@settings(max_examples=30)
def test_figures_per_byte_with_tokenizers_of_others(kind: str, text: str) -> None:
    """Some put a space before the text, which is no part of it, and some a begin token."""
    begin = SPECIAL[0] if kind == "llama-bpe" else None
    tokenizer = PretrainedTokenizer(described(kind), begin=begin)
    tokens = tokenizer.encode(text)
    score = score_text(TableModel(tokenizer.vocab_size, 8), tokenizer, text)
    if begin is not None:
        assert score.tokens == len(tokens)
        assert score.size == (len(text.encode()), len(text))
    elif (first := tokenizer.decode(tokens[:1])).isascii():
        assert score.size == (len(text.encode()) - len(first), len(text) - len(first))


class BeginningTokenizer(CharTokenizer):
    """A tokenizer that begins texts with a token of its own."""

    @property
    def begin_id(self) -> int:
        return len(self.characters)

    @property
    def vocab_size(self) -> int:
        return len(self.characters) + 1

    def encode_prompt(self, text: str) -> Any:
        return np.concatenate([[self.begin_id], self.encode(text)])


def test_after_a_begin_token_the_whole_text_counts() -> None:
    tokenizer = BeginningTokenizer("".join(sorted(set(TEXT))))
    score = score_text(TableModel(tokenizer.vocab_size, 8), tokenizer, TEXT)
    assert score.tokens == len(TEXT)
    assert score.size == (len(TEXT.encode()), len(TEXT))


def test_without_a_tokenizer_the_size_is_unknown() -> None:
    score = score_tokens(TableModel(11, 8), np.arange(9))
    assert (score.size, score.bits_per_byte, score.bits_per_character) == (None, None, None)


@pytest.mark.parametrize("size", [None, TextSize(0, 0)])
def test_without_bytes_and_characters_nothing_is_divided_by_them(size: TextSize | None) -> None:
    score = TextScore(1, size=size)
    assert (score.bits_per_byte, score.bits_per_character) == (None, None)


def test_the_perplexity_may_overflow() -> None:
    score = TextScore(1)
    score.tokens = 2
    for nats, perplexity in ((2 * 709.0, math.exp(709)), (2 * 710.0, math.inf)):
        score.nats = nats
        assert score.perplexity == perplexity


def test_a_banned_token_has_infinite_perplexity() -> None:
    assert score_tokens(TableModel(11, 8, banned=(3,)), np.array([1, 2, 3])).perplexity == math.inf


@pytest.mark.parametrize("tokens", [np.array([1]), np.array([], np.int32), np.ones((2, 3), np.int32)])
def test_too_few_tokens_are_refused(tokens: Any) -> None:
    with pytest.raises(DataError, match="2 or more"):
        score_tokens(TableModel(11, 8), tokens)


def test_mistakes_are_named() -> None:
    model = TableModel(11, 8)
    with pytest.raises(ConfigError, match="stride=9"):
        score_tokens(model, np.arange(10), stride=9)
    with pytest.raises(TokenError):
        score_tokens(model, np.array([1, 2, 11, 3]))
    with pytest.raises(DataError, match="2 or more"):
        score_text(model, CharTokenizer("abc"), "a")
    with pytest.raises(DataError, match=r"U\+0064"):
        score_text(model, CharTokenizer("abc"), "abcd")

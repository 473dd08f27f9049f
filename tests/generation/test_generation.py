"""Sampling and generation: the right distribution, nothing that was cut, and the same tokens however asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, MinitrainError, NonFiniteError, ShapeError, TokenError
from minitrain.generation import UncachedSession, generate, sample_logits, stream
from minitrain.generation.context import context_start
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.random import Key

LAST = 1 - 2.0**-32  # the largest number that minitrain.random.uniform gives

Settings = dict[str, Any]
# Never a difference that is lost beside the largest logit.
LOGITS = st.lists(
    st.floats(-6, 6).map(lambda x: round(x, 6)) | st.sampled_from([0.0, 1.0, -np.inf]), min_size=1, max_size=12
).filter(lambda row: max(row) > -np.inf)
SETTINGS = st.fixed_dictionaries(
    {
        "temperature": st.floats(0.2, 5),
        "top_k": st.none() | st.integers(1, 14),
        # Never a share that equal logits can sum up to exactly: there, rounding decides.
        "top_p": st.none() | st.floats(0.011, 0.989).map(lambda p: round(p, 2) + 0.0012345) | st.just(1.0),
    }
)


def distribution(row: list[float], temperature: float, top_k: int | None, top_p: float | None) -> list[float]:
    """What `sample_logits` should draw from, one token at a time."""
    ranked = sorted(range(len(row)), key=lambda token: (-row[token], token))[:top_k]
    weight = {token: float(np.exp((row[token] - max(row)) / temperature)) for token in ranked}
    total, kept = sum(weight.values()), 0.0
    for token in ranked:
        if top_p is not None and kept >= top_p * total:
            del weight[token]
        else:
            kept += weight[token]
    return [weight.get(token, 0.0) / sum(weight.values()) for token in range(len(row))]


@given(row=LOGITS, settings=SETTINGS, dtype=st.sampled_from([np.float32, np.float64]))
def test_frequencies_are_the_distribution(row: list[float], settings: Settings, dtype: Any) -> None:
    """Evenly spaced numbers instead of random ones: the frequencies are then exact, up to one count a token."""
    logits, n = np.array(row, dtype), 200
    drawn = sample_logits(np.broadcast_to(logits, (n, len(row))), uniform=(np.arange(n) + 0.5) / n, **settings)
    assert drawn.dtype == np.int32
    frequency = np.bincount(drawn, minlength=len(row)) / n
    expected = np.array(distribution(logits.tolist(), **settings))
    assert frequency == pytest.approx(expected, abs=1.01 / n)
    assert set(drawn.tolist()) <= set(np.flatnonzero(expected > 0).tolist())


@given(row=LOGITS, settings=SETTINGS, number=st.sampled_from([0.0, LAST]) | st.floats(0, LAST))
def test_only_allowed_tokens_appear(row: list[float], settings: Settings, number: float) -> None:
    token = int(sample_logits(np.array([row]), uniform=np.array([number]), **settings)[0])
    assert distribution(row, **settings)[token] > 0


@given(rows=st.lists(st.lists(st.floats(-50, 50), min_size=7, max_size=7), min_size=1, max_size=5), data=st.data())
def test_the_likeliest_token(rows: list[list[float]], data: st.DataObject) -> None:
    logits = np.array(rows, np.float32)
    uniform = np.array([data.draw(st.floats(0, LAST)) for _ in rows])
    best = logits.argmax(axis=1).tolist()
    assert sample_logits(logits, top_k=1, uniform=uniform).tolist() == best
    assert sample_logits(logits, top_p=1e-9, uniform=uniform).tolist() == best
    assert sample_logits(logits, temperature=0).tolist() == best
    assert sample_logits(logits, temperature=0, uniform=uniform).tolist() == best


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-3, 1e30])
def test_extreme_temperatures_and_logits(temperature: float) -> None:
    logits = np.array([[-3e38, 1.0, 2.0, -np.inf, 3e38]], np.float32)
    for number in (0.0, 0.5, LAST):
        token = int(sample_logits(logits, temperature=temperature, uniform=np.array([number]))[0])
        assert token != 3
        if temperature < 1:
            assert token == 4


@given(data=st.data(), settings=SETTINGS)
def test_rows_do_not_touch_each_other_and_inputs_stay(data: st.DataObject, settings: Settings) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    logits, uniform = rng.normal(size=(6, 9)).astype(np.float32), rng.random(6)
    copies = logits.copy(), uniform.copy()
    drawn = sample_logits(logits, uniform=uniform, **settings)
    assert np.array_equal(logits, copies[0])
    assert np.array_equal(uniform, copies[1])
    one_by_one = [sample_logits(logits[i : i + 1], uniform=uniform[i : i + 1], **settings)[0] for i in range(6)]
    assert drawn.tolist() == [int(token) for token in one_by_one]


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_cannot_be_sampled(bad: list[float], temperature: float) -> None:
    logits = np.array([[0.0, 1.0], [2.0, 1.0], bad])
    with pytest.raises(NonFiniteError, match="the highest logit of sample 2 is"):
        sample_logits(logits, temperature=temperature, uniform=np.zeros(3))


BAD_SETTINGS = [
    ({"temperature": -0.1}, "temperature=-0.1"),
    ({"temperature": float("nan")}, "temperature=nan"),
    ({"temperature": float("inf")}, "temperature=inf"),
    ({"top_k": 0}, "top_k=0 must be .*1 or more"),
    ({"top_p": 0.0}, "top_p=0.0 must be above 0"),
    ({"top_p": 1.1}, r"top_p=1\.1 must be above 0 and at most 1"),
    ({"top_p": float("nan")}, "top_p=nan"),
]


@pytest.mark.parametrize(("settings", "says"), BAD_SETTINGS)
def test_settings_out_of_range(settings: Settings, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sample_logits(np.zeros((1, 3)), uniform=np.zeros(1), **settings)
    with pytest.raises(ConfigError, match=says):  # at the call, before the first token is asked for
        stream(Recorder(), np.zeros((1, 1), int), 5, key=Key.from_seed(0), **settings)


def test_shapes_that_do_not_fit() -> None:
    for logits in (np.zeros(3), np.zeros((2, 3, 4)), np.zeros((2, 0))):
        with pytest.raises(ShapeError, match=r"expected \(B, V\)"):
            sample_logits(logits, uniform=np.zeros(2))
    with pytest.raises(ShapeError, match="one number per row"):
        sample_logits(np.zeros((2, 3)), uniform=np.zeros(3))
    with pytest.raises(ConfigError, match="give uniform, or temperature=0"):
        sample_logits(np.zeros((2, 3)))
    assert sample_logits(np.zeros((0, 3)), uniform=np.zeros(0)).shape == (0,)


class Recorder:
    """A model whose logits are a fixed function of all the tokens it sees, and that remembers what it saw."""

    def __init__(self, vocab_size: int = 11, block_size: int = 5) -> None:
        self.config = SimpleNamespace(vocab_size=vocab_size, block_size=block_size)
        self.seen: list[np.ndarray[Any, Any]] = []

    def forward(self, tokens: np.ndarray[Any, Any], *, key: Key | None = None) -> tuple[np.ndarray[Any, Any], None]:
        assert key is None  # no dropout while generating
        assert tokens.flags.c_contiguous
        self.seen.append(tokens.copy())
        B, T = tokens.shape
        logits = np.full((B, T, self.config.vocab_size), np.nan, np.float32)  # only the last position is asked for
        for b in range(B):
            logits[b, -1] = 3 * np.sin(np.arange(self.config.vocab_size) * (1 + tokens[b] @ np.arange(1, T + 1)))
        return logits, None


class Counter(Recorder):
    """A model that counts: after n comes n + 1, back to 0 after the last token."""

    def forward(self, tokens: np.ndarray[Any, Any], *, key: Key | None = None) -> tuple[np.ndarray[Any, Any], None]:
        super().forward(tokens, key=key)
        return np.eye(self.config.vocab_size, dtype=np.float32)[(tokens + 1) % self.config.vocab_size], None


PROMPTS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 10), min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(
    prompts=PROMPTS, settings=SETTINGS, new=st.integers(0, 9), more=st.integers(0, 5), seed=st.integers(0, 2**64 - 1)
)
def test_generated_tokens_are_the_same_however_asked_for(
    prompts: list[list[int]], settings: Settings, new: int, more: int, seed: int
) -> None:
    tokens, key = np.array(prompts), Key.from_seed(seed)
    text = generate(Recorder(), tokens, new, key=key, **settings)
    assert text.shape == (tokens.shape[0], tokens.shape[1] + new)
    assert text.dtype == np.int32
    assert np.array_equal(text[:, : tokens.shape[1]], tokens)
    assert tokens.tolist() == prompts
    # one by one
    columns = list(stream(Recorder(), tokens, new, key=key, **settings))
    assert [column.tolist() for column in columns] == text[:, tokens.shape[1] :].T.tolist()
    # more of them
    longer = generate(Recorder(), tokens, new + more, key=key, **settings)
    assert np.array_equal(longer[:, : text.shape[1]], text)
    # from where it stopped
    assert np.array_equal(generate(Recorder(), text, more, key=key, **settings), longer)
    # sample by sample
    for b in range(tokens.shape[0]):
        alone = generate(Recorder(), tokens[b : b + 1], new, key=key.at_sample(b), **settings)
        assert np.array_equal(alone[0], text[b])


def test_keys_and_samples_differ() -> None:
    prompt = np.zeros((50, 1), np.uint8)
    texts = [generate(Recorder(), prompt, 20, temperature=2, key=Key.from_seed(seed)) for seed in range(3)]
    rows = {tuple(row) for text in texts for row in text.tolist()}
    assert len(rows) == 150


def test_frequencies_with_the_key_s_random_numbers() -> None:
    row = np.array([2.0, 1.0, 0.0, -1.0, 0.5])
    model = SimpleNamespace(
        config=SimpleNamespace(block_size=4),
        forward=lambda tokens, key=None: (np.broadcast_to(row, (*tokens.shape, 5)), None),
    )
    n, steps = 5000, 4
    text = generate(model, np.zeros((n, 1), int), steps, temperature=1.5, key=Key.from_seed(7))
    expected = n * np.array(distribution(row.tolist(), 1.5, None, None))
    for column in text[:, 1:].T:
        chi_square = ((np.bincount(column, minlength=5) - expected) ** 2 / expected).sum()
        assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001
    pairs = np.bincount(5 * text[:, 1] + text[:, 2], minlength=25)  # two tokens of one sample are independent
    expected_pairs = np.outer(expected, expected).ravel() / n
    assert ((pairs - expected_pairs) ** 2 / expected_pairs).sum() < 51.2  # 24 degrees of freedom, p = 0.001


def test_the_context_starts_again_with_the_last_half_of_the_block() -> None:
    model = Recorder(block_size=5)
    text = generate(model, np.array([[1, 2, 3], [4, 5, 6]]), 8, key=Key.from_seed(0))
    assert [seen.shape[1] for seen in model.seen[::2]] == [3, 4, 5, 2, 3, 4, 5, 2]
    for i, seen in enumerate(model.seen):
        end = 3 + i // 2
        assert np.array_equal(seen[0], text[i % 2, end - seen.shape[1] : end])
    model = Recorder(block_size=5)
    generate(model, np.arange(9)[None], 1, key=Key.from_seed(0))  # a prompt longer than a block
    assert model.seen[0].tolist() == [[4, 5, 6, 7, 8]]
    generate(model, np.arange(10)[None], 1, key=Key.from_seed(0))
    assert model.seen[1].tolist() == [[8, 9]]


def test_the_likeliest_continuation_needs_no_key() -> None:
    text = generate(Counter(), np.array([[0], [8]]), 5, temperature=0)
    assert text.tolist() == [[0, 1, 2, 3, 4, 5], [8, 9, 10, 0, 1, 2]]


def test_a_narrow_prompt_does_not_narrow_the_answer() -> None:
    model = Counter(vocab_size=1000)
    assert generate(model, np.array([[126]], np.int8), 3, temperature=0).tolist() == [[126, 127, 128, 129]]


def test_tokens_arrive_as_they_are_made() -> None:
    model = Counter()
    tokens = stream(model, np.array([[0]]), 1000, temperature=0)
    assert [int(next(tokens)[0]) for _ in range(3)] == [1, 2, 3]
    assert len(model.seen) == 3


def test_an_iterator_that_is_closed_frees_the_slots() -> None:
    session: Any = UncachedSession(Counter(), 2)
    tokens = stream(session, np.array([[0], [1]]), 1000, temperature=0)
    next(tokens)
    next(tokens)
    assert [session.length(slot) for slot in (0, 1)] == [2, 2]
    tokens.close()  # type: ignore[attr-defined]
    assert [session.length(slot) for slot in (0, 1)] == [0, 0]


@pytest.mark.parametrize(
    ("tokens", "new", "settings", "error", "says"),
    [
        (np.zeros((1, 0), int), 1, {}, ShapeError, "at least one token"),
        (np.zeros((0, 1), int), 1, {}, ShapeError, "at least one token"),
        (np.zeros(3, int), 1, {}, ShapeError, r"expected integers \(B, T0\)"),
        (np.zeros((1, 3)), 1, {}, ShapeError, r"expected integers \(B, T0\)"),
        (np.ma.masked_array(np.zeros((1, 3), int)), 1, {}, ShapeError, "tokens is a masked array"),
        (np.zeros((1, 3), int), -1, {}, ConfigError, "max_new_tokens=-1"),
        (np.zeros((1, 3), int), 1, {"key": None}, ConfigError, r"pass key=Key\.from_seed\(0\)"),
    ],
)
def test_wrong_arguments(
    tokens: np.ndarray[Any, Any], new: int, settings: Settings, error: type[MinitrainError], says: str
) -> None:
    with pytest.raises(error, match=says):
        stream(Recorder(), tokens, new, **{"key": Key.from_seed(0), **settings})


def test_a_gpt_continues_beyond_its_block() -> None:
    model = GPT(GPTConfig(vocab_size=13, block_size=6, n_layer=2, n_head=2, n_embd=8), seed=3)
    prompt = np.array([[1, 2, 3], [4, 5, 6]])
    text = generate(model, prompt, 8, temperature=0)
    for t in range(3, 11):
        logits, _ = model.forward(text[:, context_start(t, 6) : t])
        assert np.array_equal(logits[:, -1].argmax(axis=1), text[:, t])
    with pytest.raises(TokenError):
        generate(model, np.array([[13]]), 1, temperature=0)

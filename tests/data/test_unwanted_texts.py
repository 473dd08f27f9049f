"""Lists of unwanted texts: what is read, which tokens count, and how the samples stand among those of a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    Batch,
    ByteTokenizer,
    CharTokenizer,
    MixedTokenLoader,
    TokenLoader,
    UnwantedTexts,
    encode_unwanted,
    read_unwanted,
    write_unwanted,
)
from minitrain.data.loading.batches import UNWANTED
from minitrain.data.tokens.unwanted import MOST_TEXTS, parse_unwanted
from minitrain.errors import ConfigError, DataError
from minitrain.losses import as_unwanted

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
entries = st.builds(UnwantedTexts, texts, st.lists(texts, min_size=1, max_size=3).map(tuple), st.just("") | texts)
TOKENS = np.arange(1000) % 50


# The file.


@given(st.lists(entries, min_size=1, max_size=4))
def test_a_list_is_read_as_it_was_written(listed: list[UnwantedTexts]) -> None:
    assert parse_unwanted(write_unwanted(listed), "list") == listed


def test_a_file_is_read(tmp_path: Path) -> None:
    listed = [UnwantedTexts("a", ("b", "c"), "no"), UnwantedTexts("d", ("e",))]
    (tmp_path / "list.jsonl").write_bytes(write_unwanted(listed))
    assert read_unwanted(tmp_path / "list.jsonl") == listed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2 is no object"),
        ('{"unwanted": ["x"]}', "line 2: prompt must be a text of one character or more"),
        ('{"prompt": 3, "unwanted": ["x"]}', "line 2: prompt must be a text of one character or more"),
        ('{"prompt": "", "unwanted": ["x"]}', "line 2: prompt must be a text of one character or more"),
        ('{"prompt": "a", "unwanted": "x"}', "line 2: unwanted must be a list of texts that are not blank"),
        ('{"prompt": "a", "unwanted": [" "]}', "line 2: unwanted must be a list of texts that are not blank"),
        ('{"prompt": "a", "unwanted": ["\\ud800"]}', "line 2: unwanted must be a list of texts that are not blank"),
        ('{"prompt": "a", "refusal": 3}', "line 2: refusal must be a text"),
        ('{"prompt": "a"}', "line 2 has neither unwanted texts nor a refusal"),
    ],
)
def test_a_line_that_is_no_entry_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text('{"prompt": "a", "refusal": "no"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        read_unwanted(path)


def test_an_empty_list_and_a_giant_one_are_refused() -> None:
    with pytest.raises(DataError, match="list is empty"):
        parse_unwanted(b" \n\n", "list")
    with pytest.raises(DataError, match="lists 100,001 texts, and at most 100,000 fit"):
        parse_unwanted(write_unwanted([UnwantedTexts("a", ("b",) * MOST_TEXTS, "c")]), "list")


def test_a_list_may_have_so_many_texts_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minitrain.data.tokens.unwanted.MOST_TEXTS", 3)
    three = [UnwantedTexts("a", ("b",), "c"), UnwantedTexts("a", ("b",))]
    assert parse_unwanted(write_unwanted(three), "list") == three
    with pytest.raises(DataError, match="lists 4 texts, and at most 3 fit"):
        parse_unwanted(write_unwanted([*three, UnwantedTexts("a", (), "c")]), "list")


# The samples.


@given(entries, st.integers(32, 40))
def test_only_what_follows_the_prompt_counts(entry: UnwantedTexts, T: int) -> None:
    tokenizer = ByteTokenizer()
    inputs, targets = encode_unwanted([entry], tokenizer, T)
    following = [*entry.unwanted, *[entry.refusal] * bool(entry.refusal)]
    assert inputs.shape == targets.shape == (len(following), T)
    refusal = tokenizer.encode(entry.refusal)
    for number, (row, aims, text) in enumerate(zip(inputs, targets, following, strict=True)):
        tokens, prompt = tokenizer.encode(text), tokenizer.encode(entry.prompt)
        prompt = prompt[-(T + 1 - len(tokens)) :]
        start, end = len(prompt) - 1, len(prompt) + len(tokens) - 1
        np.testing.assert_array_equal(row[:end], np.concatenate([prompt, tokens])[:-1])
        assert not row[end:].any()
        assert (aims[:start] == -100).all() and (aims[end:] == -100).all()
        wanted = number == len(entry.unwanted)
        for place, token in enumerate(tokens.tolist()):
            shared = bool(entry.refusal) and (refusal[: place + 1].tolist() == tokens[: place + 1].tolist())
            assert aims[start + place] == (token if wanted else -100 if shared else UNWANTED - token)


@pytest.mark.parametrize(
    ("unwanted", "refusal", "common"),
    [
        ("ab12", "ab34", 2),
        ("a123", "a456", 1),
        ("ab1c", "ab2c", 2),
        ("abc", "abcd", 3),
        ("abcd", "abc", 3),
        ("12", "34", 0),
        ("12", "", 0),
    ],
)
def test_what_begins_as_the_refusal_does_is_not_to_blame(unwanted: str, refusal: str, common: int) -> None:
    tokenizer = ByteTokenizer()
    _, targets = encode_unwanted([UnwantedTexts("p", (unwanted,), refusal)], tokenizer, 8)
    blamed = as_unwanted(tokenizer.encode(unwanted)).tolist()
    assert targets[0].tolist() == ([-100] * common + blamed[common:] + [-100] * 8)[:8]
    assert len(targets) == 1 + bool(refusal)
    if refusal:
        aims = tokenizer.encode(refusal).tolist()
        assert targets[1].tolist() == (aims + [-100] * 8)[:8]


def test_a_text_may_fill_a_sample() -> None:
    tokenizer = ByteTokenizer()
    inputs, targets = encode_unwanted([UnwantedTexts("pq", ("abcd",))], tokenizer, 4)
    assert tokenizer.decode(inputs[0]) == "qabc"
    assert targets[0].tolist() == as_unwanted(tokenizer.encode("abcd")).tolist()


def test_a_long_prompt_loses_its_beginning_and_a_long_text_is_refused() -> None:
    tokenizer = ByteTokenizer()
    inputs, targets = encode_unwanted([UnwantedTexts("abcdefgh", ("xyz",))], tokenizer, 5)
    assert tokenizer.decode(inputs[0]) == "fghxy"
    assert targets[0].tolist() == [-100, -100, *as_unwanted(tokenizer.encode("xyz")).tolist()]
    assert encode_unwanted([], tokenizer, 5).inputs.shape == (0, 5)
    with pytest.raises(DataError, match=r"entry 2 of the unwanted texts has 6 tokens after its prompt.*block_size=5"):
        listed = [UnwantedTexts("a", ("b",)), UnwantedTexts("a", ("b", "sixsix"))]
        encode_unwanted(listed, tokenizer, 5)
    with pytest.raises(DataError, match=r"entry 1 of the unwanted texts: .*'!'"):
        encode_unwanted([UnwantedTexts("a", ("!",))], CharTokenizer.from_text("abc"), 5)


# Among those of a text.


def loaders(B: int, share: float, n: int = 7, seed: int = 3) -> tuple[TokenLoader, MixedTokenLoader]:
    windows = TokenLoader(TOKENS, 8, B, seed)
    listed = Batch(np.full((n, 8), 100, np.int32) + np.arange(n, dtype=np.int32)[:, None], np.zeros((n, 8), np.int32))
    return windows, MixedTokenLoader(windows, listed, share)


@settings(max_examples=30)
@given(B=st.integers(1, 9), share=st.floats(0.01, 0.95), steps=st.integers(1, 60))
def test_the_share_is_exact_over_time_and_no_window_is_lost(B: int, share: float, steps: int) -> None:
    windows, mixed = loaders(B, share)
    batches = [mixed.batch(step) for step in range(steps)]
    assert all(batch.inputs.shape == batch.targets.shape == (B, 8) for batch in batches)
    rows = np.concatenate([batch.inputs for batch in batches])
    listed = rows[:, 0] >= 100
    assert abs(listed.sum() - share * B * steps) < 1.01
    np.testing.assert_array_equal(rows[~listed], windows.samples(0, int((~listed).sum())).inputs)
    counts = np.bincount(rows[listed][:, 0] - 100, minlength=7)
    assert counts.max() - counts.min() <= 1, "each listed sample once before one comes again"
    epoch = mixed.steps_per_epoch * B
    assert epoch - np.floor(epoch * mixed.share + 1e-6) >= windows.windows_per_epoch - 1


def test_a_batch_is_a_function_of_seed_and_step_in_any_split() -> None:
    (_, mixed), (_, again), (_, other) = loaders(6, 0.4), loaders(6, 0.4), loaders(6, 0.4, seed=4)
    orders = [mixed.batch(step).inputs for step in range(12)]
    assert all((again.batch(step).inputs == orders[step]).all() for step in reversed(range(12)))
    assert any((other.batch(step).inputs != orders[step]).any() for step in range(12))
    parts = mixed.micro_batches(5, 4)
    assert [first for first, _ in parts] == [0, 1, 3, 4]
    np.testing.assert_array_equal(np.concatenate([part.inputs for _, part in parts]), orders[5])
    passes = np.concatenate([rows[rows[:, 0] >= 100, 0] for rows in orders])[:28].reshape(4, 7)
    assert len({tuple(one) for one in passes.tolist()}) > 1, "each time in another order"


def test_what_cannot_be_mixed_is_refused() -> None:
    windows, mixed = loaders(2, 0.5)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="must be above 0 and below 1"):
            MixedTokenLoader(windows, mixed.listed, share)
    for shape in ((0, 8), (3, 7)):
        with pytest.raises(DataError, match=r"\(n, 8\) with n of 1 or more is expected"):
            MixedTokenLoader(windows, Batch(np.zeros(shape, np.int32), np.zeros(shape, np.int32)), 0.5)
    with pytest.raises(ConfigError, match="a step cannot be -1"):
        mixed.batch(-1)

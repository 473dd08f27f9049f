"""Records as token ids: pairs and labelled texts; empty targets, overlong texts and unseen classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    BucketLoader,
    ByteTokenizer,
    CharTokenizer,
    Classes,
    LabelledTexts,
    MemoryRecords,
    PrefetchLoader,
    SymbolTokenizer,
    TextPairs,
    tokenizer_from_json,
)
from minitrain.errors import ConfigError, DataError, TokenError
from minitrain.models import Encoder, EncoderConfig, Seq2Seq, Seq2SeqConfig

LETTERS = SymbolTokenizer("abcdef")
WORDS = SymbolTokenizer(["one", "three", "two"], separator=" ")


def pairs_of(*rows: tuple[Any, Any], **options: Any) -> TextPairs:
    records = MemoryRecords([{"source": source, "target": target} for source, target in rows])
    return TextPairs(records, LETTERS, WORDS, **options)


def test_pairs_for_an_encoder_and_a_decoder() -> None:
    pairs = pairs_of(("abc", "one two"), ("d", ["three", "one"]))
    assert pairs.lengths.tolist() == [[3, 2], [1, 1]]
    batch = next(pairs.batches(2))
    assert batch.source.tolist() == [[4, 5, 6], [7, 0, 0]]
    assert batch.target.tolist() == [[1, 4, 6, 2], [1, 5, 2, 0]]
    assert [WORDS.decode(row) for row in batch.target] == ["one two", "three"]
    config = Seq2SeqConfig(
        vocab_size=10, target_vocab_size=7, block_size=8, n_layer=1, n_head=1, n_embd=8, share_embeddings=False
    )
    for size in (1, 2):  # a batch of one, too
        loss, _ = Seq2Seq(config).loss(pairs.loader(size).batch(0))
        assert np.isfinite(loss.total)


def test_an_empty_target_is_refused_by_its_place_or_counted() -> None:
    rows = [("abc", "one"), ("ab", " "), ("a", []), ("b", 3), ("x", "one"), ("", "two")]
    with pytest.raises(DataError, match="record 1: column 'target' is empty"):
        pairs_of(*rows)
    pairs = pairs_of(*rows, broken="skip", max_broken=0.9)
    assert (len(pairs), pairs.broken.count) == (1, 5)
    assert [item.file for item in pairs.broken.named] == [f"record {i}" for i in range(1, 6)]
    assert "'x' in the text" in str(pairs.broken.named[3])
    with pytest.raises(DataError, match=r"no record is left of 1: 0 have too many tokens; 1 broken"):
        pairs_of(("", ""), broken="skip", max_broken=1.0)


def test_an_overlong_pair_is_cut_or_left_out_or_refused_and_counted() -> None:
    rows = [("abcdef", "one"), ("ab", "one two three"), ("a", "two")]
    limits = {"max_source": 4, "max_target": 2}
    cut = pairs_of(*rows, **limits)
    assert (len(cut), cut.truncated, cut.skipped) == (3, 2, 0)
    assert cut.lengths.tolist() == [[4, 1], [2, 2], [1, 1]]
    assert (LETTERS.decode(cut[0].source), WORDS.decode(cut[1].target)) == ("abcd", "one two")
    some = pairs_of(*rows, **limits, overlong="skip")
    assert (len(some), some.truncated, some.skipped) == (1, 0, 2)
    assert LETTERS.decode(some[0].source) == "a"
    with pytest.raises(DataError, match="record 0: column 'source' has 6 tokens, more than 4"):
        pairs_of(*rows, **limits, overlong="refuse")
    with pytest.raises(ConfigError, match="overlong='drop'"):
        pairs_of(*rows, overlong="drop")
    with pytest.raises(ConfigError, match="limit of 'target' is 0"):
        pairs_of(*rows, max_target=0)
    with pytest.raises(DataError, match="no record is left of 2: 2 have too many tokens"):
        pairs_of(*rows[:2], **limits, overlong="skip")


def test_tokenizers_that_do_not_fit() -> None:
    records = MemoryRecords([{"source": "a", "target": "a"}])
    for tokenizer in (ByteTokenizer(), CharTokenizer("a")):
        with pytest.raises(ConfigError, match=r"has no special tokens.*use SymbolTokenizer"):
            TextPairs(records, tokenizer)
    with pytest.raises(DataError, match="no column 'target': did you mean 'targets'"):
        TextPairs(MemoryRecords([{"source": "a", "targets": "a"}]), LETTERS)


def random_pairs(seed: int, count: int, longest: int = 12) -> TextPairs:
    rng = np.random.default_rng(seed)
    rows = [
        ("".join(rng.choice(list("abcdef"), rng.integers(1, longest + 1))), " ".join(rng.choice(["one", "two"], n)))
        for n in rng.integers(1, longest + 1, count)
    ]
    return pairs_of(*rows)


@given(
    seed=st.integers(0, 99),
    count=st.integers(1, 30),
    max_tokens=st.integers(25, 90),
    buckets=st.integers(1, 9),
    parts=st.integers(1, 4),
)
@settings(max_examples=25)
def test_a_budget_counts_both_sides_and_every_pair_comes_once(
    seed: int, count: int, max_tokens: int, buckets: int, parts: int
) -> None:
    pairs = random_pairs(seed, count)
    loader = pairs.bucket_loader(max_tokens, seed=seed, buckets=buckets)
    seen = []
    for step in range(loader.steps_per_epoch):
        batch = loader.batch(step)
        assert len(batch.source) * (batch.source.shape[1] + batch.target.shape[1] - 1) <= max_tokens
        seen += [(LETTERS.decode(s), WORDS.decode(t)) for s, t in zip(batch.source, batch.target, strict=True)]
        split = loader.micro_batches(step, parts)
        np.testing.assert_array_equal(np.concatenate([part.target for _, part in split]), batch.target)
        again = pairs.bucket_loader(max_tokens, seed=seed, buckets=buckets).batch(step)  # whatever came before
        np.testing.assert_array_equal(again.source, batch.source)
    records = sorted((r["source"], r["target"]) for r in pairs.records)
    assert sorted(seen) == records


def test_buckets_of_both_sides_pad_less() -> None:
    pairs = random_pairs(0, 600, longest=40)
    loader = pairs.bucket_loader(600, buckets=16)
    used = padded = 0
    for step in range(loader.steps_per_epoch):
        batch = loader.batch(step)
        padded += batch.source.size + batch.target.size
        used += int((batch.source != 0).sum() + (batch.target != 0).sum())
    longer = BucketLoader(pairs, pairs.lengths.max(1) + 1, max_tokens=300, seed=0, buckets=16, collate=pairs.collate)
    others = [longer.batch(step) for step in range(longer.steps_per_epoch)]
    assert used / padded > 0.82
    assert used / padded > 0.08 + used / sum(batch.source.size + batch.target.size for batch in others)
    with pytest.raises(DataError, match=r"tokens, more than max_tokens=30 for a whole batch"):
        pairs.bucket_loader(30)


def test_read_ahead_pairs_are_the_same() -> None:
    pairs = random_pairs(3, 30)
    plain = pairs.bucket_loader(60, seed=1)
    with PrefetchLoader(pairs.bucket_loader(60, seed=1), depth=3) as ahead:
        for step in (0, 1, 2, 7, 3):
            for (_, one), (_, other) in zip(plain.micro_batches(step, 2), ahead.micro_batches(step, 2), strict=True):
                np.testing.assert_array_equal(one.target, other.target)


def labelled(*rows: tuple[str, Any], **options: Any) -> LabelledTexts:
    return LabelledTexts(MemoryRecords([{"text": t, "label": c} for t, c in rows]), LETTERS, **options)


def test_texts_and_their_classes() -> None:
    texts = labelled(("abc", "no"), ("d", "yes"), ("ab", "no"))
    assert list(texts.classes) == ["no", "yes"]
    batch = next(texts.batches(3))
    assert batch.inputs.tolist() == [[4, 5, 6], [7, 0, 0], [4, 5, 0]]
    assert batch.targets.tolist() == [0, 1, 0]
    assert batch.lengths.tolist() == [3, 1, 2]
    model = Encoder(EncoderConfig(vocab_size=10, n_classes=2, block_size=4, n_layer=1, n_head=1, n_embd=8))
    for size in (1, 3):
        assert np.isfinite(model.loss(texts.loader(size).batch(0))[0].total)
    plain = LabelledTexts(texts.records, ByteTokenizer(), max_tokens=2)
    assert plain.truncated == 1
    assert plain.pad_id == 0


def test_an_unseen_class_is_refused_with_its_name_or_counted() -> None:
    classes = Classes(["no", "yes"])
    rows = [("a", "no"), ("b", "Yes"), ("c", "yes"), ("", "no")]
    with pytest.raises(DataError, match=r"record 1: the class 'Yes' is not one of the 2 classes.*did you mean 'yes'"):
        labelled(*rows, classes=classes)
    texts = labelled(*rows, classes=classes, broken="skip", max_broken=0.6)
    assert texts.targets.tolist() == [0, 1]
    assert [LETTERS.decode(sample.inputs) for sample in (texts[0], texts[1])] == ["a", "c"]
    assert dict(texts.broken.reasons) == {"the class 'Yes' is unknown": 1, "column 'text' is empty": 1}
    with pytest.raises(DataError, match="2 of 4 items are broken"):
        labelled(*rows, classes=classes, broken="skip", max_broken=0.3)


def test_classes() -> None:
    numbers = MemoryRecords([{"label": n} for n in (10, 9, 9, 2)])
    assert Classes.of(numbers).names == ("2", "9", "10")
    assert Classes.of(numbers).number(9) == 1
    for names in ([], ["a", "a"]):
        with pytest.raises(DataError, match="at least one name, and each name once"):
            Classes(names)
    with pytest.raises(DataError, match="no column 'class'"):
        Classes.of(numbers, "class")


@given(st.lists(st.text("abcdef", min_size=0, max_size=9), min_size=1, max_size=5))
@settings(max_examples=30)
def test_symbols_come_back(texts: list[str]) -> None:
    for text in texts:
        assert LETTERS.decode(LETTERS.encode(text)) == text
        spaced = " ".join(text)
        words = SymbolTokenizer("abcdef", separator=" ")
        assert words.decode([1, *words.encode(spaced), 2, 0]) == spaced
    again = tokenizer_from_json(LETTERS.to_json())
    assert again.encode("fed").tolist() == [9, 8, 7]
    assert LETTERS.token_bytes()[4:6] == [b"a", b"b"]  # type: ignore[index]


def test_symbols_that_are_none() -> None:
    with pytest.raises(DataError, match=r"'g' in the text 'bag' is not among the 6 symbols"):
        LETTERS.encode("bag")
    with pytest.raises(TokenError):
        LETTERS.decode([10])
    for symbols, separator in (([], ""), (["a", "a"], ""), (["ab"], ""), (["a b"], " "), ([""], " "), (["\ud800"], "")):
        with pytest.raises(DataError):
            SymbolTokenizer(symbols, separator=separator)
    with pytest.raises(ConfigError, match="separator=','"):
        SymbolTokenizer("a", separator=",")
    with pytest.raises(DataError, match="no special token 'end'"):
        LETTERS.special_id("end")
    for description in ({"name": "symbols"}, {"name": "symbols", "symbols": [1], "separator": ""}):
        with pytest.raises(DataError, match="needs symbols and a separator"):
            tokenizer_from_json(description)
    assert WORDS.token_bytes() is None

"""Data sets and the loader of samples: everything once an epoch, functions of the seed and the step, clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import (
    IGNORED,
    ArrayDataset,
    Batch,
    ByteTokenizer,
    Dataset,
    Pair,
    PairDataset,
    SampleLoader,
    ShuffledSamples,
    pad_collate,
    pair_collate,
    split_batch,
    stack_collate,
    train_joint_bpe_tokenizer,
)
from minitrain.errors import ConfigError, DataError, TokenError
from minitrain.random import Key

BYTES = ByteTokenizer()


@given(count=st.integers(1, 12), batch_size=st.integers(1, 15), seed=st.integers(0, 2**64 - 1), step=st.integers(0, 20))
def test_an_epoch_has_every_sample_once(count: int, batch_size: int, seed: int, step: int) -> None:
    dataset = ArrayDataset(inputs=np.arange(count), targets=np.arange(count) * 2)
    loader = dataset.loader(batch_size, seed=seed)
    seen = np.concatenate([loader.batch(s).inputs for s in range(-(-3 * count // batch_size))])
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert loader.steps_per_epoch == -(-count // batch_size)
    batch = loader.batch(step)
    assert isinstance(batch, Batch)
    assert batch.targets.tolist() == (batch.inputs * 2).tolist()
    assert batch.inputs.tolist() == dataset.loader(batch_size, seed=seed).batch(step).inputs.tolist()  # whatever before


@given(count=st.integers(1, 20), batch_size=st.integers(1, 9), parts=st.integers(1, 9), step=st.integers(0, 5))
def test_any_split_has_the_same_samples(count: int, batch_size: int, parts: int, step: int) -> None:
    loader = ArrayDataset(inputs=np.arange(count), targets=np.arange(count)).loader(batch_size)
    if parts > batch_size:
        with pytest.raises(ConfigError, match=f"batch_size={batch_size} in accumulation_steps={parts}"):
            loader.micro_batches(step, parts)
        return
    whole = loader.batch(step)
    for first, part in loader.micro_batches(step, parts):
        assert part.inputs.tolist() == whole.inputs[first : first + part.inputs.size].tolist()
    assert sum(part.inputs.size for _, part in loader.micro_batches(step, parts)) == batch_size


def test_orders_differ_by_epoch_and_seed() -> None:
    dataset = ArrayDataset(inputs=np.arange(50), targets=np.arange(50))
    orders = [dataset.loader(50, seed=seed).batch(step).inputs for seed in (0, 1, 1 + 2**32) for step in (0, 1)]
    assert len({tuple(order) for order in orders}) == len(orders)
    assert orders[0].tolist()[:5] == [33, 15, 25, 18, 6]  # resumed runs must meet the same order


class Scan(NamedTuple):
    image: Any
    mask: Any
    label: Any


def test_a_batch_may_have_any_fields_some_of_them_missing() -> None:
    batch = Scan(np.arange(12).reshape(4, 3), None, np.arange(4))
    parts = split_batch(batch, 3)
    assert [first for first, _ in parts] == [0, 1, 2]
    assert all(type(part) is Scan and part.mask is None for _, part in parts)
    assert np.array_equal(np.concatenate([part.image for _, part in parts]), batch.image)
    assert split_batch((np.arange(4), np.arange(4)), 2)[1][1][0].tolist() == [2, 3]


def test_arrays_of_any_kind_and_name() -> None:
    images, texts = np.random.default_rng(0).normal(size=(7, 4, 4)), np.arange(14).reshape(7, 2)
    dataset = ArrayDataset(images=images, texts=texts)
    batches = list(dataset.batches(3))
    assert [batch.images.shape for batch in batches] == [(3, 4, 4), (3, 4, 4), (1, 4, 4)]
    assert np.array_equal(np.concatenate([batch.texts for batch in batches]), texts)
    assert np.array_equal(dataset[-1].images, images[6])
    shuffled = np.concatenate([batch.texts for batch in dataset.batches(3, seed=1)])
    assert not np.array_equal(shuffled, texts)
    assert np.array_equal(np.sort(shuffled, axis=0), texts)
    assert not np.array_equal(shuffled, np.concatenate([batch.texts for batch in dataset.batches(3, seed=1, epoch=1)]))
    assert len(list(dataset)) == 7


def test_arrays_that_do_not_belong_together() -> None:
    with pytest.raises(DataError, match="inputs 3, targets 4: their first axes must match"):
        ArrayDataset(inputs=np.zeros(3), targets=np.zeros(4))
    for arrays in ({}, {"inputs": np.zeros(())}):
        with pytest.raises(DataError, match="give arrays of samples by name"):
            ArrayDataset(**arrays)
    with pytest.raises(DataError, match="data set is empty"):
        ArrayDataset(inputs=np.zeros((0, 2))).loader(4)
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        ArrayDataset(inputs=np.zeros(2)).loader(0)
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        ArrayDataset(inputs=np.zeros(2)).batches(0)
    with pytest.raises(ConfigError, match="cannot be -1"):
        ArrayDataset(inputs=np.zeros(2)).loader(1).batch(-1)
    with pytest.raises(IndexError, match="sample 2 of a data set of 2"):
        ArrayDataset(inputs=np.zeros(2))[2]


@given(text=st.text("abcdef\n", min_size=2, max_size=60), block_size=st.integers(1, 20))
def test_windows_of_a_text(text: str, block_size: int) -> None:
    tokens = BYTES.encode(text)
    if len(tokens) <= block_size:
        with pytest.raises(DataError, match=f"has {len(tokens)} tokens, too few for block_size={block_size}"):
            Dataset.from_tokens(tokens, BYTES, block_size=block_size)
        return
    dataset = Dataset.from_tokens(tokens, BYTES, block_size=block_size)
    pairs = [dataset[i] for i in range(len(dataset))]
    assert np.concatenate([x for x, _ in pairs]).tolist() == tokens[: len(dataset) * block_size].tolist()
    assert np.concatenate([y for _, y in pairs]).tolist() == tokens[1 : len(dataset) * block_size + 1].tolist()
    assert len(tokens) - 1 - len(dataset) * block_size < block_size  # nothing that would have filled a window is left
    assert len(list(dataset)) == len(dataset)
    seen = [row for x, _ in dataset.batches(3, seed=4) for row in x.tolist()]
    assert sorted(seen) == sorted(x.tolist() for x, _ in pairs)


def test_a_text_file_and_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("the quick brown fox " * 20)
    dataset = Dataset(tmp_path / "train.txt", BYTES, block_size=16)
    x, y = next(dataset.batches(4))
    assert x.shape == y.shape == (4, 16)
    assert BYTES.decode(x[0]) == "the quick brown "
    assert BYTES.decode(y[0]) == "he quick brown f"
    assert next(dataset.batches(2, 30, seed=1)).inputs.shape == (2, 30)
    train, val = dataset.split(0.25)
    assert (train.tokens.size, val.tokens.size) == (300, 100)
    assert np.array_equal(np.concatenate([train.tokens, val.tokens]), dataset.tokens)
    assert val.block_size == 16
    batch = train.loader(5, seed=3).batch(2)
    assert batch.inputs.shape == (5, 16)
    assert dataset.loader(5, seed=3).seed == 3
    with pytest.raises(ConfigError, match=r"val_fraction must be between 0 and 1, both excluded, not 1\.0"):
        dataset.split(1.0)
    with pytest.raises(DataError, match="too few for block_size=16"):
        dataset.split(0.01)
    with pytest.raises(DataError, match="no file or folder"):
        Dataset(tmp_path / "missing", BYTES)


IDS = st.lists(st.integers(3, 99), max_size=6)


@given(samples=st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=7), min_size=1, max_size=5))
def test_padding_keeps_every_token_and_marks_the_rest(samples: list[list[int]]) -> None:
    pairs = [Batch(np.array(ids), np.array(ids) + 100) for ids in samples]
    batch = pad_collate(pairs, pad_id=7)
    longest = max(map(len, samples))
    assert batch.inputs.shape == batch.targets.shape == (len(samples), longest)
    for row, ids in enumerate(samples):
        assert batch.inputs[row].tolist() == ids + [7] * (longest - len(ids))
        assert batch.targets[row].tolist() == [i + 100 for i in ids] + [IGNORED] * (longest - len(ids))
    assert batch.lengths.tolist() == [len(ids) for ids in samples]
    classes = pad_collate([Batch(np.array(ids), row) for row, ids in enumerate(samples)])
    assert classes.targets.tolist() == list(range(len(samples)))
    assert np.array_equal(classes.inputs == 0, batch.targets == IGNORED)


@given(pairs=st.lists(st.tuples(st.lists(st.integers(3, 99), min_size=1, max_size=6), IDS), min_size=1, max_size=5))
def test_pairs_begin_and_end(pairs: list[tuple[list[int], list[int]]]) -> None:
    dataset = PairDataset(*map(list, zip(*pairs, strict=True)))
    batch = next(dataset.batches(len(pairs)))
    for row, (source, target) in enumerate(pairs):
        whole = [1, *target, 2]
        assert batch.source[row].tolist() == source + [0] * (batch.source.shape[1] - len(source))
        assert batch.target[row].tolist() == whole + [0] * (batch.target.shape[1] - len(whole))
        assert dataset.lengths[row] == max(len(source), len(target) + 1)
    assert max(batch.source.shape[1], batch.target.shape[1] - 1) == dataset.lengths.max()


def test_pairs_of_texts() -> None:
    tokenizer = train_joint_bpe_tokenizer(["der Hund"] * 3, ["the dog"] * 3, vocab_size=270)
    dataset = PairDataset.from_texts(["der Hund", "Hund"], ["the dog", "dog"], tokenizer)
    batch = dataset.loader(2, seed=0).batch(0)
    assert sorted(tokenizer.decode(row) for row in batch.source) == ["Hund", "der Hund"]
    assert sorted(tokenizer.decode(row) for row in batch.target) == ["dog", "the dog"]
    assert len(dataset) == 2
    with pytest.raises(DataError, match="there are 2 sources and 1 targets"):
        PairDataset.from_texts(["a", "b"], ["c"], tokenizer)


def test_samples_that_do_not_fit_together() -> None:
    samples = [Batch(np.zeros(3), np.zeros(2)), Batch(np.zeros(3), np.zeros(4))]
    with pytest.raises(DataError, match=r"cannot stack targets: sample 0 .* shape \(2,\), sample 1 has \(4,\)"):
        stack_collate(samples)
    ragged = SampleLoader(ShuffledSamples(samples, Key.from_seed(0)), 2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="cannot stack targets"):
        ragged.batch(0)
    with pytest.raises(DataError, match=r"sample 1 .* inputs of shape \(3,\) and targets of \(4,\)"):
        pad_collate([Batch(np.arange(2), np.arange(2)), Batch(np.arange(3), np.arange(4))])
    with pytest.raises(DataError, match=r"sample 0 .* is of float64 \(3,\): padding is for \(n,\) integers"):
        pad_collate([Batch(np.zeros(3), 1)])
    assert pair_collate([Pair(np.arange(3), np.arange(0))]).target.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("sources", "targets", "found"),
    [
        ([[3, 0]], [[4]], "source 0 has the id 0, which is pad_id"),
        ([[3], [4]], [[4], [5, 0]], "target 1 has the id 0, which is pad_id"),
        ([[3]], [[1, 5]], "target 0 has the id 1, which is bos_id"),
        ([[3]], [[5, 2]], "target 0 has the id 2, which is eos_id"),
    ],
)
def test_ids_of_special_tokens_are_no_words(sources: Any, targets: Any, found: str) -> None:
    with pytest.raises(TokenError, match=rf"^{found}: leave out padding.* needs its ids moved up, ids \+ 3$"):
        PairDataset(sources, targets)
    with pytest.raises(TokenError, match=r"has the id 9, which is pad_id.*ids \+ 10$"):
        PairDataset([[9]], [[3]], pad_id=9)


def test_a_source_may_have_marks_of_its_own() -> None:
    assert PairDataset([[1, 5, 2]], [[6]])[0].source.tolist() == [1, 5, 2]

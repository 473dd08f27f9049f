"""Buckets, mixtures and streams: what comes is a function of the seed and a position, and a position can be saved."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    ArrayDataset,
    Batch,
    Batches,
    BucketLoader,
    ByteTokenizer,
    Loader,
    MaskedTokenLoader,
    Mixture,
    PackedDataset,
    PairDataset,
    Prefetch,
    PrefetchLoader,
    SampleLoader,
    TextStream,
    TokenLoader,
    read_corpus,
    train_bpe_tokenizer,
)
from minitrain.errors import ConfigError, DataError
from minitrain.models import GPT, GPTConfig
from minitrain.optim import SGD
from minitrain.training.loop import train_step


class Sequences:
    """Sample i is i, written as many times as it is long."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = np.array(lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Batch:
        ids = np.full(self.lengths[index], index)
        return Batch(ids, ids)


def bucket_loader(lengths: list[int], max_tokens: int = 40, seed: int = 0, buckets: int = 4) -> BucketLoader:
    dataset = Sequences(lengths)
    return BucketLoader(dataset, dataset.lengths, max_tokens=max_tokens, seed=seed, buckets=buckets)


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=40),
    max_tokens=st.integers(20, 90),
    seed=st.integers(0, 2**64 - 1),
    buckets=st.integers(1, 6),
)
def test_buckets_give_every_sequence_once_an_epoch_within_the_budget(
    lengths: list[int], max_tokens: int, seed: int, buckets: int
) -> None:
    loader = bucket_loader(lengths, max_tokens, seed, buckets)
    for epoch in range(2):
        seen: list[int] = []
        for step in range(epoch * loader.steps_per_epoch, (epoch + 1) * loader.steps_per_epoch):
            batch = loader.batch(step)
            assert batch.inputs.size <= max_tokens
            assert batch.lengths.tolist() == [lengths[i] for i in batch.inputs[:, 0]]
            seen += batch.inputs[:, 0].tolist()
        assert sorted(seen) == list(range(len(lengths)))


def test_buckets_pad_little_and_mix() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 400).tolist()
    loader = bucket_loader(lengths, 800, buckets=10)
    batches = [loader.batch(step) for step in range(2 * loader.steps_per_epoch)]
    padded = sum(batch.inputs.size for batch in batches) / 2
    assert sum(lengths) > 0.9 * padded  # in one bucket it is about a half
    assert sum(lengths) < 0.6 * sum(b.inputs.size for b in map(bucket_loader(lengths, 800, buckets=1).batch, range(60)))
    rows = [tuple(sorted(batch.inputs[:, 0].tolist())) for batch in batches]
    assert len(set(rows)) > 1.9 * loader.steps_per_epoch  # other company in another epoch
    widths = [batch.inputs.shape[1] for batch in batches]
    assert widths != sorted(widths)


def test_long_sequences_make_short_batches_that_split_as_far_as_they_can() -> None:
    loader = bucket_loader([20, 20, 3, 3, 3, 3], max_tokens=20, buckets=2)
    sizes = {len(loader.micro_batches(step, 3)) for step in range(loader.steps_per_epoch)}
    assert sizes == {1, 3}
    with pytest.raises(ConfigError, match="accumulation_steps=0"):
        loader.micro_batches(0, 0)


def test_buckets_that_cannot_be_filled() -> None:
    with pytest.raises(
        DataError, match=r"sample 1 has 50 tokens, more than max_tokens=40.*raise max_tokens, or shorten"
    ):
        bucket_loader([3, 50])
    for lengths in ([], [0, 2]):
        with pytest.raises(DataError, match=r"must be \d integers of 1 or more"):
            bucket_loader(lengths)
    with pytest.raises(DataError, match=r"must be 2 integers of 1 or more.*not int64 \(3,\)"):
        BucketLoader(Sequences([1, 2]), np.arange(1, 4), max_tokens=9, seed=0)
    with pytest.raises(ConfigError, match="buckets=0 and max_tokens=40 must be at least 1"):
        bucket_loader([1], buckets=0)
    with pytest.raises(ConfigError, match="cannot be -1"):
        bucket_loader([1]).batch(-1)


def numbers(first: int, count: int) -> ArrayDataset:
    return ArrayDataset(inputs=np.arange(first, first + count), targets=np.zeros(count))


@given(
    weights=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    first=st.integers(0, 60),
    count=st.integers(0, 40),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_mixture_is_exact_and_each_part_keeps_its_own_order(
    weights: list[int], first: int, count: int, seed: int
) -> None:
    names = [f"part {i}" for i in range(len(weights))]
    datasets = {name: numbers(100 * i, 7) for i, name in enumerate(names)}
    mixture = Mixture(datasets, dict(zip(names, weights, strict=True)), seed)
    values = [int(sample.inputs) for sample in mixture.samples(0, first + count)]
    assert [int(sample.inputs) for sample in mixture.samples(first, count)] == values[first:]
    assert [value // 100 for value in values] == mixture.sources(0, first + count).tolist()
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    cycle = mixture.cycle
    for whole in range(0, len(values) - cycle + 1, cycle):
        chosen = [value // 100 for value in values[whole : whole + cycle]]
        assert [Fraction(chosen.count(i), cycle) for i in range(len(weights))] == shares
    for i in range(len(weights)):
        own = [value for value in values if value // 100 == i]
        for epoch in range(0, len(own) - 6, 7):
            assert sorted(own[epoch : epoch + 7]) == list(range(100 * i, 100 * i + 7))


def test_parts_of_a_mixture_have_orders_of_their_own() -> None:
    mixture = Mixture({"a": numbers(0, 20), "b": numbers(20, 20)}, {"a": 1, "b": 1}, seed=0)
    values = [int(sample.inputs) for sample in mixture.samples(0, 40)]
    assert [value for value in values if value < 20] != [value - 20 for value in values if value >= 20]


def test_weights_as_they_are_written() -> None:
    parts = {"a": numbers(0, 3), "b": numbers(10, 9), "c": numbers(100, 5)}
    mixture = Mixture(parts, {"a": 0.7, "b": 0.25, "c": 0.05}, seed=1)
    assert (mixture.cycle_counts.tolist(), mixture.cycle) == ([14, 5, 1], 20)
    assert Mixture(parts, {"c": 2, "b": 4, "a": 6}, seed=1).cycle_counts.tolist() == [3, 2, 1]
    assert mixture.samples_per_epoch == 100  # five cycles until all of c have come
    values = [int(sample.inputs) for sample in mixture.samples(0, 100)]
    assert set(values) == {*range(3), *range(10, 19), *range(100, 105)}
    loader = SampleLoader(mixture, 8)
    assert loader.steps_per_epoch == 13
    assert loader.batch(3).inputs.tolist() == values[24:32]
    orders = {tuple(Mixture(parts, {"a": 7, "b": 2, "c": 1}, seed=seed).sources(0, 10)) for seed in range(5)}
    assert len(orders) == 5
    assert len({tuple(mixture.sources(20 * cycle, 20)) for cycle in range(5)}) == 5


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"a": 1}, "there are data sets 'a', 'b' and weights for 'a'"),
        ({"a": 1, "b": 0}, "weight of 'b' must be a positive number, not 0"),
        ({"a": 1, "b": float("nan")}, "weight of 'b' must be a positive number, not nan"),
        ({"a": 1, "b": float("inf")}, "weight of 'b' must be a positive number, not inf"),
        ({"a": 1, "b": 1 / 3}, "repeat only after .* samples, more than 1000000: give whole numbers"),
    ],
)
def test_weights_that_make_no_mixture(weights: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Mixture({"a": numbers(0, 3), "b": numbers(0, 3)}, weights, seed=0)


def test_a_mixture_of_nothing() -> None:
    with pytest.raises(ConfigError, match="data sets none and weights for none"):
        Mixture({}, {}, seed=0)
    with pytest.raises(DataError, match="data set is empty"):
        Mixture({"a": numbers(0, 0)}, {"a": 1}, seed=0)


def pair_loader() -> Loader:
    rows = np.random.default_rng(1)
    sources = [rows.integers(3, 50, rows.integers(1, 9)) for _ in range(17)]
    targets = [rows.integers(3, 50, rows.integers(0, 9)) for _ in range(17)]
    dataset = PairDataset(sources, targets)
    return BucketLoader(dataset, dataset.lengths, max_tokens=30, seed=2, buckets=3, collate=dataset.collate)


LOADERS: dict[str, Callable[[], Loader]] = {
    "tokens": lambda: TokenLoader(np.arange(150), 7, 4, seed=3),
    "masked tokens": lambda: MaskedTokenLoader(np.arange(150), 7, 4, seed=3, vocab_size=150),
    "arrays": lambda: numbers(0, 11).loader(4, seed=3),
    "packed": lambda: PackedDataset(np.arange(60), np.array([0, 9, 14, 40, 60]), 8, method="first_fit").loader(3),
    "buckets": lambda: bucket_loader([3, 9, 4, 4, 11, 2, 7, 7, 5, 1] * 2, 25, seed=5),
    "pairs": pair_loader,
    "mixture": lambda: SampleLoader(Mixture({"a": numbers(0, 5), "b": numbers(50, 8)}, {"a": 3, "b": 2}, seed=4), 4),
}
STEPS = 12


def equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def resumed_at_every_step(make: Callable[[], Any]) -> None:
    """Interrupted at any step, the state put through JSON, the stream goes on as if it had not been."""
    whole = list(itertools.islice(make(), STEPS))
    for step in range(STEPS + 1):
        stream = make()
        for _ in range(step):
            next(stream)
        state = json.loads(json.dumps(stream.state_dict()))
        assert len(json.dumps(state)) < 100
        again = make()
        again.load_state_dict(state)
        assert again.state_dict() == state
        assert all(equal(next(again), batch) for batch in whole[step:])


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_goes_on_at_any_step(name: str) -> None:
    resumed_at_every_step(lambda: Batches(LOADERS[name]()))


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_follows_the_protocol(name: str) -> None:
    whole = [LOADERS[name]().batch(step) for step in range(STEPS)]
    loader = LOADERS[name]()
    assert loader.steps_per_epoch >= 1
    for step in reversed(range(STEPS)):
        assert equal(loader.batch(step), whole[step])
        for accumulation in (1, 2, 3):
            parts = loader.micro_batches(step, min(accumulation, len(whole[step][0])))
            assert [first for first, _ in parts] == np.cumsum([0, *(len(p[0]) for _, p in parts)])[:-1].tolist()
            joined = (np.concatenate(column) for column in zip(*(part for _, part in parts), strict=True))
            assert equal(type(whole[step])(*joined), whole[step])


@pytest.mark.parametrize("name", LOADERS)
def test_prefetched_loaders_give_the_same_and_go_on_at_any_step(name: str) -> None:
    whole = [LOADERS[name]().micro_batches(step, 2) for step in range(STEPS)]
    with PrefetchLoader(LOADERS[name](), depth=3) as loader:
        for step in [*range(STEPS), 4, 5, 6, 2, 2]:
            found = loader.micro_batches(step, 2)
            assert [first for first, _ in found] == [first for first, _ in whole[step]]
            assert all(equal(a, b) for (_, a), (_, b) in zip(found, whole[step], strict=True))

    def prefetched() -> Prefetch:
        return Prefetch(Batches(LOADERS[name]()))

    resumed_at_every_step(prefetched)


def trained(loader: Loader, steps: range, model: GPT, optimizer: SGD) -> list[bytes]:
    for step in steps:
        train_step(model, optimizer, loader.micro_batches(step, 2), lr=0.1)
    return [parameter.data.tobytes() for _, parameter in model.named_parameters()]


@pytest.mark.parametrize("name", ["tokens", "packed", "buckets"])
def test_a_model_trained_on_prefetched_batches_and_resumed_ends_with_the_same_bytes(name: str) -> None:
    """A loop of one's own, with nothing but the number of the step to remember."""
    config = GPTConfig(vocab_size=160, block_size=12, n_layer=1, n_head=1, n_embd=8)
    whole, halved = GPT(config, seed=0), GPT(config, seed=0)
    expected = trained(LOADERS[name](), range(6), whole, SGD(whole, lr=0.1))
    for steps in (range(3), range(3, 6)):
        with PrefetchLoader(LOADERS[name]()) as loader:
            found = trained(loader, steps, halved, SGD(halved, lr=0.1))
    assert found == expected


def test_positions_that_are_none() -> None:
    batches = Batches(LOADERS["arrays"]())
    for state in ({}, {"step": -1}, {"step": "3"}, {"step": None}):
        with pytest.raises(DataError, match=r"position of batches is \{'step': 0\} or a later step, not"):
            batches.load_state_dict(state)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    for name, text in {
        "a.txt": "Grüße, 東京 and\r\nthe rest\n",
        "b.txt": "\ufeffa second, longer text",
    }.items():
        (tmp_path / "texts" / name).write_bytes(text.encode())
    return tmp_path / "texts"


@given(block_size=st.integers(1, 12), batch_size=st.integers(1, 4), piece_bytes=st.integers(8, 30))
@settings(max_examples=20)
def test_a_text_stream_is_the_text_again_and_again(
    tmp_path_factory: pytest.TempPathFactory, block_size: int, batch_size: int, piece_bytes: int
) -> None:
    file = tmp_path_factory.mktemp("stream") / "text.txt"
    file.write_text("the text, Grüße, and\nits end")
    tokens = ByteTokenizer().encode((file.read_text() + "\n") * 40)
    stream = TextStream(file, ByteTokenizer(), block_size, batch_size, piece_bytes=piece_bytes)
    inputs = np.concatenate([batch.inputs for batch in itertools.islice(stream, 10)]).ravel()
    assert inputs.tolist() == tokens[: inputs.size].tolist()
    stream.load_state_dict({"file": 0, "byte": 0, "skip": 0})
    targets = np.concatenate([batch.targets for batch in itertools.islice(stream, 10)]).ravel()
    assert targets.tolist() == tokens[1 : targets.size + 1].tolist()


@pytest.mark.parametrize("tokenizer", ["byte", "bpe"])
def test_a_text_stream_goes_on_at_any_step(texts: Path, tokenizer: str) -> None:
    made: Any = ByteTokenizer() if tokenizer == "byte" else train_bpe_tokenizer([read_corpus(texts)], vocab_size=265)

    def stream() -> TextStream:
        return TextStream([texts / "a.txt", texts / "b.txt"], made, 5, 3, piece_bytes=12)

    resumed_at_every_step(stream)
    resumed_at_every_step(lambda: Prefetch(stream()))


def test_text_streams_that_cannot_be(texts: Path) -> None:
    with pytest.raises(ConfigError, match="block_size=0 must be at least 1"):
        TextStream(texts, ByteTokenizer(), 0, 1)
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        TextStream(texts, ByteTokenizer(), 1, 0)
    with pytest.raises(DataError, match="no sources"):
        TextStream([], ByteTokenizer(), 1, 1)
    stream = TextStream(texts, ByteTokenizer(), 4, 2, piece_bytes=16)
    first = next(stream)
    for state in ({}, {"file": 0, "byte": 0}, {"file": -1, "byte": 0, "skip": 0}, {"file": 0, "byte": "0", "skip": 0}):
        with pytest.raises(DataError, match=r"position of a text stream is .* or later, not"):
            stream.load_state_dict(state)
    for state in ({"file": 0, "byte": 0, "skip": 99}, {"file": 0, "byte": 10_000, "skip": 1}):
        with pytest.raises(DataError, match="is not one of these files: they changed"):
            stream.load_state_dict(state)
    stream.load_state_dict({"file": 0, "byte": 0, "skip": 0})
    assert equal(next(stream), first)

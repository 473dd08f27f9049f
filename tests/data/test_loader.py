"""The order of the data: a function of (seed, step), complete, and the same however it is asked for.

In most tests the token at position ``i`` of the text is ``i``, so that a batch shows where it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import Batch, TokenFile, TokenLoader, evaluation_batches, write_tokens
from minitrain.errors import ConfigError, DataError


class Setting(NamedTuple):
    length: int
    block_size: int
    batch_size: int
    seed: int

    def loader(self) -> TokenLoader:
        return TokenLoader(np.arange(self.length), self.block_size, self.batch_size, self.seed)


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    block_size = draw(st.integers(1, 9))
    count = draw(st.integers(block_size + 1, 12 * block_size + 5))
    # Batches may be larger than an epoch, and reach over several.
    return Setting(count, block_size, draw(st.integers(1, 17)), draw(st.integers(0, 2**64 - 1)))


def starts(batch: Batch) -> list[int]:
    return [int(row[0]) for row in batch.inputs]


@given(setting=settings(), epochs=st.integers(1, 4))
def test_an_epoch_visits_each_of_its_windows_once(setting: Setting, epochs: int) -> None:
    loader = setting.loader()
    W, T = loader.windows_per_epoch, setting.block_size
    seen: list[int] = []
    for step in range(-(-epochs * W // setting.batch_size)):
        seen += starts(loader.batch(step))
    for epoch in range(epochs):
        visited = sorted(seen[epoch * W : (epoch + 1) * W])
        offset = visited[0]
        assert visited == [offset + i * T for i in range(W)]  # side by side: none twice, none left out
        assert offset >= 0
        assert visited[-1] + T <= setting.length - 1  # and the last target is in the text
    assert max(1, setting.length // T - 1) == W


@given(setting=settings(), step=st.integers(0, 50))
def test_targets_are_the_inputs_shifted_by_one(setting: Setting, step: int) -> None:
    batch = setting.loader().batch(step)
    for array in batch:
        assert type(array) is np.ndarray
        assert array.dtype == np.int32
        assert array.shape == (setting.batch_size, setting.block_size)
        assert array.flags.c_contiguous
    assert np.array_equal(batch.targets, batch.inputs + 1)
    assert np.array_equal(np.diff(batch.inputs, axis=1), np.ones((setting.batch_size, setting.block_size - 1)))


@given(setting=settings(), steps=st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_a_batch_does_not_depend_on_the_calls_before_it(setting: Setting, steps: list[int]) -> None:
    used = setting.loader()
    for step in steps:
        fresh = setting.loader().batch(step)
        assert np.array_equal(used.batch(step).inputs, fresh.inputs)


@given(setting=settings(), step=st.integers(0, 40), data=st.data())
def test_micro_batches_are_the_batch_in_parts(setting: Setting, step: int, data: st.DataObject) -> None:
    loader = setting.loader()
    accumulation = data.draw(st.integers(1, setting.batch_size))
    parts = loader.micro_batches(step, accumulation)
    sizes = [part.inputs.shape[0] for _, part in parts]
    assert len(parts) == accumulation
    assert max(sizes) - min(sizes) <= 1
    assert [first for first, _ in parts] == [sum(sizes[:i]) for i in range(accumulation)]
    whole = loader.batch(step)
    assert np.array_equal(np.concatenate([part.inputs for _, part in parts]), whole.inputs)
    assert np.array_equal(np.concatenate([part.targets for _, part in parts]), whole.targets)
    assert all(array.flags.c_contiguous for _, part in parts for array in part)


def test_the_order_changes_with_the_epoch_and_the_seed() -> None:
    loader = TokenLoader(np.arange(2000), 10, 7, seed=1)
    orders = [loader.window_starts(epoch).tolist() for epoch in range(20)]
    orders += [TokenLoader(np.arange(2000), 10, 7, seed).window_starts(0).tolist() for seed in (0, 2, 1 + 2**32)]
    assert len({tuple(order) for order in orders}) == len(orders)
    assert len({min(order) for order in orders}) > 5  # the offsets differ too
    assert all(order != sorted(order) for order in orders)


def test_the_order_is_the_one_that_earlier_runs_had() -> None:
    """A run that is resumed must meet the same data: change these numbers only with the checkpoint's format."""
    loader = TokenLoader(np.arange(100), 8, 4, seed=1337)
    assert loader.window_starts(0).tolist() == [87, 79, 47, 55, 23, 7, 31, 39, 15, 71, 63]
    assert loader.window_starts(1).tolist() == [39, 79, 87, 15, 31, 47, 55, 7, 23, 71, 63]


@pytest.mark.parametrize(("count", "block_size"), [(23, 4), (24, 4), (25, 4), (5, 4), (7, 4), (40, 1)])
def test_no_token_is_never_seen(count: int, block_size: int) -> None:
    loader = TokenLoader(np.arange(count), block_size, 5, seed=3)
    batches = [loader.batch(step) for step in range(300)]
    assert {int(token) for batch in batches for token in batch.inputs.flat} == set(range(count - 1))
    assert {int(token) for batch in batches for token in batch.targets.flat} == set(range(1, count))


def test_the_windows_are_shuffled_evenly() -> None:
    """Over many epochs every window comes first about equally often."""
    loader = TokenLoader(np.arange(81), 8, 1, seed=0)
    W, epochs = loader.windows_per_epoch, 1800
    firsts = np.zeros(W)
    for epoch in range(epochs):
        order = loader.window_starts(epoch)
        firsts[(order[0] - order.min()) // 8] += 1
    expected = epochs / W
    assert ((firsts - expected) ** 2 / expected).sum() < 26.1  # chi-square with 8 degrees of freedom, p = 0.001


def test_batches_are_copies_of_a_memory_map(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 65, 1000)
    write_tokens(tmp_path / "train.bin", ids, 65)
    tokens = TokenFile.open(tmp_path / "train.bin").tokens
    mapped, plain = TokenLoader(tokens, 16, 8, seed=5), TokenLoader(ids, 16, 8, seed=5)
    for step in (0, 7, 8, 100):
        for ours, theirs in zip(mapped.batch(step), plain.batch(step), strict=True):
            assert type(ours) is np.ndarray
            assert not np.shares_memory(ours, tokens)
            assert np.array_equal(ours, theirs)
    batch = mapped.batch(3)
    batch.inputs[...] = 0  # a caller may scribble on its batch
    assert np.array_equal(mapped.batch(3).inputs, plain.batch(3).inputs)


@given(count=st.integers(2, 100), block_size=st.integers(1, 30), batch_size=st.integers(1, 7))
def test_evaluation_predicts_every_token_but_the_first_once(count: int, block_size: int, batch_size: int) -> None:
    batches = list(evaluation_batches(np.arange(count, dtype=np.uint16), block_size, batch_size))
    targets = np.concatenate([batch.targets.ravel() for batch in batches])
    assert targets.tolist() == list(range(1, count))
    for batch in batches:
        assert np.array_equal(batch.targets, batch.inputs + 1)
        assert batch.inputs.shape[0] <= batch_size
        assert batch.inputs.shape[1] <= block_size
        assert batch.inputs.dtype == batch.targets.dtype == np.int32
        assert batch.inputs.flags.c_contiguous
        assert batch.targets.flags.c_contiguous
    assert all(batch.inputs.shape[1] == block_size for batch in batches[:-1])


@given(block_size=st.integers(2, 20), data=st.data())
def test_a_text_shorter_than_a_block(block_size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, block_size))
    with pytest.raises(DataError, match=f"has {count} tokens.*needs {block_size + 1}") as caught:
        TokenLoader(np.arange(count), block_size, 1, 0)
    assert f"block_size of at most {count - 1}" in str(caught.value)
    TokenLoader(np.arange(count), count - 1, 1, 0).batch(0)  # what the message proposes works


@pytest.mark.parametrize("count", [0, 1])
def test_a_text_with_nothing_to_predict(count: int) -> None:
    with pytest.raises(DataError, match=f"has {count} tokens.*longer text$"):
        TokenLoader(np.arange(count), 4, 1, 0)
    with pytest.raises(DataError, match=f"has {count} tokens.*at least 2"):  # at the call, not at the first batch
        evaluation_batches(np.arange(count), 4, 1)


def test_sizes_and_arrays_that_do_not_fit() -> None:
    loader = TokenLoader(np.arange(50), 4, 6, 0)
    with pytest.raises(ConfigError, match="batch_size=6 in accumulation_steps=7 parts: choose 1 to 6"):
        loader.micro_batches(0, 7)
    with pytest.raises(ConfigError, match="accumulation_steps=0"):
        loader.micro_batches(0, 0)
    with pytest.raises(ConfigError, match="cannot be -1"):
        loader.batch(-1)
    for sizes, name in (((0, 1), "block_size"), ((4, 0), "batch_size")):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, not 0"):
            TokenLoader(np.arange(50), *sizes, 0)
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, not 0"):
            evaluation_batches(np.arange(50), *sizes)
    for tokens in (np.zeros(50), np.zeros((5, 10), int)):
        with pytest.raises(DataError, match=r"\(N,\) array of integers"):
            TokenLoader(tokens, 4, 6, 0)

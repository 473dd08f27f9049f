"""Prefetch: ahead but not visible, errors where they belong, and never a thread left behind."""

from __future__ import annotations

import gc
import itertools
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from minitrain.data import Batches, BucketLoader, Prefetch, PrefetchLoader, TokenLoader, pad_collate
from minitrain.data.loading.batches import Batch
from minitrain.errors import ConfigError, DataError


def threads() -> int:
    """How many threads read ahead."""
    return sum(thread.name == "minitrain-prefetch" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert threads() == 0


class Numbers:
    """0, 1, 2, … up to an end or an error; ``made`` tells how far it was read."""

    def __init__(self, end: int = 10**9, error: BaseException | None = None) -> None:
        self.at, self.end, self.error = 0, end, error
        self.made = threading.Semaphore(0)

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> int:
        if self.at >= self.end:
            raise self.error or StopIteration
        self.at += 1
        self.made.release()
        return self.at - 1

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.at = state["at"]


def wait_for(numbers: Numbers, count: int) -> None:
    """Until ``count`` more numbers were made."""
    for _ in range(count):
        assert numbers.made.acquire(timeout=30)


def test_it_reads_ahead_and_no_further_than_told() -> None:
    numbers = Numbers()
    with Prefetch(numbers, depth=3) as ahead:
        assert numbers.at == 0  # nothing before it is asked
        assert next(ahead) == 0
        wait_for(numbers, 4)  # the one taken, and three that wait
        assert not numbers.made.acquire(timeout=0.05)
        assert [next(ahead), next(ahead)] == [1, 2]
        wait_for(numbers, 2)
        assert not numbers.made.acquire(timeout=0.05)


def test_the_position_is_that_of_the_last_batch_taken() -> None:
    numbers = Numbers()
    ahead = Prefetch(numbers, depth=5)
    assert ahead.state_dict() == {"at": 0}
    assert list(itertools.islice(ahead, 3)) == [0, 1, 2]
    wait_for(numbers, 8)
    assert ahead.state_dict() == {"at": 3}
    ahead.close()
    assert (numbers.at, numbers.state_dict()) == (3, {"at": 3})  # the stream is where its consumer is
    assert next(ahead) == 3  # and goes on
    ahead.load_state_dict({"at": 20})
    assert ahead.state_dict() == {"at": 20}
    assert list(itertools.islice(ahead, 2)) == [20, 21]
    ahead.close()
    ahead.close()


def test_an_error_comes_where_its_batch_would_have_with_its_traceback() -> None:
    ahead = Prefetch(Numbers(end=2, error=DataError("file is torn")), depth=4)
    assert [next(ahead), next(ahead)] == [0, 1]
    for _ in range(2):  # asked again, it is tried again
        with pytest.raises(DataError, match="file is torn") as caught:
            next(ahead)
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-2:] == ["_run", "__next__"]  # of the thread, down to the line that failed
        assert ahead.state_dict() == {"at": 2}
        assert threads() == 0


def test_a_stream_that_ends() -> None:
    ahead = Prefetch(Numbers(end=4))
    assert list(ahead) == [0, 1, 2, 3]
    assert list(ahead) == []
    ahead.load_state_dict({"at": 2})
    assert list(ahead) == [2, 3]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_a_consumer_that_fails_leaves_no_thread(error: type[BaseException]) -> None:
    numbers = Numbers()
    with pytest.raises(error), Prefetch(numbers) as ahead:
        for number in ahead:
            if number == 2:
                raise error
    assert threads() == 0
    assert numbers.at == 3


def test_ctrl_c_while_waiting_loses_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Prefetch(Numbers())
    assert next(ahead) == 0
    worker = ahead._worker
    assert worker is not None
    take = worker.take

    def interrupted() -> Any:
        take()  # the batch is out of the queue already
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(ahead)
    assert threads() == 0
    assert next(ahead) == 1
    ahead.close()


def test_a_forgotten_one_ends_its_thread() -> None:
    ahead = Prefetch(Numbers())
    next(ahead)
    assert threads() == 1
    del ahead
    gc.collect()
    assert threads() == 0


def test_many_are_closed_while_the_thread_is_busy() -> None:
    for depth in range(1, 30):
        with Prefetch(Numbers(), depth) as ahead:
            assert list(itertools.islice(ahead, depth)) == list(range(depth))


def test_depth_and_step() -> None:
    with pytest.raises(ConfigError, match="depth=0 of a prefetch must be at least 1"):
        Prefetch(Numbers(), 0)
    loader = PrefetchLoader(TokenLoader(np.arange(50), 4, 6, seed=0))
    with pytest.raises(ConfigError, match="cannot be -1"):
        loader.micro_batches(-1, 1)
    with pytest.raises(ConfigError, match="batch_size=6 in accumulation_steps=7 parts"):
        loader.micro_batches(0, 7)
    loader.micro_batches(0, 2)
    assert loader.steps_per_epoch == 2
    assert np.array_equal(loader.batch(3).inputs, loader.loader.batch(3).inputs)
    with pytest.raises(DataError, match="position of batches"):
        Prefetch(Batches(loader)).load_state_dict({"step": "x"})
    loader.close()


def test_micro_batches_are_those_of_the_loader_when_the_split_changes() -> None:
    class Ragged:
        lengths = np.array([9, 9, 1, 1, 1, 1])

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Batch:
            return Batch(np.full(self.lengths[index], index), np.full(self.lengths[index], index))

    data = Ragged()
    plain = BucketLoader(data, data.lengths, max_tokens=9, seed=0, buckets=2, collate=pad_collate)
    with PrefetchLoader(plain) as loader:
        for step, accumulation in enumerate([1, 1, 3, 3, 3, 2, 2, 1]):
            found, expected = loader.micro_batches(step, accumulation), plain.micro_batches(step, accumulation)
            assert [first for first, _ in found] == [first for first, _ in expected]
            assert all(np.array_equal(a.inputs, b.inputs) for (_, a), (_, b) in zip(found, expected, strict=True))

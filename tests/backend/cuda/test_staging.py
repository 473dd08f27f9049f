"""Copies of batches beside the computation: nothing waits, and each rule that orders them is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend import to_numpy
from minitrain.backend.cuda import staging
from minitrain.backend.cuda.staging import BUFFERS, Staging
from minitrain.backend.cuda.streams import copy_stream, exchange_stream
from minitrain.data.loading.batches import Batch
from minitrain.errors import DeviceError
from minitrain.testing.cuda.fake import EmulatedDevice, StreamOrderError, emulated_device
from minitrain.testing.cuda.fake.streams import STREAMS, Event, Stream
from minitrain.training.feed import Feed


def batches(count: int, rows: int = 4) -> list[list[Any]]:
    rng = np.random.default_rng(0)
    return [[rng.standard_normal((rows, 3)), rng.integers(0, 9, (rows, 5)).astype(np.int32)] for _ in range(count)]


def train(place: Any, given: list[list[Any]]) -> list[Any]:
    """Use each batch on the computing stream, and overwrite the host's arrays as soon as they are placed."""
    results = []
    for batch in given:
        there = place(list(batch))
        for x in batch:
            x[...] = -1
        results.append((there[0] * 2).sum() + there[1].sum())
    return [float(to_numpy(x)) for x in results]


def test_batches_arrive(gpu: EmulatedDevice) -> None:
    expected = [(x * 2).sum() + y.sum() for x, y in batches(9)]
    np.testing.assert_allclose(train(Staging("cuda").place, batches(9)), expected, rtol=1e-12)


def test_the_host_waits_for_no_computation(gpu: EmulatedDevice) -> None:
    place, given = Staging("cuda").place, batches(20)
    with gpu.counting() as counts:
        for x, y in given:
            a, b = place([x, y])
            a.sum() + b.sum()
    assert (counts.synchronisations, counts.to_host, counts.to_device) == (0, 0, 40)
    assert counts.event_waits == len(given) - BUFFERS  # for copies that are three batches old


def test_a_copy_waits_for_no_computation_of_the_batch_before(gpu: EmulatedDevice) -> None:
    """So copies run beside the computation. That of a batch waits for what was enqueued one batch earlier."""
    place, given = Staging("cuda").place, batches(8)
    stream, null, seen = copy_stream(gpu.cupy), Stream.null, []
    for x, y in given:
        before = null.done
        a, b = place([x, y])
        seen.append((stream.seen.get(0, 0), before))
        for _ in range(5):
            a += b.sum()  # the computation on this batch
        del a, b
    for (waited, enqueued), (_, previous) in zip(seen[2:], seen[1:], strict=False):
        assert previous <= waited < enqueued  # all of the batch before the last, nothing of the last


@pytest.mark.parametrize(
    "arrays",
    [
        [np.arange(6, dtype=np.int64).reshape(2, 3).T, np.ones(3, bool), np.float32(3) * np.ones(())],
        [np.zeros((0, 4)), np.arange(5)],
        [],
    ],
)
def test_any_layout_dtype_and_size(gpu: EmulatedDevice, arrays: list[Any]) -> None:
    for there, here in zip(Staging("cuda").place(arrays), arrays, strict=True):
        assert there.dtype == here.dtype
        np.testing.assert_array_equal(to_numpy(there), here)


def test_batches_of_growing_size(gpu: EmulatedDevice) -> None:
    given = [batches(1, rows)[0] for rows in (1, 4, 2, 9, 30, 3, 8)]
    expected = [(x * 2).sum() + y.sum() for x, y in given]
    np.testing.assert_allclose(train(Staging("cuda").place, given), expected, rtol=1e-12)


def test_a_batch_that_somebody_keeps_stays(gpu: EmulatedDevice) -> None:
    place, given = Staging("cuda").place, batches(12)
    expected = [x.copy() for x, _ in given]
    kept = [place(list(batch))[0][1:] for batch in given]  # views hold it, too
    for there, here in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(there), here[1:])


def test_memory_goes_when_nobody_keeps_it(gpu: EmulatedDevice) -> None:
    place, used = Staging("cuda").place, []
    for x, y in batches(30):
        place([x, y])
        used.append(gpu.cupy.get_default_memory_pool().used_bytes())
    assert max(used[5:]) == used[5]


def test_a_feed_leaves_what_is_there(gpu: EmulatedDevice) -> None:
    ready = gpu.cupy.ones(3)
    (batch,) = Feed("cuda").place([Batch(ready, np.arange(3))])  # type: ignore[arg-type]
    assert batch.inputs is ready
    np.testing.assert_array_equal(to_numpy(batch.targets), np.arange(3))
    host = [Batch(np.ones(3), np.arange(3))]
    assert Feed("cpu").place(host) is host


# Each rule of the module, taken away.


def test_without_the_wait_of_the_computation(gpu: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "wait_event", lambda self, event: None)
    with pytest.raises(StreamOrderError, match="the default stream reads memory that stream"):
        train(Staging("cuda").place, batches(2))


def test_without_the_wait_for_a_pinned_buffer(gpu: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "synchronize", lambda self: None)
    with pytest.raises(StreamOrderError, match="pinned memory"):
        train(Staging("cuda").place, batches(2 * BUFFERS))


def test_without_the_wait_before_memory_is_reused(gpu: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: Staging, stream: Any, computing: Any) -> None:
        self._lent = self._lent[-1:]  # the pool may have the memory back at once

    monkeypatch.setattr(Staging, "_take_back", forget)
    with pytest.raises(StreamOrderError, match=r"stream \d+ writes memory that the default stream may still be at"):
        train(Staging("cuda").place, batches(8))


def test_with_one_set_of_buffers_the_host_waits_for_each_copy(gpu: EmulatedDevice, monkeypatch: Any) -> None:
    monkeypatch.setattr(staging, "BUFFERS", 1)
    with gpu.counting() as counts:
        train(Staging("cuda").place, batches(5))
    assert counts.event_waits == 4


def test_no_stream_outlives_its_library() -> None:
    """Another library may get the address of one that is gone."""
    for _ in range(20):
        with emulated_device() as device:
            assert copy_stream(device.cupy) is STREAMS[copy_stream(device.cupy).ptr]
            assert exchange_stream(device.cupy) is not copy_stream(device.cupy)


def test_each_gpu_has_streams_of_its_own() -> None:
    with emulated_device(devices=2) as device:
        first = copy_stream(device.cupy)
        assert copy_stream(device.cupy) is first
        there = Staging("cuda:1").place([np.ones(3)])
        assert there[0].device.id == 1
        assert copy_stream(device.cupy) is not first
    with emulated_device(), pytest.raises(DeviceError, match="the only GPU is cuda:0"):
        Staging("cuda:1")

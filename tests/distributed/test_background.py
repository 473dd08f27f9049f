"""Calls in the background: in order, their errors where somebody waits, and how much of their time was hidden."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from minitrain.backend import to_numpy
from minitrain.backend.cuda.device import use_gpu
from minitrain.backend.cuda.streams import exchange_stream
from minitrain.distributed.background import Background, OnStream, beside
from minitrain.testing.cuda.fake import StreamOrderError, emulated_device


def test_calls_come_in_order_in_another_thread():
    background, seen = Background(), []
    for number in range(20):
        background.submit(lambda number=number: seen.append((number, threading.current_thread().name)))
    background.wait()
    assert seen == [(number, "minitrain-collectives") for number in range(20)]
    background.wait()  # nothing to wait for
    assert not any(thread.name == "minitrain-collectives" for thread in threading.enumerate())


def test_an_error_comes_where_somebody_waits_and_nothing_is_called_after_it():
    background, seen = Background(most=2), []
    background.submit(lambda: 1 / 0)
    for _ in range(5):  # more than may wait
        background.submit(lambda: seen.append(1))
    with pytest.raises(ZeroDivisionError):
        background.wait()
    assert not seen
    background.submit(lambda: seen.append(2))
    background.wait()
    assert seen == [2]


def test_few_calls_wait_at_a_time():
    background, free, order = Background(most=2), threading.Event(), []
    background.submit(free.wait)
    background.submit(lambda: order.append("second"))
    threading.Timer(0.05, free.set).start()
    background.submit(lambda: None)  # waits until the first one is done
    assert free.is_set()
    background.wait()
    assert order == ["second"]
    assert background.waited > 0.02


def test_time_is_hidden_while_something_else_is_done():
    background = Background()
    background.submit(lambda: time.sleep(0.05))
    time.sleep(0.1)
    background.wait()
    assert background.busy >= 0.05
    assert background.hidden > 0.5
    background.submit(lambda: time.sleep(0.3))
    background.wait()
    assert background.hidden < 0.5


def test_what_is_abandoned_ends_by_itself():
    background, free = Background(), threading.Event()
    background.submit(free.wait)
    background.abandon()
    background.wait()  # does not wait for it
    free.set()
    deadline = time.monotonic() + 5
    while any(thread.name == "minitrain-collectives" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_context_is_that_of_the_thread_that_submits():
    """Where float16 may overflow, it may do so in the background too."""
    background, found = Background(), []
    with np.errstate(over="ignore"):
        background.submit(lambda: found.append(np.geterr()["over"]))
        background.wait()
    assert found == ["ignore"] != [np.geterr()["over"]]


def test_for_arrays_of_a_gpu_it_is_a_stream():
    """Each side waits for what came before on the other, and the host for nothing."""
    with emulated_device() as device:
        xp = use_gpu("cuda")
        array = xp.zeros(4, np.float32)
        background, streams = beside(array), []

        def work():
            nonlocal array
            streams.append(xp.cuda.get_current_stream())
            array += 1.0

        assert type(background) is OnStream
        with device.counting() as counts:
            for _ in range(2):
                array *= 2.0
                background.submit(work)
                background.abandon()
                with pytest.raises(StreamOrderError):
                    array *= 2.0
                background.wait()
        assert counts.synchronisations == 0
        assert to_numpy(array).tolist() == [3.0] * 4
        assert streams == [exchange_stream(xp)] * 2
        assert xp.cuda.get_current_stream() is not streams[0]
    assert type(beside(np.zeros(4))) is Background
    assert beside(np.zeros(4)).most is None
    assert beside(np.zeros(4), 3).most == 3


def test_the_hidden_share_is_between_none_and_all():
    background = Background()
    assert background.hidden == 0.0
    for busy, waited, hidden in ((2.0, 0.5, 0.75), (2.0, 3.0, 0.0), (2.0, 0.0, 1.0)):
        background.busy, background.waited = busy, waited
        assert background.hidden == hidden


def test_what_is_abandoned_ends_by_itself_and_others_begin_anew():
    background, seen = Background(), []
    threads = []

    def work():
        threads.append(threading.current_thread())

    background.submit(work)
    background.abandon()
    background.submit(lambda: seen.append(threading.current_thread()))
    background.wait()
    threads[0].join(timeout=5)
    assert not threads[0].is_alive()
    assert seen[0] is not threads[0]
    assert all(thread.daemon for thread in (*threads, *seen))  # none of them holds up the end of the program
